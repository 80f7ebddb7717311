"""The database.

One schema on SQLite and PostgreSQL, made by migrations, which take up what is there and go wrong
for nobody.
"""

import sqlite3
import threading
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from leaderboard.store.database import HEAD
from leaderboard.store.store import DATABASE, Store
from leaderboard.store.tables import SiteRow, SubmissionRow, SuiteRow, Table
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError

OLD = """
CREATE TABLE suites (fingerprint VARCHAR(64) NOT NULL PRIMARY KEY, targets_fingerprint VARCHAR(64)
  NOT NULL,
  name VARCHAR(200) NOT NULL, version VARCHAR(100) NOT NULL, about JSON NOT NULL);
CREATE TABLE submissions (id INTEGER NOT NULL PRIMARY KEY, sha256 VARCHAR(64) NOT NULL UNIQUE,
  bytes BIGINT NOT NULL,
    received DATETIME NOT NULL, suite_fingerprint VARCHAR(64) NOT NULL REFERENCES suites
  (fingerprint), method VARCHAR(200) NOT NULL,
    version VARCHAR(300) NOT NULL, track VARCHAR(20) NOT NULL, prompt_mode VARCHAR(20) NOT NULL,
  card JSON NOT NULL);
CREATE INDEX ix_submissions_suite_fingerprint ON submissions (suite_fingerprint);
CREATE INDEX ix_submissions_method ON submissions (method);
CREATE TABLE verdicts (id INTEGER NOT NULL PRIMARY KEY, submission_id INTEGER NOT NULL REFERENCES
  submissions (id),
    decided DATETIME NOT NULL, level VARCHAR(20) NOT NULL, verdict JSON NOT NULL, per_sample
  VARCHAR(64) NOT NULL);
CREATE INDEX ix_verdicts_submission_id ON verdicts (submission_id);
"""


def test_the_migrations_make_what_the_code_expects(address: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", address)
    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        assert connection.execute(text("select version_num from alembic_version")).scalar() == HEAD
    with store.reading() as session:
        assert [(row.id, row.rendered) for row in session.scalars(select(SiteRow))] == [(1, 0)]


def test_the_newest_migration_is_the_one_that_is_asked_for() -> None:
    script = ScriptDirectory(str(files("leaderboard.store") / "migrations"))
    assert script.get_heads() == [HEAD]


def test_migrations_are_part_of_the_package() -> None:
    """A folder without `__init__.py` would be left out of a wheel."""
    for name in ("leaderboard.store.migrations", "leaderboard.store.migrations.versions"):
        assert import_module(name).__file__ is not None


def test_a_store_from_before_there_were_migrations(
    good_zip: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    new = Store(tmp_path / "new")
    new.add(good_zip, small_suite)
    old = tmp_path / "old"
    old.mkdir()
    with sqlite3.connect(old / DATABASE) as database:
        database.executescript(OLD)
        database.execute("ATTACH ? AS new", (str(new.folder / DATABASE),))
        for table in ("suites", "submissions", "verdicts"):
            columns = ", ".join(
                row[1] for row in database.execute(f"PRAGMA main.table_info({table})")
            )
            database.execute(f"INSERT INTO main.{table} SELECT {columns} FROM new.{table}")
    (entry,) = Store(old).entries()
    assert (
        entry.submission.method == "copy-b"
        and entry.submission.last_verdict == 1
        and entry.suite.accepting is False
    )


def test_stores_opened_at_one_moment_are_made_once(address: str | None, tmp_path: Path) -> None:
    opened: list[Store] = []
    threads = [
        threading.Thread(target=lambda: opened.append(Store(tmp_path / "store", address)))
        for _ in range(5)
    ]
    if address is None:
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / DATABASE).touch()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 5
    with opened[0].reading() as session:
        assert len(session.scalars(select(SiteRow)).all()) == 1


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.writing() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(InputError, match="newer lorweb-bench"):
        Store(tmp_path / "store")


def test_a_block_that_raises_leaves_nothing(address: str | None, tmp_path: Path) -> None:
    store = Store(tmp_path / "store", address)
    with pytest.raises(ZeroDivisionError), store.writing() as session:
        session.add(
            SuiteRow(
                fingerprint="f" * 64, targets_fingerprint="t" * 64, name="x", version="1", about={}
            )
        )
        session.flush()
        raise ZeroDivisionError
    with store.reading() as session:
        assert session.scalars(select(SuiteRow)).all() == []


def test_the_same_store_on_both(
    address: str | None, good_zip: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store", address)
    assert store.add(good_zip, small_suite).new and not store.add(good_zip, small_suite).new
    (entry,) = Store(tmp_path / "store", address).entries()
    assert (
        entry.archive.read_bytes() == good_zip.read_bytes()
        and entry.submission.received.utcoffset() is not None
    )
    assert (tmp_path / "store" / DATABASE).exists() == (address is None)
    with store.reading() as session:
        assert session.scalars(select(SubmissionRow.method)).all() == ["copy-b"]


def test_a_password_is_in_no_message(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        Store(tmp_path / "store", "postgresql://keeper:geheim@127.0.0.1:9/board")
    assert "geheim" not in str(raised.value) and "cannot be used" in str(raised.value)
