"""The eyes of the router: the pair encoder of the tiny base, and the paper's way with a real vision tower of small size."""

import pytest
import torch
from torch import Tensor, nn

from reference_model.encoder import PairEncoder, SeparateEncoder


def images(count: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pair() -> PairEncoder:
    torch.manual_seed(0)
    return PairEncoder(steps=5).eval().requires_grad_(False)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_features_are_normalised_at_every_panel_size(pair: PairEncoder, side: int) -> None:
    features = pair(images(3, side), images(3, side, 1))
    assert features.shape == (3, PairEncoder.features)
    torch.testing.assert_close(features.mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(features.var(1, unbiased=False), torch.ones(3), rtol=1e-2, atol=0)


def test_the_pair_encoder_sees_direction_and_place_and_never_b(pair: PairEncoder) -> None:
    a, a_prime = images(1), images(1, seed=1)
    features = pair(a, a_prime, images(1, seed=2))
    assert torch.equal(features, pair(a, a_prime, images(1, seed=3)))
    assert (features - pair(a_prime, a)).abs().max() > 1e-2
    assert (features - pair(a.flip(-1), a_prime.flip(-1))).abs().max() > 1e-2


def test_name_loss_is_the_cross_entropy_of_both_steps(pair: PairEncoder) -> None:
    features = pair(images(4), images(4, seed=1))
    steps = (torch.tensor([0, 1, 2, 4]), torch.tensor([5, 0, 3, 5]))  # 5: there is no second step
    expected = sum(-head(features).log_softmax(1)[range(4), s].mean() for head, s in zip(pair.names, steps, strict=True))
    torch.testing.assert_close(pair.name_loss(features, steps), expected)


def test_separate_encoding_is_a_clip_tower_on_each_image_alone() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8, projection_dim=6
    )
    tower: nn.Module = CLIPVisionModelWithProjection(vision).eval()
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    encoder = SeparateEncoder(tower, 16, mean, std)
    a, a_prime, b = images(2, 16), images(2, 16, 1), images(2, 16, 2)
    with torch.no_grad():
        features = encoder(a, a_prime, b)
        normalised = [(x / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1) for x in (a, a_prime, b)]
        expected = torch.cat([tower(pixel_values=x).image_embeds for x in normalised], 1)
    assert features.shape == (2, encoder.features) == (2, 18)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
