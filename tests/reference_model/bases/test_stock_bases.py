"""Every base in diffusers' layout does with a folder what its stock pipeline does with it.

Tiny random configs of the installed classes; three reference pictures, and words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from lorweb_bench.data.dataset import open_suite
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import predict
from lorweb_bench.predictions.format import read_manifest
from reference_model.analysis.space_page import write_space_page
from reference_model.bases.base import Base
from reference_model.bases.registry import base_kind, kinds, load_base
from reference_model.checkpoints.checkpoint import load_checkpoint, write_checkpoint
from reference_model.cli import compose
from reference_model.cli import train as train_command
from reference_model.config import TrainConfig
from reference_model.method import from_checkpoint
from reference_model.model.adapter import new_adapter
from reference_model.model.panels import (
    decode_answer,
    encode_context,
    encode_negative,
    encode_words,
)
from reference_model.model.shapes import training_shapes
from reference_model.model.working_size import to_tensor
from reference_model.sampling import sample
from reference_model.training.train import train

SIZE = (64, 64)  # the smallest picture that the pipelines take
STEPS = 3
FOLDERS = {
    "flux2-klein": "klein_folder",
    "flux2": "flux2_folder",
    "qwen-image-edit-plus": "qwen_folder",
}
QWEN = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus"
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="module", params=list(FOLDERS))
def folder(request: pytest.FixtureRequest) -> Path:
    """A pipeline of random weights of each kind."""
    found: Path = request.getfixturevalue(FOLDERS[request.param])
    return found


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps of sampling; Qwen's pipeline at the pictures' size instead of a megapixel."""
    for kind in kinds().values():
        monkeypatch.setattr(kind, "steps", STEPS)
    for constant in ("VAE_IMAGE_SIZE", "CONDITION_IMAGE_SIZE"):
        monkeypatch.setattr(f"{QWEN}.{constant}", SIZE[0] * SIZE[1])


@pytest.fixture
def on_base(
    config: Callable[..., TrainConfig], folder: Path, backbone: Path
) -> Callable[..., TrainConfig]:
    """`on_base(**changes)`: a training on the folder, with references and words."""

    def make(kind: str = "lorweb", **changes: Any) -> TrainConfig:
        chosen = {"base": str(folder), "encoder": str(backbone), "layout": "references"}
        training = {"steps": 2, "batch": 2, "caption_dropout": 0.5, **changes.pop("training", {})}
        return config(kind, training=training, **{**chosen, "prompt": "instruction", **changes})

    return make


def pipeline_of(folder: Path) -> Any:
    """The stock pipeline of a folder."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: Any, t: Triplet, base: Base, prompt: str) -> Image.Image:
    """What the stock pipeline makes of a triplet's three pictures and words."""
    is_qwen = base.kind == "qwen-image-edit-plus"
    guidance: dict[str, Any] = {"guidance_scale": base.guidance}
    if is_qwen:
        guidance = {"true_cfg_scale": base.guidance, "negative_prompt": " "}
    return pipeline(
        image=[t.a, t.a_prime, t.b],
        prompt=prompt,
        **guidance,
        num_inference_steps=STEPS,
        generator=torch.Generator("cpu").manual_seed(t.seed),
        height=t.b.height,
        width=t.b.width,
    ).images[0]


