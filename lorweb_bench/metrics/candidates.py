"""Candidates of `retrieval`: other transformations run on b, kept by content so that scoring many methods renders them once."""

import hashlib
import importlib
import importlib.util
import os
import shutil
import zipfile
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.files import canonical_json
from lorweb_bench.library import GROUP
from lorweb_bench.protocol import CANDIDATES

if TYPE_CHECKING:
    from lorweb_bench.dataset import Dataset

CACHE_VARIABLE = "LORWEB_BENCH_CACHE"
MAX_BYTES = 1 << 30  # of one suite's candidates; a larger suite is not kept
MAX_SUITES = 4  # kept at a time


def cache_folder() -> Path | None:
    """Where things that can be computed again are kept: $LORWEB_BENCH_CACHE, else ~/.cache/lorweb-bench; None when it is empty."""
    named = os.environ.get(CACHE_VARIABLE)
    if named == "":
        return None
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorweb-bench"


def candidates_folder(suite: "Dataset") -> Path | None:
    """The folder that keeps this suite's candidates as this library renders them, or None when they are not kept.

    It goes by the suite's fingerprints, the library's source, and the versions of what it computes with.
    """
    root = cache_folder()
    pixels = sum(split.samples for split in suite.manifest.splits.values()) * _pixels_of_first(suite)
    if root is None or suite.manifest.targets_fingerprint is None or pixels * 3 * CANDIDATES > MAX_BYTES:
        return None
    named = [suite.fingerprint, suite.manifest.targets_fingerprint, library_digest(suite.manifest.transformation_library or "")]
    return root / "candidates" / hashlib.sha256(canonical_json(named).encode()).hexdigest()[:24]


def _pixels_of_first(suite: "Dataset") -> int:
    record = next(suite.records(suite.scored_splits[0], shards=[0]))
    return record.width * record.height


def library_digest(name: str) -> str:
    """A digest of the installed library's source files and of the versions of the libraries that compute images."""
    digest = hashlib.sha256()
    for entry in entry_points(group=GROUP, name=name):
        spec = importlib.util.find_spec(entry.module)
        origin = Path(spec.origin) if spec and spec.origin else None
        files = sorted(origin.parent.rglob("*.py")) if origin and origin.name == "__init__.py" else [origin] if origin else []
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for module in ("numpy", "cv2", "skimage", "scipy", "PIL"):
        digest.update(f"{module} {importlib.import_module(module).__version__}\n".encode())
    return digest.hexdigest()


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


def kept(folder: Path | None, key: str, shape: tuple[int, ...], render: Callable[[], np.ndarray]) -> np.ndarray:
    """The uint8 array kept under `key`, or `render()`, which is then kept. A file that is not whole is rendered again."""
    if folder is None:
        return render()
    path = folder / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:  # a zip: its checksum is compared on reading
            array = file["images"]
        if array.shape == shape and array.dtype == np.uint8:
            return np.asarray(array)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass
    array = render()
    temporary = folder / f".{key}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as f:
            np.savez(f, images=array)
        temporary.replace(path)  # not flushed to disk: what a power cut leaves fails its checksum
    except OSError:
        temporary.unlink(missing_ok=True)  # a full or read-only disk costs time, not the result
    return array
