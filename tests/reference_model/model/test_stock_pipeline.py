"""Stock diffusers on a FLUX base.

The pipeline samples for us, and a composed file in it makes the image that our model makes.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet
from reference_model.bases.flux_kontext import sample_stock
from reference_model.checkpoints.checkpoint import load_checkpoint, write_checkpoint
from reference_model.config import TrainConfig
from reference_model.method import from_checkpoint
from reference_model.model.adapter import new_adapter
from reference_model.model.panels import encode_context
from reference_model.model.working_size import to_tensor
from reference_model.sampling import sample

Checkpoint = Callable[..., Path]
STEPS = 3


@pytest.fixture(scope="module")
def checkpoint(
    config: Callable[..., TrainConfig],
    tiny_flux_folder: Path,
    backbone: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checkpoint:
    """`checkpoint(kind, layout)`.

    On the tiny FLUX folder, its A and B random and alpha not the rank.
    """
    made: dict[tuple[str, str], Path] = {}

    def make(kind: str = "lorweb", layout: str = "paper") -> Path:
        if (kind, layout) not in made:
            settings = config(
                kind,
                adapter={"alpha": 5},
                base=str(tiny_flux_folder),
                layout=layout,
                encoder=str(backbone),
            )
            adapter = new_adapter(settings, seed=1)
            torch.manual_seed(2)
            for parameter in adapter.trainable().parameters():
                nn.init.normal_(parameter, std=0.3)
            folder = made[kind, layout] = tmp_path_factory.mktemp("checkpoint")
            write_checkpoint(folder, adapter, settings, {"identity": "x"})
        return made[kind, layout]

    return make


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_model.bases.flux_kontext.FluxKontext.steps", STEPS)


def far(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of a pixel."""
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


@pytest.mark.parametrize("kind", ["lorweb", "token-control"])
def test_the_pipeline_samples_what_our_loop_samples_also_in_mixed_batches(
    checkpoint: Checkpoint, triplet: Callable[..., Triplet], kind: str
) -> None:
    adapter, config = load_checkpoint(checkpoint(kind))
    shown = [triplet(n, 32, 16) for n in range(2)]
    panels = [
        to_tensor([getattr(t, role) for t in shown], (32, 16), torch.device("cpu"))
        for role in ("a", "a_prime", "b")
    ]
    base = adapter.base
    assert base.stock_sampler("paper") is sample_stock
    assert base.stock_sampler("target-only") is None
    with torch.inference_mode():
        features = adapter.features(*panels)
        adapter.gate(features)
        sequenced = encode_context(
            base, config, dict(zip(("a", "a_prime", "b"), panels, strict=True))
        )
        prompt = adapter.prompt(["invert", ""], features)
        ours, theirs = (
            draw(base, sequenced, prompt, [4, 5], STEPS) for draw in (sample, sample_stock)
        )
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    assert (ours[0] - ours[1]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        ("lorweb", "paper"),
        ("lorweb", "target-only"),
        ("single-lora", "paper"),
        ("token-control", "paper"),
    ],
)
def test_merged_and_gated_give_one_answer(
    checkpoint: Checkpoint, triplet: Callable[..., Triplet], kind: str, layout: str
) -> None:
    folder = checkpoint(kind, layout)
    gated, merging = from_checkpoint(folder), from_checkpoint(folder, merge=True)
    answers = gated.predict([triplet(0), triplet(1)])
    for n in (0, 1, 0):  # the weights come back in between
        assert far(merging.predict([triplet(n)])[0], answers[n]) <= 1
    assert far(*answers) > 8
    assert all(
        far(x, y) <= 1
        for x, y in zip(merging.predict([triplet(0), triplet(1)]), answers, strict=True)
    )


def composed(folder: Path, t: Triplet, out: Path, *options: str) -> Path:
    """The file of one analogy, by the command."""
    for role in ("a", "a_prime", "b"):
        getattr(t, role).save(out.parent / f"{role}.png")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "compose",
                "--model",
                str(folder),
                *(str(out.parent / f"{r}.png") for r in ("a", "a_prime", "b")),
                "-o",
                str(out),
                *options,
            ]
        )
    assert not ended.value.code
    return out


