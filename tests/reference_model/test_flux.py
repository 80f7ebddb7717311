"""The real base: a folder in diffusers' layout."""

from pathlib import Path

import torch
from diffusers import FluxKontextPipeline
from PIL import Image


def test_the_tiny_folder_is_a_pipeline_of_stock_diffusers(tiny_flux_folder: Path) -> None:
    pipeline = FluxKontextPipeline.from_pretrained(tiny_flux_folder)
    pipeline.set_progress_bar_config(disable=True)
    sizes = {"height": 32, "width": 48, "max_area": 32 * 48, "_auto_resize": False}
    drawn = pipeline(
        Image.new("RGB", (48, 32), "red"), "invert", num_inference_steps=2, generator=torch.Generator().manual_seed(0), **sizes
    )
    assert drawn.images[0].size == (48, 32)
