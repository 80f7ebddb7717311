"""Dry runs: counts from shapes alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base
from reference_model.cli import train
from reference_model.config import CONFIGS, TrainConfig, read_train_config
from reference_model.model import shapes
from reference_model.model.adapter import new_adapter
from reference_model.model.basis import Basis
from reference_model.model.router import Router
from reference_model.model.shapes import as_lines, training_shapes

PAPER = Path(shapes.__file__).parents[1] / "configs" / "flux-kontext-paper.yaml"


def test_the_paper_config_is_the_papers_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(train, [str(PAPER), "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0
    assert (
        "trainable parameters    835,051,520 (basis 687,341,568, routing 147,709,952)"
        in result.output
    )
    assert 147_709_952 == 494 * (128 * 2304 + 32 * 128)  # a projection and the keys of every layer
    assert "adapted linear layers   494" in result.output
    assert "frozen transformer      11,901,408,320" in result.output
    assert (
        "a card of 24 GB can train this with training.accumulation=6, cache=FOLDER, "
        "training.quantize=4bit" in result.output
    )
    assert list(tmp_path.iterdir()) == []
    hours, seconds = re.search(
        r"(\d+) hours of training .* ([\d.]+) s an image", result.output
    ).groups()
    # The authors report 33.4 s an image on an A100, which has 312 TFLOP/s; 40 % of an H100's 989
    # are 1.27 times all that it has.
    assert 33.4 / 8 < float(seconds) < 33.4 / 2
    assert int(hours) * 3600 == pytest.approx(60_000 * 3 * float(seconds) / 28, rel=0.05)


def test_the_config_of_the_public_code_is_the_same_model_set_otherwise() -> None:
    paper, code = (read_train_config(Path(f"flux-kontext-{name}")) for name in ("paper", "code"))
    assert training_shapes(code).trainable == training_shapes(paper).trainable == 835_051_520
    ours, theirs = (json.loads(config.model_dump_json()) for config in (paper, code))
    differ = {key for key in ours if ours[key] != theirs[key]}
    assert differ == {"panel", "working_size", "encoder_view", "adapter", "training"}
    text = (CONFIGS / "flux-kontext-code.yaml").read_text()
    for option in ("resolution", "is_bidirectional_analogy", "timestep_type", "quantize: true"):
        assert option in text, f"the source of a deviation is not named: {option}"


@pytest.mark.parametrize("layer", [(3072, 4), (15360, 4), (64, 2)])
def test_the_official_scales_are_those_that_were_measured(layer: tuple[int, int]) -> None:
    """A of standard deviation .0052 on FLUX's 3,072 inputs at rank 4, projections of .0120."""
    inputs, rank = layer
    torch.manual_seed(0)
    basis = Basis(nn.ModuleDict({"to_q": nn.Linear(inputs, 8)}), 8, rank, rank, "to_q")
    basis.start_at_official_scale()
    spread = basis.parameters()[0].std().item()
    assert spread == pytest.approx(0.0052 * (3072 * 4 / (inputs * rank)) ** 0.5, rel=0.03)
    router = Router(2, 4, 2304, 16)
    router.start_at_official_scale()
    assert router.projections.std().item() == pytest.approx(0.0120, rel=0.01)


@pytest.mark.parametrize("kind", ["lorweb", "single-lora", "token-control"])
def test_the_counts_of_a_small_model_are_those_of_the_model_itself(
    config: Callable[..., TrainConfig], base: Base, kind: str
) -> None:
    settings = config(kind)
    found = training_shapes(settings)
    adapter = new_adapter(settings, seed=0)
    assert found.trainable == sum(p.numel() for p in adapter.trainable().parameters())
    assert found.adapted_layers == len(adapter.basis.layers)
    assert found.base == sum(p.numel() for p in base.transformer.parameters())
    assert f"{found.trainable:,}" in as_lines(found)[1]


def test_what_is_not_known_is_named(
    config: Callable[..., TrainConfig], base_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="base `someone/model`"):
        training_shapes(config(base="someone/model"))
    with pytest.raises(
        InputError, match="encoder `someone/backbone`: not one of pair, openai/clip"
    ):
        training_shapes(config(encoder="someone/backbone"))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(InputError, match="base"):
        training_shapes(config(base=str(tmp_path)))
