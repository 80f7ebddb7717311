"""Where a fit searches: how free numbers become what adapts the base.

In each space the numbers start at zero, zero is what the router says, and a step of one size means
the same on every base: logits of a mix have no unit, everything else is in units of its own start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lorweb_bench.errors import InputError
from reference_model.config import FitConfig, TrainConfig
from reference_model.fitting.adaptation import Adaptation
from reference_model.model.adapter import Adapter, weight_rms
from reference_model.seeding import seeded

SMALLEST = 1e-6  # a coefficient under it could not be moved by its logarithm


class Space(Protocol):
    """Free numbers, each tensor with the batch as its first axis, and what they stand for."""

    @property
    def step_size(self) -> float:
        """The first step of Adam where the settings name none."""
        ...

    def zeros(self) -> list[Tensor]:
        """The free numbers at the start."""
        ...

    def at(self, values: Sequence[Tensor]) -> Adaptation:
        """What adapts the base at these numbers."""
        ...


@dataclass(frozen=True)
class Hull:
    """The mixes that the router could give: e = softmax(log e0 + z), or tanh(artanh e0 + z).

    A softmax keeps every layer's coefficients positive with the sum 1, so that the fitted LoRA is a
    weighted mean of the trained ones; tanh, or a clamped sum of heads, keeps each within [-1, 1].
    `tokens` beside the mix stay as they are.
    """

    start: Tensor
    on_simplex: bool
    tokens: Tensor | None = None
    step_size: float = 0.25

    def zeros(self) -> list[Tensor]:
        """The values at which the search starts."""
        return [torch.zeros_like(self.start)]

    def at(self, values: Sequence[Tensor]) -> Adaptation:
        """The adaptation that these values stand for."""
        if self.on_simplex:
            logits = self.start.clamp_min(SMALLEST).log() + values[0]
            return Adaptation(logits.softmax(-1), self.tokens)
        inside = self.start.clamp(SMALLEST - 1, 1 - SMALLEST)
        return Adaptation((inside.atanh() + values[0]).tanh(), self.tokens)


@dataclass(frozen=True)
class Span:
    """Any real coefficients: e = e0 + s z, where s is the RMS of an item's e0.

    `tokens` beside the mix stay as they are.
    """

    start: Tensor
    tokens: Tensor | None = None
    step_size: float = 0.3

    def zeros(self) -> list[Tensor]:
        """The values at which the search starts."""
        return [torch.zeros_like(self.start)]

    def at(self, values: Sequence[Tensor]) -> Adaptation:
        """The adaptation that these values stand for."""
        return Adaptation(self.start + _rms(self.start) * values[0], self.tokens)


@dataclass(frozen=True)
class Tokens:
    """The control's tokens: t = t0 + s z, where s is the RMS of an item's t0.

    `gates` go with them: zeros where the basis is to be left out, a mix that stays as it is.
    """

    start: Tensor
    step_size: float = 0.1
    gates: Tensor | None = None

    def zeros(self) -> list[Tensor]:
        """The values at which the search starts."""
        return [torch.zeros_like(self.start)]

    def at(self, values: Sequence[Tensor]) -> Adaptation:
        """The adaptation that these values stand for."""
        return Adaptation(self.gates, self.start + _rms(self.start) * values[0])


@dataclass(frozen=True)
class FreshLora:
    """A LoRA of its own for each item, on every adapted layer, beside what was trained.

    A starts at noise, the same for all items, and B at zero (arXiv 2106.09685). B is in units of
    the RMS of the layer's weights, so that z is about the update's size relative to these.
    """

    starts: dict[str, Tensor]  # A (rank, in) by module path
    scales: dict[str, float]  # the RMS of the layer's weights
    outputs: dict[str, int]
    beside: Adaptation
    items: int
    step_size: float = 0.01

    def zeros(self) -> list[Tensor]:
        """The values at which the search starts: an A and a B for each layer."""
        zeros = []
        for name, a in self.starts.items():
            zeros.append(a.new_zeros(self.items, *a.shape))
            zeros.append(a.new_zeros(self.items, self.outputs[name], len(a)))
        return zeros

    def at(self, values: Sequence[Tensor]) -> Adaptation:
        """The adaptation that these values stand for."""
        loras = {}
        for i, (name, a) in enumerate(self.starts.items()):
            loras[name] = (a + values[2 * i], self.scales[name] * values[2 * i + 1])
        return Adaptation(self.beside.gates, self.beside.tokens, loras)


def _rms(start: Tensor) -> Tensor:
    """The RMS of each item's numbers, with axes of length one for the others."""
    axes = tuple(range(1, start.ndim))
    return start.square().mean(axes, keepdim=True).sqrt().clamp_min(SMALLEST)


def fresh_lora(adapter: Adapter, rank: int, items: int, beside: Adaptation, seed: int) -> FreshLora:
    """The space of LoRAs of some rank for a batch of items."""
    generator = seeded(seed)
    starts, scales, outputs = {}, {}, {}
    for name, layer in adapter.basis.layers.items():
        linear = layer.base_layer
        drawn = torch.randn(rank, linear.in_features, generator=generator) / rank**0.5
        starts[name] = drawn.to(linear.weight.device)
        outputs[name] = linear.out_features
        scales[name] = weight_rms(linear)
    return FreshLora(starts, scales, outputs, beside, items)


def hull_of(config: TrainConfig, gates: Tensor, tokens: Tensor | None = None) -> Hull:
    """The hull of a checkpoint's router, from coefficients (batch, layers, elements) on."""
    mean = config.adapter.heads == 1 or config.adapter.over_heads == "mean"
    return Hull(gates, config.adapter.mixing == "softmax" and mean, tokens)


# What can be searched by the kind of a checkpoint, its own space first.
SEARCHED = {
    "lorweb": ("hull", "span", "lora"),
    "token-control": ("tokens", "lora"),
    "delta-tokens": ("tokens", "lora"),
    "single-lora": ("lora",),
}


def chosen_space(config: TrainConfig, settings: FitConfig) -> str:
    """The name of the space that a fit searches on a checkpoint.

    Raises:
        InputError: the setting names a space that this kind of checkpoint does not have.
    """
    spaces = SEARCHED[config.adapter.kind]
    if settings.space is not None and settings.space not in spaces:
        raise InputError(
            f"--set fit.space={settings.space}: a checkpoint of kind {config.adapter.kind} has "
            f"{' and '.join(spaces)}; leave it out, and {spaces[0]} is searched"
        )
    return settings.space or spaces[0]


def space_for(
    adapter: Adapter, config: TrainConfig, settings: FitConfig, start: Adaptation, items: int
) -> Space:
    """The space that a fit searches, for a batch of `items` that start at `start`."""
    name = chosen_space(config, settings)
    if name == "lora":
        return fresh_lora(adapter, settings.rank, items, start, settings.seed)
    if name == "tokens":
        assert start.tokens is not None
        return Tokens(start.tokens)
    assert start.gates is not None
    if name == "span":
        return Span(start.gates, start.tokens)
    return hull_of(config, start.gates, start.tokens)
