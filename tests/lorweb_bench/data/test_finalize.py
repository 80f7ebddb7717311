"""Lines come sorted whether they fit into memory or not, and a dataset that does not has the same
fingerprints.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset, sorted_lines
from lorweb_bench.data.manifest import fingerprint_of, targets_fingerprint_of
from lorweb_bench.data.shard_format import read_sidecar

LINE = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))


@given(st.lists(LINE), st.integers(1, 10))
def test_lines_come_in_order(lines: list[str], run: int) -> None:
    assert list(sorted_lines(lines, run)) == sorted(lines)


def test_fingerprints_do_not_depend_on_what_fits_into_memory(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_lines, "__defaults__", (3,))
    again = finish_dataset(
        tiny.path,
        tiny.manifest.model_dump(
            mode="json", include={"name", "version", "view", "recipe", "transformations"}
        ),
    )
    items = [
        item
        for split in tiny.splits
        for entry in tiny.split(split).shards
        for item in read_sidecar(tiny.path / entry.path).items
    ]
    assert again.fingerprint == tiny.fingerprint == fingerprint_of(items)
    assert (
        again.manifest.targets_fingerprint
        == tiny.manifest.targets_fingerprint
        == targets_fingerprint_of(items, tiny.manifest)
    )
