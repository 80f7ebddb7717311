"""A source is a photograph and not a file: its copies are one before roles are given out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from datagen.build import build
from datagen.planning.source_roles import read_photographs, share_out
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.suites.leaks import find_leaks

TRAIN = """
name: copies-train
version: "1"
seed: 7
source: {{kind: photographs, path: {folder}}}
panel: {{square: 32}}
transformations:
  families: [hue_shift, invert, flip, gamma, border, tint, lines, rotate]
  compositions: {{count: 8}}
tiers:
  new_family: [sobel, letter]
  new_composition: {{family_pairs: 3}}
splits: {{train: 40, dev: 8}}
analogies_per_pair: 1
"""
SUITE = """
extends: train.yaml
name: copies
tiers: {{relative_to: {train}, transformations: 5}}
splits: {{seen: 16, unseen: 24}}
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive's 24 photographs; half of them with a thumbnail, an export, a mirror image."""
    folder = tmp_path_factory.mktemp("home") / "photos"
    for place in ("thumbs", "export", "mirror"):
        (folder / place).mkdir(parents=True)
    for i in range(24):
        picture = Image.fromarray(scene(7000 + i, 192, 256))
        picture.save(folder / f"img-{i:02d}.jpg", quality=92)
        if i % 2 == 0:
            picture.resize((96, 72)).save(folder / "thumbs" / f"t-{i:02d}.jpg", quality=80)
            ImageOps.crop(picture, 3).save(folder / "export" / f"e-{i:02d}.jpg", quality=75)
            ImageOps.mirror(picture).save(folder / "mirror" / f"m-{i:02d}.png")
    return folder


def recipe(folder: Path, text: str = TRAIN, *settings: str, **more: object) -> Recipe:
    path = folder.parent / ("train.yaml" if text == TRAIN else "suite.yaml")
    path.write_text(text.format(folder=folder, **more))
    return read_recipe(path, settings)


def test_of_copies_the_largest_is_used_and_the_others_are_counted(photos: Path) -> None:
    sources, notes = read_photographs(recipe(photos))
    assert {source.name for source in sources} == {f"img-{i:02d}" for i in range(24)}
    copies = [note for note in notes if not isinstance(note, str)]
    assert {note.filter for note in copies} == {"near_duplicate"}
    assert len(copies) == 36
    assert any(str(n).startswith("mirror-m-04: it looks like img-04, which is") for n in copies)


def test_a_copy_that_is_larger_takes_the_place_of_the_original(tmp_path: Path) -> None:
    for name, size in (("a-small", (64, 48)), ("b-large", (256, 192)), ("c-middle", (128, 96))):
        Image.fromarray(scene(1, 192, 256)).resize(size).save(tmp_path / f"{name}.png")
    for i in range(10):
        Image.fromarray(scene(50 + i, 48, 64)).save(tmp_path / f"p{i}.png")
    names = {source.name for source in read_photographs(recipe(tmp_path))[0]}
    assert "b-large" in names and not {"a-small", "c-middle"} & names


def test_no_copy_stands_on_the_other_side_of_a_split(photos: Path, tmp_path: Path) -> None:
    train = build(recipe(photos), tmp_path / "train")
    assert train is not None
    suite = build(recipe(photos, SUITE, train=train.dataset.path), tmp_path / "suite", workers=2)
    assert suite is not None
    assert train.dataset.manifest.left_out["near_duplicate"] == 36
    found = find_leaks(train.dataset.path, suite.dataset.path)
    assert found.sources == [] and found.like_sources == [] and found.leaks == []


def test_leaks_compares_whole_photographs_when_copies_are_sources(
    photos: Path, tmp_path: Path
) -> None:
    files = "filters.near_duplicates=false"
    train = build(recipe(photos, TRAIN, files), tmp_path / "train")
    assert train is not None
    suite = build(recipe(photos, SUITE, files, train=train.dataset.path), tmp_path / "suite")
    assert suite is not None
    found = find_leaks(train.dataset.path, suite.dataset.path)
    expected = copied(used(suite.dataset), used(train.dataset))
    assert expected and {pair.suite for pair in found.like_sources} == expected
    assert any("near-equal to trained ones" in sentence for sentence in found.leaks)


def used(dataset: Dataset) -> set[str]:
    return {name for split in dataset.splits for name in dataset.sources(split)}


def copied(suite: set[str], train: set[str]) -> set[str]:
    """The suite's files whose number is that of a trained file."""
    numbers = {name[-2:] for name in train}
    return {name for name in suite if name[-2:] in numbers}


def test_an_assigned_copy_is_refused_with_the_one_that_it_is_like(photos: Path) -> None:
    assign = "source.assign={train: [img-00, export-e-00], calibration: [img-01, img-03]}"
    with pytest.raises(InputError, match="names export-e-00: it looks like img-00"):
        share_out(recipe(photos, TRAIN, assign))


def test_pinned_photographs_are_used_as_they_are(photos: Path, tmp_path: Path) -> None:
    from datagen.pinning import pin

    count, _ = pin(photos.parent / "train.yaml", tmp_path / "pinned.yaml")
    assert count == 24
    pins = read_recipe(tmp_path / "pinned.yaml")
    assert not pins.one_of_near_duplicates
    assert len(read_photographs(pins)[0]) == 24


def test_photographs_without_content_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for i in range(12):
        picture = np.full((48, 64, 3), 100 + i, np.uint8)
        picture[:24] = scene(80 + i, 24, 64) if i > 2 else picture[:24]
        Image.fromarray(picture).save(tmp_path / f"p{i:02d}.png")
    assert len(read_photographs(recipe(tmp_path))[0]) == 12
