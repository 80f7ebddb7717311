"""Editors whose call differs from that of FLUX.1-Kontext: the stock pipelines of Qwen-Image-Edit
and FLUX.2, with random weights.
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
from datagen.recipe.sources import EditorSection
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.suites.verify import verify

ARGUMENTS = {"num_inference_steps": 2, "true_cfg_scale": 2.0, "negative_prompt": "blurred"}
SIGNS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)


def qwen_tokenizer() -> Any:
    """A Qwen tokenizer that knows single bytes, and the signs that stand around an image."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer(
        {letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))},
        [],
        extra_special_tokens=list(SIGNS),
    )


def qwen_parts() -> dict[str, Any]:
    """The parts of a small Qwen-Image-Edit: one block of each model, a VAE that shrinks eightfold,
    and the real processor.
    """
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageTransformer2DModel,
    )
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    torch.manual_seed(13)
    tokenizer = qwen_tokenizer()
    names = ("vision_start", "vision_end", "image", "video")
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(sign)
        for name, sign in zip(names, SIGNS[2:], strict=True)
    }
    small = {"hidden_size": 16, "intermediate_size": 16}
    rotary = {"type": "mrope", "mrope_section": [1, 1, 2]}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    text = {
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "rope_scaling": rotary,
    }
    vision = {"depth": 1, "num_heads": 2, "out_hidden_size": 16, "fullatt_block_indexes": [0]}
    config = Qwen2_5_VLConfig(
        text_config={**small, **text, **ends}, vision_config={**small, **vision}, **ids
    )
    image_processor = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    vae = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, shift_terminal=0.02
        ),
        "vae": vae,
        "text_encoder": Qwen2_5_VLForConditionalGeneration(config),
        "tokenizer": tokenizer,
        "processor": Qwen2VLProcessor(image_processor, tokenizer, Qwen2VLVideoProcessor()),
        "transformer": transformer,
    }


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from diffusers import QwenImageEditPipeline

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("qwen")
    QwenImageEditPipeline(**qwen_parts()).save_pretrained(folder)
    return folder


