"""What a vision backbone is shown by each `encoder_input`, and what becomes of its embeddings."""

from pathlib import Path

import pytest
import torch
from transformers import CLIPVisionModelWithProjection

from reference_model.model.backbones import INPUTS, load_backbone


@pytest.mark.parametrize("encoder_input", INPUTS)
def test_features_are_the_towers_own_embeddings_put_together(
    backbone: Path, encoder_input: str
) -> None:
    encoder, clip = (
        load_backbone(str(backbone), encoder_input),
        CLIPVisionModelWithProjection.from_pretrained(backbone).eval(),
    )
    a, a_prime, b = torch.randint(
        0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )

    def embedded(images: torch.Tensor) -> torch.Tensor:
        pixels = torch.nn.functional.interpolate(
            images.float() / 255, (16, 16), mode="bicubic", antialias=True
        ).clamp(0, 1)
        found: torch.Tensor = clip(pixel_values=(pixels - encoder.mean) / encoder.std).image_embeds
        return found

    with torch.no_grad():
        first, second, third = map(embedded, (a, a_prime, b))
        rows = torch.cat([a, a_prime], 3), torch.cat([b, b], 3)
        expected = {
            "separate": torch.cat([first, second, third], 1),
            "concatenated": embedded(torch.cat([a, a_prime, b], 3)),
            "grid": embedded(torch.cat(rows, 2)),
            "a_prime-a": second - first,
            "a_prime-a+b": second - first + third,
        }[encoder_input]
        features = encoder(a, a_prime, b)
    assert features.shape == (2, encoder.features)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
