"""Mixes of trained transformations in place of the router's own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.checkpoints.known_pairs import KnownPairs
from reference_model.fitting.known_mixes import check_mix, known_mix
from reference_model.method import from_checkpoint

Trained = Callable[..., Path]


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pairs of noise, 16 pixels a side."""
    first, second = torch.randint(0, 256, (2, 2, 3, 16, 16), dtype=torch.uint8)
    return first, second


def known_of(centroids: torch.Tensor) -> KnownPairs:
    names = tuple(f"t{n}" for n in range(len(centroids)))
    return KnownPairs(names, names, centroids, None)


def test_with_a_known_pair_at_its_own_features_nearest_is_the_routers_mix(
    trained: Trained, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    adapter, _ = load_checkpoint(trained("lorweb"))
    b = pair[0].flip(3)
    features = adapter.features(*pair, b)
    assert features is not None and adapter.router is not None
    far = features + 100
    known = known_of(torch.cat([far, features]))
    expected = adapter.router(features).transpose(0, 1)
    gates = known_mix(adapter, known, "nearest", [pair], b).gates
    torch.testing.assert_close(gates, expected)


def test_the_mean_mix_is_the_same_for_everybody(
    trained: Trained, pair: tuple[torch.Tensor, torch.Tensor]
) -> None:
    adapter, _ = load_checkpoint(trained("lorweb"))
    known = known_of(torch.randn(5, adapter.router.projections.shape[2]))
    gates = known_mix(adapter, known, "mean", [pair], pair[0]).gates
    assert torch.equal(gates[0], gates[1])
    single = [adapter.router(row[None])[:, 0] for row in known.centroids]
    torch.testing.assert_close(gates[0], torch.stack(single).mean(0))


def test_a_method_says_whose_mix_it_uses(trained: Trained, triplet: Callable[..., Triplet]) -> None:
    method = from_checkpoint(trained("lorweb"), mix="mean")
    assert method.name == "lorweb-mean" and method.describe()["mix"] == "mean"
    assert len(method.predict([triplet(1)])) == 1
    fitted = from_checkpoint(trained("lorweb"), mix="mean", fit={"steps": 1})
    assert fitted.name == "lorweb-fit-mean"


def test_a_checkpoint_that_does_not_say_what_it_was_trained_on_has_no_mean_mix(
    trained: Trained,
) -> None:
    adapter, _ = load_checkpoint(trained("lorweb"))
    with pytest.raises(InputError, match="known-pairs"):
        check_mix("mean", adapter, None, "checkpoint")