@pytest.fixture
def flux2(tmp_path: Path) -> Path:
    """A small FLUX.2 [klein], which takes a list of images as references for every edit."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(14)
    tokenizer = qwen_tokenizer()
    tokenizer.chat_template = "{{ messages[0].content }}"
    text = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=1,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 4, 4),
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4
    )
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(text),
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    ).save_pretrained(tmp_path / "flux2")
    return tmp_path / "flux2"


@pytest.fixture
def small_area(monkeypatch: pytest.MonkeyPatch) -> None:
    """These pipelines work at a megapixel whatever the photograph; here at 64 x 64 pixels, so that
    a test is quick.
    """
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus

    for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_plus):
        real = module.calculate_dimensions
        monkeypatch.setattr(
            module, "calculate_dimensions", lambda _, ratio, real=real: real(64 * 64, ratio)
        )


def recipe(model: Path, folder: Path, **editor: Any) -> Path:
    """A recipe for a training dataset of two edits of four photographs, in a file."""
    (folder / "photographs").mkdir()
    for i in range(4):
        (folder / "photographs" / f"{i}.png").write_bytes(encode(scene(8600 + i, 32, 48)))
    tasks = [
        {"name": "winter", "instruction": "make it winter"},
        {"name": "night", "instruction": "make it night"},
    ]
    section = {
        "model": str(model),
        "arguments": ARGUMENTS,
        "photographs": {"train": 4},
        "long_edge": 48,
        "tasks": tasks,
        **editor,
    }
    source = {
        "kind": "editor",
        "path": str(folder / "photographs"),
        "keep": str(folder / "edits"),
        "editor": section,
    }
    own = {
        "name": "by-qwen",
        "version": "1",
        "seed": 3,
        "source": source,
        "panel": {"long_edge": 48},
        "splits": {"train": "all"},
    }
    (folder / "recipe.yaml").write_text(json.dumps({**own, "filters": {"minimum_change": 0}}))
    return folder / "recipe.yaml"


@pytest.mark.usefixtures("small_area")
def test_a_dataset_is_made_by_qwen_image_edit_in_batches(qwen: Path, tmp_path: Path) -> None:
    dataset = build(read_recipe(recipe(qwen, tmp_path, batch=2)), tmp_path / "out").dataset
    assert dataset.split("train").samples == 2 * 4 * 3
    made = dataset.manifest.transformations["winter"].parameters["editor"]
    assert (made["pipeline"], made["arguments"]) == ("QwenImageEditPipeline", ARGUMENTS)
    assert all(q.a_prime.size == q.a.size == (48, 32) for q in dataset.quadruplets("train"))
    assert verify(dataset.path).problems == []


@pytest.mark.usefixtures("small_area")
def test_its_edits_are_those_of_the_stock_pipeline(qwen: Path) -> None:
    from diffusers import QwenImageEditPipeline

    image = Image.fromarray(scene(8700, 32, 48))
    made = Editor(EditorSection(model=str(qwen), arguments=ARGUMENTS)).edit(
        [image], "make it winter", [4]
    )[0]
    stock = QwenImageEditPipeline.from_pretrained(qwen)
    generator = torch.Generator().manual_seed(4)
    expected = stock(
        image, "make it winter", generator=generator, height=32, width=48, **ARGUMENTS
    ).images[0]
    assert np.abs(np.asarray(made).astype(int) - np.asarray(expected)).max() <= 1
    assert np.asarray(made).std() > 2


@pytest.mark.usefixtures("small_area")
def test_a_batch_that_was_cut_short_is_made_again_and_gives_the_same_edits(
    qwen: Path, tmp_path: Path
) -> None:
    build(read_recipe(recipe(qwen, tmp_path, batch=4)), tmp_path / "out")
    files = sorted((tmp_path / "edits").rglob("*.after.png"))
    whole = [file.read_bytes() for file in files]
    for file in (files[1], files[2], files[7]):
        file.unlink()
    build(read_recipe(tmp_path / "recipe.yaml"), tmp_path / "again")
    assert [file.read_bytes() for file in files] == whole


@pytest.mark.usefixtures("small_area")
def test_a_pipeline_that_takes_one_image_at_a_time_says_so_and_edits_alone(tmp_path: Path) -> None:
    from diffusers import QwenImageEditPlusPipeline

    QwenImageEditPlusPipeline(**qwen_parts()).save_pretrained(tmp_path)
    editor = Editor(EditorSection(model=str(tmp_path), arguments=ARGUMENTS))
    images = [Image.fromarray(scene(8800 + i, 32, 48)) for i in range(2)]
    assert editor.edit(images[:1], "make it winter", [1])[0].size == (48, 32)
    with pytest.raises(InputError, match=r"set source\.editor\.batch=1"):
        editor.edit(images, "make it winter", [1, 2])


def test_a_batch_that_mixes_its_images_is_refused(flux2: Path) -> None:
    arguments = {
        "num_inference_steps": 1,
        "text_encoder_out_layers": [0, 1],
        "max_sequence_length": 32,
    }
    editor = Editor(EditorSection(model=str(flux2), arguments=arguments))
    images = [Image.fromarray(scene(9000 + i, 64, 80)) for i in range(2)]
    assert editor.edit(images[:1], "make it winter", [1])[0].size == (80, 64)
    with pytest.raises(InputError, match=r"references of one edit.*set source\.editor\.batch=1"):
        editor.edit(images, "make it winter", [1, 2])


def test_what_a_pipeline_does_not_like_is_said_in_its_words(qwen: Path) -> None:
    editor = Editor(
        EditorSection(model=str(qwen), arguments={**ARGUMENTS, "max_sequence_length": 5000})
    )
    with pytest.raises(InputError, match=r"max_sequence_length.*see source\.editor\.arguments"):
        editor.edit([Image.fromarray(scene(8900, 32, 48))], "make it winter", [1])


@pytest.mark.slow
def test_at_its_own_size_of_a_megapixel(qwen: Path, tmp_path: Path) -> None:
    task = [{"name": "winter", "instruction": "make it winter"}]
    dataset = build(
        read_recipe(recipe(qwen, tmp_path, photographs={"train": 2}, tasks=task)), tmp_path / "out"
    ).dataset
    assert dataset.split("train").samples == 2
