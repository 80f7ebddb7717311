"""Retrieval: is the transformation that was done the right one, among those it could be mistaken for?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import Scored, inexact
from lorweb_bench.metrics.candidates import candidates_folder, kept
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.runtime.cache import make_room

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset


@dataclass(frozen=True)
class Retrieval:
    """1 where the truth is nearer to the prediction, by MSE, than each of the 49 other candidates run on b; else 0.

    The suite fixes the candidates of an item, the most confusable transformations among them. Chance is 1/50, printed beside
    it; a missing prediction counts 0, and so does one that is as near to a candidate as to the truth. A right edit that is
    blurred still counts 1, which `psnr` does not forgive; a faint one is nearest to whatever changes least.
    """

    identity: str = "retrieval"
    higher_is_better: bool = True
    worst: float = 0.0

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs single right answers, and transformations that can be run."""
        if not suite.manifest.transformation_library:
            return "the suite names no library to run candidates with"
        return inexact(suite)

    def chance(self, suite: "Dataset") -> float:
        """What guessing gets: one over the number of candidates."""
        return 1 / max(
            1, len(next(suite.records(suite.scored_splits[0], shards=[0])).candidates or ())
        )

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, 0 or 1; InputError when an item has no candidates."""
        folder = _folder(suite)
        return np.array([_hit(s, suite, folder) for s in batch], dtype=np.float64)


_library = lru_cache(maxsize=4)(
    load_library
)  # looking an entry point up takes longer than running most transformations


@lru_cache(maxsize=4)
def _folder(suite: "Dataset") -> Path | None:
    folder = candidates_folder(suite)
    if folder is not None:
        make_room(folder)
    return folder


def _hit(scored: Scored, suite: "Dataset", folder: Path | None) -> float:
    record = scored.record
    if not record.candidates or record.transformation not in record.candidates:
        raise InputError(
            f"{suite.path}: sample {record.id!r} has no retrieval candidates; build the suite again."
        )
    others = [name for name in record.candidates if name != record.transformation]

    def render() -> np.ndarray:
        return np.stack([_run(suite, name, scored.b) for name in others])

    images = kept(folder, record.id, (len(others), *scored.b.shape), render)
    nearest = min(mse(scored.prediction, image) for image in images)
    return float(mse(scored.prediction, scored.b_prime) < nearest)


def _run(suite: "Dataset", name: str, b: np.ndarray) -> np.ndarray:
    info = suite.manifest.transformations.get(name)
    if info is None:
        raise InputError(
            f"{suite.path}: the candidate {name!r} does not stand in the manifest; build the suite again."
        )
    return _library(suite.manifest.transformation_library).apply(info.spec, b)
