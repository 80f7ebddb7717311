"""What adapts the frozen base to each analogy of a batch, and what the router says that it is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reference_model.model.adapter import Adapter
from reference_model.model.panels import hide_pair

# The exemplars of a batch: pairs (a, a') of uint8 images (batch, 3, height, width).
Pairs = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Adaptation:
    """What differs from analogy to analogy; all tensors have the batch as their first axis.

    Attributes:
        gates: coefficients (batch, layers, elements) of the basis; None where it has no router.
        tokens: (batch, tokens, width), appended to the prompt by the token control.
        loras: by module path A (batch, rank, in) and B (batch, out, rank) of a further LoRA, whose
            update B A is added to the layer as it is.
        pair_hidden: bool (batch,), the analogies whose pair the base is not shown; None: it is
            shown all of them.
    """

    gates: Tensor | None = None
    tokens: Tensor | None = None
    loras: Mapping[str, tuple[Tensor, Tensor]] | None = None
    pair_hidden: Tensor | None = None

    @staticmethod
    def none(adapter: Adapter, items: int) -> "Adaptation":
        """The bare base: a basis of which nothing is added."""
        layers, elements = len(adapter.basis.layers), adapter.basis.elements
        device = adapter.base.transformer.device
        return Adaptation(torch.zeros(items, layers, elements, device=device))

    def repeated(self, times: int) -> "Adaptation":
        """The adaptation of the batch put `times` times after itself."""

        def repeat(values: Tensor) -> Tensor:
            return values.repeat(times, *[1] * (values.ndim - 1))

        loras = None
        if self.loras is not None:
            loras = {name: (repeat(a), repeat(b)) for name, (a, b) in self.loras.items()}
        return Adaptation(
            None if self.gates is None else repeat(self.gates),
            None if self.tokens is None else repeat(self.tokens),
            loras,
            None if self.pair_hidden is None else repeat(self.pair_hidden),
        )

    def scaled(self, strength: float, adapter: Adapter) -> "Adaptation":
        """The update of the weights times `strength`; tokens stay as they are.

        Where the basis has no router, a constant gate scales it.
        """
        if strength == 1:
            return self
        gates = self.gates
        if gates is None:
            items = 1 if self.tokens is None else len(self.tokens)
            shape = (items, len(adapter.basis.layers), adapter.basis.elements)
            gates = torch.ones(shape, device=adapter.base.transformer.device)
        loras = None
        if self.loras is not None:
            loras = {name: (a, b * strength) for name, (a, b) in self.loras.items()}
        return Adaptation(gates * strength, self.tokens, loras, self.pair_hidden)

    def towards(self, other: "Adaptation", weight: float) -> "Adaptation":
        """The point at `weight` on the way to another adaptation: 0 is this one, 1 the other.

        Coefficients and tokens are averaged. Fresh LoRAs stand side by side, weighted, so that
        their updates are averaged.
        """
        loras = None
        if self.loras is not None and other.loras is not None:
            loras = {}
            for name, (a, b) in self.loras.items():
                other_a, other_b = other.loras[name]
                sides = [(1 - weight) * b, weight * other_b]
                loras[name] = torch.cat([a, other_a], 1), torch.cat(sides, 2)
        return Adaptation(
            _between(self.gates, other.gates, weight),
            _between(self.tokens, other.tokens, weight),
            loras,
        )

    def shown(self, pair: tuple[Tensor, Tensor], b: Tensor) -> dict[str, Tensor]:
        """The panels that the base is shown, by role, uint8 (batch, 3, height, width) each."""
        panels = {"a": pair[0], "a_prime": pair[1], "b": b}
        return panels if self.pair_hidden is None else hide_pair(panels, self.pair_hidden)

    def extend(self, prompt: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """A prompt's tokens (batch, n, width) and pooled vectors, with the control's own tokens."""
        tokens, pooled = prompt
        if self.tokens is not None:
            tokens = torch.cat([tokens, self.tokens], 1)
        return tokens, pooled

    @contextmanager
    def on(self, adapter: Adapter) -> Iterator[None]:
        """Run the block with the adapter set to this batch.

        A backward pass through it belongs in the block too: checkpointed layers run again there.
        """
        hooks = []
        try:
            adapter.basis.gates = None if self.gates is None else self.gates.transpose(0, 1)
            for name, (a, b) in (self.loras or {}).items():
                layer: nn.Module = adapter.basis.layers[name]
                hooks.append(layer.register_forward_hook(_add_lora(a, b)))
            yield
        finally:
            for hook in hooks:
                hook.remove()
            adapter.basis.gates = None


def _between(first: Tensor | None, second: Tensor | None, weight: float) -> Tensor | None:
    return None if first is None or second is None else torch.lerp(first, second, weight)


def _add_lora(a: Tensor, b: Tensor) -> Callable[..., Tensor]:
    def add(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0].to(a.dtype)
        whole = x if x.ndim == 3 else x[:, None]  # the input of norm.linear has no token axis
        update = torch.bmm(torch.bmm(whole, a.mT), b.mT)
        return output + update.view_as(output).to(output.dtype)

    return add


def routed(adapter: Adapter, pairs: Pairs, b: Tensor) -> Adaptation:
    """What the trained router, or the control's projection, makes of a batch of analogies.

    Of several pairs it is the mean: each pair is looked at with b by itself.

    Args:
        pairs: one or more pairs (a, a'), uint8 (batch, 3, height, width) each.
        b: uint8 (batch, 3, height, width).
    """
    if adapter.router is None and adapter.token is None:
        return Adaptation()
    gates, tokens = [], []
    width = adapter.base.transformer.config.joint_attention_dim
    for a, a_prime in pairs:
        features = adapter.features(a, a_prime, b)
        assert features is not None
        with torch.no_grad():
            if adapter.router is not None:
                gates.append(adapter.router(features).transpose(0, 1))
            if adapter.token is not None:
                tokens.append(adapter.token(features).unflatten(1, (-1, width)))
    return Adaptation(_mean(gates), _mean(tokens))


def _mean(values: Sequence[Tensor]) -> Tensor | None:
    """The mean; a single one as it is, to the last bit."""
    if len(values) < 2:
        return values[0] if values else None
    return torch.stack(list(values)).mean(0)
