"""The user's cache of what is computed from a suite alone, whatever method is scored on it."""

import contextlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np

CACHE_VARIABLE = "LORWEB_BENCH_CACHE"
MAX_SUITES = 4  # whose results are in the cache at a time, of each kind


def cache_folder() -> Path | None:
    """The folder of the cache, or None where $LORWEB_BENCH_CACHE is empty.

    It is $LORWEB_BENCH_CACHE where that is set, and ~/.cache/lorweb-bench otherwise.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named == "":
        return None
    return (
        Path(named)
        if named
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorweb-bench"
    )


def make_room(folder: Path) -> None:
    """Create a suite's folder in the cache, and drop the least recently used beyond `MAX_SUITES`.

    On a read-only disk it does nothing.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        newest = sorted(folder.parent.iterdir(), key=lambda f: f.stat().st_mtime, reverse=True)
    except OSError:
        return
    for old in newest[MAX_SUITES:]:
        shutil.rmtree(old, ignore_errors=True)


def read_arrays(folder: Path | None, key: str) -> dict[str, np.ndarray] | None:
    """The arrays under `key`, by name, or None where there are none that are whole."""
    if folder is None:
        return None
    try:
        # The file is a zip, whose checksums are compared on reading.
        with np.load(folder / f"{key}.npz", allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def write_arrays(folder: Path | None, key: str, **arrays: np.ndarray) -> None:
    """Write arrays under `key`. A full or read-only disk costs time, not the result."""
    if folder is None:
        return
    temporary = folder / f".{key}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as f:
            np.savez(f, **arrays)  # type: ignore[arg-type]
        # Not flushed to disk: what a power cut leaves fails its checksum.
        temporary.replace(folder / f"{key}.npz")
    except OSError:
        with contextlib.suppress(OSError):  # a read-only disk refuses this too
            temporary.unlink(missing_ok=True)
