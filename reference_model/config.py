"""The YAML of `lorweb-bench train`, checked before anything is loaded."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lorweb_bench.errors import InputError
from reference_model.training.flow import Times

ADAPTED = r"(transformer_blocks|single_transformer_blocks)\..*"  # as in the paper
CONFIGS = Path(__file__).parent / "configs"
Settings = TypeVar("Settings", bound=BaseModel)


class Strict(BaseModel):
    """A section of the config; unknown keys, infinity and NaN are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, lt=1)]


class AdapterConfig(Strict):
    """What is trained: `lorweb` (basis and router), `single-lora` (no router) or `token-control` (no router, features as prompt tokens)."""

    kind: Literal["lorweb", "single-lora", "token-control"]
    elements: int = Field(
        1, ge=1, description="N, how many LoRAs the basis holds; 1 for a single LoRA"
    )
    rank: int = Field(ge=1, description="rank of each element")
    alpha: float = Field(description="the update is scaled by alpha / rank")
    key_width: int = Field(128, ge=1, description="d, the width of queries and keys")
    mixing: Literal["softmax", "tanh"] = "softmax"
    heads: int = Field(
        1,
        ge=1,
        description="how many the queries and keys are cut into, each with coefficients of its own",
    )
    over_heads: Literal["mean", "clamped-sum"] = Field(
        "mean", description="how the heads' coefficients become one; the sum within [-1, 1]"
    )
    targets: str = Field(
        ADAPTED,
        description="the linear layers that are adapted: a regular expression of their whole module paths",
    )
    tokens: int = Field(
        1, ge=1, description="token-control: how many prompt tokens the features become"
    )


class TrainingConfig(Strict):
    """The optimisation: AdamW with warm-up and a schedule that falls to zero from `decay_from` (share of the steps) on."""

    steps: int = Field(ge=1)
    batch: int = Field(
        ge=1, description="samples per optimizer step, over all processes and accumulated parts"
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="parts that a process works through its share of a batch in, to save memory",
    )
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    learning_rate: float = Field(gt=0)
    router_rate: float = Field(
        1.0, gt=0, description="the router's learning rate as a share of `learning_rate`"
    )
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    betas: tuple[Share, Share] = (0.9, 0.99)
    weight_decay: float = Field(0.05, ge=0)
    warmup: int = Field(30, ge=0)
    decay_from: float = Field(0.5, ge=0, le=1)
    exchange_pairs: float = Field(
        0.0, ge=0, le=1, description="share of samples whose pairs (a, a') and (b, b') trade places"
    )
    reverse_pairs: float = Field(
        0.0, ge=0, le=1, description="share of samples whose pairs both run backwards"
    )
    caption_dropout: float = Field(
        0.0, ge=0, le=1, description="share of samples that are shown without their prompt"
    )
    guidance: float = Field(
        1.0, ge=0, description="what a guidance-distilled base is told in training"
    )
    times: Times = Times()
    precision: Literal["no", "bf16", "fp16"] = "no"
    quantize: Literal["no", "8bit", "4bit"] = Field(
        "no", description="the frozen transformer's blocks in 8 or 4 bits, by bitsandbytes"
    )
    gradient_checkpointing: bool = False
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0, description="processor threads; 0 leaves it to torch")
    save_every: int = Field(100, ge=1, description="steps between resumable states")
    sample_every: int = Field(
        0, ge=0, description="steps between sheets of predictions in `samples/`; 0 for none"
    )
    sample_rows: int = Field(4, ge=1, description="quadruplets on such a sheet")
    trackers: list[Literal["tensorboard", "wandb"]] = Field(
        [], description="what also gets the loss and the learning rate"
    )

    @model_validator(mode="after")
    def _is_cut_evenly(self) -> Self:
        if self.batch % self.accumulation:
            raise ValueError(
                f"training.accumulation: a batch of {self.batch} cannot be cut into {self.accumulation} equal parts"
            )
        return self


