"""The suites of a board.

What is counted, what can be looked up in a library, and what may be shown.
"""

from pathlib import Path

import pytest
from sqlalchemy import select

from leaderboard.service.suite_intake import declare, take
from leaderboard.store.store import Store
from leaderboard.store.suites import Standing, about, book
from leaderboard.store.tables import SuiteRow
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.errors import InputError


def record(family: str, tier: str) -> Record:
    return Record(
        id="k",
        width=8,
        height=8,
        transformation=f"{family}_1",
        family=family,
        kind="colour",
        tier=tier,
    )


def test_an_open_book_is_one_whose_unseen_families_the_public_library_holds() -> None:
    assert book(
        [record("hue_shift", "new_family"), record("hue_shift+cartoon", "new_composition")]
    ) == {"families": 2, "held": 2}
    assert book([record("hue_shift", "new_family"), record("our_secret", "new_family")]) == {
        "families": 2,
        "held": 1,
    }
    assert book([record("our_secret", "new_family"), record("hue_shift", "seen_single")]) == {
        "families": 1,
        "held": 0,
    }
    assert book([record("", "new_task")]) is None


def test_what_is_told_of_a_suite_is_counts(small_suite: Dataset) -> None:
    told = about(small_suite)
    assert sum(told["splits"].values()) == sum(n["samples"] for n in told["tiers"].values()) == 48
    assert told["book"]["held"] == told["book"]["families"] > 0
    keys = {item.id for split in small_suite.splits for item in small_suite.records(split)}
    assert not [key for key in keys if key in str(told)]


def test_what_was_private_is_retired_before_it_is_shown(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.add(good_zip, small_suite)
    with pytest.raises(
        InputError, match="is private in this store and cannot become public: retire it"
    ):
        declare(store, small_suite, "public")
    assert declare(store, small_suite, "retired") == "private"
    with pytest.raises(InputError, match="is retired"):
        store.add(good_zip, small_suite)


@pytest.mark.parametrize(
    ("first", "then"), [("public", "private"), ("retired", "private"), ("retired", "public")]
)
def test_what_was_shown_stays_shown(
    small_suite: Dataset, tmp_path: Path, first: Standing, then: Standing
) -> None:
    store = Store(tmp_path / "store")
    assert declare(store, small_suite, first) == first
    with pytest.raises(InputError, match="may have been shown"):
        declare(store, small_suite, then)


def test_a_public_view_is_no_suite_to_declare(small_public: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="public view"):
        declare(Store(tmp_path / "store"), small_public, "public")


def with_seed(suite: Dataset, seed: object, **other: object) -> Dataset:
    """The suite as if its recipe had another seed."""
    manifest = suite.manifest.model_copy(update={"recipe": {"seed": seed}, **other})
    return Dataset(suite.path, manifest)


@pytest.mark.parametrize(
    ("seed", "why"),
    [
        (80351926447, "has 37 bits"),
        (None, "names no seed"),
        ("secret", "names no seed"),
        (True, "names no seed"),
        (2**200, "no random one"),
        (int("12" * 40, 16), "no random one"),
        (2**127 - 1, "has 127 bits"),
    ],
)
def test_a_private_suite_without_a_secret_is_refused(
    seed: object, why: str, small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    """Keys are digests of the seed and of names that anybody can guess."""
    store, suite = Store(tmp_path / "store"), with_seed(small_suite, seed)
    for offered in (lambda: take(store, suite, accepting=True), lambda: store.add(good_zip, suite)):
        with pytest.raises(InputError, match=why):
            offered()
    with store.reading() as session:
        assert session.scalars(select(SuiteRow)).all() == []
    assert declare(store, suite, "public") == "public"
    assert take(store, suite, accepting=True).accepting, "a public one needs none"


def test_a_borrowed_secret_is_refused(small_suite: Dataset, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    take(store, small_suite)
    seed = (small_suite.manifest.recipe or {})["seed"]
    other = with_seed(small_suite, seed, fingerprint="f" * 64)
    with pytest.raises(InputError, match="has the seed of small 1"):
        declare(store, other, "private")
    with store.reading() as session:
        row = session.scalars(select(SuiteRow)).one()
    assert row.secret is not None and str(seed) not in row.secret
