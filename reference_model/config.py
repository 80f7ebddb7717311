"""The YAML of `lorweb-bench train`, checked before anything is loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lorweb_bench.runtime.settings import checked, read_settings
from reference_model.training.flow import Times

ADAPTED = r"(transformer_blocks|single_transformer_blocks)\..*"  # as in the paper
CONFIGS = Path(__file__).parent / "configs"
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A section of the config; unknown keys, infinity and NaN are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, lt=1)]


class AdapterConfig(Strict):
    """What is trained: `lorweb` (basis and router), `single-lora` (no router), `token-control` (no
    router, features as prompt tokens) or `delta-tokens` (the same, of dense features of the pair).
    """

    kind: Literal["lorweb", "single-lora", "token-control", "delta-tokens"]
    elements: int = Field(
        1, ge=1, description="N, how many LoRAs the basis holds; 1 for a single LoRA"
    )
    rank: int = Field(ge=1, description="rank of each element")
    alpha: float = Field(gt=0, description="the update is scaled by alpha / rank")
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
        description="the linear layers that are adapted, as a regular expression of module paths",
    )
    initial: Literal["ours", "official"] = Field(
        "ours",
        description="how A and the router's projections begin: at our scales, or at those of the "
        "authors' code",
    )
    tokens: int = Field(
        1, ge=1, description="how many prompt tokens the features become; not for a single-lora"
    )
    tokens_beside: int = Field(
        0, ge=0, description="lorweb: how many prompt tokens the features become beside the mix"
    )
    router: Literal["trained", "frozen", "uniform"] = Field(
        "trained",
        description="lorweb: whether the router learns, stays as it was drawn, or gives every "
        "element the same coefficient",
    )
    basis: Literal["trained", "frozen"] = Field(
        "trained", description="lorweb: whether the basis learns, or stays as it was drawn"
    )
    features: Literal["own", "permuted"] = Field(
        "own",
        description="whether a sample is trained with its own features, or with those of another "
        "one in its batch",
    )


class TrainingConfig(Strict):
    """The optimisation: AdamW with warm-up and a schedule that falls to zero from `decay_from`
    (share of the steps) on.
    """

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
    reversed_caption: Literal["drop", "keep"] = Field(
        "drop",
        description="what becomes of the prompt of samples whose pairs run backwards; kept, it "
        "says the opposite",
    )
    caption_dropout: float = Field(
        0.0, ge=0, le=1, description="share of samples that are shown without their prompt"
    )
    hidden_pairs: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of samples whose a and a' the base is not shown, so that a fit, which "
        "hides them, is nothing new to it; what feeds the router sees them all the same",
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
    trackers: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        [], description="what also gets the loss and the learning rate"
    )

    @model_validator(mode="after")
    def _is_cut_evenly(self) -> Self:
        if self.batch % self.accumulation:
            raise ValueError(
                f"`accumulation` cuts the batch of {self.batch} into {self.accumulation} parts, "
                "and they are not equal"
            )
        return self


class TrainConfig(Strict):
    """A whole training run."""

    name: str = Field(description="the method's name in reports")
    base: str = Field(
        description="a name (`tiny`, `flux-kontext`, `flux2-klein`, `flux2`, "
        "`qwen-image-edit-plus`), a folder of pretrain-tiny or in diffusers' layout, or a hub name"
    )
    layout: Literal["target-only", "paper", "references", "edit"] = "paper"
    panel: int = Field(512, ge=16, description="long edge of a panel in pixels, at most")
    working_size: Literal["panel", "megapixel"] = Field(
        "panel",
        description="when it predicts: panels of at most `panel` pixels, or the authors' way, a "
        "grid of about one megapixel",
    )
    pair_shrink: Literal[1, 2] = Field(
        1,
        description="shrinks the panels a and a' by this factor, for fewer tokens; not in the grid",
    )
    encoder: str = Field(
        description="`pair` (the base's own pair encoder), `efficientnet-lite0`, or a folder or "
        "hub name of a CLIP or SigLIP backbone"
    )
    encoder_input: Literal[
        "separate",
        "concatenated",
        "grid",
        "grid-black",
        "upper-half",
        "a_prime-a",
        "a_prime-a+b",
        "delta",
    ] = Field(
        "separate", description="what a backbone is shown, and how its embeddings become features"
    )
    encoder_view: Literal["stretched", "official"] = Field(
        "stretched",
        description="how a backbone sees panels that are not square: stretched, or cut as the "
        "authors' code cuts them",
    )
    prompt: Literal["none", "task", "instruction"] = Field(
        "none", description="what the text encoder is told in training"
    )
    adapter: AdapterConfig
    dataset: Path | None = Field(None, description="training dataset folder")
    cache: Path | None = Field(
        None,
        description="folder for latents, features and prompts, which are then computed only once",
    )
    training: TrainingConfig

    @model_validator(mode="after")
    def _ablates_a_basis(self) -> Self:
        for name in ("tokens_beside", "router", "basis"):
            usual, value = ADDED_TO_ADAPTER[name], getattr(self.adapter, name)
            if value != usual and self.adapter.kind != "lorweb":
                raise ValueError(
                    f"`adapter.{name}: {value}` is for the kind lorweb; a {self.adapter.kind} has "
                    "no basis"
                )
        if self.adapter.features == "permuted" and self.adapter.kind == "single-lora":
            raise ValueError("`adapter.features: permuted`: a single-lora sees no features")
        return self

    @model_validator(mode="after")
    def _sees_a_delta(self) -> Self:
        reads_delta = self.adapter.kind == "delta-tokens"
        if reads_delta and self.encoder_input != "delta":
            raise ValueError(
                "`adapter.kind: delta-tokens` reads dense features of the pair; set "
                "`encoder_input: delta`, and a vision backbone as `encoder`"
            )
        if self.encoder_input == "delta" and not reads_delta:
            raise ValueError(
                f"`encoder_input: delta` is for the kind delta-tokens, not {self.adapter.kind}: it "
                "has a feature for each part of the picture"
            )
        return self

    @model_validator(mode="after")
    def _shrinks_where_it_can(self) -> Self:
        if self.pair_shrink > 1 and self.layout == "paper":
            raise ValueError(
                "`pair_shrink` needs the layout target-only or references: in the paper's grid "
                "all panels are of one size"
            )
        if self.encoder == "pair" and self.encoder_input != "separate":
            raise ValueError(
                f"`encoder_input` {self.encoder_input} is for vision backbones; the encoder `pair` "
                "sees a and a_prime its own way"
            )
        if self.encoder == "pair" and self.encoder_view != "stretched":
            raise ValueError(
                "`encoder_view: official` is for vision backbones; the encoder `pair` sees a and "
                "a_prime whole"
            )
        if self.working_size == "megapixel" and self.layout != "paper":
            raise ValueError(
                "`working_size: megapixel` needs the layout paper: it is the size of the grid"
            )
        if self.adapter.key_width % self.adapter.heads:
            raise ValueError(
                f"`adapter.heads` cuts a key_width of {self.adapter.key_width} into "
                f"{self.adapter.heads} parts, and they are not equal"
            )
        return self


# Settings that came after the first checkpoints. Where they are as they always were they are left
# out of identities, so that trainings, caches and checkpoints of before stay the same ones.
ADDED = {"encoder_view": "stretched"}
ADDED_TO_ADAPTER = {
    "tokens_beside": 0,
    "router": "trained",
    "basis": "trained",
    "features": "own",
    "initial": "ours",
}
ADDED_TO_TRAINING = {"reversed_caption": "drop", "hidden_pairs": 0.0}


def unused_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that came later and are not used, as pydantic's `exclude` takes them."""
    unused: dict[str, Any] = {}
    for name, value in ADDED.items():
        if getattr(config, name) == value:
            unused[name] = True
    of_adapter = {
        name for name, value in ADDED_TO_ADAPTER.items() if getattr(config.adapter, name) == value
    }
    return {**unused, "adapter": of_adapter} if of_adapter else unused


