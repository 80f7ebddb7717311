"""Tiers: which transformations are trained on, and which a suite holds that are new, and how new."""

import contextlib
import difflib
import hashlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from datagen.filters import Calibration
from datagen.notes import Note
from datagen.recipe import Recipe
from datagen.transformations.catalogue import Library
from lorweb_bench.errors import InputError
from lorweb_bench.progress import track

Described = dict[str, Any]  # family, kind, parameters, instruction, tier, deterministic, trained
ROUNDS = 12  # how often a pair of families is tried with other parameters before it is given up


@dataclass
class Selection:
    """Transformations by id as the manifest lists them, and what was left out and why."""

    transformations: dict[str, Described] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def of(self, tier: str) -> list[str]:
        """The ids of a tier, in the order of choice."""
        return [name for name, info in self.transformations.items() if info["tier"] == tier]


def draw(seed: int, *words: object) -> bytes:
    """A digest of the seed and words: what every choice is made by, so that none depends on another."""
    return hashlib.sha256(":".join([str(seed), *map(str, words)]).encode()).digest()


def generator(seed: int, *words: object) -> np.random.Generator:
    """A random generator of the seed and words."""
    return np.random.default_rng(int.from_bytes(draw(seed, *words)[:16]))


def trained_families(recipe: Recipe, library: Library) -> list[str]:
    """The deterministic families to train on: those of the recipe less the held-out ones.

    InputError, with the nearest name, for a family that the library does not have.
    """
    tiers, wanted = recipe.tiers, recipe.transformations.families
    listed: Iterable[str] = [name for name, f in library.families.items() if f.deterministic] if wanted == "all" else wanted
    for where, names in (
        ("transformations.families", listed),
        ("tiers.new_family", tiers.new_family),
        ("tiers.new_parameters", tiers.new_parameters),
    ):
        for name in names:
            if name not in library.families:
                near = difflib.get_close_matches(name, library.families, 1, 0.4)
                hint = f"did you mean {near[0]!r}?" if near else "`lorweb-bench datagen transformations` lists them."
                raise InputError(f"{where}: there is no family {name!r}; {hint}")
            if not library.families[name].deterministic:
                raise InputError(f"{where}: the family {name!r} draws a fresh seed, so it has no single right answer; leave it out.")
    families = [name for name in dict.fromkeys(listed) if name not in tiers.new_family]
    if strange := [name for name in tiers.new_parameters if name not in families]:
        raise InputError(f"tiers.new_parameters: {strange[0]!r} is not among the trained families, so its parameters cannot be new.")
    return families


def _presets(recipe: Recipe, library: Library, families: Sequence[str]) -> dict[str, Described]:
    """The transformations of these families, described, by id: the recipe's own values where it gives some, else the library's."""
    own = recipe.transformations.presets
    if strange := [name for name in own if name not in families]:
        raise InputError(f"transformations.presets: {strange[0]!r} is not among the trained families.")
    by_family: dict[str, list[Described]] = {}
    for spec in library.singles().values():
        by_family.setdefault(spec["family"], []).append(spec)
    by_family |= {family: [library.describe(family, values) for values in rows] for family, rows in own.items()}
    return {spec["id"]: spec for family, group in by_family.items() if family in families for spec in group}


def held_out_parameters(recipe: Recipe, library: Library) -> dict[str, Described]:
    """The transformations of `tiers.new_parameters`, described, by id."""
    described = [library.describe(family, values) for family, rows in recipe.tiers.new_parameters.items() for values in rows]
    return {info["id"]: info for info in described}


def trained(recipe: Recipe, library: Library, calibration: Calibration) -> Selection:
    """The transformations of a training dataset: single presets and compositions, each visible and distinct from the others."""
    selection = Selection()
    families, held = trained_families(recipe, library), held_out_parameters(recipe, library)
    singles = {n: s for n, s in _presets(recipe, library, families).items() if n not in held}
    singles = _visible(singles, calibration, recipe.filters.minimum_change, selection.notes)
    singles = _distinct(singles, {}, calibration, recipe.tiers.indistinct, selection.notes)
    if not singles:
        raise InputError("No transformation is left to train on; see transformations.families and tiers.")
    present = sorted({s["family"] for s in singles.values()})
    pairs = _ordered_pairs(recipe.seed, present)
    allowed = pairs[recipe.tiers.new_composition.family_pairs :]
    wanted = recipe.transformations.compositions.count
    found = _compositions(recipe, library, calibration, singles, allowed, wanted)
    if len(found) < wanted:
        selection.notes.append(Note(f"only {len(found)} of {wanted} compositions have two steps that can both be seen"))
    for tier, group in (("seen_single", singles), ("seen_composition", found)):
        selection.transformations.update({n: _info(s, tier, trained=True) for n, s in group.items()})
    return selection


