"""What a step trains on: which samples, in which roles, and what the frozen parts make of their
images and prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from reference_model.bases.base import Codec
from reference_model.bases.registry import load_encoders, present_kind
from reference_model.config import TrainConfig, TrainingConfig
from reference_model.model.adapter import DTYPES, load_encoder
from reference_model.model.grid_layout import CONTEXT, TARGET, Picture, picture_pixels
from reference_model.model.panels import encode_words, hide_pair
from reference_model.training.quadruplets import Quadruplets

# The order of roles with pairs in their places, exchanged, run backwards, both.
ORDERS = {
    (False, False): (0, 1, 2, 3),
    (True, False): (2, 3, 0, 1),
    (False, True): (1, 0, 3, 2),
    (True, True): (3, 2, 1, 0),
}


@dataclass(frozen=True)
class Choice:
    """One sample of a batch: its index, whether its pairs trade places, whether both run backwards,
    whether it is shown its prompt, whether the base is kept from seeing a and a'.
    """

    index: int
    exchanged: bool = False
    backwards: bool = False
    with_prompt: bool = True
    pair_hidden: bool = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The sample's own roles, in the order in which they play a, a', b, b'."""
        return tuple(ROLES[i] for i in ORDERS[self.exchanged, self.backwards])


def draw_choices(step: int, samples: int, training: TrainingConfig) -> list[Choice]:
    """The batch of a step, a pure function of seed and step.

    Every epoch is a seeded order of all samples.
    """
    size, seed = training.batch, training.seed
    first = step * size
    epochs = range(first // samples, (first + size - 1) // samples + 1)
    order = np.concatenate(
        [np.random.default_rng((seed, 3, epoch)).permutation(samples) for epoch in epochs]
    )
    start = first - epochs[0] * samples
    random = np.random.default_rng((seed, 4, step))
    shares = (
        training.exchange_pairs,
        training.reverse_pairs,
        1 - training.caption_dropout,
        training.hidden_pairs,
    )
    drawn = [random.random(size) < share for share in shares]
    return [
        Choice(int(i), *map(bool, each))
        for i, *each in zip(order[start : start + size], *drawn, strict=True)
    ]


@dataclass(frozen=True)
class Batch:
    """What the frozen parts give of some samples.

    `context` and `target` are pictures as tokens (batch, rows, columns, channels); `features`
    (batch, width) is what the router sees; `prompt` holds prompt tokens and pooled vectors.
    """

    context: list[Tensor]
    target: Tensor
    features: Tensor | None
    prompt: tuple[Tensor, Tensor]


class BatchSource(Protocol):
    """Samples, and the batches that are made of them.

    `features` is the width of the encoder's features, 0 without one.
    """

    keys: list[str]
    features: int

    def batch(self, choices: Sequence[Choice], device: torch.device) -> Batch:
        """What the frozen parts give of some choices, on a device."""
        ...


@dataclass
class FrozenEncoders:
    """The frozen parts that a training sees through.

    The image codec, the text encoder, and what feeds the router (None: nothing does).
    """

    codec: Codec
    text_encoder: Any
    encoder: nn.Module | None
    sees_pictures: bool = False

    def to(self, device: torch.device) -> "FrozenEncoders":
        """The same on another device."""
        for part in (self.codec, self.text_encoder, self.encoder):
            if part is not None:
                part.to(device)
        return self

    @property
    def features(self) -> int:
        """The width of the encoder's features, 0 without one."""
        if self.encoder is None:
            return 0
        return int(self.encoder.features)  # type: ignore[arg-type]


def load_frozen_encoders(config: TrainConfig) -> FrozenEncoders:
    """The frozen parts of a training but the transformer."""
    encoder = None if config.adapter.kind == "single-lora" else load_encoder(config)
    codec, text_encoder = load_encoders(config.base, DTYPES[config.training.precision])
    return FrozenEncoders(codec, text_encoder, encoder, present_kind(config.base).sees_pictures)


def panel_layout(config: TrainConfig) -> tuple[list[tuple[Picture, int]], Picture]:
    """The pictures of the context with how often each is shrunk, and the target's."""
    context = CONTEXT[config.layout]
    return [
        (picture, config.pair_shrink if picture in (("a",), ("a_prime",)) else 1)
        for picture in context
    ], TARGET[config.layout]


@torch.no_grad()
def encode_batch(
    encoders: FrozenEncoders,
    config: TrainConfig,
    panels: dict[str, Tensor],
    shown: dict[str, Tensor] | None = None,
) -> tuple[list[Tensor], Tensor, Tensor | None]:
    """Context, target and features of a batch.

    Args:
        encoders: The frozen parts.
        config: What is trained.
        panels: uint8 (batch, 3, height, width) by the role that they play.
        shown: What the context shows of them, where it is not the same; the encoder of features
            sees the panels themselves.
    """
    context, target = panel_layout(config)
    in_context = panels if shown is None else shown
    tokens = [
        encoders.codec.encode(picture_pixels(picture, in_context), shrink)
        for picture, shrink in context
    ]
    features = (
        None
        if encoders.encoder is None
        else encoders.encoder(panels["a"], panels["a_prime"], panels["b"])
    )
    return tokens, encoders.codec.encode(picture_pixels(target, panels)), features


def split_prompts(dataset: Dataset, split: str, mode: str) -> list[str]:
    """The prompt of each sample of a split, in order.

    InputError where a sample has no instruction and one is asked for.
    """
    from lorweb_bench.methods.predict import TASK_PROMPT

    if mode != "instruction":
        return ["" if mode == "none" else TASK_PROMPT] * dataset.split(split).samples
    prompts = {record.id: record.instruction for record in dataset.records(split)}
    if missing := [key for key, prompt in prompts.items() if not prompt]:
        raise InputError(
            f"{dataset.path}: sample {missing[0]!r} has no instruction; set `prompt: none` or "
            "`prompt: task`"
        )
    return list(prompts.values())


def prompt_for(choice: Choice, prompts: list[str], training: TrainingConfig) -> str:
    """The prompt that goes with a choice.

    None where it is left out, or where the pairs run backwards and it would be wrong, unless
    `reversed_caption` keeps it.
    """
    wrong = choice.backwards and training.reversed_caption == "drop"
    return prompts[choice.index] if choice.with_prompt and not wrong else ""


class InMemoryBatches:
    """All panels in memory; the frozen parts look at each batch afresh."""

    def __init__(
        self,
        quadruplets: Quadruplets,
        prompts: list[str],
        encoders: FrozenEncoders,
        config: TrainConfig,
    ) -> None:
        self.images, self.keys, self.prompts = quadruplets.images, quadruplets.keys, prompts
        self.encoders, self.config, self.features = encoders, config, encoders.features

    def batch(self, choices: Sequence[Choice], device: torch.device) -> Batch:
        """What the frozen parts give of some choices, on a device."""
        chosen = [self.images[list(ORDERS[c.exchanged, c.backwards]), c.index] for c in choices]
        panels = dict(zip(ROLES, torch.stack(chosen, 1).to(device), strict=True))
        shown = hide_pair(panels, torch.tensor([c.pair_hidden for c in choices], device=device))
        encoders = self.encoders.to(device)
        with torch.no_grad():
            texts = [prompt_for(c, self.prompts, self.config.training) for c in choices]
            prompt = encode_words(encoders, self.config.layout, texts, shown)
        return Batch(*encode_batch(encoders, self.config, panels, shown), prompt)