def unused_training(training: TrainingConfig) -> set[str]:
    """The settings of a training that came later and are not used."""
    return {name for name, value in ADDED_TO_TRAINING.items() if getattr(training, name) == value}


class FitConfig(Strict):
    """A search at inference for what adapts the base to an item's own pairs."""

    steps: int = Field(
        20, ge=0, description="steps of the search; 0: none, only the pair is hidden"
    )
    space: Literal["hull", "span", "tokens", "lora"] | None = Field(
        None,
        description="what is searched: hull (mixes that the router could give) or span (any mix) "
        "of a basis, tokens of the token control, lora (a fresh one beside what was trained)",
    )
    rate: float | None = Field(
        None, gt=0, description="first step size, in units of the space; it falls to zero"
    )
    draws: int = Field(1, ge=1, description="draws of noise in each step")
    held_out: int = Field(4, ge=1, description="draws of noise that choose the step")
    rank: int = Field(4, ge=1, description="rank of a fresh LoRA")
    hide_pair: bool = Field(
        True, description="whether the pair's panels are hidden at prediction, as in the search"
    )
    least_gain: float = Field(
        0.2, ge=0, lt=1, description="share of the pair's loss that a fit has to save, or it goes"
    )
    least_recovery: float = Field(
        0.7,
        ge=-1,
        le=1,
        description="edit_recovery of a' made of a that a fit has to reach, or it goes; -1: any",
    )
    seed: int = Field(0, ge=0, description="seed of all noise of the search")


def read_fit(options: Mapping[str, Any] | None) -> FitConfig | None:
    """The settings of a fit from options such as `{"steps": 20}`; None where none is asked for."""
    return None if options is None else checked(FitConfig, options, "--set fit", "fit")


def find_config(path: Path) -> Path:
    """The file of a config: the path itself, or the shipped config of that bare name
    (`tiny-lorweb`).
    """
    ready = CONFIGS / f"{path}.yaml"
    return ready if not path.is_file() and ready.is_file() else path


def read_yaml_config(
    path: Path, model: type[Model], overrides: Sequence[str], what: str = "training config"
) -> Model:
    """The config in a YAML file, or the shipped one of that name, with `key=value` overrides.

    InputError names the file and the line, the key, its value, and what could stand there.
    """
    hint = f"name a {what}; reference_model/configs has examples"
    return read_settings(find_config(path), model, overrides, what, hint=hint)


def read_train_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """The training config in a YAML file; InputError as `read_yaml_config`."""
    return read_yaml_config(path, TrainConfig, overrides)
