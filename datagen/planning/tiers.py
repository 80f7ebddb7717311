"""Tiers: which transformations are trained on, which a suite holds that are new, and how new."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.making.build_notes import LeftOut, Note
from datagen.planning.calibration import Calibration
from datagen.planning.compositions import Composer, Described, by_seed, pairs_of, threes_of
from datagen.planning.seeding import draw
from datagen.recipe.schema import Recipe
from datagen.transformations.catalogue import Library
from lorweb_bench.data.composition import families_of, is_composed_family
from lorweb_bench.errors import InputError, did_you_mean
from lorweb_bench.protocol import NEW_FAMILY_TIERS, NEW_TO_BASE, SEEN_TIERS, UNSEEN_TIERS

MEASURING = "measuring transformations"


@dataclass
class Selection:
    """The transformations of a dataset, and which of them items are made with.

    Attributes:
        transformations: By id, as the manifest lists them.
        used: Ids by tier, in the order of choice.
        notes: What was left out, and what else there is to say.
    """

    transformations: dict[str, Described] = field(default_factory=dict)
    used: dict[str, list[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def of(self, tier: str) -> list[str]:
        """The ids of a tier that items are made with."""
        return self.used.get(tier, [])


def trained_families(recipe: Recipe, library: Library) -> list[str]:
    """The deterministic families to train on: those of the recipe less the held-out ones.

    Raises:
        InputError: The library does not have a family that the recipe names (the error gives the
            nearest name), or the family has no single right answer.
    """
    tiers, choice = recipe.tiers, recipe.transformations.families
    listed: Iterable[str] = choice
    if choice == "all":
        listed = [name for name, family in library.families.items() if family.deterministic]
    for key, names in (
        ("transformations.families", listed),
        ("tiers.new_family", tiers.new_family),
        ("tiers.new_to_base", tiers.new_to_base),
        ("tiers.new_parameters", tiers.new_parameters),
    ):
        for name in names:
            _check_family(key, name, library)
    families = [name for name in dict.fromkeys(listed) if name not in tiers.held_out_families]
    if strange := [name for name in tiers.new_parameters if name not in families]:
        raise InputError(
            f"tiers.new_parameters: {strange[0]!r} is not among the trained families, "
            "so its parameters cannot be new."
        )
    return families


def check_transformations(recipe: Recipe, library: Library, relative: bool) -> None:
    """Refuse families and parameters that the library does not take, before any image is read.

    Args:
        recipe: What is asked for.
        library: Its library.
        relative: Whether it is a suite whose trained transformations stand in another dataset.

    Raises:
        InputError: With the recipe's key and what the family takes.
    """
    if relative:
        for key in (*NEW_FAMILY_TIERS, "new_parameters"):
            for name in getattr(recipe.tiers, key):
                _check_family(f"tiers.{key}", name, library)
    else:
        _presets(recipe, library, trained_families(recipe, library))
    held_out_parameters(recipe, library)


def _check_family(key: str, name: str, library: Library) -> None:
    if name not in library.families:
        hint = did_you_mean(
            name, library.families, "`lorweb-bench datagen transformations` lists them."
        )
        raise InputError(f"{key}: there is no family {name!r}; {hint}")
    if not library.families[name].deterministic:
        raise InputError(
            f"{key}: the family {name!r} draws a fresh seed, so it has no single right answer; "
            "leave it out."
        )


def _presets(recipe: Recipe, library: Library, families: Sequence[str]) -> dict[str, Described]:
    """The transformations of these families, described, by id.

    A family has the values that the recipe gives, or else the library's own presets.
    """
    own_presets = recipe.transformations.presets
    if strange := [name for name in own_presets if name not in families]:
        raise InputError(
            f"transformations.presets: {strange[0]!r} is not among the trained families."
        )
    by_family: dict[str, list[Described]] = {}
    for spec in library.singles().values():
        by_family.setdefault(spec["family"], []).append(spec)
    for family, rows in own_presets.items():
        key = f"transformations.presets.{family}"
        by_family[family] = [_described(library, family, values, key) for values in rows]
    presets: dict[str, Described] = {}
    for family, group in by_family.items():
        if family in families:
            presets |= {spec["id"]: spec for spec in group}
    return presets


def held_out_parameters(recipe: Recipe, library: Library) -> dict[str, Described]:
    """The transformations of `tiers.new_parameters`, described, by id."""
    held: dict[str, Described] = {}
    for family, rows in recipe.tiers.new_parameters.items():
        for values in rows:
            spec = _described(library, family, values, f"tiers.new_parameters.{family}")
            held[spec["id"]] = spec
    return held


def _described(
    library: Library, family: str, values: Mapping[str, Any], key: str
) -> dict[str, Any]:
    """A transformation as the library describes it; its InputError begins with the recipe's key."""
    try:
        return library.describe(family, values)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def trained(recipe: Recipe, library: Library, calibration: Calibration) -> Selection:
    """The transformations of a training dataset: single presets and compositions.

    Each one is visible and distinct from the others.
    """
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
    composer = Composer(recipe, calibration, singles)
    compositions = _trained_compositions(recipe, composer, selection.notes)
    for tier, group in (("seen_single", singles), ("seen_composition", compositions)):
        for name, spec in group.items():
            selection.transformations[name] = _listed(spec, tier, trained=True)
        selection.used[tier] = list(group)
    return selection


