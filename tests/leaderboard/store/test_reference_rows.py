"""What the keeper runs.

Reference rows without a hand-made card, and a submitted method once more.
"""

from pathlib import Path

import pytest

from leaderboard.board.board import boards
from leaderboard.store.reference_rows import add_references, references_of, reproduce
from leaderboard.store.store import Store
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.methods.reference_rows import WITHOUT_MODEL


def test_the_reference_rows_stand_once_and_are_reproduced(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.add(good_zip, small_suite)  # somebody's copy-b, only re-scored
    (alone,) = boards(store.entries())[0].rows
    assert (alone.kind, alone.rank) == ("method", (1, 1)), (
        "that it has the name is all that is known of it"
    )
    added = dict(add_references(store, small_suite))
    assert list(added) == list(WITHOUT_MODEL) and all(
        one is not None and one.new for one in added.values()
    )
    assert set(dict(add_references(store, small_suite)).values()) == {None}
    (board,) = boards(store.entries())
    assert {row.method: row.level for row in board.rows} == dict.fromkeys(
        WITHOUT_MODEL, "reproduced"
    )
    assert {row.kind for row in board.rows} == {"trivial", "bound"} and not any(
        row.rank for row in board.rows
    )
    assert [row.entry.submission.bytes for row in board.superseded] == [good_zip.stat().st_size], (
        "somebody's copy-b does not count"
    )
    search = next(row for row in board.rows if row.method == "library-search").score("unseen")
    assert search is not None and search.mean > 0.8, "an open book"


def test_a_suite_without_a_library_has_the_trivial_ones_alone(small_suite: Dataset) -> None:
    edited = Dataset(
        small_suite.path, small_suite.manifest.model_copy(update={"transformation_library": None})
    )
    assert references_of(edited) == ("copy-b", "copy-a-prime", "color-transfer")


def test_a_method_that_the_keeper_ran_is_reproduced(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(
        InputError, match="is the method 'copy-a-prime'; the submission is of 'copy-b'"
    ):
        reproduce(good_zip, small_suite, store, "copy-a-prime")
    assert store.entries() == []
    store.add(good_zip, small_suite)
    assert reproduce(good_zip, small_suite, store, "copy-b").new
    (entry,) = store.entries()
    assert (
        entry.verdict.level == "reproduced"
        and "The keeper ran the method too" in entry.verdict.reasons[1]
    )