class TrainConfig(Strict):
    """A whole training run."""

    name: str = Field(description="the method's name in reports")
    base: str = Field(
        description="`tiny`, a folder written by pretrain-tiny or in diffusers' layout, or a hub name"
    )
    layout: Literal["target-only", "paper"] = "paper"
    panel: int = Field(512, ge=16, description="long edge of a panel in pixels, at most")
    pair_shrink: Literal[1, 2] = Field(
        1,
        description="target-only: the panels a and a' are shrunk by this factor, so cost fewer tokens",
    )
    encoder: str = Field(
        description="`pair` (the base's own pair encoder), or a folder or hub name of a CLIP or SigLIP tower"
    )
    encoder_input: Literal["separate", "concatenated", "grid", "a_prime-a", "a_prime-a+b"] = Field(
        "separate", description="what a tower is shown, and how its embeddings become features"
    )
    prompt: Literal["none", "task", "instruction"] = Field(
        "none", description="what the text encoder is told in training"
    )
    adapter: AdapterConfig
    dataset: Path | None = Field(None, description="training dataset folder")
    cache: Path | None = Field(
        None,
        description="folder for latents, features and prompts, computed once; without it at every step",
    )
    training: TrainingConfig

    @model_validator(mode="after")
    def _shrinks_where_it_can(self) -> Self:
        if self.pair_shrink > 1 and self.layout == "paper":
            raise ValueError(
                "pair_shrink needs the layout target-only: in the paper's grid all panels are of one size"
            )
        if self.encoder == "pair" and self.encoder_input != "separate":
            raise ValueError(
                f"encoder_input: `{self.encoder_input}` is for vision towers; the encoder `pair` sees a and a_prime its own way"
            )
        if self.adapter.key_width % self.adapter.heads:
            raise ValueError(
                f"adapter.heads: a key_width of {self.adapter.key_width} cannot be cut into {self.adapter.heads} heads"
            )
        return self


def read_settings(path: Path, overrides: list[str]) -> dict[str, Any]:
    """The mapping in a YAML file with `key=value` overrides (dotted keys, YAML values); InputError names the file and what is wrong.

    A bare name such as `tiny-lorweb` stands for a config that comes with the package, where there is no file of that name.
    """
    ready = CONFIGS / f"{path}.yaml"
    path = ready if not path.exists() and ready.exists() else path
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); name a training config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: holds no settings; see reference_model/configs for examples")
    for override in overrides:
        key, equals, value = override.partition("=")
        keys = key.split(".")
        if not equals or not all(keys):
            raise InputError(f"--set {override}: write key=value")
        try:
            _put(raw, keys, yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise InputError(
                f"--set {override}: the value is not YAML ({' '.join(str(error).split())})"
            ) from error
    return raw


def read_train_config(path: Path, overrides: list[str]) -> TrainConfig:
    """The training config in a YAML file; InputError names the file, the key and the nearest known key."""
    return checked(TrainConfig, read_settings(path, overrides), path)


def checked(model: type[Settings], raw: dict[str, Any], path: Path) -> Settings:
    """The settings of `path` as a model; InputError names the first wrong key and the nearest known one."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error, model)}") from error


def _put(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1], 1):
        raw = raw.setdefault(key, {})
        if not isinstance(raw, dict):
            raise InputError(
                f"--set {'.'.join(keys)}: `{'.'.join(keys[:depth])}` is a value and has no keys of its own"
            )
    raw[keys[-1]] = value


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problem = error.errors()[0]
    key = ".".join(str(x) for x in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"`{key}`: {problem['msg']}" if key else str(problem["ctx"]["error"])
    near = difflib.get_close_matches(str(problem["loc"][-1]), sorted(_known_keys(model)), 1)
    return f"unknown key `{key}`" + (f"; did you mean `{near[0]}`?" if near else "")


def _known_keys(model: type[BaseModel]) -> set[str]:
    sections = [
        f.annotation
        for f in model.model_fields.values()
        if isinstance(f.annotation, type) and issubclass(f.annotation, BaseModel)
    ]
    return set(model.model_fields).union(*map(_known_keys, sections))
