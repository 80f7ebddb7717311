"""Roles: which source serves training, a suite's a, its b, or calibration. No source has two."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from datagen.making.build_notes import LeftOut, Note
from datagen.planning.seeding import draw
from datagen.recipe.schema import Recipe
from datagen.recipe.sources import ROLES, SourceSection
from datagen.sources.crops import Panel
from datagen.sources.source import Source
from lorweb_bench.errors import InputError, did_you_mean

SHOWN = 20  # names of photographs that an error lists
TWICE = ("train", "dev", "calibration")  # the roles whose sources are both a and b
LEAST = dict.fromkeys(ROLES, 2)  # photographs that a role with a share needs
SUITE_SHARES = {"a": 0.5, "b": 0.5}


@dataclass(frozen=True)
class Pool:
    """The sources of one role."""

    photographs: tuple[Source, ...] = ()
    scenes: tuple[Source, ...] = ()

    @property
    def names(self) -> set[str]:
        """The names of all of them."""
        return {source.name for source in (*self.photographs, *self.scenes)}


@dataclass(frozen=True)
class Roles:
    """The sources by role, and what was left out."""

    pools: Mapping[str, Pool]
    notes: tuple[Note, ...] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """The sources' names by role."""
        return {role: sorted(pool.names) for role, pool in self.pools.items()}

    @property
    def pixels(self) -> dict[str, str]:
        """The pixel hashes of the photographs by name."""
        photographs = itertools.chain.from_iterable(p.photographs for p in self.pools.values())
        return {source.name: source.pixels for source in photographs}

    def needed(self, role: str) -> Pool:
        """The pool of a role; InputError when nothing is in it."""
        pool = self.pools[role]
        if not pool.photographs and not pool.scenes:
            raise InputError(
                f"No source has the role {role!r}; give it a greater share in source.shares, "
                "names in source.assign, or more source.scenes."
            )
        return pool


def panel_of(recipe: Recipe) -> Panel:
    """The recipe's panel as sources take it."""
    return Panel(recipe.panel.square, recipe.panel.long_edge, recipe.panel.format)


def share_out(recipe: Recipe, workers: int = 1) -> Roles:
    """Give every photograph and scene of the recipe one role.

    A pure function of the seed and the names: photographs by `assign` or by share, scenes by share.
    A scene keeps its role whatever the number of scenes.

    Args:
        recipe: A recipe of photographs or scenes.
        workers: Processes that decode the files.

    Raises:
        InputError: There are too few photographs, `assign` names one that is not there, or two
            sources have one name.
    """
    section = recipe.source
    photographs: list[Source] = []
    notes: tuple[Note, ...] = ()
    if section.kind == "photographs":
        photographs, notes = read_photographs(recipe, workers)
    if section.assign:
        by_role = _by_assignment(section, photographs)
    else:
        by_role = _by_share(section, photographs, recipe.seed)
    scenes = _scenes_by_role(recipe)
    names = [source.name for source in photographs]
    for group in scenes.values():
        names += [source.name for source in group]
    for name, count in Counter(names).items():
        if count > 1:
            raise InputError(f"Two sources are called {name!r}; rename the photograph.")
    pools = {
        role: Pool(tuple(by_role.get(role, ())), tuple(scenes.get(role, ()))) for role in ROLES
    }
    return Roles(pools, notes)


def read_photographs(recipe: Recipe, workers: int = 1) -> tuple[list[Source], tuple[Note, ...]]:
    """The photographs of a recipe by name, less those that `filters` leave out.

    Returns:
        The photographs, and what was left out.
    """
    from datagen.sources import bundled, photographs

    section = recipe.source
    assert section.path is not None
    least = max(recipe.filters.minimum_side, recipe.panel.square or 16)
    if section.path == "bundled":
        return bundled.bundled_from(least)
    sources, notes = photographs.folder(
        section.path,
        section.on_bad,
        sha256=section.sha256,
        min_side=least,
        licence=section.licence,
        attribution=section.attribution,
        credits=section.credits,
        workers=workers,
        recheck=section.recheck,
    )
    if recipe.one_of_near_duplicates:
        sources, copies = photographs.without_near_duplicates(sources)
        notes += copies
        _refuse_assigned_copies(section, copies)
    return sources, tuple(notes)


def _refuse_assigned_copies(section: SourceSection, copies: Sequence[LeftOut]) -> None:
    """Raise InputError where a photograph that looks like another one is assigned to a role."""
    assigned = set(itertools.chain.from_iterable(section.assign.values()))
    for copy in copies:
        if copy.name in assigned:
            raise InputError(
                f"source.assign names {copy.name}: {copy.reason}; assign one of the two, or set "
                "filters.near_duplicates=false."
            )


