"""The gated basis against the equation of the paper, written out over its elements."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from reference_model.model.basis import Basis

ELEMENTS, RANK, ALPHA = 3, 2, 5.0
Flux = Callable[..., FluxTransformer2DModel]
Inputs = Callable[..., dict[str, Any]]


class Written(nn.Module):
    """y = W x + (alpha / r) sum_n e_n B_n (A_n x), one element after the other."""

    def __init__(self, linear: nn.Linear, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(b.detach().clone())
        self.gate = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        for n in range(ELEMENTS):
            part = slice(n * RANK, (n + 1) * RANK)
            e = self.gate[:, n].view(-1, *[1] * (x.ndim - 1))
            y = y + ALPHA / RANK * e * ((x @ self.a[part].T) @ self.b[:, part].T)
        return y


def randomised(transformer: nn.Module) -> Basis:
    """A basis whose B is not zero, so that its gates matter."""
    torch.manual_seed(3)
    basis = Basis(transformer, ELEMENTS, RANK, ALPHA)
    for parameter in basis.parameters():
        nn.init.normal_(parameter, std=0.2)
    return basis


def drawn_gates(layers: int, batch: int, mixing: str) -> Tensor:
    scores = torch.randn(
        layers, batch, ELEMENTS, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    return scores.softmax(-1) if mixing == "softmax" else scores.tanh()


def written(transformer: nn.Module, basis: Basis) -> dict[str, Written]:
    """Put the equation in the place of every adapted layer of another transformer."""
    layers = {}
    for name, layer in basis.layers.items():
        parent, _, attribute = name.rpartition(".")
        own = transformer.get_submodule(name)
        assert isinstance(own, nn.Linear)
        layers[name] = Written(own, layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        setattr(transformer.get_submodule(parent), attribute, layers[name])
    return layers


@pytest.mark.parametrize("mixing", ["softmax", "tanh"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gated_transformer_and_its_gradients_are_those_of_the_equation(
    flux: Flux, flux_inputs: Inputs, mixing: str, checkpointing: bool
) -> None:
    ours, theirs = flux(torch.float64), flux(torch.float64)
    basis = randomised(ours)
    layers = written(theirs, basis)
    assert any(name.endswith("norm.linear") for name in layers)  # two-dimensional inputs
    gates = drawn_gates(len(layers), 3, mixing).requires_grad_()
    same_gates = gates.detach().clone().requires_grad_()
    for gate, layer in zip(same_gates, layers.values(), strict=True):
        layer.gate = gate
    if checkpointing:
        ours.enable_gradient_checkpointing()
    runs: list[Any] = []
    ours.transformer_blocks[0].attn.to_q.register_forward_hook(lambda *_: runs.append(1))
    basis.gates = gates
    inputs = flux_inputs(torch.float64)
    out, expected = ours(**inputs)[0], theirs(**inputs)[0]
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-11)

    out.square().sum().backward()
    expected.square().sum().backward()
    assert len(runs) == (2 if checkpointing else 1)
    torch.testing.assert_close(gates.grad, same_gates.grad, rtol=1e-8, atol=1e-10)
    assert (
        same_gates.grad is not None and same_gates.grad.abs().amax(dim=(1, 2)).min() > 0
    )  # every layer takes part
    for name, layer in layers.items():
        adapted = basis.layers[name]
        torch.testing.assert_close(
            adapted.lora_A["default"].weight.grad, layer.a.grad, rtol=1e-8, atol=1e-10
        )
        torch.testing.assert_close(
            adapted.lora_B["default"].weight.grad, layer.b.grad, rtol=1e-8, atol=1e-10
        )


def test_folding_the_gates_of_one_analogy_into_b_gives_the_same_output(
    flux: Flux, flux_inputs: Inputs
) -> None:
    transformer = flux(torch.float64)
    basis = randomised(transformer)
    gates = drawn_gates(len(basis.layers), 1, "tanh")
    inputs = flux_inputs(torch.float64, batch=1)
    with torch.no_grad():
        basis.gates = gates
        gated = transformer(**inputs)[0]
        basis.gates = None
        ungated = transformer(**inputs)[0]
        for gate, layer in zip(gates, basis.layers.values(), strict=True):
            layer.lora_B["default"].weight *= gate[0].repeat_interleave(RANK)
        folded = transformer(**inputs)[0]
    torch.testing.assert_close(folded, gated, rtol=1e-10, atol=1e-12)
    assert (ungated - gated).abs().max() > 1e-3


def test_each_sample_of_a_mixed_batch_is_gated_by_its_own_coefficients(
    flux: Flux, flux_inputs: Inputs
) -> None:
    transformer = flux()
    basis = randomised(transformer)
    gates = drawn_gates(len(basis.layers), 3, "softmax").float()
    inputs = flux_inputs()
    with torch.no_grad():
        basis.gates = gates
        together = transformer(**inputs)[0]
        for i in range(3):
            basis.gates = gates[:, i : i + 1]
            batched = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
            alone = transformer(
                **{k: v[i : i + 1] if k in batched else v for k, v in inputs.items()}
            )[0]
            torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-5)


def test_a_fresh_basis_changes_nothing_and_only_its_weights_train(
    flux: Flux, flux_inputs: Inputs
) -> None:
    transformer = flux()
    before = transformer(**flux_inputs())[0]
    basis = Basis(transformer, ELEMENTS, RANK, ALPHA)
    basis.gates = drawn_gates(len(basis.layers), 3, "softmax").float()
    torch.testing.assert_close(transformer(**flux_inputs())[0], before)
    names = {n for n, p in transformer.named_parameters() if p.requires_grad}
    assert names and all("lora_" in n for n in names)
    assert len(names) == len(basis.parameters()) == 2 * len(basis.layers)


def test_every_linear_layer_of_every_block_is_adapted_and_nothing_else(flux: Flux) -> None:
    linear = {n for n, m in flux().named_modules() if isinstance(m, nn.Linear)}
    blocks = {
        n for n in linear if n.startswith(("transformer_blocks.", "single_transformer_blocks."))
    }
    assert set(Basis(flux(), ELEMENTS, RANK, ALPHA).layers) == blocks
    assert linear - blocks


def test_targets_that_match_nothing_are_an_error(flux: Flux) -> None:
    with pytest.raises(InputError, match="`attention` match no linear layer"):
        Basis(flux(), ELEMENTS, RANK, ALPHA, targets="attention")