def _trained_compositions(
    recipe: Recipe, composer: Composer, notes: list[Note]
) -> dict[str, Described]:
    """The compositions to train on, of two steps and of three.

    None holds two families whose pair is held out.
    """
    families = {spec["family"] for spec in composer.singles.values()}
    ordered = by_seed(recipe.seed, itertools.combinations(sorted(families), 2))
    pairs = ordered[recipe.tiers.new_composition.family_pairs :]
    section = recipe.transformations.compositions
    twos = composer.choose(pairs, section.count)
    if len(twos) < section.count:
        notes.append(
            f"only {len(twos)} of {section.count} compositions have two steps that can both be seen"
        )
    if not section.of_three:
        return twos
    groups = by_seed(recipe.seed, threes_of(families, set(map(frozenset, pairs))))
    threes = composer.choose(groups, section.of_three, beside=twos)
    if len(threes) < section.of_three:
        notes.append(
            f"only {len(threes)} of {section.of_three} compositions have three steps that can all "
            "be seen"
        )
    return {**twos, **threes}


def _listed(spec: Mapping[str, Any], tier: str | None, trained: bool) -> Described:
    """A transformation as the manifest lists it, under its id."""
    fields = {key: value for key, value in spec.items() if key not in ("id", "known_to_base")}
    return {**fields, "tier": tier, "trained": trained}


def _visible(
    specs: Mapping[str, Described], calibration: Calibration, least: float, notes: list[Note]
) -> dict[str, Described]:
    calibration.measure(specs, MEASURING)
    visible = {}
    for name, spec in specs.items():
        change = calibration.change(name, spec)
        if failure := calibration.sketch(name, spec).failure:
            notes.append(LeftOut(name, f"{failure}, and is left out", "failed"))
        elif change < least:
            reason = f"it changes an image by {change:.1f} levels only, and is left out"
            notes.append(LeftOut(name, reason, "not_visible"))
        else:
            visible[name] = spec
    return visible


def _distinct(
    specs: Mapping[str, Described],
    known: Mapping[str, Described],
    calibration: Calibration,
    least: float,
    notes: list[Note],
) -> dict[str, Described]:
    calibration.measure(specs, MEASURING)
    near = calibration.too_near(specs, known, least)
    for name, (other, distance) in near.items():
        reason = f"it is only {distance:.1f} levels from {other}, and is left out"
        notes.append(LeftOut(name, reason, "indistinct"))
    return {name: spec for name, spec in specs.items() if name not in near}


