"""What was checked of files, kept between builds: `pin`, the training data and the suite share it.

A file is known by its path, its size and its times. Whatever is wrong with the cache itself costs
time and never a result.
"""

import contextlib
import json
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lorweb_bench.runtime.cache import cache_folder

MOST = 400_000  # entries, of about a kilobyte each; the oldest go first
FRESH = 2.0  # seconds: a file that was written so lately may be written again with the same times
BATCH = 64  # entries that are written at once: what a killed run loses at most
TABLE = "CREATE TABLE IF NOT EXISTS checked (path TEXT, kind TEXT, state TEXT, value TEXT, \
PRIMARY KEY (path, kind))"


@dataclass
class CheckCache:
    """A table of what was found out about files; `with CheckCache(kind) as cache`.

    Args:
        kind: What was found out, and by what: results of another kind are not mixed up with it.
        recheck: Whether what is there is passed over, and written anew.
    """

    kind: str
    recheck: bool = False

    def __enter__(self) -> Self:
        self._table: sqlite3.Connection | None = None
        self._waiting: list[tuple[str, str, str, str]] = []
        folder = cache_folder()
        with contextlib.suppress(OSError, sqlite3.Error):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                self._table = sqlite3.connect(folder / "checked.sqlite", timeout=5)
                self._table.execute(TABLE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write()
        if self._table is not None:
            self._table.close()

    def get(self, file: "FileState") -> Any:
        """What is known of a file in the state that it is in, or None."""
        if self._table is None or self.recheck or not file.state:
            return None
        query = "SELECT state, value FROM checked WHERE path = ? AND kind = ?"
        try:
            row = self._table.execute(query, (file.path, self.kind)).fetchone()
            return json.loads(row[1]) if row and row[0] == file.state else None
        except (sqlite3.Error, ValueError):
            return None

    def put(self, file: "FileState", value: Any) -> None:
        """Keep what was found out about a file that was in that state before it was read."""
        if self._table is None or not file.settled:
            return
        self._waiting.append((file.path, self.kind, file.state, json.dumps(value)))
        if len(self._waiting) >= BATCH:
            self._write()

    def _write(self) -> None:
        if self._table is None or not self._waiting:
            return
        insert = "INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?)"
        oldest = "DELETE FROM checked WHERE rowid IN (SELECT rowid FROM checked ORDER BY rowid \
LIMIT max(0, (SELECT count(*) FROM checked) - ?))"
        with contextlib.suppress(sqlite3.Error), self._table:
            self._table.executemany(insert, self._waiting)
            self._table.execute(oldest, (MOST,))
        self._waiting = []


@dataclass(frozen=True)
class FileState:
    """A file as it stands: its path, and its size and times; `settled` unless just written."""

    path: str
    state: str
    settled: bool

    @classmethod
    def of(cls, file: Path) -> "FileState":
        """The state of a file; an empty one where it cannot be asked for."""
        path = os.fsdecode(file.absolute()).encode(errors="surrogateescape").hex()
        try:
            stat = file.stat()
        except (OSError, ValueError):
            return cls(path, "", False)
        latest = max(stat.st_mtime, stat.st_ctime)
        state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        return cls(path, state, time.time() - latest > FRESH)