def _info(spec: Mapping[str, Any], tier: str | None, trained: bool) -> Described:
    return {**{k: v for k, v in spec.items() if k != "id"}, "tier": tier, "trained": trained}


def _ordered_pairs(seed: int, families: Sequence[str]) -> list[tuple[str, str]]:
    """All unordered pairs of families, in an order that the seed and the two names alone give; the first ones are held out."""
    pairs = [tuple(sorted(pair)) for pair in itertools.combinations(sorted(families), 2)]
    return sorted(((a, b) for a, b in pairs), key=lambda pair: draw(seed, "pair", *pair))


def _visible(specs: Mapping[str, Described], calibration: Calibration, least: float, notes: list[Note]) -> dict[str, Described]:
    changes = {name: calibration.change(name, specs[name]) for name in track(specs, len(specs), "measuring transformations")}
    notes.extend(
        Note(f"{name} changes an image by {change:.1f} levels only, it is left out", "not_visible")
        for name, change in changes.items()
        if change < least
    )
    return {name: spec for name, spec in specs.items() if changes[name] >= least}


def _distinct(
    specs: Mapping[str, Described], known: Mapping[str, Described], calibration: Calibration, least: float, notes: list[Note]
) -> dict[str, Described]:
    near = calibration.distinct(specs, known, least)
    notes.extend(Note(f"{name} is only {d:.1f} levels from {other}, it is left out", "indistinct") for name, (other, d) in near.items())
    return {name: spec for name, spec in specs.items() if name not in near}


