"""`import-lorweb`: a synthetic release with every option against the formula in float64, and what
is refused by name.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import FluxTransformer2DModel
from diffusers.pipelines.flux import pipeline_flux_kontext
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    Siglip2VisionModel,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet
from reference_model.analysis.space import open_space
from reference_model.bases.registry import transformer_config
from reference_model.checkpoints.checkpoint import load_checkpoint, read_config
from reference_model.method import from_checkpoint
from reference_model.model.adapter import load_encoder
from reference_model.model.working_size import to_tensor

ELEMENTS, RANK, KEY_WIDTH, ALPHA, EMBEDDING = 3, 2, 4, 5, 6
Release = Callable[..., tuple[Path, Path]]
INPUTS = {
    "cat-aa'b": 3,
    "aa'bb'": 1,
    "caa'b": 1,
    "caa'": 1,
    "ca'-ca": 1,
    "ca'-ca+cb": 1,
}  # how many embeddings wide the features are


def linear_layers(folder: Path) -> dict[str, nn.Linear]:
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**transformer_config(str(folder)))
    return {
        n: m
        for n, m in transformer.named_modules()
        if isinstance(m, nn.Linear) and "transformer_blocks." in n
    }


@pytest.fixture
def release(tiny_flux_folder: Path, backbone: Path, tmp_path: Path) -> Release:
    """`release(network={...}, **options)`.

    A file and a config in the released format, for the tiny FLUX folder.
    """

    def make(network: dict[str, Any] | None = None, **options: Any) -> tuple[Path, Path]:
        generator = torch.Generator().manual_seed(5)
        kwargs = {
            "loras_num": ELEMENTS,
            "lora_keys_dim": KEY_WIDTH,
            "lora_heads": 1,
            "lora_softmax": True,
            "mixing_coeffs_type": "mean",
            "external_query": True,
            "external_query_model": str(backbone),
            "query_mode": "cat-aa'b",
            "query_projection_type": "linear",
            "pooling_type": "avg",
            **options,
        }
        weights = {}
        for name, layer in linear_layers(tiny_flux_folder).items():
            sizes = {
                "lora_A": (ELEMENTS, layer.in_features, RANK),
                "lora_B": (ELEMENTS, RANK, layer.out_features),
                "lora_keys": (ELEMENTS, KEY_WIDTH),
                "att_lora_to_q.weight": (
                    KEY_WIDTH,
                    INPUTS.get(str(kwargs["query_mode"]), 3) * EMBEDDING,
                ),
            }
            drawn = {part: torch.randn(size, generator=generator) for part, size in sizes.items()}
            weights |= {f"transformer.{name}.{part}": value.half() for part, value in drawn.items()}
        file, config = tmp_path / "lorweb.safetensors", tmp_path / "config.yaml"
        save_file(weights, file)
        attlora = {
            "type": "attlora",
            "linear": RANK,
            "linear_alpha": ALPHA,
            "network_kwargs": kwargs,
            **(network or {}),
        }
        process = {
            "type": "sd_trainer",
            "network": attlora,
            "model": {"name_or_path": str(tiny_flux_folder), "quantize": True},
        }
        config.write_text(
            yaml.safe_dump({"job": "extension", "config": {"name": "x", "process": [process]}})
        )
        return file, config

    return make


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`run(file, config, folder, ...)`: exit code, stdout, stderr in one line."""

    def call(file: Path, config: Path, folder: Path, *more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["import-lorweb", str(file), "--config", str(config), "-o", str(folder), *more])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    return call


