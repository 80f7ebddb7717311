"""The user's cache of what is computed from a suite alone, and so is the same for every method that is scored on it."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

CACHE_VARIABLE = "LORWEB_BENCH_CACHE"
MAX_SUITES = 4  # kept at a time, of each kind of thing


def cache_folder() -> Path | None:
    """Where things that can be computed again are kept: $LORWEB_BENCH_CACHE, else ~/.cache/lorweb-bench; None when it is empty."""
    named = os.environ.get(CACHE_VARIABLE)
    if named == "":
        return None
    return (
        Path(named)
        if named
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorweb-bench"
    )


def make_room(folder: Path) -> None:
    """Create the folder, and drop the least recently used of its kind beyond `MAX_SUITES`; does nothing on a read-only disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        kept = sorted(folder.parent.iterdir(), key=lambda f: f.stat().st_mtime, reverse=True)
    except OSError:
        return
    for old in kept[MAX_SUITES:]:
        shutil.rmtree(old, ignore_errors=True)


def read_kept(folder: Path | None, key: str, dtype: Any) -> np.ndarray | None:
    """The array kept under `key`, or None where there is none that is whole and of that dtype."""
    if folder is None:
        return None
    try:
        with np.load(
            folder / f"{key}.npz", allow_pickle=False
        ) as file:  # a zip: its checksum is compared on reading
            array = np.asarray(file["images"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    return array if array.dtype == dtype else None


def keep(folder: Path | None, key: str, array: np.ndarray) -> None:
    """Keep an array under `key`. A full or read-only disk costs time, not the result."""
    if folder is None:
        return
    temporary = folder / f".{key}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as f:
            np.savez(f, images=array)
        temporary.replace(
            folder / f"{key}.npz"
        )  # not flushed to disk: what a power cut leaves fails its checksum
    except OSError:
        temporary.unlink(missing_ok=True)
