"""Retrieval candidates: for each item of a suite 50 transformations, the truth and its rivals."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from datagen.making.filters import levels
from datagen.planning.seeding import generator
from datagen.recipe.schema import Recipe
from datagen.transformations.catalogue import Library
from lorweb_bench.protocol import CANDIDATES

NEAREST = 25  # of the candidates, those nearest to the answer


def choose_candidates(
    library: Library,
    transformations: Mapping[str, Mapping[str, Any]],
    truth: str,
    rivals: Sequence[str],
    key: str,
    b: np.ndarray,
    b_prime: np.ndarray,
    recipe: Recipe,
) -> list[str] | None:
    """Choose an item's candidates: the rivals nearest to b_prime, and others drawn by its key.

    Transformations that b cannot tell from the truth (RMSE under `tiers.indistinct` levels) are
    left out. With fewer than 50 transformations all that can be told apart are candidates.

    Args:
        library: Runs the transformations.
        transformations: All of the suite's, by id.
        truth: The id of the item's transformation.
        rivals: The ids that are most like the truth.
        key: The item's key, which the others are drawn by.
        b: uint8 H x W x 3.
        b_prime: uint8 H x W x 3.
        recipe: Gives `tiers.indistinct` and the seed.

    Returns:
        50 ids with the truth among them, sorted by name; None when no other transformation can be
        told from the truth.
    """
    most = min(CANDIDATES, len(transformations)) - 1
    least = max(recipe.tiers.indistinct, 1e-6)  # equal results are never told apart

    def distance(name: str) -> float:
        """How far a transformation of b is from the answer, in levels."""
        try:
            return levels(library.apply(transformations[name], b), b_prime)
        except Exception:  # what cannot run on this b is no candidate: a scorer could not run it
            return 0.0

    distances = {name: distance(name) for name in rivals}
    chosen = dict.fromkeys(_nearest(distances, least, min(NEAREST, most)))
    for name in _in_random_order(transformations, recipe.seed, key):
        if len(chosen) >= most:
            break
        if name == truth or name in chosen:
            continue
        far = distances[name] if name in distances else distance(name)
        if far >= least:
            chosen[name] = None
    return sorted([truth, *chosen]) if len(chosen) >= min(most, 1) else None


def _nearest(distances: Mapping[str, float], least: float, most: int) -> list[str]:
    """The nearest of those that are at least so far away, of equal ones the first by name."""
    apart = {name: far for name, far in distances.items() if far >= least}
    return sorted(apart, key=lambda name: (apart[name], name))[:most]


def _in_random_order(names: Mapping[str, Any], seed: int, key: str) -> Iterator[str]:
    ordered = sorted(names)
    for i in generator(seed, key, "others").permutation(len(ordered)):
        yield ordered[int(i)]
