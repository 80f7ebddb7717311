"""A folder in diffusers' layout does what stock `FluxKontextPipeline` does with it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from PIL import Image

from datagen.sources.scenes.compose import scene
from lorweb_bench.errors import InputError
from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.model.grid_layout import context_sequence
from reference_model.model.panels import decode_answer
from reference_model.sampling import sample

PROMPTS = ["invert the image", ""]


@pytest.fixture(scope="module")
def base(tiny_flux_folder: Path) -> Base:
    return load_base(str(tiny_flux_folder))


@pytest.fixture(scope="module")
def pipeline(tiny_flux_folder: Path) -> FluxKontextPipeline:
    pipeline = FluxKontextPipeline.from_pretrained(tiny_flux_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(height: int = 32, width: int = 48) -> np.ndarray:
    return scene(3, height, width)


def as_batch(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None]


def test_prompts_become_the_pipelines_tokens(base: Base, pipeline: FluxKontextPipeline) -> None:
    tokens, pooled = base.text_encoder(PROMPTS)
    expected, expected_pooled, _ = pipeline.encode_prompt(PROMPTS)
    assert tokens.shape == (2, 512, 32) and pooled.shape == (2, 16)
    torch.testing.assert_close(tokens, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pooled, expected_pooled)


def test_images_become_the_pipelines_packed_latents(
    base: Base, pipeline: FluxKontextPipeline
) -> None:
    image = picture()
    pixels = pipeline.image_processor.preprocess(Image.fromarray(image), 32, 48)
    _, packed, _, ids = pipeline.prepare_latents(
        pixels, 1, 4, 32, 48, torch.float32, torch.device("cpu"), torch.Generator()
    )
    tokens = base.codec.encode(as_batch(image))
    assert tokens.shape == (1, 2, 3, 16) and base.codec.patch == 16
    torch.testing.assert_close(tokens.flatten(1, 2), packed)
    torch.testing.assert_close(context_sequence("edit", None, None, tokens).context_ids, ids)


def test_tokens_are_decoded_as_the_pipeline_does(base: Base, pipeline: FluxKontextPipeline) -> None:
    tokens = torch.randn(1, 2, 3, 16, generator=torch.Generator().manual_seed(0))
    latents = pipeline._unpack_latents(tokens.flatten(1, 2), 32, 48, pipeline.vae_scale_factor)
    with torch.no_grad():
        decoded = pipeline.vae.decode(
            latents / pipeline.vae.config.scaling_factor + pipeline.vae.config.shift_factor
        ).sample
    expected = np.asarray(pipeline.image_processor.postprocess(decoded)[0])
    ours = base.codec.decode(tokens)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours.astype(int) - expected.astype(int)).max() <= 1


def test_our_sampling_is_the_pipelines(base: Base, pipeline: FluxKontextPipeline) -> None:
    """The same noise, prompt, guidance and steps: the same image, within a level."""
    image, steps = picture(), 3
    sequenced = context_sequence("edit", None, None, base.codec.encode(as_batch(image)))
    tokens = sample(base, sequenced, base.text_encoder(PROMPTS[:1]), [5], steps)
    ours = decode_answer(base, "edit", tokens, sequenced)[0].permute(1, 2, 0).numpy()
    sizes = {"height": 32, "width": 48, "max_area": 32 * 48, "_auto_resize": False}
    shown = Image.fromarray(image)
    theirs = pipeline(
        shown,
        PROMPTS[0],
        guidance_scale=base.guidance,
        num_inference_steps=steps,
        generator=torch.Generator("cpu").manual_seed(5),
        **sizes,
    ).images[0]
    assert theirs.size == (48, 32)
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_vae_and_text_encoders_are_loaded_on_use_and_let_go(tiny_flux_folder: Path) -> None:
    base = load_base(str(tiny_flux_folder))
    assert base.codec.loaded is None and base.text_encoder.loaded is None
    first = base.text_encoder(PROMPTS)[0], base.codec.encode(as_batch(picture()))
    assert base.codec.loaded is not None and base.text_encoder.loaded is not None
    base.codec.release()
    base.text_encoder.release()
    assert base.codec.loaded is None and base.text_encoder.loaded is None
    again = base.text_encoder(PROMPTS)[0], base.codec.encode(as_batch(picture()))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


@pytest.mark.parametrize(
    "part", ["transformer", "vae", "text_encoder", "text_encoder_2", "tokenizer_2", "scheduler"]
)
def test_a_missing_or_cut_part_is_named(tiny_flux_folder: Path, tmp_path: Path, part: str) -> None:
    folder = shutil.copytree(tiny_flux_folder, tmp_path / "flux")
    for file in (folder / part).iterdir():
        if file.suffix == ".safetensors" or not any(
            p.suffix == ".safetensors" for p in (folder / part).iterdir()
        ):
            file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(
        InputError, match=rf"flux/{part}: no whole part of a FluxKontextPipeline.*hf download"
    ):
        base = load_base(str(folder))
        base.text_encoder(PROMPTS)
        base.codec.encode(as_batch(picture()))


def test_a_base_that_is_not_to_be_had_says_what_to_download_and_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError,
        match=r"licence at .*`hf download no-one/no-base --local-dir FOLDER`.*`base: FOLDER`",
    ) as caught:
        load_base("no-one/no-base")
    assert "\n" not in str(caught.value)