def pair_role(recipe: Recipe, photograph: str, trained: bool) -> str:
    """The role of a photograph behind pairs.

    Where an editor makes the pairs, `source.shares` decide on all photographs; without them a
    suite's are a or b, and training data's are train. Of other pairs `source.shares` decide on
    trained photographs, which are train without them, and the others are a or b, evenly.

    Args:
        recipe: Gives the seed and the shares.
        photograph: The photograph's name.
        trained: Whether a task that is not held out has it.
    """
    has_shares = "shares" in recipe.source.model_fields_set
    recipe_shares = cast(Mapping[str, float], recipe.source.shares if has_shares else {})
    shares: Mapping[str, float]
    if recipe.source.kind == "editor":
        shares = recipe_shares or (SUITE_SHARES if recipe.is_suite else {"train": 1.0})
    elif trained:
        shares = recipe_shares or {"train": 1.0}
    else:
        shares = SUITE_SHARES
    roles = [role for role in ROLES if shares.get(role, 0.0) > 0]
    ends = list(itertools.accumulate(shares[role] for role in roles))
    position = _position(recipe.seed, photograph) * ends[-1]
    return next((role for role, end in zip(roles, ends, strict=True) if position < end), roles[-1])


def _position(seed: int, name: str) -> float:
    """Where a source stands among all of them by the seed, in [0, 1)."""
    return int.from_bytes(draw(seed, "role", name)[:8]) / 2**64


def _by_assignment(
    section: SourceSection, photographs: Sequence[Source]
) -> dict[str, list[Source]]:
    by_name = {source.name: source for source in photographs}
    assigned = list(itertools.chain.from_iterable(section.assign.values()))
    if missing := [name for name in assigned if name not in by_name]:
        hint = did_you_mean(missing[0], by_name)
        there = ", ".join(list(by_name)[:SHOWN]) or "none"
        if len(by_name) > SHOWN:
            there += f" and {len(by_name) - SHOWN} more"
        raise InputError(
            f"source.assign names {', '.join(missing)}; {section.path} has the photographs "
            f"{there}{f'; {hint}' if hint else '.'}"
        )
    for role, names in section.assign.items():
        if len(names) == 1 and role in TWICE and not section.scenes:
            raise InputError(
                f"source.assign.{role} has one photograph, {names[0]!r}, and needs two, an a and "
                "a b; add another one."
            )
    by_role: dict[str, list[Source]] = {}
    for role, names in section.assign.items():
        by_role[role] = [by_name[name] for name in names]
    return by_role


def _by_share(
    section: SourceSection, photographs: Sequence[Source], seed: int
) -> dict[str, list[Source]]:
    if section.kind != "photographs":
        return {}
    section_shares: Mapping[str, float] = section.shares  # type: ignore[assignment]
    shares = {role: section_shares[role] for role in ROLES if section_shares.get(role, 0.0) > 0}
    least = {role: LEAST[role] for role in shares}
    if len(photographs) < sum(least.values()):
        parts = ", ".join(f"{count} for {role}" for role, count in least.items())
        raise InputError(
            f"{section.path} has {len(photographs)} usable photographs, and at least "
            f"{sum(least.values())} are needed ({parts}), because no photograph serves two roles; "
            "add some."
        )
    counts = _counts(len(photographs), shares, least)
    order = sorted(photographs, key=lambda source: draw(seed, "role", source.name))
    by_role: dict[str, list[Source]] = {}
    for role, count in counts.items():
        by_role[role], order = sorted(order[:count], key=lambda source: source.name), order[count:]
    return by_role


def _counts(total: int, shares: Mapping[str, float], least: Mapping[str, int]) -> dict[str, int]:
    """Photographs by role: the least number, and the rest by share, greatest remainder first."""
    spare, whole = total - sum(least.values()), sum(shares.values())
    over = {role: max(0.0, shares[role] / whole * total - least[role]) for role in least}
    scale = spare / (sum(over.values()) or 1.0)
    exact = {role: over[role] * scale for role in least}
    counts = {role: least[role] + int(exact[role]) for role in least}

    def remainder_first(role: str) -> tuple[float, int]:
        """What a role is ordered by: the greatest remainder first."""
        return int(exact[role]) - exact[role], ROLES.index(role)

    for role in sorted(least, key=remainder_first):
        if sum(counts.values()) < total:
            counts[role] += 1
    return counts


def _scenes_by_role(recipe: Recipe) -> dict[str, list[Source]]:
    if not recipe.source.scenes:
        return {}
    from datagen.sources.scenes.compose import scenes

    stated = cast(Mapping[str, float], recipe.source.shares)
    shares = {role: stated.get(role, 0.0) for role in ROLES}
    total, side = sum(shares.values()), recipe.panel.square or recipe.panel.long_edge or 64
    by_role: dict[str, list[Source]] = {role: [] for role in ROLES}
    for source in scenes(range(recipe.source.scenes), side, side):
        position = _position(recipe.seed, source.name) * total
        for role in ROLES:
            position -= shares[role]
            if position < 0:
                by_role[role].append(source)
                break
        else:
            by_role[ROLES[-1]].append(source)  # rounding at the upper end
    return by_role
