"""Dry runs: counts from shapes alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base
from reference_model.cli import train
from reference_model.config import TrainConfig
from reference_model.model import shapes
from reference_model.model.adapter import new_adapter
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