def suite_tiers(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    own: Calibration,
    training: Mapping[str, Described],
) -> Selection:
    """The transformations of a suite, and those that its training dataset was trained on.

    Unseen tiers hold nothing that was trained: no trained id, family or pair of families, as the
    tier promises. Trained transformations that no item uses are listed too, with their tier.

    Args:
        recipe: The suite's recipe.
        library: The transformations to choose from.
        calibration: Calibration images.
        own: Images of the suite itself.
        training: The transformations of the dataset that the suite is relative to, by id.
    """
    selection, chosen = Selection(), _Chosen(recipe, own)
    trained_specs = {
        n: t for n, t in training.items() if t.get("trained") or t["tier"] in SEEN_TIERS
    }
    singles = {n: t for n, t in trained_specs.items() if not is_composed_family(t["family"])}
    compositions = {n: t for n, t in trained_specs.items() if is_composed_family(t["family"])}
    not_blank = _NotBlank(calibration, recipe.filters.maximum_blank)
    notes = selection.notes
    liked = list(recipe.tiers.new_parameters)
    chosen.take("seen_single", not_blank(singles), notes, liked=liked)
    chosen.take("seen_composition", not_blank(compositions), notes)
    composer = Composer(recipe, calibration, singles)
    unseen = {
        "new_parameters": _new_parameters(recipe, library, calibration, singles, notes),
        "new_family": _new_family("new_family", recipe, library, calibration, trained_specs, notes),
        "new_composition": _new_composition(recipe, composer, compositions),
    }
    if recipe.tiers.new_to_base:  # last, so that the other tiers are chosen as without it
        unseen[NEW_TO_BASE] = _new_family(
            NEW_TO_BASE, recipe, library, calibration, trained_specs, notes
        )
    for tier, group in unseen.items():
        earlier = {**trained_specs, **chosen.specs}
        least = recipe.tiers.indistinct
        chosen.take(tier, _distinct(not_blank(group), earlier, calibration, least, notes), notes)
    _refuse_alone(chosen.tiers)
    selection.used = chosen.tiers
    for tier, names in chosen.tiers.items():
        for name in names:
            trained_on = tier in SEEN_TIERS
            selection.transformations[name] = _listed(chosen.specs[name], tier, trained_on)
    for tier, group in (("seen_single", singles), ("seen_composition", compositions)):
        for name, spec in group.items():
            selection.transformations.setdefault(name, _listed(spec, tier, trained=True))
    notes += [f"the tier {tier} is empty" for tier, names in chosen.tiers.items() if not names]
    return selection


def _refuse_alone(tiers: Mapping[str, Sequence[str]]) -> None:
    """InputError where `new_to_base` is all that the split `unseen` holds."""
    if tiers.get(NEW_TO_BASE) and not any(tiers.get(tier) for tier in UNSEEN_TIERS):
        raise InputError(
            "tiers.new_to_base: the split unseen holds nothing else, and this tier is never "
            "averaged into the headline; hold out something that the base may know, such as "
            "tiers.new_family."
        )


@dataclass(frozen=True)
class _NotBlank:
    """Keeps the transformations that leave something to see on the calibration images."""

    calibration: Calibration
    most: float  # the greatest share of one colour

    def __call__(self, specs: Mapping[str, Described]) -> dict[str, Described]:
        self.calibration.measure(specs, MEASURING)
        return {
            name: spec
            for name, spec in specs.items()
            if self.calibration.blank(name, spec) <= self.most
        }


@dataclass
class _Chosen:
    """The transformations that a suite's items will use; no two are alike on the suite's images.

    Attributes:
        recipe: Gives how many stand for a tier, and how far apart they are.
        own: Images of the suite.
        specs: The transformations by id.
        tiers: Ids by tier.
    """

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
        """Add at most `tiers.transformations` of a tier, its families in turn.

        One that has a twin is replaced by another one.

        Args:
            tier: The tier.
            group: Transformations to choose from, by id.
            notes: Gets those that have twins.
            liked: Families that come first.
        """
        count, least = self.recipe.tiers.transformations, self.recipe.tiers.indistinct
        names = _spread(self.recipe.seed, group, liked)
        while refused := self._refuse({name: group[name] for name in names[:count]}, least):
            notes.extend(refused.values())
            names = [name for name in names if name not in refused]
        self.tiers[tier] = names[:count]
        self.specs.update({name: group[name] for name in self.tiers[tier]})

    def _refuse(self, specs: Mapping[str, Described], least: float) -> dict[str, LeftOut]:
        """Of `specs`, by id, those that no item can be made with: they fail, or have a twin."""
        self.own.measure(specs, "looking for twins")
        refused = {}
        end = "and no item is made with it"
        for name, spec in specs.items():
            if failure := self.own.sketch(name, spec).failure:
                refused[name] = LeftOut(name, f"{failure} of the suite, {end}", "failed")
        others = {name: spec for name, spec in specs.items() if name not in refused}
        for name, (other, distance) in self.own.too_near(others, self.specs, least).items():
            reason = f"it is only {distance:.1f} levels from {other} on the suite's images, {end}"
            refused[name] = LeftOut(name, reason, "indistinct")
        return refused


