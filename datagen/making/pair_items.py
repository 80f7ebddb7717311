"""Items from pairs that somebody else edited: their panels, encoded, and their records."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cachetools import LRUCache, cached

from datagen.making.build_notes import Dropped, ItemFailure, failing_items
from datagen.making.filters import changes_disagree, failed_filter
from datagen.making.panels import fit
from datagen.making.photograph_items import Made
from datagen.planning.compositions import Described
from datagen.planning.pair_analogies import PlannedAnalogy
from datagen.planning.source_roles import panel_of
from datagen.recipe.schema import FiltersSection, Recipe
from datagen.sources.crops import Panel, cut_before, cut_pair
from datagen.sources.source import Pair
from lorweb_bench.data import images
from lorweb_bench.protocol import FURTHER_PAIRS
from lorweb_bench.protocol import ROLES as PANEL_ROLES

CACHE_BYTES = 512 * 2**20  # enough for 150 pairs of 1024 x 1024 pixels


@dataclass(frozen=True)
class EncodedPair:
    """A pair as it goes into a shard.

    Attributes:
        size: Width and height of both panels, in pixels.
        files: The files of before and after, or of before alone where nobody edited it; None where
            the pair failed a filter.
        failure: The filter that the pair failed.
    """

    size: tuple[int, int]
    files: tuple[bytes, ...] | None
    failure: str | None

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        return sum(map(len, self.files or ())) + 1000


_encoded: LRUCache[Any, EncodedPair] = LRUCache(CACHE_BYTES, getsizeof=lambda pair: pair.nbytes)


@cached(_encoded)
def _encode_pair(
    pair: Pair,
    panel: Panel,
    seed: int,
    filters: FiltersSection,
    size: tuple[int, int] | None = None,
) -> EncodedPair:
    """Make the files of a pair's panels, fitted to `size` where it is given.

    Each is made once in a process, however many analogies it stands in, while it is in the cache.
    """
    if pair.after is None:
        return _encode_before(pair, panel, seed)
    before, after = cut_pair(pair, panel, seed)
    size = size or (before.shape[1], before.shape[0])
    with failing_items(f"the filters fail on {pair.name}"):
        failure = failed_filter(before, after, filters)
    if failure is not None:
        return EncodedPair((before.shape[1], before.shape[0]), None, failure)
    with failing_items(f"encoding the panels of {pair.name} fails"):
        first, second = (images.encode(fit(i, size), panel.format) for i in (before, after))
    return EncodedPair(size, (first, second), None)


def _encode_before(pair: Pair, panel: Panel, seed: int) -> EncodedPair:
    """Make the file of a picture that nobody edited."""
    before = cut_before(pair, panel, seed)
    size = before.shape[1], before.shape[0]
    with failing_items(f"encoding {pair.name} fails"):
        return EncodedPair(size, (images.encode(before, panel.format),), None)


@dataclass(frozen=True)
class PairItems:
    """Makes the items of one split from pairs.

    Attributes:
        recipe: The recipe.
        transformations: The tasks, as the manifest lists them.
    """

    recipe: Recipe
    transformations: Mapping[str, Described]

    def make_all(
        self, items: Iterable[PlannedAnalogy]
    ) -> Iterator[tuple[PlannedAnalogy, Made | Dropped]]:
        """Make items; each comes with what was made, or with the filter that it failed."""
        for item in items:
            try:
                result = self._make(item)
            except ItemFailure as failure:
                result = Dropped("failed", str(failure))
            yield item, result

    def _make(self, item: PlannedAnalogy) -> Made | Dropped:
        """Make an item, with a fitted to the size of b."""
        panel, seed, filters = panel_of(self.recipe), self.recipe.seed, self.recipe.filters
        first = _encode_pair(item.first, panel, seed, filters)
        second = _encode_pair(item.second, panel, seed, filters)
        if first.files is not None and first.size != second.size:
            first = _encode_pair(item.first, panel, seed, filters, second.size)
        if first.files is None or second.files is None:
            return Dropped(first.failure or second.failure or "")
        # Without an answer the last role has no file.
        files = zip(PANEL_ROLES, (*first.files, *second.files), strict=False)
        encoded = {role: (data, str(panel.format)) for role, data in files}
        if len(item.further) < self.recipe.exemplars - 1:
            return Dropped("exemplars")
        for roles, pair in zip(FURTHER_PAIRS, item.further, strict=False):
            encoded_pair = _encode_pair(pair, panel, seed, filters, second.size)
            if encoded_pair.files is None:
                return Dropped(encoded_pair.failure or "")
            for role, data in zip(roles, encoded_pair.files, strict=True):
                encoded[role] = (data, str(panel.format))
        with failing_items(f"filters.clip_direction fails on item {item.key}"):
            disagree = changes_disagree(filters, encoded)
        if disagree:
            return Dropped("clip_direction")
        pairs = (item.first, item.second, *item.further)
        digests = {pair.photograph: pair.digest for pair in pairs if pair.digest}
        return Made(encoded, self._record(item, second.size), digests)

    def _record(self, item: PlannedAnalogy, size: tuple[int, int]) -> dict[str, Any]:
        spec = self.transformations[item.transformation]
        pairs = (item.first, item.second, *item.further)
        further = [pair.photograph for pair in item.further]
        return {
            "id": item.key,
            "transformation": item.transformation,
            "family": spec["family"],
            "kind": spec["kind"],
            "tier": spec["tier"],
            "instruction": item.second.instruction or spec["instruction"],
            "a_source": item.first.photograph,
            "b_source": item.second.photograph,
            "licence": "; ".join(dict.fromkeys(pair.licence for pair in pairs)),
            "attribution": "; ".join(dict.fromkeys(pair.attribution for pair in pairs)),
            "width": size[0],
            "height": size[1],
            **({"further_sources": further} if further else {}),
        }
