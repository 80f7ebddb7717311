"""Candidates of `retrieval`: other transformations run on b, kept by content so that scoring many methods renders them once."""

import hashlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.data.transformation_library import GROUP
from lorweb_bench.protocol import CANDIDATES
from lorweb_bench.runtime.cache import cache_folder, read_array, write_array
from lorweb_bench.runtime.environment import COMPUTING, versions
from lorweb_bench.runtime.files import canonical_json

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

MAX_BYTES = 1 << 30  # of one suite's candidates; a larger suite is not kept


def candidates_folder(suite: "Dataset") -> Path | None:
    """The folder that keeps this suite's candidates as this library renders them, or None when they are not kept.

    It goes by the suite's fingerprints, the library's source, and the versions of what it computes with.
    """
    root = cache_folder()
    pixels = sum(split.samples for split in suite.manifest.splits.values()) * _pixels_of_first(
        suite
    )
    if (
        root is None
        or suite.manifest.targets_fingerprint is None
        or pixels * 3 * CANDIDATES > MAX_BYTES
    ):
        return None
    named = [
        suite.fingerprint,
        suite.manifest.targets_fingerprint,
        library_digest(suite.manifest.transformation_library or ""),
    ]
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
        files = (
            sorted(origin.parent.rglob("*.py"))
            if origin and origin.name == "__init__.py"
            else [origin]
            if origin
            else []
        )
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    digest.update(canonical_json(versions(COMPUTING)).encode())
    return digest.hexdigest()


def kept(
    folder: Path | None, key: str, shape: tuple[int, ...], render: Callable[[], np.ndarray]
) -> np.ndarray:
    """The uint8 array kept under `key`, or `render()`, which is then kept. A file that is not whole is rendered again."""
    array = read_array(folder, key, np.uint8)
    if array is None or array.shape != shape:
        array = render()
        write_array(folder, key, array)
    return array
