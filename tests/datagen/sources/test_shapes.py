"""An after of another shape is laid over what it shows of its before, or left out, and counted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.sources.scenes.compose import scene
from datagen.sources.shapes import fit_shapes
from datagen.sources.source import Pair
from lorweb_bench.data.images import encode


def wide(seed: int) -> np.ndarray:
    return scene(6000 + seed, 160, 240)


def edited(image: np.ndarray) -> np.ndarray:
    return 255 - image


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height)))


def pair(before: np.ndarray, after: np.ndarray) -> Pair:
    made = Pair("t", "p", lambda: before, lambda: after, "", "", "", "p")
    return Pair(**{**vars(made), "sizes": (before.shape[:2], after.shape[:2])})


def panels(before: np.ndarray, after: np.ndarray, option: str = "crop"):
    """Before and after as fitted, the after resized to its before; and the note."""
    found, (note,) = fit_shapes([pair(before, after)], option)  # type: ignore[arg-type]
    first, second = found[0].before(), found[0].after()
    return first, resized(second, first.shape[1], first.shape[0]), note


def apart(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(edited(before).astype(int) - after).mean())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("left", [0, 40, 71])
def test_a_square_that_was_cut_out_is_found(seed: int, left: int) -> None:
    before = wide(seed)
    after = resized(edited(before)[:, left : left + 160], 128, 128)
    first, second, note = panels(before, after)
    assert abs(first.shape[1] / first.shape[0] - 1) < 0.05
    assert apart(first, second) < 14 < apart(before, resized(after, 240, 160))
    assert "cropped to what both show" in note


@pytest.mark.parametrize("seed", range(4))
def test_a_before_within_a_larger_after_is_found(seed: int) -> None:
    """An editor that fills up above and below."""
    before = wide(seed)
    filled = np.concatenate([wide(90)[:40], edited(before), wide(91)[:40]])
    first, second, note = panels(before, filled)
    assert first.shape == before.shape and apart(first, second) < 14
    assert "cropped to what both show" in note


@pytest.mark.parametrize("seed", range(4))
def test_a_squeezed_after_is_stretched_back(seed: int) -> None:
    before = wide(seed)
    first, second, note = panels(before, resized(edited(before), 144, 128))
    assert first.shape == before.shape and apart(first, second) < 14
    assert "stretched back" in note


@pytest.mark.parametrize("option", ["crop", "pad", "leave_out"])
@pytest.mark.parametrize("turns", [1, 3])
def test_a_turned_after_is_turned_back_whatever_the_option(turns: int, option: str) -> None:
    before = wide(7)
    after = np.ascontiguousarray(np.rot90(edited(before), turns))
    first, second, note = panels(before, after, option)
    assert apart(first, second) < 1 and "turned as their before" in note


def test_padding_shows_all_of_both() -> None:
    before = wide(3)
    first, second, note = panels(before, edited(before)[:, 40:200], "pad")
    assert first.shape == second.shape == before.shape
    assert (second[:, :39] == 255).all() and (second[:, 201:] == 255).all()
    assert apart(before[:, 42:198], second[:, 42:198]) < 2 and "padded" in note


def test_what_has_nothing_in_common_is_left_out() -> None:
    other = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    found, (note,) = fit_shapes([pair(wide(1), other)], "crop")
    assert not found and getattr(note, "filter", "") == "shape"
    assert "its after has 128 x 128 pixels, another shape than 240 x 160" in str(note)


def test_rounded_sizes_and_stretching_by_option_change_nothing() -> None:
    rounded = pair(wide(1), resized(edited(wide(1)), 256, 168))
    square = pair(wide(1), resized(edited(wide(1)), 128, 128))
    assert fit_shapes([rounded], "crop") == ([rounded], [])
    assert fit_shapes([square], "stretch") == ([square], [])


def test_a_build_counts_what_was_fitted_and_left_out(tmp_path: Path) -> None:
    for i in range(4):
        before = wide(20 + i)
        after = edited(before)[:, 40:200] if i < 3 else scene(1, 128, 128)[::-1]
        for side, image in (("before", before), ("after", after)):
            file = tmp_path / "p" / "negative" / f"{i}.{side}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode(np.ascontiguousarray(image)))
    (tmp_path / "r.yaml").write_text(
        f"name: shapes\nversion: '1'\nseed: 1\nsource: {{kind: pairs, path: {tmp_path / 'p'}}}\n"
        "panel: {long_edge: 64}\nsplits: {train: all}\nanalogies_per_pair: all\n"
    )
    built = build(read_recipe(tmp_path / "r.yaml"), tmp_path / "out", workers=2)
    assert built is not None
    assert built.dataset.split("train").samples == 6
    assert built.dataset.manifest.left_out == {"shape": 1}
    assert "3 afters have another shape than their before: 3 cropped to what both show" in (
        list(built.notes)
    )
    for quadruplet in built.dataset.quadruplets("train"):
        assert quadruplet.a.size == (64, 64)
        assert apart(np.asarray(quadruplet.a), np.asarray(quadruplet.a_prime)) < 14
    left = build(
        read_recipe(tmp_path / "r.yaml", ["source.other_shape=stretch"]), tmp_path / "stretched"
    )
    assert left is not None and left.dataset.split("train").samples == 12