@pytest.mark.parametrize("options", [[], ["--rank", "6"]])
def test_the_file_in_the_stock_pipeline_makes_the_image_that_our_model_makes(
    checkpoint: Checkpoint,
    tiny_flux_folder: Path,
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    options: list[str],
) -> None:
    """The lines that the documentation gives, with nothing of ours but the file."""
    t = triplet(3)
    file = composed(checkpoint(), t, tmp_path / "lora.safetensors", *options)
    expected = from_checkpoint(checkpoint()).predict([t])[0]
    lines = snippet("lora-space.md", "FluxKontextPipeline")
    for theirs, here in {
        "black-forest-labs/FLUX.1-Kontext-dev": str(tiny_flux_folder),
        "torch.bfloat16": "torch.float32",
        '"cuda"': '"cpu"',
        "negative.safetensors": str(file),
        "b_prime.png": str(tmp_path / "b_prime.png"),
        "num_inference_steps=28": f"num_inference_steps={STEPS}",
        "manual_seed(0)": f"manual_seed({t.seed})",
    }.items():
        assert theirs in lines, theirs
        lines = lines.replace(theirs, here)

    def drawn(lines: str) -> Image.Image:
        exec(lines, {"torch": torch, "a": t.a, "a_prime": t.a_prime, "b": t.b})
        return Image.open(tmp_path / "b_prime.png").copy()

    load = f'pipeline.load_lora_weights("{file}")\n'
    assert far(drawn(lines), expected) <= 1
    assert far(drawn(lines.replace(load, "")), expected) > 8
    assert far(drawn(lines.replace(load, f"{load}pipeline.fuse_lora()\n")), expected) <= 1


def snippet(page: str, word: str) -> str:
    """The Python of a page's first block that holds a word."""
    text = (Path(__file__).parents[3] / "docs" / page).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if word in block)


def test_a_lower_rank_than_the_widest_layer_loads_also_where_layers_are_narrower(
    tiny_flux_folder: Path, tmp_path: Path
) -> None:
    """Zeros fill a layer that is narrower than the rank, so that the file has one rank."""
    from reference_model.analysis.space import lora_tensors, shrink

    pipeline = FluxKontextPipeline.from_pretrained(tiny_flux_folder)
    torch.manual_seed(0)
    linear = {
        n: m
        for n, m in pipeline.transformer.named_modules()
        if isinstance(m, nn.Linear) and "transformer_blocks." in n
    }
    lora = {
        n: (torch.randn(80, m.in_features), torch.randn(m.out_features, 80))
        for n, m in linear.items()
    }
    assert min(min(m.in_features, m.out_features) for m in linear.values()) < 40
    save_file(lora_tensors(shrink(lora, 40)), tmp_path / "lora.safetensors")
    pipeline.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    name, (a, b) = next((n, pair) for n, pair in lora.items() if n.endswith("to_q"))
    layer = pipeline.transformer.get_submodule(name)
    torch.testing.assert_close(layer.get_delta_weight("default_0"), b @ a, rtol=1e-3, atol=1e-3)


def test_compose_needs_no_base(
    checkpoint: Checkpoint,
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the base is known by name, it is neither loaded nor looked for."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("compose loaded a base")

    expected = load_file(composed(checkpoint(), triplet(3), tmp_path / "one.safetensors"))
    for place in (
        "reference_model.model.adapter.load_base",
        "reference_model.checkpoints.checkpoint.model_digests",
        "reference_model.bases.pipeline_folder.load_part",
    ):
        monkeypatch.setattr(place, refused)
    found = load_file(composed(checkpoint(), triplet(3), tmp_path / "two.safetensors"))
    assert all(torch.equal(found[name], weights) for name, weights in expected.items())
