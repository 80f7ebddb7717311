"""Items from photographs and scenes: the plan of a split, and the making of one item.

Both are pure functions of the seed and of names.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datagen.making.build_notes import Dropped, ItemFailure, failing_items
from datagen.making.filters import changes_disagree, failed_filter
from datagen.making.panels import cut, fit
from datagen.planning.candidates import choose_candidates
from datagen.planning.compositions import Described
from datagen.planning.item_table import ItemTable, key_number
from datagen.planning.seeding import draw, generator
from datagen.planning.source_roles import Pool
from datagen.recipe.library import library_of
from datagen.recipe.schema import Recipe
from datagen.sources.source import Source
from lorweb_bench.data import images
from lorweb_bench.protocol import FURTHER_PAIRS, SEEN_TIERS, TIERS_OF_SPLIT

TIED = 3  # how many bs are tried for a suite's item whose truth no candidate can be told from
ROW = np.dtype([("key", np.uint64), ("transformation", np.int32), ("turn", np.int32)])


@dataclass(frozen=True)
class PlannedItem:
    """One item before it is made: the `turn`-th of a transformation in a split.

    Its key says nothing about it.
    """

    key: str
    split: str
    transformation: str
    turn: int


@dataclass(frozen=True)
class Made:
    """A finished item.

    Attributes:
        images: Encoded images by role, each (bytes, extension).
        record: The record.
        source_digests: What the photographs behind it are compared by, by name.
    """

    images: dict[str, tuple[bytes, str]]
    record: dict[str, Any]
    source_digests: dict[str, str]


def plan_items(
    recipe: Recipe, split: str, used: Mapping[str, Sequence[str]], names: Sequence[str]
) -> ItemTable[PlannedItem]:
    """Plan the items of a split.

    A suite's items are shared out evenly over the split's tiers, and over each tier's
    transformations. Of training data `single_share` are single transformations.

    Args:
        recipe: The recipe.
        split: The split.
        used: By tier, the transformations to make items with.
        names: All transformations of the manifest.

    Returns:
        The items in the order of their keys, which is a random one; see `_order` for training
        data.
    """
    rows = np.fromiter(_planned_rows(recipe, split, used, names), ROW)

    def to_item(key: str, row: Any) -> PlannedItem:
        """The planned item of a row."""
        return PlannedItem(key, split, names[row["transformation"]], int(row["turn"]))

    return ItemTable(rows[_order(recipe, rows)], to_item)


def _planned_rows(
    recipe: Recipe, split: str, used: Mapping[str, Sequence[str]], names: Sequence[str]
) -> Iterator[tuple[int, int, int]]:
    """The key, transformation and turn of every item, the transformations of a tier by turns."""
    number = {name: i for i, name in enumerate(names)}
    for tier, count in _items_by_tier(recipe, split, used).items():
        group = sorted(used[tier], key=lambda name: draw(recipe.seed, "order", split, name))
        for i in range(count):
            name, turn = group[i % len(group)], i // len(group)
            key = key_number(draw(recipe.seed, recipe.name, split, name, turn))
            yield key, number[name], turn


def _items_by_tier(recipe: Recipe, split: str, used: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """How many items of a split each tier gets."""
    count = recipe.splits[split]
    assert isinstance(count, int)
    if recipe.is_suite:
        tiers = [t for t in TIERS_OF_SPLIT[split] if used.get(t)]
        more = count % len(tiers) if tiers else 0
        return {tier: count // len(tiers) + (i < more) for i, tier in enumerate(tiers)}
    tiers = [tier for tier in SEEN_TIERS if used.get(tier)]
    share = recipe.transformations.single_share if len(tiers) == 2 else 1.0
    singles = round(count * share) if "seen_single" in tiers else 0
    counts = {"seen_single": singles, "seen_composition": count - singles}
    return {tier: counts[tier] for tier in tiers}


def _order(recipe: Recipe, rows: np.ndarray) -> np.ndarray:
    """The order of a split's items: by key.

    Those of training data that share one (a, a_prime) stand together, where the first would be, so
    that the pair is made once.
    """
    if recipe.is_suite:
        return np.argsort(rows["key"])
    order = np.lexsort((rows["turn"], rows["transformation"]))
    begins = rows["turn"][order] % _sharing(recipe) == 0
    first = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    leader = np.empty_like(rows["key"])
    leader[order] = rows["key"][order][first]
    return np.lexsort((rows["key"], leader))


def _sharing(recipe: Recipe) -> int:
    """How many items in turn share one (a, a_prime)."""
    assert isinstance(recipe.analogies_per_pair, int)
    return recipe.analogies_per_pair


@dataclass(frozen=True)
class PanelPair:
    """One pair of an item: a panel as its file decodes, and that transformed.

    Attributes:
        source: Where the panel is from.
        before: uint8 H x W x 3.
        after: uint8 H x W x 3.
        format: The extension of the files.
        lossy_file: The panel as a lossy file, which cannot be made again from what it decodes to.
    """

    source: Source
    before: np.ndarray
    after: np.ndarray
    format: str
    lossy_file: bytes | None

    @cached_property
    def file(self) -> bytes:
        """The panel as a file."""
        return self.lossy_file or images.encode(self.before, self.format)

    @cached_property
    def after_file(self) -> bytes:
        """The panel transformed, as a file."""
        return images.encode(self.after, self.format)


@dataclass(frozen=True)
class PhotographItems:
    """Makes the items of one split from photographs and scenes.

    Attributes:
        recipe: The recipe.
        transformations: By id, as the manifest lists them.
        a: The sources of a.
        b: The sources of b.
        hard: Of a suite, which transformations are hard.
        rivals: Of a suite's transformations, those that are most like each.
    """

    recipe: Recipe
    transformations: Mapping[str, Described]
    a: Pool
    b: Pool
    hard: Mapping[str, bool]
    rivals: Mapping[str, Sequence[str]]

    def make_all(
        self, items: Iterable[PlannedItem]
    ) -> Iterator[tuple[PlannedItem, Made | Dropped]]:
        """Make items in their order.

        Items that share an (a, a_prime) and follow one another share one made pair.

        Yields:
            Each item with what was made, or with the filter that it failed.
        """
        for _, group in itertools.groupby(items, key=self._shared_pair):
            first: PanelPair | Dropped | None = None
            for item in group:
                try:
                    first = first or self._first_pair(item)
                    result = first if isinstance(first, Dropped) else self._make(item, first)
                except ItemFailure as failure:
                    result = Dropped("failed", str(failure))
                yield item, result

    def _shared_pair(self, item: PlannedItem) -> tuple[str, str, int]:
        """What names the (a, a_prime) of an item."""
        return item.split, item.transformation, item.turn // _sharing(self.recipe)

    def _first_pair(self, item: PlannedItem) -> PanelPair | Dropped:
        return self._draw_pair(item, "a", item.turn // _sharing(self.recipe), self.a, ())

    def _make(self, item: PlannedItem, first: PanelPair) -> Made | Dropped:
        """Make an item with its (a, a_prime); of a suite with a b that tells candidates apart."""
        is_suite = self.recipe.is_suite
        for start in range(TIED if is_suite else 1):
            role = f"b{start}" if start else "b"
            second = self._draw_pair(item, role, item.turn, self.b, [first.source.name])
            if isinstance(second, Dropped):
                return second
            candidates = self._candidates(item, second) if is_suite else None
            if is_suite and candidates is None:
                continue
            if first.before.shape != second.before.shape:  # panels by their long edge
                height, width = second.before.shape[:2]
                fitted = fit(first.before, (width, height))
                first = self._transform(item, first.source, fitted)
            further = self._further_pairs(item, first, second)
            if isinstance(further, Dropped):
                return further
            item_files = self._finish(item, first, second, further, candidates)
            with failing_items(f"filters.clip_direction fails on item {item.key}"):
                disagree = changes_disagree(self.recipe.filters, item_files.images)
            return Dropped("clip_direction") if disagree else item_files
        return Dropped("indistinct")

    def _candidates(self, item: PlannedItem, second: PanelPair) -> list[str] | None:
        return choose_candidates(
            library_of(self.recipe.transformations.library),
            self.transformations,
            item.transformation,
            self.rivals[item.transformation],
            item.key,
            second.before,
            second.after,
            self.recipe,
        )

    def _further_pairs(
        self, item: PlannedItem, first: PanelPair, second: PanelPair
    ) -> list[PanelPair] | Dropped:
        """Draw the exemplars after the first, each of a source of its own, in the size of b."""
        source_names = [first.source.name, second.source.name]
        height, width = second.before.shape[:2]
        pairs: list[PanelPair] = []
        turn = item.turn // _sharing(self.recipe)
        for number in range(2, self.recipe.exemplars + 1):
            pair = self._draw_pair(item, f"a_{number}", turn, self.a, source_names)
            if isinstance(pair, Dropped):
                return pair
            if pair.before.shape != second.before.shape:
                pair = self._transform(item, pair.source, fit(pair.before, (width, height)))
            source_names.append(pair.source.name)
            pairs.append(pair)
        return pairs

    def _draw_pair(
        self, item: PlannedItem, role: str, turn: int, pool: Pool, taken: Collection[str]
    ) -> PanelPair | Dropped:
        """Draw a source and a crop of it, transformed, whose change passes the recipe's filters.

        Args:
            item: The item.
            role: A word for the random choices.
            turn: A number for the random choices.
            pool: The sources.
            taken: The names of sources that are not drawn again.

        Returns:
            The pair; or the filter that the last of `filters.attempts` crops failed.
        """
        recipe, failure = self.recipe, "one_source"
        for attempt in range(recipe.filters.attempts):
            random = generator(recipe.seed, item.split, item.transformation, role, turn, attempt)
            photograph = _photograph_is_due(recipe, role, turn, random)
            source = _pick(random, pool, photograph)
            if source.name in taken:
                continue
            panel = cut(source, recipe, int(random.integers(2**48)))
            pair = self._transform(item, source, panel)
            with failing_items(f"the filters fail on {item.transformation} of {source.name}"):
                failed = failed_filter(pair.before, pair.after, recipe.filters)
            if failed is None:
                return pair
            failure = failed
        return Dropped(failure)

    def _transform(self, item: PlannedItem, source: Source, image: np.ndarray) -> PanelPair:
        """The panel as its file decodes, and that transformed."""
        recipe, lossy = self.recipe, None
        if recipe.panel.format == "jpg":
            lossy = images.encode(image, "jpg")
            image = images.decode_array(lossy, source.name)
        library = library_of(recipe.transformations.library)
        size = f"{image.shape[1]} x {image.shape[0]} pixels"
        with failing_items(f"{item.transformation} fails on {source.name}, {size}"):
            after = library.apply(self.transformations[item.transformation], image)
        return PanelPair(source, image, after, recipe.panel.format, lossy)

    def _finish(
        self,
        item: PlannedItem,
        first: PanelPair,
        second: PanelPair,
        further: Sequence[PanelPair],
        candidates: Sequence[str] | None,
    ) -> Made:
        with failing_items(f"encoding the panels of {item.transformation} fails"):
            files = {
                "a": first.file,
                "a_prime": first.after_file,
                "b": second.file,
                "b_prime": second.after_file,
            }
            for (before, after), pair in zip(FURTHER_PAIRS, further, strict=False):
                files |= {before: pair.file, after: pair.after_file}
        extension = self.recipe.panel.format
        spec = self.transformations[item.transformation]
        sources = (first.source, second.source, *(pair.source for pair in further))
        record = {
            "id": item.key,
            "transformation": item.transformation,
            "family": spec["family"],
            "kind": spec["kind"],
            "tier": spec["tier"],
            "instruction": spec["instruction"],
            "a_source": first.source.name,
            "b_source": second.source.name,
            "licence": "; ".join(dict.fromkeys(source.licence for source in sources)),
            "attribution": "; ".join(dict.fromkeys(source.attribution for source in sources)),
            "width": second.before.shape[1],
            "height": second.before.shape[0],
        }
        if further:
            record["further_sources"] = [pair.source.name for pair in further]
        if self.recipe.is_suite:
            record |= {"hard": self.hard[item.transformation], "candidates": candidates}
        digests = {source.name: source.digest for source in sources if source.digest}
        return Made({role: (data, extension) for role, data in files.items()}, record, digests)


def _photograph_is_due(recipe: Recipe, role: str, turn: int, random: np.random.Generator) -> bool:
    """Whether a photograph, and no scene, is due.

    In a suite the bs alternate by share, so that each transformation gets both kinds.
    """
    share = recipe.source.photograph_share
    if recipe.is_suite and role.startswith("b"):
        return int((turn + 1) * share + 0.5) > int(turn * share + 0.5)
    return bool(random.random() < share)


def _pick(random: np.random.Generator, pool: Pool, photograph: bool) -> Source:
    kind = (pool.photographs if photograph else pool.scenes) or pool.photographs or pool.scenes
    return kind[int(random.integers(len(kind)))]
