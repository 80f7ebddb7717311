"""From transformations and sources to items: what each item is (the plan), and making one (pure functions of seed and names)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datagen.making.build_notes import Dropped
from datagen.making.filters import disagree, failed
from datagen.making.panels import cut, fit
from datagen.planning.candidates import choose_candidates
from datagen.planning.compositions import Described
from datagen.planning.item_table import Items, key_of
from datagen.planning.seeding import draw, generator
from datagen.planning.source_roles import Pool
from datagen.recipe.library import library_of
from datagen.recipe.schema import Recipe
from datagen.sources import Source
from lorweb_bench.data import images
from lorweb_bench.protocol import SEEN_TIERS, UNSEEN_TIERS

TIED = 3  # how many bs are tried for a suite's item whose truth no candidate can be told from
PLANNED = np.dtype([("key", np.uint64), ("transformation", np.int32), ("turn", np.int32)])
_SHARED: "list[tuple[Work, tuple[str, str, int], Side | Dropped]]" = []  # the (a, a_prime) made last, and for what


@dataclass(frozen=True)
class Planned:
    """One item before it is made: the `turn`-th of a transformation in a split. Its key says nothing about it."""

    key: str
    split: str
    transformation: str
    turn: int


@dataclass(frozen=True)
class Work:
    """What is needed to make any item of one split."""

    recipe: Recipe
    transformations: Mapping[str, Described]
    a: Pool
    b: Pool
    hard: Mapping[str, bool]
    rivals: Mapping[
        str, Sequence[str]
    ]  # of a suite's transformations, those that are most like each

    def make(self, item: Planned) -> "Made | Dropped":
        """See `make`."""
        return make(self, item)


@dataclass(frozen=True)
class Made:
    """A finished item: encoded images by role, each (bytes, extension), and its record."""

    images: dict[str, tuple[bytes, str]]
    record: dict[str, Any]


def plan_items(
    recipe: Recipe, split: str, used: Mapping[str, Sequence[str]], names: Sequence[str]
) -> Items[Planned]:
    """The items of a split, in the order of their keys, which is a random one; see `_order` for training data.

    `used` has the transformations to make them with by tier, `names` all of the manifest's. A suite's items are shared out evenly
    over the split's tiers, and over each tier's transformations; of training data `single_share` are single transformations.
    """
    count, seed = recipe.splits[split], recipe.seed
    assert isinstance(count, int)
    tiers = (SEEN_TIERS if split == "seen" else UNSEEN_TIERS) if recipe.is_suite else SEEN_TIERS
    groups = {tier: used[tier] for tier in tiers if used.get(tier)}
    if recipe.is_suite:
        counts = {
            tier: count // len(groups) + (i < count % len(groups)) for i, tier in enumerate(groups)
        }
    else:
        share = recipe.transformations.single_share if len(groups) == 2 else 1.0
        singles = round(count * share) if "seen_single" in groups else 0
        counts = {"seen_single": singles, "seen_composition": count - singles}
    number = {name: i for i, name in enumerate(names)}
    planned = (
        (key_of(draw(seed, recipe.name, split, name, turn)), number[name], turn)
        for tier, group in groups.items()
        for name, turn in _turns(
            sorted(group, key=lambda n: draw(seed, "order", split, n)), counts[tier]
        )
    )
    rows = np.fromiter(planned, PLANNED)
    return Items(
        rows[_order(recipe, rows)],
        lambda key, row: Planned(key, split, names[row["transformation"]], int(row["turn"])),
    )


def _turns(names: Sequence[str], count: int) -> Iterator[tuple[str, int]]:
    return ((names[i % len(names)], i // len(names)) for i in range(count))


def _order(recipe: Recipe, rows: np.ndarray) -> np.ndarray:
    """By key; of training data those that share one (a, a_prime) stand together, so that it is made once, where the first would be."""
    if recipe.is_suite:
        return np.argsort(rows["key"])
    assert isinstance(recipe.analogies_per_pair, int)
    order = np.lexsort((rows["turn"], rows["transformation"]))
    begins = rows["turn"][order] % recipe.analogies_per_pair == 0
    first = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    leader = np.empty_like(rows["key"])
    leader[order] = rows["key"][order][first]
    return np.lexsort((rows["key"], leader))


@dataclass(frozen=True)
class Side:
    """One pair of an item: its source, the panel as its file decodes, that transformed, and the files, made when they are wanted."""

    source: Source
    before: np.ndarray
    after: np.ndarray
    format: str
    lossy_file: bytes | None  # a lossy file cannot be made again from what it decodes to

    @cached_property
    def file(self) -> bytes:
        """The panel as a file."""
        return self.lossy_file or images.encode(self.before, self.format)

    @cached_property
    def after_file(self) -> bytes:
        """The panel transformed, as a file."""
        return images.encode(self.after, self.format)


def make(work: Work, item: Planned) -> Made | Dropped:
    """Make an item: crops are drawn until the change is visible in both pairs; dropped when `filters.attempts` were not enough.

    In training data `analogies_per_pair` items in turn share one (a, a_prime).
    """
    recipe, library = work.recipe, library_of(work.recipe.transformations.library)
    first = _first(work, item)
    if isinstance(first, Dropped):
        return first
    for start in range(TIED if recipe.is_suite else 1):
        second = _side(
            work, item, f"b{start}" if start else "b", item.turn, work.b, first.source.name
        )
        if isinstance(second, Dropped):
            return second
        candidates = None
        if recipe.is_suite:
            known, truth = work.transformations, item.transformation
            candidates = choose_candidates(
                library,
                known,
                truth,
                work.rivals[truth],
                item.key,
                second.before,
                second.after,
                recipe,
            )
            if candidates is None:
                continue
        if first.before.shape != second.before.shape:  # panels by their long edge
            height, width = second.before.shape[:2]
            first = _transformed(work, item, first.source, fit(first.before, (width, height)))
        made = _made(work, item, first, second, candidates)
        return Dropped("clip_direction") if disagree(recipe.filters, made.images) else made
    return Dropped("indistinct")


def _first(work: Work, item: Planned) -> Side | Dropped:
    """The (a, a_prime) of an item: items that share one come one after the other, so it is made once."""
    assert isinstance(work.recipe.analogies_per_pair, int)
    turn = item.turn // work.recipe.analogies_per_pair
    shared = (item.split, item.transformation, turn)
    if not _SHARED or _SHARED[0][0] is not work or _SHARED[0][1] != shared:
        _SHARED[:] = [(work, shared, _side(work, item, "a", turn, work.a, None))]
    return _SHARED[0][2]


def _made(
    work: Work, item: Planned, first: Side, second: Side, candidates: Sequence[str] | None
) -> Made:
    ext = work.recipe.panel.format
    files = {
        "a": first.file,
        "a_prime": first.after_file,
        "b": second.file,
        "b_prime": second.after_file,
    }
    return Made(
        {role: (data, ext) for role, data in files.items()},
        _record(work, item, first, second, candidates),
    )


def _record(
    work: Work, item: Planned, first: Side, second: Side, candidates: Sequence[str] | None
) -> dict[str, Any]:
    spec = work.transformations[item.transformation]
    both = (first.source, second.source)
    record = {
        "id": item.key,
        "transformation": item.transformation,
        "family": spec["family"],
        "kind": spec["kind"],
        "tier": spec["tier"],
        "instruction": spec["instruction"],
        "a_source": first.source.name,
        "b_source": second.source.name,
        "licence": "; ".join(dict.fromkeys(source.licence for source in both)),
        "attribution": "; ".join(dict.fromkeys(source.attribution for source in both)),
        "width": second.before.shape[1],
        "height": second.before.shape[0],
    }
    if work.recipe.is_suite:
        record |= {"hard": work.hard[item.transformation], "candidates": candidates}
    return record


def _side(
    work: Work, item: Planned, role: str, turn: int, pool: Pool, other: str | None
) -> Side | Dropped:
    """A source, a crop of it and the crop transformed, with a change within the recipe's bounds; never the source `other`."""
    recipe, failure = work.recipe, "one_source"
    for attempt in range(recipe.filters.attempts):
        random = generator(recipe.seed, item.split, item.transformation, role, turn, attempt)
        source = _pick(random, pool, _photograph_turn(recipe, role, turn, random))
        if source.name == other:
            continue
        side = _transformed(work, item, source, cut(source, recipe, int(random.integers(2**48))))
        found = failed(side.before, side.after, recipe.filters)
        if found is None:
            return side
        failure = found
    return Dropped(failure)


def _transformed(work: Work, item: Planned, source: Source, image: np.ndarray) -> Side:
    """The panel as its file decodes, and that transformed."""
    recipe, lossy = work.recipe, None
    if recipe.panel.format == "jpg":
        lossy = images.encode(image, "jpg")
        image = images.decode_array(lossy, source.name)
    after = library_of(recipe.transformations.library).apply(
        work.transformations[item.transformation], image
    )
    return Side(source, image, after, recipe.panel.format, lossy)


def _photograph_turn(recipe: Recipe, role: str, turn: int, random: np.random.Generator) -> bool:
    """Whether a photograph is due: in a suite the bs alternate by share, so that each transformation gets both kinds."""
    share = recipe.source.photograph_share
    if recipe.is_suite and role.startswith("b"):
        return int((turn + 1) * share + 0.5) > int(turn * share + 0.5)
    return bool(random.random() < share)


def _pick(random: np.random.Generator, pool: Pool, photograph: bool) -> Source:
    kind = (pool.photographs if photograph else pool.scenes) or pool.photographs or pool.scenes
    return kind[int(random.integers(len(kind)))]
