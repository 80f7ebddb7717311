"""The grammar of compositions, read and written in one place."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorweb_bench.data import composition

NAMES = st.lists(st.from_regex(r"[a-z0-9]+(_[a-z0-9]+)*", fullmatch=True), min_size=1, max_size=4)


def test_the_examples_in_the_documentation_hold() -> None:
    tried = doctest.testmod(composition)
    assert (tried.failed, tried.attempted > 3) == (0, True)


@given(NAMES)
def test_a_composed_family_gives_its_families_back(names: list[str]) -> None:
    family = composition.joined_family(names)
    assert composition.families_of(family) == names
    assert composition.is_composed_family(family) == (len(names) > 1)
    assert composition.is_composed_id(composition.joined_id(names)) == (len(names) > 1)


def test_three_families_make_three_pairs() -> None:
    assert composition.family_pairs("a+b+c") == {
        frozenset("ab"),
        frozenset("ac"),
        frozenset("bc"),
    }
    assert composition.family_pairs("a") == set()


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({"family": "flip", "parameters": {"axis": "vertical"}}, ["flip"]),
        ({"family": "flip"}, ["flip"]),
        (
            {
                "family": "flip+invert",
                "parameters": {
                    "steps": [
                        {"family": "flip", "parameters": {"axis": "vertical"}},
                        {"family": "invert", "parameters": {}},
                    ]
                },
            },
            ["flip", "invert"],
        ),
    ],
)
def test_the_steps_of_a_transformation(spec: dict, families: list[str]) -> None:
    steps = composition.steps_of(spec)
    assert [step["family"] for step in steps] == families
    assert all(isinstance(step["parameters"], dict) for step in steps)
