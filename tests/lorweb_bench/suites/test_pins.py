"""Pins: a suite that bears a pinned name and is another build is named so wherever it is scored,
whichever suite it is.
"""

import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.scoring.evaluate import score
from lorweb_bench.suites.pins import drift, pins


@pytest.mark.parametrize(("name", "version"), sorted(pins()))
def test_another_build_of_any_pinned_name_is_marked_and_says_what_drifted(
    name: str, version: str, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    """Of every pin that ships: here the small suite of these tests stands under its name."""
    renamed = {"name": name, "version": version}
    other = Dataset(small_suite.path, small_suite.manifest.model_copy(update=renamed))
    found = drift(other)
    assert found is not None
    assert {record.transformation for record in small_suite.records("seen")} <= set(
        found.transformations
    )
    assert set(pins()[name, version].transformations) <= set(found.transformations)
    said = score(truth, other, ["mse"]).unpinned
    assert said == str(found)
    assert said.startswith(f"{name} {version} is an unpinned build: ")
    assert "transformations drifted" in said and "librar" in said


def test_a_suite_that_nobody_pinned_is_not_marked(
    small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    assert drift(small_suite) is None
    assert score(truth, small_suite, ["mse"]).unpinned is None
