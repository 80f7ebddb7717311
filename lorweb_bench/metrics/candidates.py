"""Retrieval's candidates: other transformations run on b, and what is remembered of them.

Running 49 transformations on b costs ten times as much as decoding an item. So each candidate is
run once per picture b, for all items that have this b at once, and of its result only two distances
and its mean colours in blocks are kept, a hundredth of its pixels. They bound how far the candidate
is from any prediction; it is run again only where the bounds leave open whether it is nearer than
the truth.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from cachetools import LRUCache

from lorweb_bench.data.images import to_array
from lorweb_bench.data.samples import Record
from lorweb_bench.data.shard_format import read_sidecar
from lorweb_bench.data.transformation_library import GROUP, TransformationLibrary
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import Scored
from lorweb_bench.predictions.shuffled_pairs import panel_reader
from lorweb_bench.protocol import CANDIDATES
from lorweb_bench.runtime.cache import cache_folder, make_room, read_arrays, write_arrays
from lorweb_bench.runtime.environment import COMPUTING, versions
from lorweb_bench.runtime.files import canonical_json

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

SKETCHES = 1  # version of what is kept; another one is another folder
BLOCK = 16  # pixels, the side of a block of mean colours; doubled for suites beyond MAX_BYTES
MAX_BYTES = 256 << 20  # of one suite's sketches on disk
RENDERED = (
    64 << 20
)  # bytes of results that are at hand, and of sketches where nothing is kept on disk
TRUTHS = 256 << 20  # bytes of answers in memory while the candidates of one b are run
STEPS = 257  # a mean colour is kept as a whole number of 257ths of a level

Spec = Mapping[str, Any]


class Renderer:
    """Runs single transformations, and keeps what it rendered last within a budget of bytes.

    Analogies share their panels, so the same image is asked for again and again.
    """

    def __init__(self, library: TransformationLibrary, budget: int) -> None:
        self.library = library
        self.rendered: LRUCache[tuple[str, str], np.ndarray] = LRUCache(
            budget, getsizeof=lambda image: image.nbytes
        )

    def run(self, name: str, spec: Spec, image: np.ndarray, digest: str) -> np.ndarray:
        """`spec` run on an image; `name` stands for the spec and `digest` for the image."""
        result = self.rendered.get((digest, name))
        if result is None:
            result = self.library.apply(spec, image)
            if result.nbytes <= self.rendered.maxsize:
                self.rendered[digest, name] = result
        return result


@dataclass(frozen=True)
class Sketches:
    """What is remembered of an item's candidates, in the order of the record.

    Attributes:
        to_truth: Sums of squared differences from the true answer, in levels; float64, N.
        to_b: The same from b.
        blocks: Mean colours of square blocks, uint16 N x rows x columns x 3, in 257ths of a level.
    """

    to_truth: np.ndarray
    to_b: np.ndarray
    blocks: np.ndarray

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays."""
        return int(self.to_truth.nbytes + self.to_b.nbytes + self.blocks.nbytes)


