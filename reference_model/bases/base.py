"""What a base has to offer: a frozen image editor that adapters sit in.

A kind of base is a subclass of `Base` in a module of its own. What is known without weights
(layouts, shapes, published sizes) stands on the class, so that a dry run, `compose` and an import
download nothing; an object holds the loaded parts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux_kontext import calculate_shift
from torch import Tensor, nn
from torch.nn import functional as F

from lorweb_bench.errors import InputError
from reference_model.config import ADAPTED
from reference_model.model.grid_layout import TokenSequence
from reference_model.seeding import seeded

# Prompt tokens (batch, n, width), and what goes with them: vectors (batch, width) or a mask.
Prompt = tuple[Tensor, Tensor]
# From a sequence, a prompt, a seed for each sample and a number of steps to clean target tokens.
Sampler = Callable[["Base", TokenSequence, Prompt, list[int], int], Tensor]


class Codec(Protocol):
    """Images to tokens and back."""

    patch: int  # the side in pixels of a token

    def to(self, device: str | torch.device) -> "Codec":
        """The same codec on another device."""

    def release(self) -> None:
        """Let the weights go; the next use loads them again."""

    def encode(self, images: Tensor, shrink: int = 1) -> Tensor:
        """Encode uint8 images (batch, 3, height, width) as tokens (batch, rows, columns, channels).

        They are shrunk first (`shrunk`); their sides are multiples of `patch`.
        """

    def decode(self, tokens: Tensor) -> Tensor:
        """Decode tokens (batch, rows, columns, channels) into uint8 images."""


def shrunk(images: Tensor, shrink: int, patch: int) -> Tensor:
    """Pictures made smaller, so that a base spends fewer tokens on them.

    Args:
        images: uint8 (batch, 3, height, width).
        shrink: By how much. Where a side is no multiple of `patch` * `shrink`, such as that of a
            photograph of three to two, it becomes the nearest multiple of `patch`.
        patch: The side in pixels of a token.

    Returns:
        float32 (batch, 3, smaller height, smaller width) with the same levels.
    """
    pixels = images.float()
    if shrink == 1:
        return pixels
    height, width = (patch * max(1, round(s / (shrink * patch))) for s in images.shape[2:])
    return F.adaptive_avg_pool2d(pixels, (height, width))


@dataclass(frozen=True)
class Published:
    """What a repository on the hub holds, known without a download.

    Attributes:
        transformer: its transformer's config, where it differs from the class's own.
        encoder_weights: how many weights the image codec and the text encoders have.
    """

    transformer: Mapping[str, Any]
    encoder_weights: int


@dataclass
class Base(ABC):
    """A frozen base and what it needs.

    Attributes:
        name: what a config calls it.
        transformer: predicts the velocity.
        codec: images to tokens and back.
        text_encoder: called with prompts, gives a `Prompt`.
        sampling_steps: steps of a whole sampling.
        guidance: what sampling tells a guidance-distilled transformer, or how far it is led away
            from the negative prompt; others do without.
        scheduler: the times of sampling.
    """

    name: str
    transformer: Any
    codec: Any
    text_encoder: Any
    sampling_steps: int = 1
    guidance: float = 1.0
    scheduler: FlowMatchEulerDiscreteScheduler = field(
        default_factory=FlowMatchEulerDiscreteScheduler
    )

    kind: ClassVar[str]
    transformer_class: ClassVar[Any]
    # The class of the stock pipeline that runs such a base and loads its LoRAs.
    pipeline_class: ClassVar[Any] = None
    # What is known by name, by repository; the first is what the kind's own name stands for.
    published: ClassVar[Mapping[str, Published]] = {}
    # The one with the fewest tokens stands last.
    layouts: ClassVar[tuple[str, ...]] = ("paper", "target-only")
    # The linear layers that are adapted, and quantised, by default.
    adapted: ClassVar[str] = ADAPTED
    full_size: ClassVar[bool] = True
    # Whether the text encoder is shown the context's pictures beside the words.
    sees_pictures: ClassVar[bool] = False
    # The words that guidance leads away from; None where a base is not guided by a second pass.
    negative_prompt: ClassVar[str | None] = None
    steps: ClassVar[int] = 1
    # The settings of the transformer that count its blocks.
    block_counts: ClassVar[tuple[str, ...]] = ("num_layers", "num_single_layers")
    # The folders of a pipeline that a training sees through.
    encoder_parts: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> "Base":
        """The base in a folder, weights as `dtype`; InputError where it is missing or cut."""

    @classmethod
    @abstractmethod
    def load_encoders(cls, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
        """The codec and the text encoder of a folder, without the transformer."""

    @classmethod
    @abstractmethod
    def transformer_config(cls, folder: Path) -> dict[str, Any]:
        """The settings of the transformer in a folder; OSError or ValueError where it has none."""

    @classmethod
    @abstractmethod
    def token_side(cls, folder: Path, config: Mapping[str, Any]) -> int:
        """The side in pixels of a token, of a folder, which need not be there, and its config."""

    @classmethod
    @abstractmethod
    def transformer_digest(cls, folder: Path) -> str:
        """sha256 of the transformer's files; InputError where there are none."""

    @classmethod
    @abstractmethod
    def encoders_digest(cls, folder: Path) -> str:
        """sha256 of the codec's and the text encoder's files; InputError where there are none."""

    @classmethod
    @abstractmethod
    def encoder_bytes(cls, folder: Path) -> int:
        """The bytes of the codec's and the text encoder's weights that are in a folder."""

    @classmethod
    def new_transformer(cls, config: Mapping[str, Any]) -> Any:
        """A transformer of random weights, on the device of the context."""
        return cls.transformer_class(**config)

    @classmethod
    def sequence_length(cls, tokens: int) -> int:
        """How many tokens meet in the blocks, of those that the pictures have."""
        return tokens

    @classmethod
    @abstractmethod
    def prompt_length(cls, pictures: int) -> int:
        """How many tokens a prompt has, beside a context of so many pictures."""

    @classmethod
    @abstractmethod
    def forward_inputs(
        cls, transformer: Any, tokens: int, words: int, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Empty inputs of one sample for the transformer, on the device of the context."""

    @classmethod
    def lora_key(cls, path: str, part: str) -> str:
        """The name of `lora_A` or `lora_B` of a module in a file that the stock pipeline loads."""
        return f"transformer.{path}.{part}.weight"

    @abstractmethod
    def velocity(
        self, noisy: Tensor, sequenced: TokenSequence, time: Tensor, prompt: Prompt, guidance: float
    ) -> Tensor:
        """Run the transformer on noisy target tokens and their context.

        Args:
            noisy: (batch, target tokens, channels).
            sequenced: the context and all positions.
            time: (batch,) from 1 (noise) to 0 (image).
            prompt: tokens and what goes with them.
            guidance: told to a guidance-distilled transformer alone.

        Returns:
            The velocity of the whole sequence, target tokens first.
        """

    @property
    def is_guided(self) -> bool:
        """Whether every step of sampling also runs the negative prompt."""
        return self.negative_prompt is not None and self.guidance > 1

    def guide(self, velocity: Tensor, negative: Tensor) -> Tensor:
        """Lead the velocity (batch, tokens, channels) away from that of the negative prompt."""
        return negative + self.guidance * (velocity - negative)

    def draw_noise(self, sequenced: TokenSequence, seeds: list[int]) -> Tensor:
        """Noise (batch, target tokens, channels), each sample's from its own seed."""
        shape = len(sequenced.target_ids), sequenced.context.shape[2]
        return torch.stack([torch.randn(shape, generator=seeded(seed)) for seed in seeds])

    def shift(self, tokens: int, steps: int) -> float:
        """How far the times of so many target tokens are shifted towards noise, as the pipeline
        does.
        """
        keys = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
        return float(calculate_shift(tokens, *(self.scheduler.config[key] for key in keys)))

    def stock_sampler(self, layout: str) -> Sampler | None:
        """What samples a layout by the stock pipeline; None where our own loop does it."""
        return None

    def to(self, device: str | torch.device) -> "Base":
        """The same base on another device."""
        for part in (self.transformer, self.codec, self.text_encoder):
            part.to(device)
        return self

    def freeze(self) -> "Base":
        """Switch off gradients of the base's own weights."""
        self.transformer.requires_grad_(False).eval()
        if isinstance(self.text_encoder, nn.Module):
            self.text_encoder.requires_grad_(False).eval()
        return self


def check_layout(kind: type[Base], layout: str) -> None:
    """InputError that names the layouts of a base, where one is asked for that it does not have."""
    if layout not in (*kind.layouts, "edit"):  # b alone: every base is an editor
        raise InputError(
            f"layout: the base {kind.kind} has no {layout!r}; set {' or '.join(kind.layouts)}"
        )
