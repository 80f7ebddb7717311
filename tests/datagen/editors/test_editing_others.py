"""Other editors than FLUX.1-Kontext: the stock InstructPix2Pix pipeline, and a text-to-image one
that edits, with random weights.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from datagen.build import build
from datagen.editors.diffusers_pipeline import Editor
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from datagen.recipe.sources import EditorSection
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.suites.verify import verify

STEPS = {"num_inference_steps": 2, "guidance_scale": 3.0}


def parts(flux: Path, unet_channels: int) -> dict[str, Any]:
    """The parts of a small Stable Diffusion: a VAE that shrinks eightfold, a UNet of two levels,
    the text encoder of another pipeline.
    """
    from diffusers import AutoencoderKL, EulerAncestralDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    torch.manual_seed(12)
    return {
        "vae": AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel.from_pretrained(flux / "text_encoder"),
        "tokenizer": CLIPTokenizer.from_pretrained(flux / "tokenizer"),
        "unet": UNet2DConditionModel(
            sample_size=8,
            in_channels=unet_channels,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=2,
            cross_attention_dim=16,
        ),
        "scheduler": EulerAncestralDiscreteScheduler(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


@pytest.fixture(scope="module")
def pix2pix(tiny_flux_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import StableDiffusionInstructPix2PixPipeline

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pix2pix")
    StableDiffusionInstructPix2PixPipeline(**parts(tiny_flux_folder, 8)).save_pretrained(folder)
    return folder


def recipe_of(model: Path, folder: Path, **filters: float) -> Recipe:
    """Two edits by a pipeline, of three of five photographs each."""
    for i in range(5):
        (folder / "photographs").mkdir(exist_ok=True)
        (folder / "photographs" / f"{i}.png").write_bytes(encode(scene(8300 + i, 32, 48)))
    editor = {
        "model": str(model),
        "arguments": {**STEPS, "image_guidance_scale": 1.5},
        "photographs": {"train": 3},
        "long_edge": 48,
    }
    editor["tasks"] = [
        {"name": "winter", "instruction": "make it winter"},
        {"name": "night", "instruction": "make it night"},
    ]
    source = {
        "kind": "editor",
        "path": str(folder / "photographs"),
        "keep": str(folder / "edits"),
        "editor": editor,
    }
    recipe = {
        "name": "by-pix2pix",
        "version": "1",
        "seed": 3,
        "source": source,
        "panel": {"long_edge": 48},
        "splits": {"train": "all"},
    }
    (folder / "recipe.yaml").write_text(json.dumps({**recipe, "filters": filters}))
    return read_recipe(folder / "recipe.yaml")


def test_a_dataset_is_made_by_instruct_pix2pix(pix2pix: Path, tmp_path: Path) -> None:
    dataset = build(recipe_of(pix2pix, tmp_path, minimum_change=0), tmp_path / "out").dataset
    assert dataset.split("train").samples == 2 * 3 * 2
    made = dataset.manifest.transformations["winter"].parameters["editor"]
    assert (made["pipeline"], made["arguments"]["image_guidance_scale"]) == (
        "StableDiffusionInstructPix2PixPipeline",
        1.5,
    )
    assert verify(dataset.path).problems == []


def test_what_a_safety_checker_made_black_is_left_out(
    tiny_flux_folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionInstructPix2PixPipeline
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    small = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    checker = StableDiffusionSafetyChecker(
        CLIPConfig(vision_config={**small, "image_size": 32, "patch_size": 16}, projection_dim=16)
    )
    checker.concept_embeds_weights.data.fill_(
        -2
    )  # less than any cosine: every image is one of everything that it looks for
    size = {"height": 32, "width": 32}
    own = {
        "safety_checker": checker,
        "feature_extractor": CLIPImageProcessor(size=size, crop_size=size),
        "requires_safety_checker": True,
    }
    StableDiffusionInstructPix2PixPipeline(**{**parts(tiny_flux_folder, 8), **own}).save_pretrained(
        tmp_path / "pipeline"
    )
    with pytest.raises(InputError, match="12 items did not pass maximum_blank"):
        build(recipe_of(tmp_path / "pipeline", tmp_path), tmp_path / "out")
    edits = list((tmp_path / "edits").rglob("*.after.png"))
    assert len(edits) == 6
    assert not any(np.asarray(Image.open(edit)).any() for edit in edits)


def test_its_edits_are_those_of_the_pipeline_alone_or_in_a_batch(pix2pix: Path) -> None:
    from diffusers import StableDiffusionInstructPix2PixPipeline

    images = [Image.fromarray(scene(8400 + i, 32, 48)) for i in range(2)]
    editor = Editor(
        EditorSection(model=str(pix2pix), arguments={**STEPS, "image_guidance_scale": 1.5})
    )
    together = editor.edit(images, "make it winter", [4, 5])
    stock = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        pix2pix, requires_safety_checker=False
    )
    for image, seed, made in zip(images, (4, 5), together, strict=True):
        generator = torch.Generator().manual_seed(seed)
        expected = stock(
            "make it winter", image, generator=generator, image_guidance_scale=1.5, **STEPS
        ).images[0]
        assert made.size == image.size
        assert np.abs(np.asarray(made).astype(int) - np.asarray(expected)).max() <= 2


def test_a_slip_in_an_argument_is_named_although_the_call_takes_any_keyword(pix2pix: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'image_guidance_scale'"):
        Editor(EditorSection(model=str(pix2pix), arguments={"image_guidance_scal": 2}))


def test_a_text_to_image_folder_edits_by_its_image_to_image_sibling(
    tiny_flux_folder: Path, tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    StableDiffusionPipeline(**parts(tiny_flux_folder, 4)).save_pretrained(tmp_path)
    image = Image.fromarray(scene(8500, 32, 48))
    editor = Editor(EditorSection(model=str(tmp_path), arguments={**STEPS, "strength": 0.8}))
    assert editor.identity["pipeline"] == "StableDiffusionImg2ImgPipeline"
    first, other = (editor.edit([image], "a castle", [seed])[0] for seed in (1, 2))
    assert first.size == image.size
    assert np.abs(np.asarray(first).astype(int) - np.asarray(other)).max() > 2
