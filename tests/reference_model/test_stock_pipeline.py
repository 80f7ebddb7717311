"""A composed file in stock diffusers: `FluxKontextPipeline.load_lora_weights`, and the images that the pipeline then makes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from lorweb_bench.quadruplet import Triplet
from reference_model.basis import Basis
from reference_model.space import Lora, lora_tensors, shrink

ELEMENTS, RANK, ALPHA = 3, 2, 5.0


def pipeline_of(folder: Path) -> FluxKontextPipeline:
    pipeline = FluxKontextPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: FluxKontextPipeline, image: Image.Image) -> np.ndarray:
    """The image as floats in [0, 1]."""
    sizes: dict[str, Any] = {"height": 32, "width": 32, "max_area": 32 * 32, "_auto_resize": False}
    generator = torch.Generator().manual_seed(0)
    return np.asarray(pipeline(image, "invert", num_inference_steps=3, generator=generator, output_type="np", **sizes).images[0])


@pytest.fixture(scope="module")
def gated(tiny_flux_folder: Path) -> tuple[FluxKontextPipeline, Basis]:
    """The pipeline with a basis in every linear layer of every block, its A and B random, gated by one analogy's coefficients."""
    pipeline = pipeline_of(tiny_flux_folder)
    basis = Basis(pipeline.transformer, ELEMENTS, RANK, ALPHA)
    torch.manual_seed(0)
    for parameter in basis.parameters():
        nn.init.normal_(parameter, std=0.2)
    basis.gates = torch.randn(len(basis.layers), 1, ELEMENTS).softmax(-1)
    return pipeline, basis


def folded(basis: Basis) -> Lora:
    assert basis.gates is not None
    lora = {}
    for gates, (name, layer) in zip(basis.gates[:, 0], basis.layers.items(), strict=True):
        a, b = (part["default"].weight.detach() for part in (layer.lora_A, layer.lora_B))
        lora[name] = (a, b * gates.repeat_interleave(RANK) * ALPHA / RANK)
    return lora


@pytest.mark.parametrize("rank", [None, ELEMENTS * RANK, 40])  # 40 is more than some layers are wide
def test_the_stock_pipeline_makes_the_image_of_the_gated_one(
    gated: tuple[FluxKontextPipeline, Basis],
    tiny_flux_folder: Path,
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    rank: int | None,
) -> None:
    pipeline, basis = gated
    lora = folded(basis)
    save_file(lora_tensors(shrink(lora, rank) if rank else lora), tmp_path / "lora.safetensors")
    stock = pipeline_of(tiny_flux_folder)
    image = triplet(0, 32, 32).b
    without = drawn(stock, image)
    stock.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    ours, theirs = drawn(pipeline, image), drawn(stock, image)
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.abs(ours - without).max() > 0.05
    stock.fuse_lora()
    assert np.abs(ours - drawn(stock, image)).max() < 1e-3
