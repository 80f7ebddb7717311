"""A board in one file: backup of its database and its files, while it runs, and restoring it.

The file is a plain tar: `backup.json` (what it is), `tables/<name>.jsonl` (each row a JSON object),
then the archives and the tables of per-item values. It does not depend on the database: what was
backed up from SQLite can be restored into PostgreSQL, and the other way round.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from sqlalchemy import DateTime, Table, func, insert, select, text
from sqlalchemy.orm import Session

from leaderboard.store.database import HEAD
from leaderboard.store.store import UPLOADS, Store
from leaderboard.store.tables import Table as Base
from lorweb_bench import __version__
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import atomic_path, sha256_file

FORMAT = "lorweb-bench/board-backup"
ABOUT = "backup.json"
FOLDERS = ("submissions", "per_sample", UPLOADS)
PASSING = ("uploads", "workers", "alembic_version")  # tables of what only runs at the moment
BATCH = 500


def tables() -> list[Table]:
    """The tables that a backup has, in an order in which they can be filled."""
    return [table for table in Base.metadata.sorted_tables if table.name not in PASSING]


def back_up(store: Store, output: Path) -> dict[str, int]:
    """Write a backup, atomically. The board may run meanwhile.

    The database is read in one snapshot, then the files. Files are only ever added, or deleted when
    a submission is withdrawn, so those of the snapshot are there but for what is withdrawn in the
    meantime.

    Returns:
        How many rows each table has, and how many files there are under `files`.
    """
    with atomic_path(output) as temporary, tarfile.open(temporary, "w") as tar:
        counts = {}
        rows: dict[str, bytes] = {}
        with store.snapshot() as session:
            for table in tables():
                lines = [json.dumps(row, ensure_ascii=False) for row in _rows(session, table)]
                counts[table.name] = len(lines)
                rows[table.name] = "".join(f"{line}\n" for line in lines).encode()
        about = {
            "format": FORMAT,
            "format_version": 1,
            "revision": HEAD,
            "lorweb_bench": __version__,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": counts,
        }
        _put(tar, ABOUT, json.dumps(about, indent=1).encode())
        for name, content in rows.items():
            _put(tar, f"tables/{name}.jsonl", content)
        files = 0
        for path in _files(store.folder):
            try:
                tar.add(path, str(path.relative_to(store.folder)), recursive=False)
            except FileNotFoundError:  # withdrawn, or scored, in the meantime
                continue
            files += 1
    return counts | {"files": files}


def restore(backup: Path, store_folder: Path, url: str | None = None) -> dict[str, int]:
    """Make a store of a backup, in a folder and a database that have none yet.

    Every file is held against the digest that its name is. Suites keep the path that they had; name
    them anew with `leaderboard suite` where that changed.

    Returns:
        As `back_up`.

    Raises:
        InputError: The file is no backup or damaged, or there is a board already.
    """
    with _opened(backup) as tar:
        about = _about(tar, backup)
        if store_folder.exists() and any(store_folder.iterdir()):
            raise InputError(f"{store_folder} is not empty; restore into a new folder.")
        store = Store(store_folder, url)
        counts = {}
        with store.writing() as session:
            _check_empty(session, store_folder)
            for table in tables():
                content = _content(tar, f"tables/{table.name}.jsonl", backup)
                rows = [_parsed(table, json.loads(line)) for line in content.splitlines()]
                _fill(session, table, rows)
                counts[table.name] = len(rows)
            if counts != about["rows"]:
                raise InputError(f"{backup} is damaged: it lacks rows that it should have.")
            _renew_site(session)
        return counts | {"files": _restore_files(tar, backup, store_folder)}


def _rows(session: Session, table: Table) -> Iterator[dict[str, Any]]:
    order = list(table.primary_key.columns)
    for row in session.execute(select(table).order_by(*order)).mappings():
        yield {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
        }


def _parsed(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A row with its moments as such."""
    for column in table.columns:
        value = row.get(column.name)
        is_moment = isinstance(getattr(column.type, "impl", column.type), DateTime)
        if is_moment and isinstance(value, str):
            row[column.name] = datetime.fromisoformat(value)
    return row


def _fill(session: Session, table: Table, rows: list[dict[str, Any]]) -> None:
    session.execute(table.delete())  # the row that says how the site stands
    for start in range(0, len(rows), BATCH):
        session.execute(insert(table), rows[start : start + BATCH])
    key = list(table.primary_key.columns)
    if rows and session.get_bind().dialect.name == "postgresql" and key[0].name == "id":
        sequence = session.scalar(select(func.pg_get_serial_sequence(table.name, "id")))
        if sequence:
            most = max(row["id"] for row in rows)
            session.execute(text("SELECT setval(:name, :most)"), {"name": sequence, "most": most})


def _renew_site(session: Session) -> None:
    """Have the pages made again: they are in no backup."""
    session.execute(text("UPDATE site SET rendered = 0"))


def _check_empty(session: Session, folder: Path) -> None:
    for table in tables():
        rows = session.scalar(select(func.count()).select_from(table))
        if rows and table.name != "site":
            raise InputError(
                f"The database of {folder} has a board already; restore into an empty one."
            )


def _files(folder: Path) -> Iterable[Path]:
    for name in FOLDERS:
        yield from sorted(
            path for path in (folder / name).glob("*") if path.suffix in (".zip", ".parquet")
        )


def _restore_files(tar: tarfile.TarFile, backup: Path, folder: Path) -> int:
    count = 0
    for member in tar.getmembers():
        parent, _, name = member.name.rpartition("/")
        if parent not in FOLDERS or not member.isfile():
            continue
        (folder / parent).mkdir(exist_ok=True)
        with atomic_path(folder / parent / name) as temporary:
            with temporary.open("wb") as f:
                shutil.copyfileobj(_member(tar, member.name, backup), f, 2**20)
            if Path(name).stem != sha256_file(temporary):
                raise InputError(f"{backup} is damaged: {member.name} is not what its name says.")
        count += 1
    return count


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as e:
        raise InputError(f"{path} is no backup of a board ({e}).") from None


def _about(tar: tarfile.TarFile, path: Path) -> dict[str, Any]:
    content = json.loads(_content(tar, ABOUT, path))
    if content.get("format") != FORMAT or content.get("format_version") != 1:
        raise InputError(f"{path} is no backup of a board of format version 1.")
    if content["revision"] != HEAD:
        raise InputError(
            f"{path} is of a board at revision {content['revision']}, this version has {HEAD}; "
            f"restore it with lorweb-bench {content['lorweb_bench']}, which then can be brought "
            "up to date."
        )
    return dict(content)


def _content(tar: tarfile.TarFile, name: str, path: Path) -> bytes:
    return _member(tar, name, path).read()


def _member(tar: tarfile.TarFile, name: str, path: Path) -> IO[bytes]:
    try:
        opened = tar.extractfile(name)
    except (KeyError, tarfile.TarError):
        opened = None
    if opened is None:
        raise InputError(f"{path} is damaged, or no backup of a board: it lacks {name}.")
    return opened
