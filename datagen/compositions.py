"""Compositions: which families go together, and one preset of each of them, one after the other."""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from datagen.drawing import draw
from datagen.filters import Calibration
from datagen.recipe import Recipe
from datagen.transformations.catalogue import Library
from lorweb_bench.progress import track

Described = dict[str, Any]  # family, kind, parameters, instruction, tier, deterministic, trained
Group = tuple[str, ...]  # families by name, each once
Steps = tuple[str, ...]  # single transformations by id, in order
ROUNDS = 12  # how often a group of families is tried with other parameters before it is given up


def by_seed(seed: int, groups: Iterable[Group]) -> list[Group]:
    """Groups of families in an order that the seed and their names alone give."""
    return sorted(groups, key=lambda group: draw(seed, "pair" if len(group) == 2 else "group", *group))


def pairs_of(families: Iterable[str]) -> set[frozenset[str]]:
    """Every two families that occur in one composition; `families` as manifests spell them, joined by +."""
    return {frozenset(pair) for family in families for pair in itertools.combinations(family.split("+"), 2)}


def threes_of(families: Iterable[str], allowed: set[frozenset[str]]) -> list[Group]:
    """The groups of three families of which every two are an allowed pair."""
    return [
        group
        for group in itertools.combinations(sorted(families), 3)
        if all(frozenset(p) in allowed for p in itertools.combinations(group, 2))
    ]


@dataclass(frozen=True)
class Composer:
    """Chooses compositions of single transformations, by id: all of their steps can be seen, and no two look alike."""

    recipe: Recipe
    library: Library
    calibration: Calibration
    singles: Mapping[str, Described]

    def choose(self, groups: Sequence[Group], wanted: int, beside: Mapping[str, Described] | None = None) -> dict[str, Described]:
        """Up to `wanted` compositions: each group of families in turn, in every order, with other presets at every turn.

        They also differ from the singles and from those of `beside`.
        """
        tries = track(self._tries(groups), wanted + wanted // 8, "choosing compositions")
        with contextlib.closing(cast(Generator[Steps, None, None], tries)) as tracked:  # the bar goes when enough are found
            return self._found(tracked, wanted, {**self.singles, **(beside or {})})

    def _found(self, tries: Iterator[Steps], wanted: int, known: Mapping[str, Described]) -> dict[str, Described]:
        found: dict[str, Described] = {}
        while len(found) < wanted:
            batch: dict[str, Described] = {}
            for names in tries:
                spec = self._composed(names)
                if spec["id"] not in found and self._all_matter(spec, names):
                    batch[spec["id"]] = spec
                    if len(found) + len(batch) == wanted:
                        break
            if not batch:
                return found
            near = self.calibration.distinct(batch, {**known, **found}, self.recipe.tiers.indistinct)
            found.update({name: spec for name, spec in batch.items() if name not in near})
        return found

    def _tries(self, groups: Sequence[Group]) -> Iterator[Steps]:
        """Presets in an order: one choice for each group of families per round, with another order from round to round."""
        by_family: dict[str, list[str]] = {}
        for name, spec in self.singles.items():
            by_family.setdefault(spec["family"], []).append(name)
        for turn in range(ROUNDS):
            for group in groups:
                digest = draw(self.recipe.seed, "composition", turn, *group)
                orders = list(itertools.permutations(group))
                order = orders[(digest[0] + turn + 1) % len(orders)]
                random = np.random.default_rng(int.from_bytes(digest[:16]))
                yield tuple(by_family[f][int(random.integers(len(by_family[f])))] for f in order)

    def _composed(self, names: Steps) -> Described:
        """One after the other; a single one is itself."""
        if len(names) == 1:
            return {**self.singles[names[0]], "id": names[0]}
        return self.library.compose(*(self.singles[name] for name in names))

    def _all_matter(self, spec: Described, names: Steps) -> bool:
        """Whether the composition changes the image, and differs visibly from what it is without any one of its steps."""
        least = self.recipe.filters.minimum_change
        if self.calibration.change(spec["id"], spec) < least:
            return False
        rests = (self._composed((*names[:i], *names[i + 1 :])) for i in range(len(names)))
        return all(self.calibration.apart(spec["id"], spec, rest["id"], rest) >= least for rest in rests)
