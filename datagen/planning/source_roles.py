"""Roles: which source serves training, a suite's a, its b, or calibration. No source has two."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datagen.making.build_notes import Note
from datagen.planning.seeding import draw
from datagen.recipe.schema import Recipe
from datagen.recipe.sources import ROLES, SourceSection
from datagen.sources import Panel, Source
from lorweb_bench.errors import InputError, did_you_mean

SHOWN = 20  # names of photographs that an error lists
TWICE = ("train", "dev", "calibration")  # the roles whose sources are both a and b
LEAST = {
    "train": 2,
    "dev": 2,
    "calibration": 2,
    "a": 2,
    "b": 2,
}  # photographs that a role with a share needs


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
    """The sources by role, and the files that were left out with the reason."""

    pools: Mapping[str, Pool]
    notes: tuple[Note, ...] = ()

    @property
    def names(self) -> dict[str, list[str]]:
        """The sources' names by role."""
        return {role: sorted(pool.names) for role, pool in self.pools.items()}

    @property
    def pixels(self) -> dict[str, str]:
        """The hashes of the photographs by name."""
        return {
            source.name: source.pixels
            for pool in self.pools.values()
            for source in pool.photographs
        }

    def needed(self, role: str) -> Pool:
        """The pool of a role; InputError when nothing is in it."""
        pool = self.pools[role]
        if not pool.photographs and not pool.scenes:
            raise InputError(
                f"No source has the role {role!r}; give it a greater share in source.shares, names in source.assign, or more source.scenes."
            )
        return pool


def panel_of(recipe: Recipe) -> Panel:
    """The recipe's panel as sources take it."""
    return Panel(recipe.panel.square, recipe.panel.long_edge, recipe.panel.format)


def share_out(recipe: Recipe, workers: int = 1) -> Roles:
    """Give every photograph and scene of the recipe one role.

    A pure function of the seed and the names: photographs by `assign` or by share, scenes by share. A scene keeps its role
    whatever the number of scenes. `workers` processes check the files. InputError when there are too few photographs, or
    `assign` names one that is not there.
    """
    section = recipe.source
    photographs, skipped = (
        read_photographs(recipe, workers) if section.kind == "photographs" else ([], ())
    )
    by_role = (
        _assigned(section, photographs)
        if section.assign
        else _shared(section, photographs, recipe.seed)
    )
    scenes = _scenes(recipe)
    names = [source.name for source in photographs] + [
        source.name for group in scenes.values() for source in group
    ]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Two sources are called {twice!r}; rename the photograph.")
    return Roles(
        {role: Pool(tuple(by_role.get(role, ())), tuple(scenes.get(role, ()))) for role in ROLES},
        skipped,
    )


def read_photographs(recipe: Recipe, workers: int = 1) -> tuple[list[Source], tuple[Note, ...]]:
    """The photographs of a recipe by name, less those that `filters` leave out, and what was left out."""
    from datagen.sources import photographs

    section = recipe.source
    assert section.path is not None
    least = max(recipe.filters.minimum_side, recipe.panel.square or 16)
    if section.path == "bundled":
        return photographs.bundled_from(least)
    found, skipped = photographs.folder(
        section.path,
        section.on_bad,
        sha256=section.sha256,
        min_side=least,
        licence=section.licence,
        attribution=section.attribution,
        credits=section.credits,
        workers=workers,
    )
    notes = [one.note for one in skipped]
    if recipe.filters.near_duplicates:
        found, near = photographs.unlike(found, workers)
        notes += [one.note for one in near]
    return found, tuple(notes)


