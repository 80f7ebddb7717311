"""The merged mix against the gated one, and the weights after it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from reference_model.checkpoints.merging import can_merge, merged
from reference_model.model.basis import Basis
from reference_model.model.quantize import quantize

Flux = Callable[..., FluxTransformer2DModel]
Inputs = Callable[..., dict[str, Any]]


def with_basis(transformer: FluxTransformer2DModel, gated: bool = True) -> Basis:
    basis = Basis(transformer, elements=3, rank=2, alpha=5)
    torch.manual_seed(3)
    for parameter in basis.parameters():
        nn.init.normal_(parameter, std=0.2)
    basis.gates = torch.randn(len(basis.layers), 1, 3).softmax(-1) if gated else None
    return basis


@pytest.mark.parametrize("gated", [True, False])
def test_the_merged_transformer_is_the_gated_one(
    flux: Flux, flux_inputs: Inputs, gated: bool
) -> None:
    transformer = flux()
    basis = with_basis(transformer, gated)
    inputs = flux_inputs(batch=1)
    with torch.no_grad():
        expected = transformer(**inputs)[0]
        ran: list[Any] = []
        hooks = [
            layer.lora_A["default"].register_forward_hook(lambda *_: ran.append(1))
            for layer in basis.layers.values()
        ]
        with merged(basis):
            torch.testing.assert_close(transformer(**inputs)[0], expected, rtol=1e-4, atol=1e-5)
        assert not ran  # the LoRA layers are passed by
        for hook in hooks:
            hook.remove()
        torch.testing.assert_close(transformer(**inputs)[0], expected, rtol=0, atol=0)
        assert (flux()(**inputs)[0] - expected).abs().max() > 1e-2


@pytest.mark.parametrize("room", [True, False])
def test_the_weights_come_back_to_the_bit_also_in_bfloat16_and_after_an_error(
    flux: Flux, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reference_model.checkpoints.merging.has_room", lambda _: room)
    transformer = flux(torch.bfloat16)
    basis = with_basis(transformer)
    before = {name: layer.base_layer.weight.clone() for name, layer in basis.layers.items()}
    parameters = dict(transformer.named_parameters())
    for _ in range(20):
        with pytest.raises(KeyboardInterrupt), merged(basis):
            assert all(
                not torch.equal(layer.base_layer.weight, before[name])
                for name, layer in basis.layers.items()
            )
            raise KeyboardInterrupt
    assert all(
        torch.equal(layer.base_layer.weight, before[name]) and not layer.merged
        for name, layer in basis.layers.items()
    )
    assert all(parameter is parameters[name] for name, parameter in transformer.named_parameters())


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_base_is_gated_and_never_merged(flux: Flux, bits: str) -> None:
    pytest.importorskip("bitsandbytes")
    transformer = flux()
    quantize(transformer, bits, torch.float32)
    basis = with_basis(transformer)
    assert can_merge(with_basis(flux())) and not can_merge(basis)
    layer, x = next(iter(basis.layers.values())), torch.randn(1, 32)
    assert basis.gates is not None
    with torch.no_grad():
        inner = x @ layer.lora_A["default"].weight.T * basis.gates[0, 0].repeat_interleave(2)
        expected = 5 / 2 * inner @ layer.lora_B["default"].weight.T
        torch.testing.assert_close(layer(x) - layer.base_layer(x), expected, rtol=1e-3, atol=1e-3)
