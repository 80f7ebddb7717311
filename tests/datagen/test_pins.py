"""Pinned builds: in the pinned environment a suite comes out to its fingerprint; elsewhere it is
said what drifted.
"""

from pathlib import Path

import numpy as np
import pytest

from datagen.build import build, report
from datagen.recipe.reading import read_recipe
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import decode, encode
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.runtime.environment import build_environment
from lorweb_bench.scoring.evaluate import evaluate
from lorweb_bench.suites import pins
from lorweb_bench.suites.pins import Pin, drift, pin_of
from lorweb_bench.suites.publish import publish

PINNED = Pin.model_validate_json((Path(__file__).parent / "small-pin.json").read_text())


@pytest.fixture
def pinned(suite: Dataset, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """The small suite as it is built here, pinned."""
    pin = pin_of(suite)
    monkeypatch.setattr(pins, "pins", lambda: {(pin.name, pin.version): pin})
    return pin


def changed(suite: Dataset, folder: Path, transformation: str) -> Dataset:
    """A copy of a suite in which the results of one transformation are a level off, as with another
    version of a library.
    """
    for split in suite.splits:
        with ShardWriter(folder, split, 0) as shard:
            for sample in suite.samples(split):
                made = dict(sample.images)
                if sample.record["transformation"] == transformation:
                    for role in ("a_prime", "b_prime"):
                        image = np.array(decode(sample.images[role], role))
                        image[0, 0, 0] ^= 1
                        made[role] = encode(image)
                shard.add(
                    sample.key,
                    {role: (data, "png") for role, data in made.items()},
                    dict(sample.record),
                )
    fields = (
        "name",
        "version",
        "view",
        "recipe",
        "transformations",
        "transformation_library",
        "tiers_relative_to",
    )
    manifest = suite.manifest.model_dump(mode="json")
    return finish_dataset(folder, {name: manifest[name] for name in fields})


def test_a_small_suite_comes_out_as_pinned(suite: Dataset) -> None:
    """Where the libraries are those of the pin; elsewhere they are named."""
    made = pin_of(suite)
    if made.environment == PINNED.environment:
        assert made == PINNED
    elif made.fingerprint != PINNED.fingerprint:
        pytest.skip("these are not the pinned libraries")


def test_a_build_like_its_pin_says_nothing(suite: Dataset, pinned: Pin, tmp_path: Path) -> None:
    assert drift(suite) is None
    assert drift(publish(suite.path, tmp_path / "public")) is None
    assert evaluate("copy-b", suite, ["mse"]).unpinned is None


def test_a_drifted_build_names_transformations_and_libraries_and_marks_scores(
    suite: Dataset,
    pinned: Pin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = sorted(pinned.transformations)[2]
    other = changed(suite, tmp_path / "other", name)
    monkeypatch.setattr(pins, "build_environment", lambda: build_environment() | {"numpy": "1.0"})
    found = drift(other)
    assert found is not None and found.transformations == (name,)
    assert found.libraries == (f"numpy 1.0, not {pinned.environment['numpy']}",)
    assert found.causes == ()
    said = evaluate("copy-b", other, ["mse"], out=tmp_path / "r").unpinned
    assert (
        said == f"small 1 is an unpinned build: 1 transformations drifted ({name}); "
        f"libraries here: {found.libraries[0]}"
    )
    page = (tmp_path / "r" / "index.html").read_text()
    assert "an unpinned build" in page and name in page
    assert drift(publish(other.path, tmp_path / "public")) is not None


def test_other_photographs_and_another_training_dataset_are_told_apart(
    suite: Dataset, pinned: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = pinned.model_copy(
        update={"shown": "0" * 16, "tiers_relative_to": "1" * 64, "fingerprint": "2" * 64}
    )
    monkeypatch.setattr(pins, "pins", lambda: {(pinned.name, pinned.version): other})
    said = str(drift(suite))
    assert (
        "relative to another training dataset" in said
        and "photographs, or their crops, are not the pinned ones" in said
    )
    assert "the libraries here are the pinned ones" in said


def test_every_pin_is_of_a_ready_recipe_and_a_suite() -> None:
    found = pins.pins()
    assert ("photos-mini", "2") in found
    for name, version in found:
        recipe = read_recipe(name)
        assert recipe.is_suite and recipe.version == version


def test_a_build_says_how_it_differs_from_its_pin(
    suite: Dataset, pinned: Pin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = pinned.model_copy(
        update={
            "fingerprint": "2" * 64,
            "transformations": {**pinned.transformations, "swirl": "0" * 16},
        }
    )
    monkeypatch.setattr(pins, "pins", lambda: {(pinned.name, pinned.version): other})
    recipe = suite.path.parent / "suite.yaml"
    report(
        build(read_recipe(recipe, [f"tiers.relative_to={suite.path.parent / 'train'}"]), suite.path)
    )
    assert "an unpinned build: 1 transformations drifted (swirl)" in capsys.readouterr().err


def test_a_new_version_says_what_it_supersedes(
    suite: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = suite.path.parent / "suite.yaml"
    settings = [f"tiers.relative_to={suite.path.parent / 'train'}", "version='2'", "supersedes='1'"]
    second = build(read_recipe(recipe, settings), tmp_path / "second").dataset
    assert (second.version, second.manifest.supersedes) == ("2", "1")
    public = publish(second.path, tmp_path / "public")
    assert public.manifest.supersedes == "1"
    with pytest.raises(SystemExit):
        main(["inspect", str(second.path)])
    assert "takes the place of version 1" in capsys.readouterr().out
    assert suite.manifest.supersedes is None
    with pytest.raises(Exception, match="cannot supersede itself"):
        read_recipe(recipe, ["supersedes='1'"])


@pytest.mark.slow
def test_photos_mini_comes_out_as_pinned(tmp_path: Path) -> None:
    """Two minutes of one core: the demo's training dataset, and the suite relative to it."""
    pin = pins.pins()["photos-mini", "2"]
    train = build(read_recipe("photos-mini-train"), tmp_path / "train").dataset
    made = build(
        read_recipe("photos-mini", [f"tiers.relative_to={train.path}"]), tmp_path / "suite"
    ).dataset
    found = drift(made)
    if build_environment().items() <= pin.environment.items():
        assert found is None, str(found)
        assert train.fingerprint == pin.tiers_relative_to
    else:
        assert found is None or found.libraries
