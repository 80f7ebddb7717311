"""Tiers: which transformations are trained on, and which a suite holds that are new, and how new."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.making.build_notes import Note
from datagen.planning.calibration import Calibration
from datagen.planning.compositions import Composer, Described, by_seed, pairs_of, threes_of
from datagen.planning.seeding import draw
from datagen.recipe.schema import Recipe
from datagen.transformations.catalogue import Library
from lorweb_bench.data.composition import families_of, is_composed_family
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.protocol import SEEN_TIERS

MEASURING = "measuring transformations"


@dataclass
class Selection:
    """Transformations by id as the manifest lists them, those that items are made with, and what was left out and why."""

    transformations: dict[str, Described] = field(default_factory=dict)
    used: dict[str, list[str]] = field(default_factory=dict)  # ids by tier, in the order of choice
    notes: list[Note] = field(default_factory=list)

    def of(self, tier: str) -> list[str]:
        """The ids of a tier that items are made with."""
        return self.used.get(tier, [])


def trained_families(recipe: Recipe, library: Library) -> list[str]:
    """The deterministic families to train on: those of the recipe less the held-out ones.

    InputError, with the nearest name, for a family that the library does not have.
    """
    tiers, wanted = recipe.tiers, recipe.transformations.families
    listed: Iterable[str] = (
        [name for name, f in library.families.items() if f.deterministic]
        if wanted == "all"
        else wanted
    )
    for where, names in (
        ("transformations.families", listed),
        ("tiers.new_family", tiers.new_family),
        ("tiers.new_parameters", tiers.new_parameters),
    ):
        for name in names:
            if name not in library.families:
                hint = did_you_mean(
                    name,
                    library.families,
                    "`lorweb-bench datagen transformations` lists them.",
                )
                raise InputError(f"{where}: there is no family {name!r}; {hint}")
            if not library.families[name].deterministic:
                raise InputError(
                    f"{where}: the family {name!r} draws a fresh seed, so it has no single right answer; leave it out."
                )
    families = [name for name in dict.fromkeys(listed) if name not in tiers.new_family]
    if strange := [name for name in tiers.new_parameters if name not in families]:
        raise InputError(
            f"tiers.new_parameters: {strange[0]!r} is not among the trained families, so its parameters cannot be new."
        )
    return families


def _presets(recipe: Recipe, library: Library, families: Sequence[str]) -> dict[str, Described]:
    """The transformations of these families, described, by id: the recipe's own values where it gives some, else the library's."""
    own = recipe.transformations.presets
    if strange := [name for name in own if name not in families]:
        raise InputError(
            f"transformations.presets: {strange[0]!r} is not among the trained families."
        )
    by_family: dict[str, list[Described]] = {}
    for spec in library.singles().values():
        by_family.setdefault(spec["family"], []).append(spec)
    by_family |= {
        family: [library.describe(family, values) for values in rows]
        for family, rows in own.items()
    }
    return {
        spec["id"]: spec
        for family, group in by_family.items()
        if family in families
        for spec in group
    }


def held_out_parameters(recipe: Recipe, library: Library) -> dict[str, Described]:
    """The transformations of `tiers.new_parameters`, described, by id."""
    described = [
        library.describe(family, values)
        for family, rows in recipe.tiers.new_parameters.items()
        for values in rows
    ]
    return {info["id"]: info for info in described}


def trained(recipe: Recipe, library: Library, calibration: Calibration) -> Selection:
    """The transformations of a training dataset: single presets and compositions, each visible and distinct from the others."""
    selection = Selection()
    families, held = trained_families(recipe, library), held_out_parameters(recipe, library)
    singles = {n: s for n, s in _presets(recipe, library, families).items() if n not in held}
    singles = _visible(singles, calibration, recipe.filters.minimum_change, selection.notes)
    singles = _distinct(singles, {}, calibration, recipe.tiers.indistinct, selection.notes)
    if not singles:
        why = f" ({selection.notes[0]})" if selection.notes else ""
        raise InputError(
            f"No transformation is left to train on{why}; see transformations.families and tiers."
        )
    found = _trained_compositions(recipe, Composer(recipe, calibration, singles), selection.notes)
    for tier, group in (("seen_single", singles), ("seen_composition", found)):
        selection.transformations.update(
            {n: _info(s, tier, trained=True) for n, s in group.items()}
        )
        selection.used[tier] = list(group)
    return selection


def _trained_compositions(
    recipe: Recipe, composer: Composer, notes: list[Note]
) -> dict[str, Described]:
    """The compositions to train on, of two steps and of three; none holds two families whose pair is held out."""
    families = {s["family"] for s in composer.singles.values()}
    pairs = by_seed(recipe.seed, itertools.combinations(sorted(families), 2))[
        recipe.tiers.new_composition.family_pairs :
    ]
    wanted = recipe.transformations.compositions
    found = composer.choose(pairs, wanted.count)
    if len(found) < wanted.count:
        notes.append(
            Note(
                f"only {len(found)} of {wanted.count} compositions have two steps that can both be seen"
            )
        )
    if not wanted.of_three:
        return found
    threes = by_seed(recipe.seed, threes_of(families, set(map(frozenset, pairs))))
    longer = composer.choose(threes, wanted.of_three, beside=found)
    if len(longer) < wanted.of_three:
        notes.append(
            Note(
                f"only {len(longer)} of {wanted.of_three} compositions have three steps that can all be seen"
            )
        )
    return {**found, **longer}


def _info(spec: Mapping[str, Any], tier: str | None, trained: bool) -> Described:
    return {**{k: v for k, v in spec.items() if k != "id"}, "tier": tier, "trained": trained}


def _visible(
    specs: Mapping[str, Described], calibration: Calibration, least: float, notes: list[Note]
) -> dict[str, Described]:
    calibration.measure(specs, MEASURING)
    changes = {name: calibration.change(name, spec) for name, spec in specs.items()}
    notes.extend(
        Note(f"{name} changes an image by {change:.1f} levels only, it is left out", "not_visible")
        for name, change in changes.items()
        if change < least
    )
    return {name: spec for name, spec in specs.items() if changes[name] >= least}


def _distinct(
    specs: Mapping[str, Described],
    known: Mapping[str, Described],
    calibration: Calibration,
    least: float,
    notes: list[Note],
) -> dict[str, Described]:
    calibration.measure(specs, MEASURING)
    near = calibration.distinct(specs, known, least)
    notes.extend(
        Note(f"{name} is only {d:.1f} levels from {other}, it is left out", "indistinct")
        for name, (other, d) in near.items()
    )
    return {name: spec for name, spec in specs.items() if name not in near}


def suite_tiers(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    own: Calibration,
    training: Mapping[str, Described],
) -> Selection:
    """The transformations of a suite, and those trained on in the dataset that it is relative to.

    `training` is that dataset's transformations by id, `own` holds images of the suite itself. Unseen tiers hold nothing that was
    trained: no trained id, family or pair of families as the tier promises. Those of the training dataset that no item uses are
    listed too, with their tier.
    """
    selection, chosen = Selection(), _Chosen(recipe, own)
    known = {n: t for n, t in training.items() if t.get("trained") or t["tier"] in SEEN_TIERS}
    singles = {n: t for n, t in known.items() if not is_composed_family(t["family"])}
    compositions = {n: t for n, t in known.items() if is_composed_family(t["family"])}

    def shows(specs: Mapping[str, Described]) -> dict[str, Described]:
        calibration.measure(specs, MEASURING)
        return {
            name: spec
            for name, spec in specs.items()
            if calibration.blank(name, spec) <= recipe.filters.maximum_blank
        }

    chosen.take(
        "seen_single", shows(singles), selection.notes, liked=list(recipe.tiers.new_parameters)
    )
    chosen.take("seen_composition", shows(compositions), selection.notes)
    unseen = {
        "new_parameters": _new_parameters(recipe, library, calibration, singles, selection.notes),
        "new_family": _new_family(recipe, library, calibration, known, selection.notes),
        "new_composition": _new_composition(
            recipe, Composer(recipe, calibration, singles), compositions
        ),
    }
    for tier, group in unseen.items():
        against = {**known, **chosen.specs}
        chosen.take(
            tier,
            _distinct(shows(group), against, calibration, recipe.tiers.indistinct, selection.notes),
            selection.notes,
        )
    selection.used = chosen.tiers
    for tier, names in chosen.tiers.items():
        selection.transformations.update(
            {n: _info(chosen.specs[n], tier, trained=tier in SEEN_TIERS) for n in names}
        )
    for tier, group in (("seen_single", singles), ("seen_composition", compositions)):
        for name, spec in group.items():
            selection.transformations.setdefault(name, _info(spec, tier, trained=True))
    selection.notes.extend(
        Note(f"the tier {tier} is empty") for tier, names in chosen.tiers.items() if not names
    )
    return selection


@dataclass
class _Chosen:
    """What a suite's items will use: transformations by id, and ids by tier; no two are alike on images of the suite, `own`."""

    recipe: Recipe
    own: Calibration
    specs: dict[str, Described] = field(default_factory=dict)
    tiers: dict[str, list[str]] = field(default_factory=dict)

    def take(
        self,
        tier: str,
        group: Mapping[str, Described],
        notes: list[Note],
        liked: Sequence[str] = (),
    ) -> None:
        """Add at most `tiers.transformations` of a tier, families in turn; another one for each that has a twin."""
        count, least = self.recipe.tiers.transformations, self.recipe.tiers.indistinct
        names = _spread(self.recipe.seed, group, liked)
        while near := self._twins({name: group[name] for name in names[:count]}, least):
            notes.extend(
                Note(
                    f"{name} is only {d:.1f} levels from {other} on the suite's images, no item is made with it",
                    "indistinct",
                )
                for name, (other, d) in near.items()
            )
            names = [name for name in names if name not in near]
        self.tiers[tier] = names[:count]
        self.specs.update({name: group[name] for name in self.tiers[tier]})

    def _twins(self, specs: Mapping[str, Described], least: float) -> dict[str, tuple[str, float]]:
        self.own.measure(specs, "looking for twins")
        return self.own.distinct(specs, self.specs, least)


