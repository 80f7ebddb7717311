"""What each family declares holds: its values run on any size, others are refused."""

import doctest
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.transformations import Below, Family, Parameter, declaration, library
from lorweb_bench.errors import InputError

SIZES = [(64, 64), (64, 96), (47, 65), (65, 47), (16, 16), (17, 120)]  # height, width
FAMILIES = library().families
PHOTOGRAPH = skimage.data.astronaut()


def values_of(parameter: Parameter) -> st.SearchStrategy[Any]:
    """Values that a parameter declares to take."""
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if parameter.longest is not None:
        return st.text("ABCxyz089 ", min_size=1, max_size=parameter.longest)
    assert parameter.low is not None and parameter.high is not None
    if not parameter.whole:
        return st.floats(parameter.low, parameter.high).map(lambda value: round(value, 3))
    steps = int(parameter.high - parameter.low) // parameter.step
    return st.integers(0, steps).map(lambda n: int(parameter.low or 0) + n * parameter.step)


def parameters(family: Family) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters that a family declares to take."""
    drawn = st.fixed_dictionaries({n: values_of(p) for n, p in family.parameters.items()})
    return drawn.filter(lambda values: all(values[r.lower] < values[r.upper] for r in family.rules))


def extremes(family: Family) -> Iterator[dict[str, Any]]:
    """Every combination of the least and the greatest value of each parameter."""
    ends = {
        name: (parameter.choices[0], parameter.choices[-1])
        if parameter.choices
        else ("A", "MM"[: parameter.longest])
        if parameter.longest
        else (parameter.low, parameter.high)
        for name, parameter in family.parameters.items()
    }
    for row in itertools.product(*ends.values()):
        values = dict(zip(ends, row, strict=True))
        if all(values[rule.lower] < values[rule.upper] for rule in family.rules):
            yield values


def photograph(height: int, width: int) -> np.ndarray:
    image = cv2.resize(PHOTOGRAPH[:400, :400], (width, height), interpolation=cv2.INTER_AREA)
    image.flags.writeable = False
    return image


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


@pytest.mark.parametrize("name", FAMILIES)
def test_the_limits_themselves_run_without_a_numerical_fault(name: str) -> None:
    images = photograph(24, 31), np.zeros((24, 31, 3), np.uint8)
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for values in extremes(FAMILIES[name]):
            for image in images:
                library().apply({"family": name, "parameters": values}, image)


def test_families_that_are_not_deterministic_say_so() -> None:
    image = photograph(64, 64)
    for family in FAMILIES.values():
        spec = {"family": family.name, "parameters": family.presets[0]}
        same = np.array_equal(library().apply(spec, image), library().apply(spec, image))
        assert same is family.deterministic, family.name


# Written down by hand from what the documentation promised before parameters were typed.
TAKEN = [
    ("gamma", {"value": 0.2}),
    ("gamma", {"value": 5}),
    ("brightness", {"offset": -255}),
    ("clip_levels", {"low": 0, "high": 1}),
    ("clip_levels", {"low": 254, "high": 255}),
    ("posterise", {"levels": 8}),
    ("posterise", {"levels": 4.0}),
    ("kaleidoscope", {"segments": 24}),
    ("shear", {"amount": -1}),
    ("fisheye", {"strength": -0.9}),
    ("rotate", {"degrees": 270}),
    ("letter", {"text": "Ok", "shade": "navy"}),
    ("crystals", {"size": 2, "seed": 2**31}),
    ("quadrants", {"arrangement": "opposite"}),
    ("fresh_noise", {"sigma": 5}),
    ("fresh_noise", {"sigma": 5, "seed": 0}),
]
REFUSED = [
    ("gamma", {"value": 50}, "value was 50"),
    ("gamma", {"value": -5}, "value was -5"),
    ("gamma", {"value": "strong"}, "value was 'strong'"),
    ("gamma", {"value": True}, "value was True"),
    ("gamma", {"value": math.nan}, "value was nan"),
    ("gamma", {"value": None}, "value was None"),
    ("gamma", {}, "given were no parameters"),
    ("gamma", {"value": 2, "colour": "red"}, "given were value, colour"),
    ("hue_shift", {"degrees": 720}, "degrees was 720"),
    ("clip_levels", {"low": 10, "high": 5000}, "high was 5000"),
    ("clip_levels", {"low": 200, "high": 100}, "with low < high; low 200 and high 100"),
    ("clip_levels", {"low": 10, "high": 10}, "with low < high; low 10 and high 10"),
    ("clip_levels", {"low": -1, "high": 10}, "low was -1"),
    ("clip_levels", {"low": 255, "high": 255}, "low was 255"),
    ("posterise", {"levels": 1}, "levels was 1"),
    ("posterise", {"levels": 2.5}, "levels was 2.5"),
    ("kaleidoscope", {"segments": 5}, "segments was 5"),
    ("rotate", {"degrees": 45}, "90, 180 or 270"),
    ("rotate", {"degrees": "90"}, "degrees was '90'"),
    ("ordered_dither", {"matrix": 3, "mode": "gray"}, "2, 4 or 8"),
    ("ordered_dither", {"matrix": 4, "mode": "grey"}, "did you mean 'gray'"),
    ("border", {"shade": "magneta", "width": 0.1}, "did you mean 'magenta'"),
    ("letter", {"text": "ABC", "shade": "red"}, "text was 'ABC'"),
    ("letter", {"text": "", "shade": "red"}, "text was ''"),
    ("crystals", {"size": 8, "seed": -1}, "seed was -1"),
    ("crystals", {"size": 8, "seed": 1.5}, "seed was 1.5"),
    ("confetti", {"count": 10**9, "seed": 1}, "count was 1000000000"),
    ("fresh_noise", {"sigma": 5, "seed": "x"}, "seed was 'x'"),
]


@pytest.mark.parametrize(("family", "values"), TAKEN)
def test_values_within_the_limits_are_taken(family: str, values: dict[str, Any]) -> None:
    described = library().describe(family, values)
    assert described["parameters"] == values
    assert library().apply(described, photograph(64, 64)).shape == (64, 64, 3)


@pytest.mark.parametrize(("family", "values", "said"), REFUSED)
def test_values_outside_the_limits_are_refused(
    family: str, values: dict[str, Any], said: str
) -> None:
    for use in (
        lambda: library().describe(family, values),
        lambda: library().apply({"family": family, "parameters": values}, photograph(64, 64)),
    ):
        with pytest.raises(InputError) as error:
            use()
        assert f"The family '{family}' takes " in str(error.value)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Parameter("of nothing"),
        lambda: Parameter("with one limit", low=1),
        lambda: Parameter("of two sorts", 0, 1, choices=("a",)),
        lambda: Parameter("upside down", 3, 2),
    ],
)
def test_a_parameter_without_a_limit_cannot_be_declared(wrong: Any) -> None:
    with pytest.raises(ValueError, match="the parameter"):
        wrong()


def test_a_declaration_and_its_function_have_the_same_parameters() -> None:
    def lift(image: np.ndarray, by: int) -> np.ndarray:
        return image

    by = {"by": Parameter("rise", 0, 255)}
    assert Family("lift", "tone", True, by, ({"by": 3},), lift, "lift".format).required == {"by"}
    with pytest.raises(InputError, match="they must be the same"):
        Family("lift", "tone", True, {"to": by["by"]}, ({"to": 3},), lift, "lift".format)
    with pytest.raises(InputError, match="they must be the same"):
        rules = (Below("by", "to"),)
        Family("lift", "tone", True, by, ({"by": 3},), lift, "lift".format, rules)
    with pytest.raises(InputError, match="by was 300"):
        Family("lift", "tone", True, by, ({"by": 300},), lift, "lift".format)


def test_a_list_of_numbers_is_one_parameter() -> None:
    shade = Parameter("levels of the colour", 0, 255, whole=True, length=3)
    assert shade.read((np.uint8(3), 4, 5.0)) == [3, 4, 5]
    for wrong in ((3, 4), 3, "345", (3, 4, 256)):
        with pytest.raises(ValueError):
            shade.read(wrong)


def test_the_examples_in_the_documentation_hold() -> None:
    tried = doctest.testmod(declaration)
    assert (tried.failed, tried.attempted > 5) == (0, True)


def test_lengths_are_told_as_they_are_seen() -> None:
    """A period that is measured in the result is the share of the short side that the words say."""
    for family, values, measure in (
        ("pixelate", {"size": 16}, lambda row: np.flatnonzero(np.diff(row))[0] + 1),
        ("scan_gaps", {"period": 8}, lambda row: 2 * (np.flatnonzero(row == 0)[0])),
        ("line_screen", {"spacing": 8, "degrees": 0}, _period),
    ):
        told = library().describe(family, values)["instruction"]
        share = re.search(r"([\d.]+) % of the short side", told)
        assert share is not None, told
        for short in (64, 128, 256):
            ramp = np.linspace(60, 190, short).astype(np.uint8)
            image = np.broadcast_to(ramp[:, None, None], (short, short + 16, 3)).copy()
            result = library().apply({"family": family, "parameters": values}, image)
            seen = measure(result[:, 5, 0].astype(int)) / short
            assert seen == pytest.approx(float(share[1]) / 100, abs=1.5 / short), told


def _period(row: np.ndarray) -> float:
    """The mean distance between the starts of dark lines."""
    starts = np.flatnonzero((row[1:] == 0) & (row[:-1] > 0))
    return float(np.diff(starts).mean())


def test_no_instruction_tells_pixels_unless_it_is_asked_to() -> None:
    shares, pixels = library(), library().telling("pixels")
    told = {name: spec["instruction"] for name, spec in shares.singles().items()}
    before = {name: spec["instruction"] for name, spec in pixels.singles().items()}
    of_pixels = {"salt_and_pepper", "median_blur", "pixel_sort"}  # they speak of single pixels
    assert [
        text
        for name, text in told.items()
        if re.search(r"\d pixel|px", text) and name.split("-")[0] not in of_pixels
    ] == []
    changed = [name for name in told if told[name] != before[name]]
    families = {shares.singles()[name]["family"] for name in changed}
    assert (len(families), len(changed)) == (31, 109)
    assert told["pixelate-size_16"] == "pixelate the picture into blocks of 25 % of the short side"
    assert before["pixelate-size_16"] == "pixelate the picture into blocks of 16 pixels"
    assert len(set(told.values())) == len(told)
