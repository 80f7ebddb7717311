"""Retrieval candidates: for each item of a suite 50 transformations, the truth and the most confusable among them."""

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
    """50 ids with the truth among them, sorted: of `rivals` the nearest to b_prime by MSE on b, and others drawn by the item's key.

    Transformations that b cannot tell from the truth (RMSE under `tiers.indistinct` levels) are left out. With fewer than 50
    transformations all of those that can be told apart are candidates. None when none is left.
    """
    wanted = min(CANDIDATES, len(transformations)) - 1
    least = max(recipe.tiers.indistinct, 1e-6)  # equal results are never told apart

    def distance(name: str) -> float:
        return levels(library.apply(transformations[name], b), b_prime)

    ran = {name: distance(name) for name in rivals}
    apart = {name: far for name, far in ran.items() if far >= least}
    nearest = sorted(apart, key=lambda name: (apart[name], name))[: min(NEAREST, wanted)]
    chosen = dict.fromkeys(nearest)
    for name in _others(transformations, recipe.seed, key):
        if len(chosen) >= wanted:
            break
        if (
            name != truth
            and name not in chosen
            and (ran[name] if name in ran else distance(name)) >= least
        ):
            chosen[name] = None
    return sorted([truth, *chosen]) if len(chosen) >= min(wanted, 1) else None


def _others(transformations: Mapping[str, Mapping[str, Any]], seed: int, key: str) -> Iterator[str]:
    names = sorted(transformations)
    for i in generator(seed, key, "others").permutation(len(names)):
        yield names[int(i)]