def _spread(seed: int, specs: Mapping[str, Described], liked: Sequence[str]) -> list[str]:
    """The ids, taken from the families in turn, those of `liked` first.

    Apart from that the seed gives the order.
    """
    by_family: dict[str, list[str]] = {}
    for name in sorted(specs, key=lambda n: draw(seed, "spread", n)):
        by_family.setdefault(specs[name]["family"], []).append(name)
    order = sorted(by_family, key=lambda f: (f not in liked, draw(seed, "family", f)))
    turns = itertools.zip_longest(*(by_family[family] for family in order))
    return [name for name in itertools.chain.from_iterable(turns) if name is not None]


def _new_parameters(
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    singles: Mapping[str, Described],
    notes: list[Note],
) -> dict[str, Described]:
    """Held-out values of trained families, far enough from every trained value of the family."""
    least, families = recipe.tiers.minimum_distance, {t["family"] for t in singles.values()}
    held = {
        n: t for n, t in held_out_parameters(recipe, library).items() if t["family"] in families
    }
    if both := sorted(set(held) & set(singles)):
        raise InputError(
            f"tiers.new_parameters: {both[0]} is trained on in the dataset that "
            "tiers.relative_to names."
        )
    held = _visible(held, calibration, recipe.filters.minimum_change, notes)
    far = {}
    for name, spec in held.items():
        trained_values = {n: t for n, t in singles.items() if t["family"] == spec["family"]}
        near = calibration.too_near({name: spec}, trained_values, least)
        if not near:
            far[name] = spec
            continue
        other, distance = near[name]
        reason = (
            f"it is {distance:.1f} levels from the trained {other}, under the distance of "
            f"{least:g}, and is left out"
        )
        notes.append(LeftOut(name, reason, "minimum_distance"))
    return far


def _new_family(
    tier: str,
    recipe: Recipe,
    library: Library,
    calibration: Calibration,
    known: Mapping[str, Described],
    notes: list[Note],
) -> dict[str, Described]:
    """Every preset of the tier's families, which no trained transformation has, and no step."""
    used: set[str] = set()
    for spec in known.values():
        used.update(families_of(spec["family"]))
    families: tuple[str, ...] = getattr(recipe.tiers, tier)
    if both := [family for family in families if family in used]:
        raise InputError(
            f"tiers.{tier}: {both[0]!r} is trained on in the dataset that tiers.relative_to names."
        )
    specs = {n: s for n, s in library.singles().items() if s["family"] in families}
    return _visible(specs, calibration, recipe.filters.minimum_change, notes)


def _new_composition(
    recipe: Recipe, composer: Composer, compositions: Mapping[str, Described]
) -> dict[str, Described]:
    """Compositions of families that were trained singly, and no two of them together.

    The order of their families does not matter.
    """
    together = pairs_of(spec["family"] for spec in compositions.values())
    families = sorted({spec["family"] for spec in composer.singles.values()})
    section = recipe.tiers.new_composition
    ordered = by_seed(recipe.seed, itertools.combinations(families, 2))
    apart = [pair for pair in ordered if frozenset(pair) not in together][: section.family_pairs]
    chosen = composer.one_each(apart)  # so that as many pairs as possible are represented
    if section.of_three:
        threes = by_seed(recipe.seed, threes_of(families, set(map(frozenset, apart))))
        chosen.update(composer.choose(threes, section.of_three, beside=chosen))
    return chosen
