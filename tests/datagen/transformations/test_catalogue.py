"""The library as a whole: names, descriptions, compositions and errors."""

import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.transformations import KIND_MODULES, Family, Library, library
from datagen.transformations.declaration import transformation_id
from lorweb_bench.errors import InputError

SINGLES = library().singles()


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def test_it_is_large_and_covers_every_kind() -> None:
    deterministic = [family for family in library().families.values() if family.deterministic]
    assert len(deterministic) >= 36
    assert len(SINGLES) >= 130
    assert {family.kind for family in deterministic} == set(KIND_MODULES)
    assert sum(not family.deterministic for family in library().families.values()) in (1, 2)


def test_ids_and_instructions_are_unique_and_well_formed() -> None:
    presets = [
        library().describe(family.name, values)
        for family in library().families.values()
        for values in family.presets
    ]
    assert len({item["id"] for item in presets}) == len(presets)
    assert len({item["instruction"] for item in presets}) == len(presets)
    for item in presets:
        assert re.fullmatch(r"[a-z0-9_-]+", item["id"])
        assert "__" not in item["id"]
        assert item["instruction"][0].islower()
        assert not item["instruction"].endswith(".")


def test_every_parameter_of_a_preset_is_documented() -> None:
    for family in library().families.values():
        for values in family.presets:
            assert set(values) <= set(family.parameters), family.name
            if family.deterministic:
                assert set(values) == set(family.parameters), family.name


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"value": 0.5}, "gamma-value_0p5"),
        ({"value": -60}, "gamma-value_m60"),
        ({"value": 2.0}, "gamma-value_2"),
        ({"b": "Top Left", "a": [1, -0.25]}, "gamma-a_1_m0p25-b_top_left"),
        ({}, "gamma"),
    ],
)
def test_ids_spell_numbers_and_words(parameters: dict, expected: str) -> None:
    assert transformation_id("gamma", parameters) == expected


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_ids_of_different_numbers_differ(first: float, second: float) -> None:
    ids = [transformation_id("gamma", {"value": value}) for value in (first, second)]
    assert (ids[0] == ids[1]) == (first == second)
    assert all(re.fullmatch(r"[a-z0-9_-]+", item) for item in ids)


@given(st.sampled_from(sorted(SINGLES)), st.sampled_from(sorted(SINGLES)))
def test_a_composition_is_one_after_the_other(first: str, second: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
    both = library().compose(SINGLES[first], SINGLES[second])
    assert both["id"] == f"{first}__{second}"
    assert both["deterministic"]
    expected = library().apply(SINGLES[second], library().apply(SINGLES[first], image))
    assert np.array_equal(library().apply(both, image), expected)


def test_a_composition_is_described_by_its_parts() -> None:
    turn, tone = (
        library().describe("rotate", {"degrees": 90}),
        library().describe("gamma", {"value": 0.45}),
    )
    both = library().compose(turn, tone)
    assert both == {
        "id": "rotate-degrees_90__gamma-value_0p45",
        "family": "rotate+gamma",
        "kind": "composition",
        "parameters": {
            "steps": [
                {"family": item["family"], "parameters": item["parameters"]}
                for item in (turn, tone)
            ]
        },
        "instruction": "rotate the picture clockwise by 90 degrees, then apply a gamma of 0.45",
        "deterministic": True,
    }
    assert (
        library().compose(turn, library().describe("flip", {"axis": "vertical"}))["kind"]
        == "geometry"
    )
    three = library().compose(both, turn)
    assert [step["family"] for step in three["parameters"]["steps"]] == [
        "rotate",
        "gamma",
        "rotate",
    ]


def test_fresh_seeds_differ_and_given_seeds_repeat(image: np.ndarray) -> None:
    for family in library().families.values():
        if not family.deterministic:
            spec = {"family": family.name, "parameters": family.presets[0]}
            seeded = {"family": family.name, "parameters": {**family.presets[0], "seed": 5}}
            assert not np.array_equal(library().apply(spec, image), library().apply(spec, image))
            assert np.array_equal(library().apply(seeded, image), library().apply(seeded, image))
            assert not library().compose(spec, SINGLES["invert"])["deterministic"]


def test_the_library_can_be_sent_to_another_process(image: np.ndarray) -> None:
    copy = pickle.loads(pickle.dumps(library()))
    assert list(copy.singles()) == list(SINGLES)
    assert np.array_equal(copy.apply(SINGLES["invert"], image), 255 - image)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [("gamma", "value", -5), ("gamma", "value", "strong"), ("hue_shift", "degrees", 720)],
)
def test_what_a_recipe_gives_lies_in_the_documented_range(
    family: str, name: str, value: Any
) -> None:
    with pytest.raises(InputError, match=f"{name} was {value!r}"):
        library().describe(family, {name: value})


def test_errors_name_the_way_out(image: np.ndarray) -> None:
    with pytest.raises(InputError, match="'hue_shift'"):
        library().apply({"family": "hue_shfit", "parameters": {}}, image)
    with pytest.raises(InputError, match="degrees"):
        library().apply({"family": "hue_shift", "parameters": {"angle": 60}}, image)
    with pytest.raises(InputError, match="'left'"):
        library().apply({"family": "mirror_half", "parameters": {"side": "lefft"}}, image)
    with pytest.raises(InputError, match="'magenta'"):
        library().apply(
            {"family": "border", "parameters": {"shade": "magneta", "width": 0.1}}, image
        )
    with pytest.raises(InputError, match="value was 'strong'"):
        library().apply({"family": "gamma", "parameters": {"value": "strong"}}, image)
    with pytest.raises(InputError, match="snake_case"):
        Library([Family("Not good", "tone", True, {}, ({},), lambda image: image, "x".format)])
    with pytest.raises(ValueError, match="uint8"):
        library().apply(SINGLES["invert"], image[..., 0])


def test_a_family_that_changes_the_size_is_refused(image: np.ndarray) -> None:
    shrinking = Library(
        [Family("shrink", "geometry", True, {}, ({},), lambda image: image[::2], "shrink".format)]
    )
    with pytest.raises(InputError, match="must give"):
        shrinking.apply({"family": "shrink", "parameters": {}}, image)


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, datagen.transformations; "
        "print([name for name in ('cv2', 'skimage', 'scipy', 'PIL', 'torch') "
        "if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
