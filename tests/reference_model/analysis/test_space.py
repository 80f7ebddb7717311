"""The space of LoRAs: folding against the gated forward pass, shrinking against numpy's SVD,
walking between two analogies.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.analysis.space import Lora, Space, energy, lora_tensors, open_space, shrink
from reference_model.checkpoints.checkpoint import load_checkpoint, write_checkpoint
from reference_model.config import TrainConfig
from reference_model.model.adapter import new_adapter
from reference_model.model.composing import energy_kept, mixed_lora
from reference_model.model.working_size import to_tensor

Config = Callable[..., TrainConfig]
MakeTriplet = Callable[..., Triplet]


@pytest.fixture(scope="module")
def checkpoint(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`checkpoint(kind, ...)`: a checkpoint whose A and B are all random, alpha not the rank, and
    far from zero.
    """

    def make(kind: str = "lorweb", **adapter: object) -> Path:
        settings = config(kind, adapter={"alpha": 3, **adapter})
        made = new_adapter(settings, seed=1)
        torch.manual_seed(2)
        for parameter in made.trainable().parameters():
            nn.init.normal_(parameter, std=0.3)
        folder = tmp_path_factory.mktemp("checkpoints")
        write_checkpoint(folder, made, settings, {"identity": "x"})
        return folder

    return make


@pytest.fixture(scope="module")
def space(checkpoint: Callable[..., Path]) -> Space:
    return open_space(checkpoint())


def updates(lora: Lora) -> dict[str, Tensor]:
    return {name: b @ a for name, (a, b) in lora.items()}


@pytest.mark.parametrize("mixing", ["softmax", "tanh"])
def test_the_coefficients_are_those_that_the_whole_model_is_gated_by(
    checkpoint: Callable[..., Path], triplet: MakeTriplet, mixing: str
) -> None:
    folder = checkpoint(mixing=mixing)
    adapter, _ = load_checkpoint(folder)
    shown = [triplet(n) for n in range(3)]
    panels = [
        to_tensor([getattr(t, role) for t in shown], (16, 16), torch.device("cpu"))
        for role in ("a", "a_prime", "b")
    ]
    with torch.no_grad():
        adapter.gate(adapter.features(*panels))
    assert adapter.basis.gates is not None
    found = open_space(folder).coefficients([(t.a, t.a_prime, t.b) for t in shown])
    torch.testing.assert_close(found, adapter.basis.gates.transpose(0, 1), rtol=1e-5, atol=1e-6)


def test_folding_is_the_sum_over_the_basis_in_float64(space: Space, triplet: MakeTriplet) -> None:
    t = triplet(0)
    coefficients = space.coefficients([(t.a, t.a_prime, t.b)])[0]
    folded = updates(space.fold(coefficients))
    for (name, (a, b)), e in zip(space.basis.items(), coefficients, strict=True):
        total = torch.zeros(b.shape[0], a.shape[1], dtype=torch.float64)
        for n in range(3):
            part = slice(2 * n, 2 * n + 2)
            total += 3 / 2 * e[n].double() * (b[:, part].double() @ a[part].double())
        torch.testing.assert_close(folded[name].double(), total, rtol=1e-5, atol=1e-6)


def test_a_single_lora_folds_to_itself(checkpoint: Callable[..., Path]) -> None:
    space = open_space(checkpoint("single-lora"))
    for (a, b), update in zip(
        space.basis.values(), updates(space.fold(None)).values(), strict=True
    ):
        torch.testing.assert_close(update, 3 / 4 * b @ a)  # alpha 3 of rank 4


def test_a_walk_between_two_analogies_is_a_straight_line_in_weights(
    space: Space, triplet: MakeTriplet
) -> None:
    one, other = triplet(0), triplet(1)
    pairs = [(one.a, one.a_prime), (other.a, other.a_prime)]
    start, end, between = (
        updates(mixed_lora(space, pairs, one.b, weight)) for weight in (0.0, 1.0, 0.3)
    )
    alone = updates(mixed_lora(space, pairs[:1], one.b, 0.5))
    for name, update in between.items():
        torch.testing.assert_close(
            update, 0.7 * start[name] + 0.3 * end[name], rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(start[name], alone[name])
    assert max(float((end[name] - start[name]).abs().max()) for name in start) > 1e-3


def test_a_walk_needs_a_router(checkpoint: Callable[..., Path], triplet: MakeTriplet) -> None:
    t = triplet(0)
    with pytest.raises(InputError, match="--mix: a single LoRA is the same for every analogy"):
        mixed_lora(
            open_space(checkpoint("single-lora")), [(t.a, t.a_prime), (t.a, t.a_prime)], t.b, 0.5
        )


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99)
)
def test_shrinking_keeps_the_leading_singular_directions(
    inside: int, outside: int, whole: int, rank: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(whole, inside)), random.normal(size=(outside, whole))
    lora = {"layer": (torch.from_numpy(a), torch.from_numpy(b))}
    small = shrink(lora, rank)
    assert (small["layer"][0].shape, small["layer"][1].shape) == ((rank, inside), (outside, rank))
    u, values, v = np.linalg.svd(b @ a)
    count = min(rank, len(values))
    nearest = (u[:, :count] * values[:count]) @ v[:count]
    np.testing.assert_allclose(updates(small)["layer"].numpy(), nearest, atol=1e-8)
    assert energy(lora)["layer"] == pytest.approx((values**2).sum())
    assert energy(small)["layer"] == pytest.approx((values[:count] ** 2).sum())


def test_the_energy_kept_is_told_over_all_layers_and_in_the_worst() -> None:
    assert energy_kept({"x": 4.0, "y": 1.0, "z": 0.0}, {"x": 3.0, "y": 0.9, "z": 0.0}, 2, 8) == (
        "rank 2 of 8 keeps 78.00% of the energy (75.00% in x, the least)"
    )
    assert "no energy to keep" in energy_kept({"x": 0.0}, {"x": 0.0}, 2, 8)


def test_the_names_are_those_of_the_checkpoint(
    space: Space, checkpoint: Callable[..., Path]
) -> None:
    from safetensors.torch import load_file

    assert (
        lora_tensors(space.fold(torch.ones(len(space.basis), 3))).keys()
        == load_file(checkpoint() / "adapter_model.safetensors").keys()
    )


def test_what_spans_no_space_is_named(
    trained: Callable[[str], Path], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the token control is no LoRA alone"):
        open_space(trained("token-control"))
    with pytest.raises(InputError, match="no checkpoint there"):
        open_space(tmp_path / "none")
    folder = checkpoint()
    path = folder / "router.safetensors"
    path.write_bytes((checkpoint(key_width=5) / "router.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"router\.safetensors: does not fit"):
        open_space(folder)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"router\.safetensors: not a whole"):
        open_space(folder)
