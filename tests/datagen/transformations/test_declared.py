"""What each family declares holds: parameter ranges, any size, the same pixels each time, an instruction in words."""

import math
import re
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.transformations import Family, library
from datagen.transformations.arrays import COLOURS

SIZES = [(64, 64), (64, 96), (47, 65), (65, 47), (16, 16), (17, 120)]  # height, width
RANGE = re.compile(r"(-?\d+(?:\.\d+)?)(?:-| to )(-?\d+(?:\.\d+)?)")
WORDS = {
    "one or two characters": ["A", "8", "Ok"],
    "a short word": ["COPY", "draft"],
    "integer": [0, 1, 7, 2**31],
}
FAMILIES = library().families
PHOTOGRAPH = skimage.data.astronaut()


def choices(meaning: str) -> list[Any]:
    """The values that a documented list names: `bgr, grb or rbg, where …`, `clockwise quarter turns: 90, 180 or 270`."""
    listed = re.sub(r"\(.*?\)|, where .*|.*: ", "", meaning).strip()
    return [int(word) if word.isdigit() else word for word in re.split(r", | or ", listed)]


def limits(meaning: str) -> tuple[float, float] | None:
    """The documented range of a number; None where the meaning names none."""
    found = RANGE.search(re.sub(r" \(.*?\)", "", meaning))
    return (float(found[1]), float(found[2])) if found else None


def whole(family: Family, name: str) -> bool:
    """Whether a parameter counts something: its presets are all whole numbers."""
    return all(isinstance(values[name], int) for values in family.presets)


def values_of(family: Family, name: str) -> st.SearchStrategy[Any]:
    """All values that the documentation of a parameter allows."""
    meaning = family.parameters[name]
    if meaning == "a named colour":
        return st.sampled_from(sorted(COLOURS))
    if fixed := next(
        (values for start, values in WORDS.items() if meaning.startswith(start)), None
    ):
        return st.sampled_from(fixed)
    if (found := limits(meaning)) is None:
        return st.sampled_from(choices(meaning))
    low, high = found
    if not whole(family, name):
        return st.floats(low, high).map(lambda value: round(value, 3))
    step = 2 if "odd" in meaning or "even" in meaning else 1
    least = math.ceil(low)
    return st.integers(least, int(high)).map(lambda value: least + (value - least) // step * step)


def parameters(family: Family) -> st.SearchStrategy[dict[str, Any]]:
    """All parameters of a family within their documented ranges."""
    if family.name == "clip_levels":  # `high` is documented as above `low`
        return st.integers(0, 254).flatmap(
            lambda low: st.fixed_dictionaries(
                {"low": st.just(low), "high": st.integers(low + 1, 255)}
            )
        )
    return st.fixed_dictionaries({name: values_of(family, name) for name in family.parameters})


def photograph(height: int, width: int) -> np.ndarray:
    image = cv2.resize(PHOTOGRAPH[:400, :400], (width, height), interpolation=cv2.INTER_AREA)
    image.flags.writeable = False
    return image


def allowed(family: Family, name: str, value: Any) -> bool:
    meaning = family.parameters[name]
    if meaning == "a named colour":
        return value in COLOURS
    if any(meaning.startswith(start) for start in WORDS) or family.name == "clip_levels":
        return True
    found = limits(meaning)
    return value in choices(meaning) if found is None else found[0] <= value <= found[1]


def test_presets_lie_in_the_documented_ranges() -> None:
    outside = [
        (family.name, name, value)
        for family in FAMILIES.values()
        for values in family.presets
        for name, value in values.items()
        if not allowed(family, name, value)
    ]
    assert outside == []


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=6)
@given(data=st.data())
def test_a_family_keeps_what_it_declares(name: str, data: st.DataObject) -> None:
    family = FAMILIES[name]
    values: Mapping[str, Any] = data.draw(parameters(family))
    image = photograph(*data.draw(st.sampled_from(SIZES)))
    before = image.tobytes()
    first, again = (
        library().apply({"family": name, "parameters": values}, image) for _ in range(2)
    )
    assert (first.shape, first.dtype) == (image.shape, np.uint8)
    assert np.array_equal(first, again)  # a fresh family draws nothing where a seed is given
    assert image.tobytes() == before
    said = library().describe(name, values)["instruction"]
    assert (
        8 <= len(said) <= 120
        and said == said.strip()
        and said[0].islower()
        and said[-1] not in ".,;:"
        and "None" not in said
    )
    assert not re.search(r"\d\.\d{4,}|_|\ba [aeio]", said), said


def test_families_that_are_not_deterministic_say_so() -> None:
    image = photograph(64, 64)
    for family in FAMILIES.values():
        spec = {"family": family.name, "parameters": family.presets[0]}
        same = np.array_equal(library().apply(spec, image), library().apply(spec, image))
        assert same is family.deterministic, family.name