def far(one: Any, other: Any) -> int:
    """The largest difference of a pixel."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def panels_of(t: Triplet) -> dict[str, torch.Tensor]:
    """The pictures of a triplet as batches of one."""
    shown = {"a": t.a, "a_prime": t.a_prime, "b": t.b}
    return {
        role: to_tensor([image], image.size, torch.device("cpu")) for role, image in shown.items()
    }


def test_our_sampling_of_three_references_is_the_pipelines(
    folder: Path, on_base: Callable[..., TrainConfig], triplet: Callable[..., Triplet]
) -> None:
    base, config, t = load_base(str(folder)), on_base(), triplet(3, *SIZE)
    panels = panels_of(t)
    with torch.no_grad():
        context = encode_context(base, config, panels)
        words = encode_words(base, config.layout, ["invert the image"], panels)
        negative = encode_negative(base, config.layout, panels)
        tokens = sample(base, context, words, [t.seed], STEPS, negative=negative)
        ours = decode_answer(base, config.layout, tokens, context)[0].permute(1, 2, 0)
    theirs = drawn(pipeline_of(folder), t, base, "invert the image")
    assert theirs.size == SIZE
    assert far(ours, theirs) <= 1


def with_weights(config: TrainConfig, folder: Path) -> Path:
    """A checkpoint whose adapter is random and strong."""
    adapter = new_adapter(config, seed=1)
    torch.manual_seed(2)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.3)
    write_checkpoint(folder, adapter, config, {"identity": "x"})
    return folder


def test_a_composed_file_in_the_stock_pipeline_makes_our_image(
    folder: Path,
    on_base: Callable[..., TrainConfig],
    triplet: Callable[..., Triplet],
    tmp_path: Path,
) -> None:
    checkpoint = with_weights(on_base(panel=64), tmp_path / "checkpoint")
    t, base = triplet(3, *SIZE), load_base(str(folder))
    expected = from_checkpoint(checkpoint).predict([t])[0]
    assert far(from_checkpoint(checkpoint, merge=True).predict([t])[0], expected) <= 1
    for role in ("a", "a_prime", "b"):
        getattr(t, role).save(tmp_path / f"{role}.png")
    pictures = [str(tmp_path / f"{role}.png") for role in ("a", "a_prime", "b")]
    file = tmp_path / "lora.safetensors"
    arguments = ["--model", str(checkpoint), *pictures, "-o", str(file)]
    assert CliRunner().invoke(compose, arguments, catch_exceptions=False).exit_code == 0
    pipeline = pipeline_of(folder)
    without = drawn(pipeline, t, base, "")
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    loaded = {n for n, m in pipeline.transformer.named_modules() if hasattr(m, "lora_A")}
    assert len(loaded) == len(load_file(file)) // 2 == training_shapes(on_base()).adapted_layers
    assert far(drawn(pipeline, t, base, ""), expected) <= 1
    assert far(without, expected) > 8


def test_a_cached_training_ends_as_an_uncached_one(
    on_base: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    fresh = load_file(train(on_base(), tmp_path / "fresh") / ADAPTER)
    cached = on_base(cache=str(tmp_path / "cache"))
    found = load_file(train(cached, tmp_path / "cached") / ADAPTER)
    assert found.keys() == fresh.keys()
    for name, weights in fresh.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-3, atol=1e-4)


def test_a_fit_and_a_preview_run(
    on_base: Callable[..., TrainConfig], triplet: Callable[..., Triplet], tmp_path: Path
) -> None:
    config = on_base(training={"sample_every": 2, "sample_rows": 1})
    checkpoint = train(config, tmp_path / "checkpoint")
    assert (checkpoint / "samples" / "000002.png").is_file()
    method = from_checkpoint(checkpoint, fit={"steps": 2, "held_out": 1})
    assert method.predict([triplet(1), triplet(2)])[1].size == (16, 16)


@pytest.mark.parametrize(("kind", "layout"), [("lorweb", "paper"), ("token-control", "references")])
def test_mixed_batches_are_samples_side_by_side(
    on_base: Callable[..., TrainConfig],
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    kind: str,
    layout: str,
) -> None:
    method = from_checkpoint(with_weights(on_base(kind, layout=layout), tmp_path / layout))
    shown = [triplet(1, prompt="invert"), triplet(2, prompt="make it brighter")]
    for t, image in zip(shown, method.predict(shown), strict=True):
        assert far(method.predict([t])[0], image) <= 1


def test_its_space_is_drawn_and_a_suite_is_predicted(
    on_base: Callable[..., TrainConfig], small_suite_path: Path, tmp_path: Path
) -> None:
    checkpoint = with_weights(on_base(panel=32), tmp_path / "checkpoint")
    page = tmp_path / "space.html"
    write_space_page(checkpoint, small_suite_path, page, 2, 1)
    assert "lorweb" in page.read_text()
    folder = tmp_path / "predictions"
    predict(str(checkpoint), open_suite(small_suite_path), folder, limit=1)
    assert read_manifest(folder).samples == 1


def test_the_shape_of_a_dry_run_is_that_of_the_base(
    on_base: Callable[..., TrainConfig], folder: Path, tmp_path: Path
) -> None:
    config = on_base()
    adapter, shapes = new_adapter(config, 0), training_shapes(config)
    assert shapes.trainable == adapter.trainable_parameters
    untouched = load_base(str(folder)).transformer
    assert shapes.base == sum(p.numel() for p in untouched.parameters())
    path = tmp_path / "config.yaml"
    path.write_text(config.model_dump_json())
    printed = CliRunner().invoke(train_command, [str(path), "--dry-run"], catch_exceptions=False)
    assert printed.exit_code == 0
    assert f"adapted linear layers   {shapes.adapted_layers}" in printed.output


def test_a_layout_that_the_base_does_not_have_names_its_own(
    on_base: Callable[..., TrainConfig], tiny_flux_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has no 'target-only'; set paper or references"):
        training_shapes(on_base(layout="target-only"))
    with pytest.raises(InputError, match="flux-kontext has no 'references'; set paper or target"):
        train(on_base(base=str(tiny_flux_folder)), tmp_path / "checkpoint")


def test_a_checkpoint_comes_back_as_it_was_written(
    on_base: Callable[..., TrainConfig], folder: Path, tmp_path: Path
) -> None:
    written = with_weights(on_base(), tmp_path / "checkpoint")
    adapter, config = load_checkpoint(written)
    assert config.base == str(folder)
    saved = load_file(written / ADAPTER)
    assert all(torch.equal(weight, saved[name]) for name, weight in adapter.basis.tensors().items())
    assert isinstance(adapter.base, base_kind(str(folder)))
