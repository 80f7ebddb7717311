"""`verify` holds a manifest to what it says of the declared base."""

from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.declared_base import read_base
from lorweb_bench.data.manifest import Manifest
from lorweb_bench.suites.base_check import check_base
from lorweb_bench.suites.verify import verify

TRAINED = {"family": "rotate", "tier": "seen_single", "trained": True, "known_to_base": True}
NEW = {"family": "shear", "tier": "new_to_base", "trained": False, "known_to_base": False}


def manifest(
    listed: dict[str, dict[str, Any]], base: dict[str, str] | None, place: str | None = None
) -> Manifest:
    return Manifest.model_validate(
        {
            "format": "lorweb-bench/dataset",
            "format_version": 1,
            "name": "n",
            "version": "1",
            "view": "full",
            "splits": {},
            "fingerprint": "f" * 64,
            "recipe": {"tiers": {"base": place}},
            "base": base,
            "transformations": listed,
        }
    )


@pytest.fixture(scope="module")
def tiny() -> dict[str, str]:
    """The base that ships, as a manifest declares it."""
    return {"name": "tiny", "fingerprint": read_base("tiny").fingerprint}


def test_what_is_as_the_base_says_has_no_problem(tiny: dict[str, str]) -> None:
    problems, said = check_base(manifest({"r": TRAINED, "s": NEW}, tiny))
    assert problems == []
    assert said.startswith("The declared base tiny (") and "by its own manifest" in said


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (
            {"r": TRAINED, "s": {**NEW, "family": "rotate"}},
            "1 transformation of new_to_base is of families that are trained on, s for one",
        ),
        (
            {"r": {**TRAINED, "family": "rotate+shear", "known_to_base": False}, "s": NEW},
            "1 transformation of new_to_base is of families that are trained on, s for one",
        ),
        (
            {"s": {**NEW, "known_to_base": True}, "t": {**NEW, "known_to_base": True}},
            "2 transformations of new_to_base are known to the declared base, s for one",
        ),
        (
            {"r": {**TRAINED, "known_to_base": None}},
            "1 transformation is not marked by whether the declared base knows them, r for one",
        ),
        (
            {"r": {**TRAINED, "known_to_base": False}},
            "marked as new to the base tiny, whose own manifest says otherwise, r for one",
        ),
        (
            {"x": {**NEW, "tier": "new_family", "known_to_base": True}},
            "marked as known to the base tiny, whose own manifest says otherwise, x for one",
        ),
        (
            {"r": TRAINED, "s": {**NEW, "family": "sobel"}},
            "marked as new to the base tiny, whose own manifest says otherwise, s for one",
        ),
    ],
)
def test_a_broken_promise_is_a_problem(
    tiny: dict[str, str], listed: dict[str, dict[str, Any]], said: str
) -> None:
    problems, _ = check_base(manifest(listed, tiny))
    assert said in " ".join(problems)


def test_nothing_is_new_to_a_base_or_marked_where_none_is_declared() -> None:
    problems, said = check_base(manifest({"s": NEW}, None))
    assert len(problems) == 2 and said == ""
    assert "new to a base that is not declared" in problems[0]
    assert "marked by what a base knows, and none is declared" in problems[1]


def test_another_base_of_that_name_is_not_asked_and_this_is_said() -> None:
    listed = {"r": {**TRAINED, "known_to_base": False}}  # tiny knows it; the declared one may not
    problems, said = check_base(manifest(listed, {"name": "tiny", "fingerprint": "b" * 64}))
    assert problems == []
    assert "from the manifest alone: the base tiny that is here" in said and "bbbbbbbb" in said


def test_a_base_is_looked_for_where_the_recipe_had_it(tiny: dict[str, str]) -> None:
    base = {"name": "warm", "fingerprint": tiny["fingerprint"]}
    assert "knows what the manifest says" in check_base(manifest({"r": TRAINED}, base, "tiny"))[1]


def test_verify_says_what_it_could_not_check(suite_with_base: Dataset) -> None:
    found = verify(suite_with_base.path, rerun=False)
    assert found.problems == []
    assert found.base == (
        "What the base knows was taken from the manifest alone: not-here: no base there; name "
        "`tiny` or a folder written by `lorweb-bench pretrain-tiny`."
    )


def test_verify_says_nothing_of_a_base_that_is_not_declared(small_suite: Dataset) -> None:
    assert verify(small_suite.path, rerun=False).base == ""