def _spread(seed: int, specs: Mapping[str, Described], liked: Sequence[str]) -> list[str]:
    """The ids, taken from the families in turn, those of `liked` first, then in an order by the seed."""
    by_family: dict[str, list[str]] = {}
    for name in sorted(specs, key=lambda n: draw(seed, "spread", n)):
        by_family.setdefault(specs[name]["family"], []).append(name)
    order = sorted(by_family, key=lambda f: (f not in liked, draw(seed, "family", f)))
    turns = itertools.zip_longest(*(by_family[f] for f in order))
    return [name for turn in turns for name in turn if name is not None]


def _new_parameters(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    singles: Mapping[str, Described],
    notes: list[Note],
) -> dict[str, Described]:
    """Held-out values of trained families that keep their distance from every trained value of the same family."""
    least, families = recipe.tiers.minimum_distance, {t["family"] for t in singles.values()}
    held = {
        n: t for n, t in held_out_parameters(recipe, library).items() if t["family"] in families
    }
    if both := sorted(set(held) & set(singles)):
        raise InputError(
            f"tiers.new_parameters: {both[0]} is trained on in the dataset that tiers.relative_to names."
        )
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
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    known: Mapping[str, Described],
    notes: list[Note],
) -> dict[str, Described]:
    """Every preset of the families that no trained transformation, and no step of one, belongs to."""
    used = {family for t in known.values() for family in families_of(t["family"])}
    if both := [f for f in recipe.tiers.new_family if f in used]:
        raise InputError(
            f"tiers.new_family: {both[0]!r} is trained on in the dataset that tiers.relative_to names."
        )
    specs = {n: s for n, s in library.singles().items() if s["family"] in recipe.tiers.new_family}
    return _visible(specs, calibration, recipe.filters.minimum_change, notes)


def _new_composition(
    recipe: Recipe, composer: Composer, compositions: Mapping[str, Described]
) -> dict[str, Described]:
    """Compositions of trained presets whose families were trained singly, and no two of them together, in whatever order."""
    together = pairs_of(t["family"] for t in compositions.values())
    families, wanted = (
        sorted({t["family"] for t in composer.singles.values()}),
        recipe.tiers.new_composition,
    )
    pairs = [
        p
        for p in by_seed(recipe.seed, itertools.combinations(families, 2))
        if frozenset(p) not in together
    ]
    apart = pairs[: wanted.family_pairs]
    found = composer.one_each(apart)  # so that as many pairs as possible are represented
    if wanted.of_three:
        threes = by_seed(recipe.seed, threes_of(families, set(map(frozenset, apart))))
        found.update(composer.choose(threes, wanted.of_three, beside=found))
    return found
