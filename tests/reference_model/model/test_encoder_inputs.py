"""What a vision backbone is shown by each `encoder_input`, and what becomes of its embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from lorweb_bench.errors import InputError
from reference_model.model.backbones import INPUTS, load_backbone


# `delta` is that of delta-tokens, which reads a grid of embeddings and has tests of its own.
@pytest.mark.parametrize("encoder_input", [name for name in INPUTS if name != "delta"])
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
            "grid-black": embedded(torch.cat([rows[0], torch.cat([b, 0 * b], 3)], 2)),
            "upper-half": embedded(rows[0]),
            "a_prime-a": second - first,
            "a_prime-a+b": second - first + third,
        }[encoder_input]
        features = encoder(a, a_prime, b)
    assert features.shape == (2, encoder.features)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


PARTS = {
    "separate": lambda grid, side: [
        grid.crop((0, 0, side, side)),
        grid.crop((side, 0, grid.width, side)),
        grid.crop((0, side, side, grid.height)),
    ],
    "grid": lambda grid, side: [grid],
    "upper-half": lambda grid, side: [grid.crop((0, 0, grid.width, grid.height // 2))],
}


@pytest.mark.parametrize("encoder_input", PARTS)
@pytest.mark.parametrize("size", [(32, 20), (20, 32), (24, 24), (31, 27)])
def test_the_official_view_is_the_processor_on_parts_of_the_grid_half_its_width_a_side(
    backbone: Path, encoder_input: str, size: tuple[int, int]
) -> None:
    width, height = size
    rng = np.random.default_rng(1)
    a, a_prime, b = (
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for _ in range(3)
    )
    grid = Image.new("RGB", (2 * width, 2 * height))
    for n, image in enumerate((a, a_prime, b, b)):
        grid.paste(image, (n % 2 * width, n // 2 * height))
    clip = CLIPVisionModelWithProjection.from_pretrained(backbone).eval()
    processor = CLIPImageProcessor.from_pretrained(backbone)
    panels = [torch.from_numpy(np.array(x)).permute(2, 0, 1)[None] for x in (a, a_prime, b)]
    with torch.no_grad():
        embeddings = [
            clip(**processor(images=part, return_tensors="pt")).image_embeds
            for part in PARTS[encoder_input](grid, grid.width // 2)
        ]
        features = load_backbone(str(backbone), encoder_input, "official")(*panels)
        stretched = load_backbone(str(backbone), encoder_input)(*panels)
    torch.testing.assert_close(features, torch.cat(embeddings, 1), rtol=1e-4, atol=1e-5)
    if encoder_input == "separate":  # on square panels both see the panel; on others they do not
        is_one = torch.allclose(features, stretched, rtol=0.05, atol=0.05)
        assert is_one == (width == height)


def test_panels_of_which_the_official_view_would_leave_nothing_are_refused(backbone: Path) -> None:
    wide = torch.zeros(1, 3, 16, 32, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"panels of 32 x 16 pixels: .*`encoder_view: stretched`"):
        load_backbone(str(backbone), "separate", "official")(wide, wide, wide)
