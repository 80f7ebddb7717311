"""Trackers of a training: those that are there get the run, those that are not are named."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.errors import InputError
from reference_model.config import TrainConfig
from reference_model.training.launching import make_accelerator, start_trackers


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_told_before_anything_runs(
    config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    find = importlib.util.find_spec

    def without(module: str, package: Any = None) -> Any:
        return None if module == name else find(module, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(InputError, match=f"training.trackers: {name} is not installed; `pip"):
        make_accelerator(config(training={"trackers": [name]}), tmp_path)


def test_trackio_gets_the_settings_and_the_loss(
    config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs where trackio is installed, which the pinned Pillow does not let it be."""
    trackio = pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    settings = config(training={"trackers": ["trackio"]})
    accelerator = make_accelerator(settings, tmp_path)
    start_trackers(accelerator, settings)
    accelerator.log({"loss": 0.5}, step=1)
    accelerator.end_training()
    assert trackio.Api().runs("lorweb")[0].name == settings.name
