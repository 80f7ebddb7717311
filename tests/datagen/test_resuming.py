"""What may change between a death and the next run, and what may not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError

Write = Callable[..., Path]
PHOTOGRAPHS = [
    "transformations={families: [invert, flip]}",
    "tiers={}",
    "splits={train: 24}",
    "panel={square: 16}",
]
PAIRS = [
    "transformations={}",
    "tiers={}",
    "splits={train: all}",
    "panel={long_edge: 32}",
    "analogies_per_pair=all",
]
LAYOUTS: dict[
    str, tuple[tuple[str, ...], list[str]]
] = {  # by kind of source: the files of a number, and the recipe's other settings
    "photographs": (("{i}.png",), PHOTOGRAPHS),
    "pairs": (("{i}.before.png", "{i}.after.png"), PAIRS),
    "quadruplets": (("q{i}.a.png", "q{i}.a_prime.png", "q{i}.b.png", "q{i}.b_prime.png"), PAIRS),
}


def recipe_of(kind: str, folder: Path, write: Write) -> tuple[list[Path], Callable[[Path], object]]:
    """The files of a source of eight sets of images, and a function that builds a part of a
    dataset, or all of it, from them.
    """
    names, settings = LAYOUTS[kind]
    folder.mkdir()
    files = [folder / name.format(i=i) for i in range(8) for name in names]
    for number, file in enumerate(files):
        file.write_bytes(encode(scene(number, 32, 48)))
    shares = ", shares: {train: 0.6, calibration: 0.4}" if kind == "photographs" else ""
    recipe = read_recipe(write(), [*settings, f"source={{kind: {kind}, path: {folder}{shares}}}"])
    return files, lambda out, part=(1, 1), workers=1: build(recipe, out, workers, part=part)


@pytest.mark.parametrize("kind", sorted(LAYOUTS))
def test_another_picture_under_the_same_name_is_noticed(
    kind: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.build.SHARD", 4)
    monkeypatch.setattr("datagen.build.LEAST", 4)
    files, make = recipe_of(kind, tmp_path / "source", write)
    whole = make(tmp_path / "whole")
    assert make(tmp_path / "out", part=(1, 2)) is None  # type: ignore[call-arg]
    was = files[-1].read_bytes()
    Image.fromarray(255 - np.asarray(Image.open(files[-1]))).save(files[-1])
    with pytest.raises(InputError, match="begun with source_pixels"):
        make(tmp_path / "out")
    files[-1].write_bytes(was)
    Image.open(files[0]).save(
        files[0], compress_level=9
    )  # the same picture in other bytes is the same
    resumed = make(tmp_path / "out", workers=2)  # type: ignore[call-arg]
    assert resumed.dataset.manifest == whole.dataset.manifest  # type: ignore[attr-defined]


def test_a_training_dataset_that_was_built_anew_is_noticed(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.build.SHARD", 8)
    for name, count in (("one", 20), ("other", 24)):
        build(read_recipe(write(), [f"splits={{train: {count}}}"]), tmp_path / name)
    training = tmp_path / "training"
    settings = [
        f"tiers.relative_to={training}",
        "splits={seen: 10, unseen: 10}",
        "analogies_per_pair=1",
    ]
    (tmp_path / "one").rename(training)
    assert build(read_recipe(write(), settings), tmp_path / "suite", part=(1, 2)) is None
    training.rename(tmp_path / "one")
    (tmp_path / "other").rename(training)
    with pytest.raises(InputError, match="begun with .*relative_to"):
        build(read_recipe(write(), settings), tmp_path / "suite")
