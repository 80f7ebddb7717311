"""Compositions of two and of three steps: what is held out, that each step shows, and that each is
its steps one after the other.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.build import build
from datagen.planning.calibration import calibrate
from datagen.planning.compositions import by_seed, pairs_of, threes_of
from datagen.planning.source_roles import share_out
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.suites.leaks import find_leaks
from lorweb_bench.suites.verify import verify

HELD_OUT = 9  # pairs of families
SETTINGS = [
    "transformations.compositions={count: 12, of_three: 8}",
    f"tiers.new_composition={{family_pairs: {HELD_OUT}, of_three: 4}}",
]
SINGLES = library().singles()


@dataclass(frozen=True)
class Both:
    """A training dataset with compositions of three steps, its recipe, and a suite for it."""

    recipe: Recipe
    train: Dataset
    suite: Dataset


@pytest.fixture(scope="module")
def both(train: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder, file = tmp_path_factory.mktemp("threes"), train.path.parent / "train.yaml"
    recipe = read_recipe(file, SETTINGS)
    longer = build(recipe, folder / "train").dataset
    splits = [
        "splits={seen: 12, unseen: 24}",
        "analogies_per_pair=1",
        f"tiers.relative_to={longer.path}",
    ]
    return Both(
        recipe, longer, build(read_recipe(file, [*SETTINGS, *splits]), folder / "suite").dataset
    )


def families(dataset: Dataset, tier: str) -> list[str]:
    return [info.family for info in dataset.manifest.transformations.values() if info.tier == tier]


def test_training_has_both_lengths_and_no_pair_that_is_held_out(both: Both) -> None:
    trained = families(both.train, "seen_composition")
    assert [sum(family.count("+") == signs for family in trained) for signs in (1, 2)] == [12, 8]
    held = by_seed(
        both.recipe.seed,
        itertools.combinations(sorted(set(families(both.train, "seen_single"))), 2),
    )[:HELD_OUT]
    assert not pairs_of(trained) & set(map(frozenset, held))


def test_a_suite_takes_both_lengths_and_its_new_ones_hold_no_trained_pair(both: Both) -> None:
    records = [record for split in both.suite.splits for record in both.suite.records(split)]
    for tier in ("seen_composition", "new_composition"):
        assert {record.family.count("+") for record in records if record.tier == tier} == {1, 2}, (
            tier
        )
    new = [record.family for record in records if record.tier == "new_composition"]
    assert not pairs_of(new) & pairs_of(families(both.train, "seen_composition"))
    assert find_leaks(both.train.path, both.suite.path).leaks == []
    assert verify(both.suite.path, rerun=True).problems == []


def test_each_step_of_three_shows(both: Both) -> None:
    images = calibrate(both.recipe, share_out(both.recipe)).images

    def run(steps: list[dict]) -> list[np.ndarray]:
        results = images
        for step in steps:
            results = [library().apply(step, image) for image in results]
        return results

    for info in both.train.manifest.transformations.values():
        steps = info.parameters.get("steps", [])
        if len(steps) == 3:
            whole = run(steps)
            for i in range(3):
                rest = run([*steps[:i], *steps[i + 1 :]])
                apart = [
                    np.sqrt(((x.astype(float) - y) ** 2).mean())
                    for x, y in zip(whole, rest, strict=True)
                ]
                assert (
                    np.median(apart) > 7
                )  # the build measures on a sample of the pixels: leave it a level of its 8


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(SINGLES)), min_size=3, max_size=3))
def test_three_steps_are_one_after_the_other_in_images_ids_and_words(names: list[str]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
    spec = library().compose(*(SINGLES[name] for name in names))
    result = image
    for name in names:
        result = library().apply(SINGLES[name], result)
    assert np.array_equal(library().apply(spec, image), result)
    assert spec["id"] == "__".join(names)
    assert spec["instruction"] == ", then ".join(SINGLES[name]["instruction"] for name in names)


@given(st.sets(st.sampled_from("abcdefg"), min_size=3), st.data())
def test_threes_are_made_of_allowed_pairs_alone(names: set[str], data: st.DataObject) -> None:
    pairs = [frozenset(pair) for pair in itertools.combinations(sorted(names), 2)]
    allowed = data.draw(st.sets(st.sampled_from(pairs)))
    found = threes_of(names, allowed)
    assert pairs_of("+".join(group) for group in found) <= allowed
    assert len(found) == sum(
        {frozenset(p) for p in itertools.combinations(g, 2)} <= allowed
        for g in itertools.combinations(sorted(names), 3)
    )


def test_fewer_than_asked_for_is_said(train: Dataset, tmp_path: Path) -> None:
    few = [
        "transformations={families: [invert, flip, rotate], compositions: {of_three: 400}}",
        "splits={train: 60}",
    ]
    recipe = read_recipe(train.path.parent / "train.yaml", [*few, "tiers={}"])
    assert "of 400 compositions have three steps that can all be seen" in " ".join(
        build(recipe, tmp_path / "few").notes
    )
