"""Compositions: which families go together, and one preset of each, one after the other."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datagen.planning.calibration import Calibration, Sketch
from datagen.planning.seeding import draw
from datagen.planning.visible_steps import sketch_if_visible
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

    def order(group: Group) -> bytes:
        """What a group is ordered by: a draw from the seed and its names."""
        return draw(seed, "pair" if len(group) == 2 else "group", *group)

    return sorted(groups, key=order)


def pairs_of(families: Iterable[str]) -> set[frozenset[str]]:
    """Every two families that occur in one composition.

    Args:
        families: As manifests spell them, the families of a composition joined by `+`.

    >>> sorted(sorted(pair) for pair in pairs_of(["flip+tint", "fog"]))
    [['flip', 'tint']]
    """
    return set[frozenset[str]]().union(*map(family_pairs, families))


def threes_of(families: Iterable[str], allowed: set[frozenset[str]]) -> list[Group]:
    """The groups of three families of which every two are an allowed pair, in order."""
    after: dict[str, set[str]] = {family: set() for family in families}
    for pair in itertools.combinations(sorted(after), 2):
        if frozenset(pair) in allowed:
            after[pair[0]].add(pair[1])
    groups: list[Group] = []
    for first in sorted(after):
        for second in sorted(after[first]):
            groups += [(first, second, third) for third in sorted(after[first] & after[second])]
    return groups


@dataclass(frozen=True)
class Composer:
    """Chooses compositions of single transformations.

    All steps of a chosen one can be seen, and no two chosen ones look alike.

    Attributes:
        recipe: Gives the seed and the least distances.
        calibration: Tells what can be seen.
        singles: Single transformations by id.
    """

    recipe: Recipe
    calibration: Calibration
    singles: Mapping[str, Described]

    def choose(
        self, groups: Sequence[Group], wanted: int, beside: Mapping[str, Described] | None = None
    ) -> dict[str, Described]:
        """Choose up to `wanted` compositions.

        Each group of families comes in turn, in every order, with other presets at every turn.

        Args:
            groups: Groups of families.
            wanted: How many compositions.
            beside: Compositions that the chosen ones must differ from, besides the singles.

        Returns:
            The compositions by id.
        """
        earlier, chosen = {**self.singles, **(beside or {})}, dict[str, Described]()
        least = self.recipe.tiers.indistinct
        tries = (self._presets(group, turn) for turn in range(ROUNDS) for group in groups)
        while len(chosen) < wanted:
            batch = list(itertools.islice(tries, max(wanted - len(chosen), AT_ONCE)))
            if not batch:
                break
            visible: dict[str, Described] = {}
            for spec in self._visible(batch):
                if spec is not None and spec["id"] not in chosen:
                    visible[spec["id"]] = spec
            near = self.calibration.too_near(visible, {**earlier, **chosen}, least)
            distinct = {name: spec for name, spec in visible.items() if name not in near}
            chosen.update(itertools.islice(distinct.items(), wanted - len(chosen)))
        return chosen

    def one_each(self, groups: Sequence[Group]) -> dict[str, Described]:
        """One composition of each group of families.

        A group has none where none of its turns gives one that differs from the singles.
        """
        chosen: dict[Group, Described] = {}
        least = self.recipe.tiers.indistinct
        for turn in range(ROUNDS):
            waiting = [group for group in groups if group not in chosen]
            tried = self._visible([self._presets(group, turn) for group in waiting])
            for group, spec in zip(waiting, tried, strict=True):
                if spec is None:
                    continue
                if not self.calibration.too_near({spec["id"]: spec}, self.singles, least):
                    chosen[group] = spec
        return {chosen[group]["id"]: chosen[group] for group in groups if group in chosen}

    def _presets(self, group: Group, turn: int) -> Steps:
        """A single transformation of each family of a group, in an order.

        Both change from turn to turn.
        """
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

    def _visible(self, batch: Sequence[Steps]) -> Iterator[Described | None]:
        """Of each the composition, described, or None where one of its steps cannot be seen."""
        groups: dict[
            str, list[Steps]
        ] = {}  # those that begin alike share what the first step makes
        for names in batch:
            groups.setdefault(names[0], []).append(names)
        sketched = run_pieces(
            self._sketch_group,
            list(groups.values()),
            self.calibration.workers,
            describe="choosing compositions",
        )
        sketches: dict[Steps, Sketch | None] = {}
        for group, group_sketches in zip(groups.values(), sketched, strict=True):
            sketches.update(zip(group, group_sketches, strict=True))
        for names in batch:
            if (sketch := sketches[names]) is None:
                yield None
                continue
            spec = self._compose(names)
            self.calibration.learn(spec["id"], sketch)
            yield spec

    def _sketch_group(self, group: Sequence[Steps]) -> list[Sketch | None]:
        least = self.recipe.filters.minimum_change
        return [
            sketch_if_visible(self.calibration, [self._compose((n,)) for n in names], least)
            for names in group
        ]

    def _compose(self, names: Steps) -> Described:
        """One after the other; a single one is itself."""
        if len(names) == 1:
            return {**self.singles[names[0]], "id": names[0]}
        section = self.recipe.transformations
        library = library_of(section.library, section.lengths)
        return library.compose(*(self.singles[name] for name in names))
