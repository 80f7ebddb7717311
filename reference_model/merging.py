"""The mix of one analogy merged into the base's own weights, so that a step costs what the bare base costs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from reference_model.basis import Basis


def can_merge(basis: Basis) -> bool:
    """Whether every adapted layer holds plain floating-point weights; a quantised base runs with gates instead."""
    return all(type(layer.base_layer) is torch.nn.Linear and layer.base_layer.weight.is_floating_point() for layer in basis.layers.values())


@contextmanager
def merged(basis: Basis) -> Iterator[None]:
    """Run the block with `basis.gates`, those of one analogy, added to the base's weights; None stands for a single LoRA.

    The weights are put back from a copy in the processor's memory: subtracting the mix again would drift, in bfloat16 by 13 % of its norm
    in 200 rounds. The sum is made in float32.
    """
    gates = basis.gates
    assert gates is None or gates.shape[1] == 1, "only one analogy can be merged"
    saved: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for index, (name, layer) in enumerate(basis.layers.items()):
                weight = layer.base_layer.weight
                saved[name] = weight.to("cpu", copy=True)
                a, b = (part["default"].weight.float() for part in (layer.lora_A, layer.lora_B))
                if gates is not None:
                    b = b * gates[index, 0].float().repeat_interleave(basis.rank)
                weight.copy_(torch.addmm(weight.float(), b, a, alpha=basis.alpha / basis.rank))
                layer.merged_adapters.append("default")  # PEFT's layer then runs its base alone
        yield
    finally:
        with torch.no_grad():
            for name, original in saved.items():
                basis.layers[name].base_layer.weight.copy_(original)
                basis.layers[name].merged_adapters.clear()