def squared_error(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of squared differences of two uint8 images, in levels; exact."""
    return float(cv2.norm(x, y, cv2.NORM_L2SQR))


def block_means(image: np.ndarray, side: int) -> np.ndarray:
    """Mean colours of whole blocks from the top left, float32 rows x columns x 3, in levels."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    if not rows or not columns:
        return np.zeros((0, 0, 3), np.float32)
    inside = image[: rows * side, : columns * side].astype(np.float32)
    return np.asarray(cv2.resize(inside, (columns, rows), interpolation=cv2.INTER_AREA))


def other_candidates(record: Record, suite: "Dataset") -> list[str]:
    """The candidates of an item besides its own transformation; InputError where it has none."""
    if not record.candidates or record.transformation not in record.candidates:
        raise InputError(
            f"{suite.path}: sample {record.id!r} has no retrieval candidates; build the suite "
            "again."
        )
    return [name for name in record.candidates if name != record.transformation]


class CandidateStore:
    """Runs a suite's candidates, and remembers their sketches on disk, within bounds."""

    def __init__(self, suite: "Dataset") -> None:
        self.suite = suite
        self.side = block_side(suite)
        self.folder = candidates_folder(suite, self.side)
        if self.folder is not None:
            make_room(self.folder)
        self._renderer = Renderer(suite.library(), RENDERED)
        self._recent: LRUCache[str, Sketches] = LRUCache(RENDERED, getsizeof=lambda s: s.nbytes)
        self._keys_by_b: dict[str, list[str]] | None = None
        self._candidates: dict[str, list[str]] = {}

    def render(self, name: str, b: np.ndarray, digest: str) -> np.ndarray:
        """A candidate run on b, whose pixel hash is `digest`."""
        info = self.suite.manifest.transformations.get(name)
        if info is None:
            raise InputError(
                f"{self.suite.path}: the candidate {name!r} does not stand in the manifest; "
                "build the suite again."
            )
        return self._renderer.run(name, info.spec, b, digest)

    def sketches(self, scored: Scored, digest: str) -> Sketches:
        """The sketches of an item's candidates.

        Those of all items with this b are made together.
        """
        names = other_candidates(scored.record, self.suite)
        sketches = self._recent.get(scored.key) or self._read(scored.key, len(names), scored.b)
        if sketches is None:
            sketches = self._measure(scored, names, digest)
        return sketches

    def _read(self, key: str, count: int, b: np.ndarray) -> Sketches | None:
        arrays = read_arrays(self.folder, key)
        if arrays is None or set(arrays) != {"to_truth", "to_b", "blocks"}:
            return None
        sketches = Sketches(**arrays)
        shape = (count, b.shape[0] // self.side, b.shape[1] // self.side, 3)
        whole = sketches.blocks.shape == shape and sketches.blocks.dtype == np.uint16
        return sketches if whole and len(sketches.to_truth) == count else None

    def _measure(self, scored: Scored, names: list[str], digest: str) -> Sketches:
        """Run the candidates of all items with this b, and keep their sketches."""
        b = scored.b
        truths = {scored.key: scored.b_prime}
        candidates = {scored.key: names}
        for key in self._others_with(digest, scored.key, max(1, TRUTHS // b.nbytes)):
            truth = to_array(panel_reader(self.suite).panel(key, "b_prime"))
            if truth.shape == b.shape:
                truths[key], candidates[key] = truth, self._candidates[key]
        to_truth = {
            key: np.empty(len(names_of_item), np.float64)
            for key, names_of_item in candidates.items()
        }
        to_b: dict[str, float] = {}
        blocks: dict[str, np.ndarray] = {}
        for name, keys in _holders(candidates).items():
            image = self.render(name, b, digest)
            to_b[name] = squared_error(image, b)
            means = block_means(image, self.side)
            blocks[name] = np.rint(means * STEPS).clip(0, 65535).astype(np.uint16)
            for key in keys:
                distance = squared_error(image, truths[key])
                to_truth[key][candidates[key].index(name)] = distance
        sketches = {}
        for key, candidate_names in candidates.items():
            sketches[key] = Sketches(
                to_truth[key],
                np.array([to_b[name] for name in candidate_names]),
                np.stack([blocks[name] for name in candidate_names]),
            )
        for key, of_item in sketches.items():
            write_arrays(self.folder, key, **vars(of_item))
        if sketches[scored.key].nbytes <= self._recent.maxsize:
            self._recent[scored.key] = sketches[scored.key]
        return sketches[scored.key]

    def _others_with(self, digest: str, key: str, limit: int) -> list[str]:
        """Other items with the same b that have no sketches yet; none where nothing is kept."""
        if self.folder is None:
            return []
        if self._keys_by_b is None:
            self._keys_by_b = {}
            for split in self.suite.scored_splits:
                for entry in self.suite.split(split).shards:
                    for item in read_sidecar(self.suite.path / entry.path).items:
                        self._keys_by_b.setdefault(item.pixels.get("b", ""), []).append(item.key)
                for record in self.suite.records(split):
                    self._candidates[record.id] = other_candidates(record, self.suite)
        others = [other for other in self._keys_by_b.get(digest, ()) if other != key]
        lacking = [other for other in others if not (self.folder / f"{other}.npz").is_file()]
        return lacking[: limit - 1]


def _holders(candidates: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """By candidate, the items that have it."""
    holders: dict[str, list[str]] = {}
    for key, names in candidates.items():
        for name in names:
            holders.setdefault(name, []).append(key)
    return holders


@lru_cache(maxsize=2)
def candidate_store(suite: "Dataset") -> CandidateStore:
    """The store of a suite, made once in a process."""
    return CandidateStore(suite)


def block_side(suite: "Dataset") -> int:
    """The side of the blocks, in pixels, with which the suite's sketches stay within "
    "`MAX_BYTES`."""
    record = next(suite.records(suite.scored_splits[0], shards=[0]))
    items = sum(suite.split(split).samples for split in suite.scored_splits)
    side = BLOCK
    while items * CANDIDATES * (record.width // side) * (record.height // side) * 6 > MAX_BYTES:
        side *= 2
    return side


def candidates_folder(suite: "Dataset", side: int = BLOCK) -> Path | None:
    """The folder that keeps sketches of this suite's candidates, or None where nothing is kept.

    It goes by the suite's fingerprints, the library's source, and the versions of what it computes
    with.
    """
    root = cache_folder()
    if root is None or suite.manifest.targets_fingerprint is None:
        return None
    decided_by = [
        SKETCHES,
        side,
        suite.fingerprint,
        suite.manifest.targets_fingerprint,
        library_digest(suite.manifest.transformation_library or ""),
    ]
    return (
        root / "candidates" / hashlib.sha256(canonical_json(decided_by).encode()).hexdigest()[:24]
    )


def library_digest(name: str) -> str:
    """A digest of the installed library's source files and of the versions of what computes "
    "images."""
    digest = hashlib.sha256()
    for entry in entry_points(group=GROUP, name=name):
        spec = importlib.util.find_spec(entry.module)
        origin = Path(spec.origin) if spec and spec.origin else None
        files = [origin] if origin else []
        if origin and origin.name == "__init__.py":
            files = sorted(origin.parent.rglob("*.py"))
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    digest.update(canonical_json(versions(COMPUTING)).encode())
    return digest.hexdigest()
