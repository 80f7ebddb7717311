"""Compositions: which families go together, and one preset of each of them, one after the other."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datagen.planning.calibration import Calibration, Sketch
from datagen.planning.seeding import draw
from datagen.recipe.library import library_of
from datagen.recipe.schema import Recipe
from lorweb_bench.data.composition import family_pairs
from lorweb_bench.runtime.workers import run_pieces

Described = dict[str, Any]  # family, kind, parameters, instruction, tier, deterministic, trained
Group = tuple[str, ...]  # families by name, each once
Steps = tuple[str, ...]  # single transformations by id, in order
ROUNDS = 12  # how often a group of families is tried with other parameters before it is given up
AT_ONCE = 16  # the fewest that are tried at once


def by_seed(seed: int, groups: Iterable[Group]) -> list[Group]:
    """Groups of families in an order that the seed and their names alone give."""
    return sorted(
        groups, key=lambda group: draw(seed, "pair" if len(group) == 2 else "group", *group)
    )


def pairs_of(families: Iterable[str]) -> set[frozenset[str]]:
    """Every two families that occur in one composition; `families` as manifests spell them, joined by +."""
    return set[frozenset[str]]().union(*map(family_pairs, families))


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
    calibration: Calibration
    singles: Mapping[str, Described]

    def choose(
        self, groups: Sequence[Group], wanted: int, beside: Mapping[str, Described] | None = None
    ) -> dict[str, Described]:
        """Up to `wanted` compositions: each group of families in turn, in every order, with other presets at every turn.

        They also differ from the singles and from those of `beside`.
        """
        known, found = {**self.singles, **(beside or {})}, dict[str, Described]()
        tries = (self._presets(group, turn) for turn in range(ROUNDS) for group in groups)
        while len(found) < wanted and (
            batch := list(itertools.islice(tries, max(wanted - len(found), AT_ONCE)))
        ):
            seen = {
                spec["id"]: spec
                for spec in self._all_seen(batch)
                if spec is not None and spec["id"] not in found
            }
            near = self.calibration.distinct(seen, {**known, **found}, self.recipe.tiers.indistinct)
            apart = {name: spec for name, spec in seen.items() if name not in near}
            found.update(itertools.islice(apart.items(), wanted - len(found)))
        return found

    def one_each(self, groups: Sequence[Group]) -> dict[str, Described]:
        """One composition of each group of families, where any of its turns gives one that differs from the singles."""
        found: dict[Group, Described] = {}
        for turn in range(ROUNDS):
            waiting = [group for group in groups if group not in found]
            for group, spec in zip(
                waiting,
                self._all_seen([self._presets(group, turn) for group in waiting]),
                strict=True,
            ):
                if spec and not self.calibration.distinct(
                    {spec["id"]: spec}, self.singles, self.recipe.tiers.indistinct
                ):
                    found[group] = spec
        return {found[group]["id"]: found[group] for group in groups if group in found}

    def _presets(self, group: Group, turn: int) -> Steps:
        """A single transformation of each family of a group, in an order; both change from turn to turn."""
        by_family = self._by_family
        digest = draw(self.recipe.seed, "composition", turn, *group)
        orders = list(itertools.permutations(group))
        order = orders[(digest[0] + turn + 1) % len(orders)]
        random = np.random.default_rng(int.from_bytes(digest[:16]))
        return tuple(by_family[f][int(random.integers(len(by_family[f])))] for f in order)

    @cached_property
    def _by_family(self) -> dict[str, list[str]]:
        by_family: dict[str, list[str]] = {}
        for name, spec in self.singles.items():
            by_family.setdefault(spec["family"], []).append(name)
        return by_family

    def _all_seen(self, batch: Sequence[Steps]) -> Iterator[Described | None]:
        """Of each the composition, described, or None where one of its steps cannot be seen."""
        sketches = run_pieces(
            self._seen, batch, self.calibration.workers, describe="choosing compositions"
        )
        for names, sketch in zip(batch, sketches, strict=True):
            spec = None if sketch is None else self._composed(names)
            if spec is not None and sketch is not None:
                self.calibration.learn(spec["id"], sketch)
            yield spec

    def _seen(self, names: Steps) -> Sketch | None:
        """The composition's sketch, if it changes the image, and differs visibly from what it is without any one of its steps."""
        spec, least = self._composed(names), self.recipe.filters.minimum_change
        if self.calibration.change(spec["id"], spec) < least:
            return None
        rests = (self._composed((*names[:i], *names[i + 1 :])) for i in range(len(names)))
        if all(
            self.calibration.apart(spec["id"], spec, rest["id"], rest) >= least for rest in rests
        ):
            return self.calibration.sketch(spec["id"], spec)
        return None

    def _composed(self, names: Steps) -> Described:
        """One after the other; a single one is itself."""
        if len(names) == 1:
            return {**self.singles[names[0]], "id": names[0]}
        return library_of(self.recipe.transformations.library).compose(
            *(self.singles[name] for name in names)
        )