def _compositions(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    singles: Mapping[str, Described],
    pairs: Sequence[tuple[str, str]],
    wanted: int,
) -> dict[str, Described]:
    """Up to `wanted` compositions: each pair of families in turn, both orders, other presets at every turn."""
    tracked = cast(
        Generator[tuple[str, str], None, None], track(_tries(recipe.seed, singles, pairs), wanted + wanted // 8, "choosing compositions")
    )
    with contextlib.closing(tracked) as tries:  # the bar goes when enough are found
        return _found(recipe, library, calibration, singles, tries, wanted)


def _found(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    singles: Mapping[str, Described],
    tries: Iterator[tuple[str, str]],
    wanted: int,
) -> dict[str, Described]:
    found: dict[str, Described] = {}
    while len(found) < wanted:
        batch: dict[str, Described] = {}
        for first, second in tries:
            spec = library.compose(singles[first], singles[second])
            if spec["id"] not in found and _both_matter(calibration, spec, first, second, singles, recipe.filters.minimum_change):
                batch[spec["id"]] = spec
                if len(found) + len(batch) == wanted:
                    break
        if not batch:
            return found
        near = calibration.distinct(batch, {**singles, **found}, recipe.tiers.indistinct)
        found.update({name: spec for name, spec in batch.items() if name not in near})
    return found


def _tries(seed: int, singles: Mapping[str, Described], pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Ordered pairs of presets: one of each pair of families per round, with the order turned round from round to round."""
    by_family: dict[str, list[str]] = {}
    for name, spec in singles.items():
        by_family.setdefault(spec["family"], []).append(name)
    for turn in range(ROUNDS):
        for pair in pairs:
            digest = draw(seed, "composition", turn, *pair)
            first, second = pair if (digest[0] + turn) % 2 else pair[::-1]
            random = np.random.default_rng(int.from_bytes(digest[:16]))
            yield tuple(by_family[f][int(random.integers(len(by_family[f])))] for f in (first, second))  # type: ignore[misc]


def _both_matter(
    calibration: Calibration, spec: Described, first: str, second: str, singles: Mapping[str, Described], least: float
) -> bool:
    """Whether the composition changes the image and differs visibly from each of its steps alone."""
    name = spec["id"]
    return calibration.change(name, spec) >= least and all(
        calibration.apart(name, spec, step, singles[step]) >= least for step in (first, second)
    )


def suite_tiers(recipe: Recipe, library: Library, calibration: Calibration, training: Mapping[str, Described]) -> Selection:
    """The transformations of a suite, and those trained on in the dataset that it is relative to.

    `training` is that dataset's transformations by id. Unseen tiers hold nothing that was trained: no trained id, family or
    pair of families as the tier promises. Those of the training dataset that no item uses are listed too, with their tier.
    """
    selection = Selection()
    known = {n: t for n, t in training.items() if t.get("trained") or t["tier"] in ("seen_single", "seen_composition")}
    singles = {n: t for n, t in known.items() if "+" not in t["family"]}
    compositions = {n: t for n, t in known.items() if "+" in t["family"]}
    count, liked = recipe.tiers.transformations, list(recipe.tiers.new_parameters)

    def shows(specs: Mapping[str, Described]) -> dict[str, Described]:
        names = track(specs, len(specs), "measuring transformations")
        return {name: specs[name] for name in names if calibration.blank(name, specs[name]) <= recipe.filters.maximum_blank}

    chosen: dict[str, list[str]] = {
        "seen_single": _spread(recipe.seed, shows(singles), count, liked),
        "seen_composition": _spread(recipe.seed, shows(compositions), count, []),
    }
    new: dict[str, dict[str, Described]] = {
        "new_parameters": _new_parameters(recipe, library, calibration, singles, selection.notes),
        "new_family": _new_family(recipe, library, calibration, known, selection.notes),
        "new_composition": _new_composition(recipe, library, calibration, singles, compositions),
    }
    against = dict(known)
    for tier in ("new_parameters", "new_family", "new_composition"):
        new[tier] = _distinct(shows(new[tier]), against, calibration, recipe.tiers.indistinct, selection.notes)
        chosen[tier] = _spread(recipe.seed, new[tier], count, [])
        against.update({name: new[tier][name] for name in chosen[tier]})
    for tier, names in chosen.items():
        group = known if tier.startswith("seen") else new[tier]
        selection.transformations.update({n: _info(group[n], tier, trained=tier.startswith("seen")) for n in names})
    for tier, group in (("seen_single", singles), ("seen_composition", compositions)):
        for name, spec in group.items():
            selection.transformations.setdefault(name, _info(spec, tier, trained=True))
    selection.notes.extend(Note(f"the tier {tier} is empty") for tier, names in chosen.items() if not names)
    return selection


def _spread(seed: int, specs: Mapping[str, Described], count: int, liked: Sequence[str]) -> list[str]:
    """At most `count` ids, taken from the families in turn, those of `liked` first, then in an order by the seed."""
    by_family: dict[str, list[str]] = {}
    for name in sorted(specs, key=lambda n: draw(seed, "spread", n)):
        by_family.setdefault(specs[name]["family"], []).append(name)
    order = sorted(by_family, key=lambda f: (f not in liked, draw(seed, "family", f)))
    turns = itertools.zip_longest(*(by_family[f] for f in order))
    return [name for turn in turns for name in turn if name is not None][:count]


def _new_parameters(
    recipe: Recipe, library: Library, calibration: Calibration, singles: Mapping[str, Described], notes: list[Note]
) -> dict[str, Described]:
    """Held-out values of trained families that keep their distance from every trained value of the same family."""
    least, families = recipe.tiers.minimum_distance, {t["family"] for t in singles.values()}
    held = {n: t for n, t in held_out_parameters(recipe, library).items() if t["family"] in families}
    if both := sorted(set(held) & set(singles)):
        raise InputError(f"tiers.new_parameters: {both[0]} is trained on in the dataset that tiers.relative_to names.")
    held = _visible(held, calibration, recipe.filters.minimum_change, notes)
    kept = {}
    for name, spec in held.items():
        own = {n: t for n, t in singles.items() if t["family"] == spec["family"]}
        if not (near := calibration.distinct({name: spec}, own, least)):
            kept[name] = spec
            continue
        other, distance = near[name]
        text = f"{name} is {distance:.1f} levels from the trained {other}, under the distance of {least:g}; it is left out"
        notes.append(Note(text, "minimum_distance"))
    return kept


def _new_family(
    recipe: Recipe, library: Library, calibration: Calibration, known: Mapping[str, Described], notes: list[Note]
) -> dict[str, Described]:
    """Every preset of the families that no trained transformation, and no step of one, belongs to."""
    used = {family for t in known.values() for family in t["family"].split("+")}
    if both := [f for f in recipe.tiers.new_family if f in used]:
        raise InputError(f"tiers.new_family: {both[0]!r} is trained on in the dataset that tiers.relative_to names.")
    specs = {n: s for n, s in library.singles().items() if s["family"] in recipe.tiers.new_family}
    return _visible(specs, calibration, recipe.filters.minimum_change, notes)


def _new_composition(
    recipe: Recipe, library: Library, calibration: Calibration, singles: Mapping[str, Described], compositions: Mapping[str, Described]
) -> dict[str, Described]:
    """Compositions of trained presets whose families were trained singly and never together, in neither order."""
    together = {frozenset(t["family"].split("+")) for t in compositions.values()}
    pairs = [p for p in _ordered_pairs(recipe.seed, sorted({t["family"] for t in singles.values()})) if frozenset(p) not in together]
    apart = pairs[: recipe.tiers.new_composition.family_pairs]
    found: dict[str, Described] = {}
    for pair in apart:  # one composition of each pair, so that as many pairs as possible are represented
        found.update(_compositions(recipe, library, calibration, singles, [pair], 1))
    return found