def written_out(
    weights: dict[str, np.ndarray], layer: str, features: np.ndarray, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and the update of one layer by the formula, one head and element at a time."""
    a, b, keys, projection = (
        weights[f"transformer.{layer}.{part}"]
        for part in ("lora_A", "lora_B", "lora_keys", "att_lora_to_q.weight")
    )
    heads = options.get("lora_heads", 1)
    width = KEY_WIDTH // heads
    query = projection @ features
    mixes = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = keys[:, part] @ query[part] / np.sqrt(width)
        grown = np.exp(scores - scores.max())
        mixes.append(grown / grown.sum() if options.get("lora_softmax", True) else np.tanh(scores))
    total = sum(mixes)
    e = np.clip(total, -1, 1) if options.get("mixing_coeffs_type") == "sum" else total / heads
    update = np.zeros((b.shape[2], a.shape[1]))
    for n in range(ELEMENTS):
        update += e[n] * (a[n] @ b[n]).T  # alpha is forced to the rank
    return e, update


@pytest.mark.parametrize("softmax", [True, False, "false"])
@pytest.mark.parametrize(("heads", "over_heads"), [(1, "mean"), (2, "mean"), (2, "sum")])
@pytest.mark.parametrize("query_mode", list(INPUTS))
def test_coefficients_and_updates_are_those_of_the_formula(
    release: Release,
    run: Any,
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    softmax: Any,
    heads: int,
    over_heads: str,
    query_mode: str,
) -> None:
    options = {
        "lora_softmax": softmax,
        "lora_heads": heads,
        "mixing_coeffs_type": over_heads,
        "query_mode": query_mode,
    }
    file, config = release(**options)
    code, said, _ = run(file, config, tmp_path / "imported")
    assert code == 0
    weights = {name: value.double().numpy() for name, value in load_file(file).items()}
    layers = {
        name.split(".", 1)[1].removesuffix(".lora_A")
        for name in weights
        if name.endswith(".lora_A")
    }
    assert f"{sum(w.size for w in weights.values()):,} weights in {len(layers)} layers" in said
    space, t = open_space(tmp_path / "imported"), triplet(0)
    assert space.encoder is not None
    panels = [to_tensor([image], (16, 16), torch.device("cpu")) for image in (t.a, t.a_prime, t.b)]
    with torch.no_grad():
        features = space.encoder(*panels)[0].double().numpy()
    found = space.coefficients([(t.a, t.a_prime, t.b)])[0]
    folded = space.fold(found)
    for layer, e in zip(space.basis, found, strict=True):
        own = {**options, "lora_softmax": softmax is True}
        expected, update = written_out(weights, layer, features, own)
        np.testing.assert_allclose(e.numpy(), expected, rtol=1e-4, atol=1e-5)
        a, b = folded[layer]
        np.testing.assert_allclose((b @ a).numpy(), update, rtol=1e-3, atol=1e-3)
    assert set(space.basis) == layers


def test_what_is_imported_is_a_method_on_the_open_track_that_says_where_it_comes_from(
    release: Release,
    run: Any,
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reference_model.bases.flux_kontext.FluxKontext.steps", 2)
    monkeypatch.setattr("reference_model.model.working_size.MEGAPIXEL", 32 * 32)
    monkeypatch.setattr(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", [(32, 32)])
    file, config = release()
    for _ in range(2):  # the second call finds the work done
        assert run(file, config, tmp_path / "imported")[0] == 0
    method = from_checkpoint(tmp_path / "imported")
    assert (method.name, method.track) == ("lorweb", "open")
    assert method.predict([triplet(0)])[0].size == (16, 16)
    assert not any(path.suffix == ".part" for path in (tmp_path / "imported").iterdir())
    stored = load_file(tmp_path / "imported" / "adapter_model.safetensors")
    assert {w.dtype for w in stored.values()} == {torch.float16}


@pytest.mark.parametrize("alpha", [0, None, 1, RANK, 16 * RANK])
def test_a_layer_adds_the_mix_unscaled_whatever_linear_alpha_says(
    release: Release, run: Any, tmp_path: Path, alpha: Any
) -> None:
    """As the authors' code does when it runs: it forces alpha to the rank, in training, in saving
    and in loading, so a layer is W x + sum_n e_n x A_n B_n, on their own tensors.
    """
    file, config = release(network={"linear_alpha": alpha})
    assert run(file, config, tmp_path / "imported")[0] == 0
    adapter, _ = load_checkpoint(tmp_path / "imported")
    adapter.transformer.float()
    gates = torch.linspace(0.1, 0.9, ELEMENTS)
    adapter.basis.gates = gates.expand(len(adapter.basis.layers), 1, ELEMENTS)
    weights = {name: weight.float() for name, weight in load_file(file).items()}
    for name, layer in adapter.basis.layers.items():
        x = torch.linspace(-1, 1, layer.in_features).view(1, 1, -1)
        a, b = (weights[f"transformer.{name}.{part}"] for part in ("lora_A", "lora_B"))
        with torch.no_grad():
            added = layer(x) - layer.base_layer(x)
        expected = torch.einsum("n,bti,nir,nro->bto", gates, x, a, b)
        torch.testing.assert_close(added, expected, rtol=1e-3, atol=1e-4)


def test_what_is_imported_looks_and_sizes_as_the_authors_code_unless_told_otherwise(
    release: Release, run: Any, tmp_path: Path
) -> None:
    file, config = release()
    assert run(file, config, tmp_path / "theirs")[0] == 0
    ways = ["--encoder-view", "stretched", "--working-size", "panel"]
    assert run(file, config, tmp_path / "ours", *ways)[0] == 0
    theirs, ours = (read_config(tmp_path / name) for name in ("theirs", "ours"))
    assert (theirs.encoder_view, theirs.working_size) == ("official", "megapixel")
    assert (ours.encoder_view, ours.working_size) == ("stretched", "panel")


def test_an_import_says_that_siglip_2_was_random_in_part_when_it_was_trained(
    release: Release, run: Any, tmp_path: Path
) -> None:
    """The hub's SigLIP 2 of fixed size is of the class of SigLIP; the authors' code loads it as
    another class, whose patch embedding does not fit and stays random, and here it is whole.
    """
    torch.manual_seed(3)
    folder = tmp_path / "siglip2"
    settings = SiglipVisionConfig(
        hidden_size=EMBEDDING,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=16,
        patch_size=8,
    )
    saved = SiglipVisionModel(settings).eval()
    saved.save_pretrained(folder)
    SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    theirs, report = Siglip2VisionModel.from_pretrained(
        folder, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert any("patch_embedding" in str(key) for key in report["mismatched_keys"])
    file, config = release(external_query_model=str(folder))
    code, _, err = run(file, config, tmp_path / "imported")
    assert code == 0 and "leaves it random; here it is loaded whole" in err
    loaded = load_encoder(read_config(tmp_path / "imported")).backbone
    assert all(
        torch.equal(x, y) for x, y in zip(saved.parameters(), loaded.parameters(), strict=True)
    )


def test_a_base_given_by_hand_takes_the_place_of_the_named_one(
    release: Release, run: Any, tiny_flux_folder: Path, tmp_path: Path
) -> None:
    file, config = release()
    raw = yaml.safe_load(config.read_text())
    del raw["config"]["process"][0]["model"]
    config.write_text(yaml.safe_dump(raw))
    code, _, err = run(file, config, tmp_path / "imported")
    assert code == 2 and "tensors for `black-forest-labs/FLUX.1-Kontext-dev` are missing" in err
    assert run(file, config, tmp_path / "imported", "--base", str(tiny_flux_folder))[0] == 0


LAYER = "transformer.transformer_blocks.0.attn.to_q"


def spoil(file: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    weights = load_file(file)
    change(weights)
    save_file(weights, file)


SPOILT: dict[str, tuple[Callable[[dict[str, Tensor]], Any], str]] = {
    "a missing part": (
        lambda w: w.pop(f"{LAYER}.lora_keys"),
        f"1 of .* missing, `{LAYER}.lora_keys` first",
    ),
    "missing layers": (
        lambda w: [w.pop(n) for n in list(w) if n.startswith(LAYER)],
        r"4 of \d+ tensors for .* are missing",
    ),
    "another layer": (
        lambda w: w.update({"transformer.x.lora_A": torch.zeros(1)}),
        "1 tensors fit no layer of .*--base",
    ),
    "another width": (
        lambda w: w.update({f"{LAYER}.lora_A": torch.zeros(3, 31, 2)}),
        r"is \(3, 31, 2\); .* ask for \(3, 32, 2\)",
    ),
    "another key width": (
        lambda w: w.update({f"{LAYER}.lora_keys": torch.zeros(3, 5)}),
        r"is \(3, 5\); .* ask for \(3, 4\)",
    ),
    "a turned matrix": (
        lambda w: w.update({f"{LAYER}.lora_B": torch.zeros(3, 32, 2)}),
        r"ask for \(3, 2, 32\)",
    ),
    "NaN": (
        lambda w: w[f"{LAYER}.lora_A"].fill_(float("nan")),
        f"`{LAYER}.lora_A` holds infinity or NaN",
    ),
    "no basis": (
        lambda w: [w.pop(n) for n in list(w) if n.endswith("lora_A")],
        "has no `.lora_A` of three axes",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_weights_that_do_not_fit_are_named(
    release: Release, run: Any, tmp_path: Path, what: str
) -> None:
    file, config = release()
    change, sentence = SPOILT[what]
    spoil(file, change)
    refused(
        run(file, config, tmp_path / "imported"), r"lorweb\.safetensors: .*" + sentence, tmp_path
    )


def refused(result: tuple[int, str, str], sentence: str, tmp_path: Path) -> None:
    code, said, err = result
    assert (code, said) == (2, "") and err.startswith("Error: ") and "Traceback" not in err
    assert re.search(sentence, err), err
    assert not (tmp_path / "imported" / "config.json").exists()


def test_a_cut_file_and_a_pickle_are_named(release: Release, run: Any, tmp_path: Path) -> None:
    file, config = release()
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    refused(
        run(file, config, tmp_path / "imported"),
        r"not a whole safetensors file .*download it again",
        tmp_path,
    )
    torch.save({"x": torch.ones(1)}, file)
    refused(run(file, config, tmp_path / "imported"), "looks like a pickle", tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loras_num": 4}, r"is \(3, 32, 2\); .* ask for \(4, 32, 2\)"),
        ({"loras_num": "many"}, "adapter.elements is .many., and it must be a whole number"),
        ({"lora_keys_dim": 8}, r"`.*lora_keys` is \(3, 4\)"),
        ({"lora_heads": 3}, "heads"),
        ({"lora_softmax": 2}, "`lora_softmax` is '2'; known are True, False"),
        ({"mixing_coeffs_type": "max"}, "`mixing_coeffs_type` is 'max'; known are mean, sum"),
        ({"query_mode": "cat-paa'b"}, '`query_mode` is "cat-paa\'b": it queries with .*patches'),
        ({"query_mode": "a'-a"}, "`query_mode` is \"a'-a\": the authors' code stops at it"),
        ({"query_mode": "last"}, "`query_mode` is 'last'; known are cat-aa'b"),
        ({"query_mode": "caa'bb'"}, r"att_lora_to_q.weight` is \(4, 18\); .* ask for \(4, 6\)"),
        ({"query_mode": ["cat-aa'b"]}, "`query_mode` is"),
        ({"external_query_model": "no-one/no-backbone"}, "encoder `no-one/no-backbone`"),
        ({"external_query": False}, "`external_query` is 'False'; only True can be imported"),
        ({"query_projection_type": "none"}, "`query_projection_type` is 'none'; only 'linear'"),
        ({"temperature": 2}, "network_kwargs has `temperature`, which is not known here"),
    ],
)
def test_options_that_do_not_fit_are_named(
    release: Release, run: Any, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    file, config = release(**options)
    refused(run(file, config, tmp_path / "imported"), sentence, tmp_path)


@pytest.mark.parametrize("name", ["loras_num", "lora_heads", "lora_softmax"])
def test_options_that_are_missing_are_named(
    release: Release, run: Any, tmp_path: Path, name: str
) -> None:
    file, config = release()
    config.write_text(
        "\n".join(line for line in config.read_text().splitlines() if name not in line)
    )
    refused(
        run(file, config, tmp_path / "imported"),
        rf"config\.yaml: network_kwargs has no `{name}`",
        tmp_path,
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("config: [1", "not YAML"),
        (
            "config: !!python/object/apply:os.system ['touch sprung']",
            "not YAML",
        ),
        ("config: {process: []}", r"has no `config.process\[0\]`"),
        ("config: {process: [3]}", r"`config.process\[0\]` holds no settings"),
        ("config: {process: [{network: {linear: 2}}]}", "has no `network_kwargs`"),
        (
            "config: {process: [{network: {}, network: {}}]}",
            "the key 'network' stands in line 1 already",
        ),
        ("[" * 3000, "not YAML"),
        ("#" * 2_000_000, "is larger than 1,048,576 bytes"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_config_that_is_none_is_named(
    release: Release, run: Any, tmp_path: Path, text: str | bytes, sentence: str
) -> None:
    file, config = release()
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(run(file, config, tmp_path / "imported"), r"config\.yaml.* " + sentence, tmp_path)
    assert not list(Path.cwd().glob("sprung"))


def test_a_folder_that_holds_something_else_is_left_alone(
    release: Release, run: Any, trained: Callable[[str], Path]
) -> None:
    file, config = release()
    folder = trained("lorweb")
    before = (folder / "config.json").read_bytes()
    code, _, err = run(file, config, folder)
    assert code == 2 and "holds something else" in err
    assert (folder / "config.json").read_bytes() == before


def test_a_rank_of_another_file_is_named(release: Release, run: Any, tmp_path: Path) -> None:
    file, config = release(network={"linear": 4})
    refused(
        run(file, config, tmp_path / "imported"),
        "network.linear is 4, and the weights are of rank 2",
        tmp_path,
    )
