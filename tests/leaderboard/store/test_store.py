"""The store: each archive once, all or nothing, and what comes out is what was verified."""

import json
import sqlite3
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboard.store.store import DATABASE, Added, Store
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import Report, read_per_sample
from lorweb_bench.scoring.evaluate import predict


def files_of(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def filled(
    good_zip: Path, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Store, Added]:
    """A store with one submission."""
    store = Store(tmp_path_factory.mktemp("stores") / "store")
    return store, store.add(good_zip, small_suite)


def test_what_is_added_is_there(
    filled: tuple[Store, Added], good_zip: Path, small_suite: Dataset
) -> None:
    store, added = filled
    assert added.new and added.verdict.accepted and added.verdict.sha256 is not None
    (entry,) = Store(store.folder).entries()
    assert (entry.submission.method, entry.submission.track, entry.verdict.level) == (
        "copy-b",
        "closed",
        "re-scored",
    )
    assert entry.archive.read_bytes() == good_zip.read_bytes()
    assert (
        added.verdict.report is not None
        and entry.report.model_dump() == added.verdict.report.model_dump()
    )
    table = read_per_sample(entry.per_sample)
    assert len(table["key"]) == 48 and not table["edit_recovery"].any()
    assert entry.suite.about["splits"] == {"seen": 18, "unseen": 30}
    assert sum(tier["samples"] for tier in entry.suite.about["tiers"].values()) == 48
    keys = [q.key for q in small_suite.quadruplets("seen")]
    assert not any(key in json.dumps(entry.suite.about) for key in keys)
    assert entry.submission.received.tzinfo is not None


def test_added_twice_is_there_once(
    filled: tuple[Store, Added], good_zip: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    store, added = filled
    before = files_of(store.folder)
    copy = tmp_path / "renamed.zip"
    copy.write_bytes(good_zip.read_bytes())
    again = store.add(copy, small_suite)
    assert not again.new and again.verdict.decided == added.verdict.decided
    assert len(store.entries()) == 1 and files_of(store.folder) == before


def test_a_refused_one_leaves_no_trace(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    (tmp_path / "bad.zip").write_bytes(good_zip.read_bytes()[:-100])
    (tmp_path / "large.zip").write_bytes(bytes(5_000_000))
    for name in ("bad.zip", "large.zip"):
        added = store.add(tmp_path / name, small_suite)
        assert not added.new and not added.verdict.accepted
    assert files_of(store.folder) == {DATABASE} and store.entries() == []
    with pytest.raises(InputError, match=r"absent\.zip"):
        store.add(tmp_path / "absent.zip", small_suite)


def test_a_failure_between_leaves_the_board_as_it_was(
    small_suite: Dataset, good_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files lie there, the database knows nothing: the next try completes it."""
    store = Store(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr("leaderboard.store.store.record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add(good_zip, small_suite)
    assert store.entries() == []
    assert store.add(good_zip, small_suite).new
    assert len(store.entries()) == 1


def test_two_at_once_are_one(small_suite: Dataset, good_zip: Path, tmp_path: Path) -> None:
    stores = [Store(tmp_path / "store") for _ in range(2)]
    added: list[Added] = []
    threads = [
        threading.Thread(target=lambda store=store: added.append(store.add(good_zip, small_suite)))
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.new for a in added) == [False, True]
    assert len(stores[0].entries()) == 1 and not list((tmp_path / "store").glob("incoming-*"))


def test_reproduced_is_a_second_verdict(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    first = store.add(good_zip, small_suite)
    assert isinstance(first.verdict.report, Report)
    second = store.add(good_zip, small_suite, reproduction=first.verdict.report)
    assert second.new and second.verdict.level == "reproduced"
    assert not store.add(good_zip, small_suite, reproduction=first.verdict.report).new
    (entry,) = store.entries()
    assert entry.verdict.level == "reproduced"
    with sqlite3.connect(store.folder / DATABASE) as database:
        assert [row[0] for row in database.execute("select level from verdicts order by id")] == [
            "re-scored",
            "reproduced",
        ]


def test_several_methods(
    small_suite: Dataset, good_zip: Path, write_card: Callable[..., Path], tmp_path: Path
) -> None:
    predict("copy-a-prime", small_suite, tmp_path / "preds")
    other = pack(
        tmp_path / "preds", small_suite, write_card(method="copy-a-prime"), tmp_path / "other.zip"
    )
    store = Store(tmp_path / "store")
    for path in (good_zip, other):
        assert store.add(path, small_suite).new
    assert [entry.submission.method for entry in store.entries()] == ["copy-b", "copy-a-prime"]
    assert (
        len({entry.archive for entry in store.entries()})
        == len({entry.per_sample for entry in store.entries()})
        == 2
    )


def test_other_answers_are_another_suite(
    filled: tuple[Store, Added], good_zip: Path, small_suite: Dataset, small_public: Dataset
) -> None:
    store, _ = filled
    other = Dataset(
        small_suite.path, small_suite.manifest.model_copy(update={"targets_fingerprint": "e" * 64})
    )
    with pytest.raises(InputError, match="has other answers"):
        store.add(good_zip, other)
    with pytest.raises(InputError, match="public view"):
        store.add(good_zip, small_public)


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / DATABASE).write_text("this is no database" * 100)
    for name in ("file", "other", "broken"):
        with pytest.raises(InputError, match=name):
            Store(tmp_path / name)
    with pytest.raises(InputError, match="is no store"):
        Store(tmp_path / "absent", create=False)
    assert not (tmp_path / "absent").exists()
    for address in ("nonsense", "oracle://x/y"):
        with pytest.raises(InputError, match="database address"):
            Store(tmp_path / "new", url=address)


def test_odd_names_of_folders(good_zip: Path, small_suite: Dataset, tmp_path: Path) -> None:
    folder: Any = tmp_path / "a store? 100% #1"
    assert Store(folder).add(good_zip, small_suite).new
    assert zipfile.is_zipfile(Store(folder).entries()[0].archive)
