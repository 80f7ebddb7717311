"""The study's script: nested families, and an order of trainings."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def study(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("study")


def test_fewer_families_are_among_more_and_draws_differ(study: ModuleType) -> None:
    names = [f"family{n}" for n in range(31)]
    four, eight = (set(study.chosen_families(count, 0, names)) for count in (4, 8))
    assert len(four) == 4 and four < eight
    assert four != set(study.chosen_families(4, 1, names))


def test_every_training_has_a_name_of_its_own_and_main_arms_come_first(study: ModuleType) -> None:
    names = [training.name for training in study.trainings("tiny", "narrow")]
    assert len(set(names)) == len(names)
    assert [name.rsplit("-seed")[0] for name in names[:3]] == [
        "tiny-t31-lorweb",
        "tiny-t31-token-control",
        "tiny-t31-single-lora",
    ]


def test_bounds_are_searched_on_a_checkpoint_that_was_trained_first(
    study: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    monkeypatch.setattr(study, "ORACLES", tmp_path)
    monkeypatch.setattr(study, "run_logged", lambda words, log: commands.append(words[4]))
    monkeypatch.setattr(study, "keep_oracle", lambda *_: None)
    study.run_oracle(study.Training("tiny", 31, 0, "lorweb", 1), tmp_path, tmp_path / "suite")
    assert commands == ["train", "oracle"]
