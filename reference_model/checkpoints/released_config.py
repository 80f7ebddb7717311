"""The `config.yaml` beside a released LoRWeB checkpoint, as settings of our own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.settings import checked, open_settings
from lorweb_bench.runtime.yaml_files import read_yaml
from reference_model.config import TrainConfig, find_config

MAX_BYTES = 2**20
WAY_OUT = "name the config.yaml of the release"
# The released names of what the encoder is shown, where `c` stands for CLIP's embedding; ours
# beside them.
QUERY_MODES = {
    "cat-aa'b": "separate",
    "aa'bb'": "grid",
    "caa'bb'": "grid",
    "caa'b": "grid-black",
    "caa'": "upper-half",
    "ca'-ca": "a_prime-a",
    "ca'-ca+cb": "a_prime-a+b",
}
# Further names in the authors' code, and why they cannot be imported.
REFUSED_MODES = {
    "a'-a": "the authors' code stops at it beside an external query; `ca'-ca` is its name for "
    "embeddings",
    "a'-a+b": "the authors' code stops at it beside an external query; `ca'-ca+cb` is its name for "
    "embeddings",
    **dict.fromkeys(
        ("paa'b", "paa'b3", "cat-paa'b", "cat-paa'b3"),
        "it queries with the backbone's patches, and only whole embeddings are built here",
    ),
}
SOFTMAX = {
    True: True,
    False: False,
    "true": True,
    "false": False,
}  # given on a command line, it was kept as a word
OVER_HEADS = {"mean": "mean", "sum": "clamped-sum"}
NEEDED = (
    "loras_num",
    "lora_keys_dim",
    "lora_heads",
    "lora_softmax",
    "mixing_coeffs_type",
    "external_query_model",
    "query_mode",
)
# What else may stand there, with the only values that mean what is built here; None: it has no
# effect beside an external query.
FIXED: dict[str, list[Any] | None] = {
    "external_query": [True],
    "query_projection_type": ["linear"],
    "query_l2_normalize": [False],
    "ignore_if_contains": [None, []],
    "transformer_only": [True],
    "pooling_type": None,
}


@dataclass(frozen=True)
class Released:
    """What a release says of itself: our settings, and the options that they were read from."""

    config: TrainConfig
    options: dict[str, Any]

    def notes(self) -> list[str]:
        """What to know of an import that no setting says."""
        if "siglip" not in encoder_kind(self.config.encoder):
            return []
        return [
            f"note: the authors' code loads {self.config.encoder} as a class whose patch embedding "
            "has another shape, and leaves it random; here it is loaded whole, so coefficients are "
            "not those of the training"
        ]


def encoder_kind(name: str) -> str:
    """What a backbone's config.json calls it, or its name where none is here."""
    from transformers import AutoConfig

    try:
        return str(AutoConfig.from_pretrained(name, local_files_only=True).model_type)
    except (OSError, ValueError, KeyError):
        return name.lower()


def read_released_config(
    path: Path, rank: int, base: str | None, ways: dict[str, str] | None = None
) -> Released:
    """Our settings for the options in a release's `config.yaml`.

    `rank` is that of an element in its weights; `ways` are settings that take the place of the
    authors' own way to look and to size, `encoder_view` and `working_size`, and of the `name`.

    What the file does not say is the paper's own setting. InputError names the option that is
    missing, unknown or of another value.
    """
    process = _process(path)
    network = _mapping(path, process, "network")
    options = _mapping(path, network, "network_kwargs")
    _check_options(path, options)
    if network.get("linear", rank) != rank:
        raise InputError(
            f"{path}: network.linear is {network['linear']}, and the weights are of rank {rank}; "
            "it belongs to another file"
        )
    raw = open_settings(find_config(Path("flux-kontext-paper")), TrainConfig).content
    model = process.get("model")
    named = model.get("name_or_path") if isinstance(model, dict) else None
    raw |= {"base": base or named or raw["base"], "encoder": options["external_query_model"]}
    raw["encoder_input"] = QUERY_MODES[options["query_mode"]]
    raw |= {"encoder_view": "official", "working_size": "megapixel", **(ways or {})}
    raw["adapter"] = {
        "kind": "lorweb",
        "elements": options["loras_num"],
        "rank": rank,
        # The authors' code forces alpha to the rank when it trains and when it loads, whatever
        # `linear_alpha` says.
        "alpha": rank,
        "key_width": options["lora_keys_dim"],
        "mixing": "softmax" if SOFTMAX[options["lora_softmax"]] else "tanh",
        "heads": options["lora_heads"],
        "over_heads": OVER_HEADS[options["mixing_coeffs_type"]],
    }
    return Released(checked(TrainConfig, raw, str(path), "training config"), options)


def _process(path: Path) -> dict[str, Any]:
    """`config.process[0]` of the file."""
    raw, _ = read_yaml(path, "config of a release", MAX_BYTES, WAY_OUT)
    try:
        process = raw["config"]["process"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: has no `config.process[0]`; {WAY_OUT}") from error
    if not isinstance(process, dict):
        raise InputError(f"{path}: `config.process[0]` holds no settings; {WAY_OUT}")
    return process


def _mapping(path: Path, section: dict[str, Any], key: str) -> dict[str, Any]:
    mapping = section.get(key)
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: has no `{key}` where the release has it; {WAY_OUT}")
    return mapping


def _check_options(path: Path, options: dict[str, Any]) -> None:
    """InputError names the first option that is missing, unknown, or of a value that stands for
    nothing here.
    """
    if missing := [name for name in NEEDED if name not in options]:
        raise InputError(
            f"{path}: network_kwargs has no `{missing[0]}`, without which the weights mean nothing"
        )
    if unknown := [str(name) for name in options if name not in (*NEEDED, *FIXED)]:
        raise InputError(
            f"{path}: network_kwargs has `{unknown[0][:60]}`, which is not known here, so what it "
            "does would be lost"
        )
    mode = options["query_mode"]
    if isinstance(mode, str) and mode in REFUSED_MODES:
        raise InputError(f"{path}: `query_mode` is {mode!r}: {REFUSED_MODES[mode]}")
    tables: dict[str, list[Any]] = {
        "lora_softmax": [*SOFTMAX],
        "query_mode": [*QUERY_MODES],
        "mixing_coeffs_type": [*OVER_HEADS],
    }
    for name, allowed in tables.items():
        if (
            isinstance(options[name], int)
            and not isinstance(options[name], bool)
            or options[name] not in allowed
        ):
            raise InputError(
                f"{path}: `{name}` is {str(options[name])[:60]!r}; known are "
                f"{', '.join(map(str, allowed))}"
            )
    for name, values in FIXED.items():
        if values is not None and name in options and options[name] not in values:
            raise InputError(
                f"{path}: `{name}` is {str(options[name])[:60]!r}; only {values[0]!r} can be "
                "imported"
            )
