"""The study's script: nested families, and a drawing that shows what was measured."""

from collections.abc import Callable
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("study")


def test_fewer_families_are_among_more_and_draws_differ(study: ModuleType) -> None:
    names = [f"family{n}" for n in range(31)]
    four, eight = (set(study.chosen_families(count, 0, names)) for count in (4, 8))
    assert len(four) == 4 and four < eight
    assert four != set(study.chosen_families(4, 1, names))


def test_every_training_has_a_name_of_its_own_and_main_arms_come_first(study: ModuleType) -> None:
    names = [training.name for training in study.trainings("tiny", "narrow")]
    assert len(set(names)) == len(names)
    assert [name.rsplit("-seed")[0] for name in names[:3]] == [
        "tiny-t31-lorweb",
        "tiny-t31-token-control",
        "tiny-t31-single-lora",
    ]


def test_an_estimate_is_the_mean_of_transformations_and_lies_in_its_interval(
    study: ModuleType,
) -> None:
    count = 60
    transformation = np.array([f"t{n % 20}" for n in range(count)])
    table = {
        "transformation": transformation,
        "family": np.array([f"f{n % 20 // 2}" for n in range(count)]),
        "split": np.full(count, "unseen"),
        "tier": np.full(count, "new_family"),
        "kind": np.full(count, "colour"),
        "hard": np.zeros(count, bool),
        "a_source": np.array([f"a{n % 11}" for n in range(count)]),
        "b_source": np.array([f"b{n % 13}" for n in range(count)]),
    }
    values = np.random.default_rng(0).uniform(0, 1, (1, count))
    point, low, high = study.estimate(values, table, "unseen")
    of_each = [values[0, transformation == name].mean() for name in set(transformation)]
    assert point == pytest.approx(np.mean(of_each))
    assert low < point < high


def test_the_drawing_has_a_mark_for_each_line_within_its_interval(study: ModuleType) -> None:
    lines = [
        study.Line("lorweb", 3, 0.5, 0.4, 0.6),
        study.Line("lorweb with a fit", 1, 0.7, 0.65, 0.8),
    ]
    tree = ElementTree.fromstring(study.draw(lines))
    first, second = (float(mark.get("cx", "")) for mark in tree.iter(f"{SVG}circle"))
    assert second - first == pytest.approx(0.2 * study.WIDTH, abs=0.2)
    words = [text.text for text in tree.iter(f"{SVG}text")]
    assert {"lorweb", "lorweb with a fit", "0.50, 3 trained"} <= set(words)
