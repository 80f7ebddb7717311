"""Retrieval: is the transformation that was done the right one, among those it could be mistaken
for?
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.data.images import pixel_hash
from lorweb_bench.metrics.base import Scored, inexact
from lorweb_bench.metrics.candidates import (
    STEPS,
    CandidateStore,
    Sketches,
    block_means,
    candidate_store,
    other_candidates,
    squared_error,
)

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

ROUNDING = 1e-5  # relative, of float32 sums; what is nearer than this is compared exactly


@dataclass(frozen=True)
class Retrieval:
    """1 where the truth is nearer to the prediction, by MSE, than each of the 49 other candidates
    run on b; else 0.

    The suite fixes the candidates of an item, the most confusable transformations among them.
    Chance is 1/50, printed beside it. A missing prediction counts 0, and so does one that is as
    near to a candidate as to the truth. A right edit that is blurred still counts 1, which `psnr`
    does not forgive; a faint one is nearest to whatever changes least.
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
        record = next(suite.records(suite.scored_splits[0], shards=[0]))
        return 1 / max(1, len(record.candidates or ()))

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, 0 or 1; InputError when an item has no candidates."""
        store = candidate_store(suite)
        return np.array([float(is_retrieved(s, suite, store)) for s in batch], dtype=np.float64)


def is_retrieved(scored: Scored, suite: "Dataset", store: CandidateStore) -> bool:
    """Whether the truth is nearer to the prediction than every other candidate.

    Bounds decide for most candidates. The others are run on b, the nearest first, until one is as
    near as the truth.
    """
    names = other_candidates(scored.record, suite)
    digest = pixel_hash(scored.b)
    error = squared_error(scored.prediction, scored.b_prime)
    low, high = bounds(scored, store.sketches(scored, digest), store.side)
    if (high <= error).any():
        return False
    open_ones = np.flatnonzero(low <= error)
    for i in open_ones[np.argsort((low + high)[open_ones], kind="stable")]:
        candidate = store.render(names[i], scored.b, digest)
        if squared_error(scored.prediction, candidate) <= error:
            return False
    return True


def bounds(scored: Scored, sketches: Sketches, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest squared error that each candidate can have from the prediction.

    An image is split into its mean colours in blocks, which are known of every candidate, and the
    rest, which is orthogonal to them. The rests of the prediction and of a candidate differ at
    least by the difference, and at most by the sum, of their distances from the rest of the truth,
    and likewise from the rest of b (the triangle inequality).

    Args:
        scored: The prediction, with b and the truth.
        sketches: What is known of its N candidates.
        side: The side of the blocks, in pixels.

    Returns:
        Two float64 arrays of N sums of squared differences, in levels.
    """
    prediction = block_means(scored.prediction, side).astype(np.float64)
    candidates = sketches.blocks.astype(np.float64) / STEPS
    # Half a step in every value, as a distance between two images.
    slack = side * np.sqrt(prediction.size) * 0.5 / STEPS
    least_rest, greatest_rest = np.zeros(len(candidates)), np.full(len(candidates), np.inf)
    for anchor, distances in (
        (scored.b_prime, sketches.to_truth),
        (scored.b, sketches.to_b),
    ):
        blocks = block_means(anchor, side).astype(np.float64)
        shared = float(_norms(prediction - blocks, side)) ** 2
        rest = max(0.0, squared_error(scored.prediction, anchor) - shared) ** 0.5
        of_blocks = _norms(candidates - blocks, side)
        least = np.sqrt(np.maximum(0.0, distances - (of_blocks + slack) ** 2))
        greatest = np.sqrt(np.maximum(0.0, distances - np.maximum(0.0, of_blocks - slack) ** 2))
        least_rest = np.maximum(least_rest, np.maximum(rest - greatest, least - rest))
        greatest_rest = np.minimum(greatest_rest, rest + greatest)
    in_blocks = _norms(candidates - prediction, side)
    low = np.maximum(0.0, in_blocks - slack) ** 2 + least_rest**2
    high = (in_blocks + slack) ** 2 + greatest_rest**2
    margin = ROUNDING * (high + squared_error(scored.prediction, scored.b_prime)) + 1.0
    return low - margin, high + margin


def _norms(differences: np.ndarray, side: int) -> np.ndarray:
    """The lengths, in levels over all pixels, of differences of block means.

    The last three axes are one image's.
    """
    return np.asarray(side * np.sqrt(np.square(differences).sum(axis=(-3, -2, -1))))
