"""What feeds the router: the pair encoder of the tiny base, and the paper's way with a real vision
backbone of small size.
"""

import pytest
import torch
from torch import Tensor

from reference_model.model.encoder import PairEncoder, name_loss


def images(count: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(
        0,
        256,
        (count, 3, side, side),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.fixture(scope="module")
def pair() -> PairEncoder:
    torch.manual_seed(0)
    return PairEncoder(steps=5, features=24).eval().requires_grad_(False)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_features_have_the_width_of_the_bases_text_at_every_panel_size(
    pair: PairEncoder, side: int
) -> None:
    features = pair(images(3, side), images(3, side, 1))
    assert features.shape == (3, 24)
    assert features.isfinite().all()


def test_what_is_said_follows_what_is_seen_and_how_likely_each_name_is(pair: PairEncoder) -> None:
    seen, names = pair.named(images(2), images(2, seed=1))
    assert [n.shape for n in names] == [(2, 5), (2, 6)]
    assert torch.equal(pair.said(seen, names), pair(images(2), images(2, seed=1)))
    shifted = [n + 3.0 for n in names]  # the same probabilities
    torch.testing.assert_close(pair.said(seen, shifted), pair.said(seen, names))


def test_the_pair_encoder_sees_direction_and_place_and_never_b(pair: PairEncoder) -> None:
    a, a_prime = images(1), images(1, seed=1)
    features = pair(a, a_prime, images(1, seed=2))
    assert torch.equal(features, pair(a, a_prime, images(1, seed=3)))
    assert (features - pair(a_prime, a)).abs().max() > 1e-2
    assert (features - pair(a.flip(-1), a_prime.flip(-1))).abs().max() > 1e-2


def test_name_loss_is_the_cross_entropy_of_both_steps(pair: PairEncoder) -> None:
    _, names = pair.named(images(4), images(4, seed=1))
    steps = (torch.tensor([0, 1, 2, 4]), torch.tensor([5, 0, 3, 5]))  # 5: there is no second step
    expected = sum(
        -scores.log_softmax(1)[range(4), s].mean() for scores, s in zip(names, steps, strict=True)
    )
    torch.testing.assert_close(name_loss(names, steps), expected)