def pair_role(recipe: Recipe, photograph: str, trained: bool) -> str:
    """The role of a photograph behind pairs: by `shares` where the recipe gives them, else train.

    One that only held-out tasks have (`trained` is false) is an a or a b, as often the one as the other; where an editor makes
    the pairs, `shares` decide on all, and without them a suite's are a or b.
    """
    given = recipe.source.shares if "shares" in recipe.source.model_fields_set else None
    if recipe.source.kind == "editor":
        shares = given or ({"a": 0.5, "b": 0.5} if recipe.is_suite else {"train": 1.0})
    else:
        shares = (given or {"train": 1.0}) if trained else {"a": 0.5, "b": 0.5}
    roles = [role for role in ROLES if shares.get(role, 0.0) > 0]  # type: ignore[call-overload]
    ends = list(itertools.accumulate(shares[role] for role in roles))  # type: ignore[index]
    at = int.from_bytes(draw(recipe.seed, "role", photograph)[:8]) / 2**64 * ends[-1]
    return next((role for role, end in zip(roles, ends, strict=True) if at < end), roles[-1])


def _assigned(section: SourceSection, photographs: Sequence[Source]) -> dict[str, list[Source]]:
    by_name = {source.name: source for source in photographs}
    wanted = [name for names in section.assign.values() for name in names]
    if missing := [name for name in wanted if name not in by_name]:
        hint = did_you_mean(missing[0], by_name)
        end = f"; {hint}" if hint else "."
        there = ", ".join(list(by_name)[:SHOWN]) + (
            f" and {len(by_name) - SHOWN} more" if len(by_name) > SHOWN else ""
        )
        raise InputError(
            f"source.assign names {', '.join(missing)}; {section.path} has the photographs {there or 'none'}{end}"
        )
    for role, names in section.assign.items():
        if len(names) == 1 and role in TWICE and not section.scenes:
            raise InputError(
                f"source.assign.{role} has one photograph, {names[0]!r}, and needs two, an a and a b; add another one."
            )
    return {role: [by_name[name] for name in names] for role, names in section.assign.items()}


def _shared(
    section: SourceSection, photographs: Sequence[Source], seed: int
) -> dict[str, list[Source]]:
    shares = {role: section.shares.get(role, 0.0) for role in ROLES}  # type: ignore[call-overload]
    least = {role: LEAST[role] for role in ROLES if shares[role] > 0}
    total = sum(shares.values())
    if section.kind != "photographs":
        return {}
    if len(photographs) < sum(least.values()):
        parts = ", ".join(f"{count} for {role}" for role, count in least.items())
        raise InputError(
            f"{section.path} has {len(photographs)} usable photographs, and at least {sum(least.values())} are needed ({parts}), "
            "because no photograph serves two roles; add some."
        )
    spare = len(photographs) - sum(least.values())
    exact = {
        role: max(0.0, shares[role] / total * len(photographs) - least[role]) for role in least
    }
    scale = spare / (sum(exact.values()) or 1.0)
    counts = {role: least[role] + int(exact[role] * scale) for role in least}
    for role in sorted(
        least, key=lambda r: (int(exact[r] * scale) - exact[r] * scale, ROLES.index(r))
    ):
        if sum(counts.values()) < len(photographs):
            counts[role] += 1
    order = sorted(photographs, key=lambda source: draw(seed, "role", source.name))
    by_role: dict[str, list[Source]] = {}
    for role, count in counts.items():
        by_role[role], order = sorted(order[:count], key=lambda source: source.name), order[count:]
    return by_role


def _scenes(recipe: Recipe) -> dict[str, list[Source]]:
    if not recipe.source.scenes:
        return {}
    from datagen.sources.scenes.compose import scenes

    shares = {role: recipe.source.shares.get(role, 0.0) for role in ROLES}  # type: ignore[call-overload]
    total, side = sum(shares.values()), recipe.panel.square or recipe.panel.long_edge or 64
    by_role: dict[str, list[Source]] = {role: [] for role in ROLES}
    for source in scenes(range(recipe.source.scenes), side, side):
        at = int.from_bytes(draw(recipe.seed, "role", source.name)[:8]) / 2**64 * total
        for role in ROLES:
            at -= shares[role]
            if at < 0:
                by_role[role].append(source)
                break
        else:
            by_role[ROLES[-1]].append(source)  # rounding at the upper end
    return by_role
