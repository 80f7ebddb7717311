"""The sizes that a model works at: ours, and those of the authors' code, by diffusers' pipeline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from diffusers.pipelines.flux import pipeline_flux_kontext
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from datagen.sources.scenes.compose import scene
from lorweb_bench.cli.main import main
from lorweb_bench.data.images import to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.checkpoints.checkpoint import write_checkpoint
from reference_model.config import TrainConfig
from reference_model.method import from_checkpoint
from reference_model.model import working_size as sizes
from reference_model.model.adapter import new_adapter
from reference_model.model.working_size import panel_size, predicted_size, shown_size

STEPS = 2
AREA = 64 * 64  # pixels, in place of a megapixel
PREFERRED = [(64, 64), (96, 48), (48, 96), (80, 48)]


@pytest.fixture
def small_megapixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megapixel of 4,096 pixels, and few steps, here and in diffusers."""
    monkeypatch.setattr(sizes, "MEGAPIXEL", AREA)
    monkeypatch.setattr(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", PREFERRED)
    monkeypatch.setattr("reference_model.bases.flux_kontext.FluxKontext.steps", STEPS)


@pytest.fixture
def checkpoint(
    config: Callable[..., TrainConfig], tiny_flux_folder: Path, backbone: Path, tmp_path: Path
) -> Path:
    """A checkpoint that works as the authors' code does, its A and B random."""
    settings = config(
        base=str(tiny_flux_folder),
        layout="paper",
        encoder=str(backbone),
        encoder_view="official",
        working_size="megapixel",
        prompt="instruction",
    )
    adapter = new_adapter(settings, seed=1)
    torch.manual_seed(2)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.3)
    write_checkpoint(tmp_path / "checkpoint", adapter, settings, {"identity": "x"})
    return tmp_path / "checkpoint"


def far(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of a pixel."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(16, 1024))
def test_panels_fit_and_keep_their_shape(width: int, height: int, longest: int) -> None:
    found = panel_size(width, height, longest)
    assert all(side % 16 == 0 and side >= 16 for side in found)
    assert max(found) <= longest
    if width % 16 == height % 16 == 0 and max(width, height) <= longest:
        assert found == (width, height)
    scale = min(1.0, longest / max(width, height))
    assert all(
        abs(side - wanted * scale) <= 16
        for side, wanted in zip(found, (width, height), strict=True)
    )


@pytest.mark.parametrize(
    ("grid", "predicted"),
    [
        ((448, 448), (1024, 1024)),
        ((3000, 2000), (1248, 832)),
        ((3840, 2160), (1360, 768)),
        ((832, 1248), (832, 1248)),
        ((1040, 1024), (1024, 1008)),
    ],
)
def test_grids_are_predicted_at_the_sizes_that_the_authors_code_gave(
    grid: tuple[int, int], predicted: tuple[int, int]
) -> None:
    """Of grids of panels of 224², 1500x1000, 1920x1080, 416x624 and 520x512."""
    assert predicted_size(*grid, 16) == predicted


def test_grids_are_shown_at_a_size_that_kontext_prefers() -> None:
    for size in pipeline_flux_kontext.PREFERRED_KONTEXT_RESOLUTIONS:
        assert shown_size(*size, 16) == tuple(side // 16 * 16 for side in size[::1])
    assert shown_size(1920, 1080, 16) in {(1392, 752), (1328, 800)}


@pytest.mark.usefixtures("small_megapixel")
@pytest.mark.parametrize("size", [(40, 24), (24, 40), (20, 20), (33, 25)])
def test_apply_makes_what_the_stock_pipeline_makes_of_the_grid_by_its_own_sizes(
    checkpoint: Path, tiny_flux_folder: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    """The grid is made at the size of a by Pillow, and everything else is left to the pipeline."""
    a, a_prime = (to_image(scene(n, size[1], size[0])) for n in (1, 2))
    b = to_image(scene(3, 30, 50))
    pictures = []
    for name, image in (("a", a), ("a_prime", a_prime), ("b", b)):
        image.save(tmp_path / f"{name}.png")
        pictures.append(str(tmp_path / f"{name}.png"))
    words, model = ["--prompt", "make it blue"], ["--model", str(checkpoint)]
    run("apply", *model, *pictures, "-o", str(tmp_path / "ours.png"), "--seed", "3", *words)
    run("compose", *model, *pictures, "-o", str(tmp_path / "lora.safetensors"))

    pipeline = FluxKontextPipeline.from_pretrained(tiny_flux_folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    width, height = size
    grid = Image.new("RGB", (2 * width, 2 * height))
    for n, image in enumerate((a, a_prime, b, b)):
        fitted = image.resize(size, Image.Resampling.BICUBIC)
        grid.paste(fitted, (n % 2 * width, n // 2 * height))
    drawn = pipeline(
        grid,
        "make it blue",
        height=grid.height,
        width=grid.width,
        max_area=AREA,
        guidance_scale=2.5,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(3),
    ).images[0]
    answer = drawn.crop((drawn.width // 2, drawn.height // 2, drawn.width, drawn.height))
    ours = Image.open(tmp_path / "ours.png")
    assert ours.size == b.size
    method = from_checkpoint(checkpoint)
    raw = method.complete([Triplet("b", a, a_prime, b, "make it blue", seed=3)], size)[0]
    assert raw.shape == (answer.height, answer.width, 3)
    assert far(to_image(raw), answer) <= 1


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert not ended.value.code


@pytest.mark.usefixtures("small_megapixel")
def test_a_prompt_changes_the_answer_and_is_asked_for_where_captions_were_trained(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(tmp_path / "picture.png")
    to_image(scene(5, 16, 16)).save(picture)
    answers = []
    for n, words in enumerate(([], ["--prompt", "turn it to gold"])):
        out = str(tmp_path / f"{n}.png")
        run("apply", "--model", str(checkpoint), picture, picture, picture, "-o", out, *words)
        said = capsys.readouterr()
        assert ("trained with captions; `--prompt WORDS`" in said.out) == (not words)
        assert "works at one megapixel a grid" in said.out
        answers.append(Image.open(out).copy())
    assert far(*answers) > 0


def test_a_megapixel_is_for_a_flux_base_and_for_grids_alone(
    config: Callable[..., TrainConfig], triplet: Callable[..., Triplet], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="needs the layout paper"):
        config(working_size="megapixel")
    settings: Any = config(layout="paper", working_size="megapixel")
    write_checkpoint(tmp_path, new_adapter(settings, seed=1), settings, {"identity": "x"})
    with pytest.raises(InputError, match="working_size megapixel: .* set `working_size: panel`"):
        from_checkpoint(tmp_path).predict([triplet(0)])


@pytest.mark.usefixtures("small_megapixel")
def test_a_fit_searches_at_the_size_that_it_predicts_at(
    checkpoint: Path, triplet: Callable[..., Triplet]
) -> None:
    method = from_checkpoint(checkpoint, fit={"steps": 1, "held_out": 1})
    assert method.predict([triplet(0, 40, 24)])[0].size == (40, 24)
