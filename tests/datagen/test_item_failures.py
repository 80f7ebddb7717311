"""An error in a transformation costs the items that it happens in, and not the build."""

from pathlib import Path

import numpy as np
import pytest

from datagen.build import build, report
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import PanelSection, Recipe
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError

BRITTLE = """
from datagen.transformations import family
import numpy as np
@family("brittle", kind="tone", presets=[{}], instruction="turn the levels round")
def brittle(image):
    if image.shape[1] > 3 * image.shape[0]:
        raise ZeroDivisionError("too wide for me")
    return 255 - image
"""
RECIPE = """
name: failing
version: "1"
seed: 3
source: {{kind: photographs, path: {folder}/photos, shares: {{train: 0.6, calibration: 0.4}}}}
panel: {{long_edge: 64}}
transformations: {{library: {folder}/brittle.py, families: [brittle, flip, hue_shift]}}
splits: {{train: 40}}
analogies_per_pair: 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Photographs of which some are too wide for one family."""
    (tmp_path / "photos").mkdir()
    for i in range(20):
        wide = i % 4 == 0
        picture = scene(4000 + i, 48, 240 if wide else 64)
        (tmp_path / "photos" / f"{'wide' if wide else 'plain'}-{i}.png").write_bytes(
            encode(picture)
        )
    (tmp_path / "brittle.py").write_text(BRITTLE)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(folder=tmp_path))
    return read_recipe(tmp_path / "recipe.yaml", [f"source.assign={assigned(tmp_path)}"])


def assigned(folder: Path) -> str:
    """Every wide photograph is trained on, so that calibration meets none."""
    names = sorted(file.stem for file in (folder / "photos").glob("*.png"))
    wide = [name for name in names if name.startswith("wide")]
    plain = [name for name in names if name.startswith("plain")]
    train, calibration = ", ".join(wide + plain[:8]), ", ".join(plain[8:])
    return f"{{train: [{train}], calibration: [{calibration}]}}"


def keys(dataset: Dataset) -> set[str]:
    return {record.id for record in dataset.records("train")}


def test_an_error_costs_its_items_which_are_named_and_counted(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = build(recipe, tmp_path / "out")
    assert built is not None
    failed = built.dataset.manifest.left_out["failed"]
    assert 0 < failed == built.dropped["train"] < 40
    report(built)
    told = capsys.readouterr().err
    assert "brittle fails on wide-" in told and "64 x 16 pixels (" in told
    assert "too wide for me" in told
    made = {record.transformation for record in built.dataset.records("train")}
    assert "brittle" in made and len(made) > 3


def test_the_other_items_are_those_of_a_build_without_errors(
    recipe: Recipe, tmp_path: Path
) -> None:
    failing = build(recipe, tmp_path / "failing")
    library = tmp_path / "brittle.py"
    library.write_text(BRITTLE.replace("raise ZeroDivisionError", "print"))
    whole = build(recipe, tmp_path / "whole", workers=2)
    assert failing is not None and whole is not None
    assert not whole.dropped
    assert keys(failing.dataset) < keys(whole.dataset)


def test_by_option_an_error_stops_the_build(recipe: Recipe, tmp_path: Path) -> None:
    strict = recipe.model_copy(
        update={"filters": recipe.filters.model_copy(update={"on_error": "fail"})}
    )
    with pytest.raises(InputError, match=r"brittle fails on wide-.*filters\.on_error=drop"):
        build(strict, tmp_path / "out")


def test_a_split_of_which_nothing_is_left_stops_the_build(tmp_path: Path, recipe: Recipe) -> None:
    wide = [name for name in recipe.source.assign["train"] if name.startswith("wide")]
    assign = {**recipe.source.assign, "train": tuple(wide)}
    only_wide = recipe.model_copy(
        update={
            "source": recipe.source.model_copy(update={"assign": assign}),
            "transformations": recipe.transformations.model_copy(update={"families": ("brittle",)}),
        }
    )
    with pytest.raises(
        InputError, match="none of the 40 items of train could be made .40 items failed"
    ):
        build(only_wide, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_transformation_that_fails_on_calibration_images_is_left_out(
    recipe: Recipe, tmp_path: Path
) -> None:
    library = tmp_path / "brittle.py"
    library.write_text(BRITTLE.replace("> 3 * image.shape[0]", "== 32"))
    small = recipe.model_copy(update={"panel": PanelSection(long_edge=32)})
    built = build(small, tmp_path / "out")
    assert built is not None
    assert not any(r.transformation == "brittle" for r in built.dataset.records("train"))
    (note,) = [note for note in built.notes if str(note).startswith("brittle: it fails on an")]
    assert "too wide for me" in str(note)


def test_what_is_not_the_items_fault_is_not_caught(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "wide-0.png").write_bytes(encode(np.zeros((48, 240, 3), np.uint8))[:99])
    with pytest.raises(InputError, match="wide-0"):
        build(recipe, tmp_path / "out")
