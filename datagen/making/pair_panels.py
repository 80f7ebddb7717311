"""The panels of pairs as files, each made once however many analogies it stands in."""

from dataclasses import dataclass

from datagen.making.filters import failed
from datagen.making.kept import Kept
from datagen.making.panels import fit
from datagen.recipe.schema import FiltersSection
from datagen.sources import Pair, Panel, pair_panels
from lorweb_bench.data import images

KEPT_BYTES = 512 * 2**20  # enough for 150 pairs of 1024 x 1024 pixels


@dataclass(frozen=True)
class Ready:
    """A pair as it goes into a shard: (width, height), the files of before and after, or which filter it failed."""

    size: tuple[int, int]
    files: tuple[bytes, bytes] | None
    failure: str | None


Key = tuple[Pair, Panel, int, FiltersSection, tuple[int, int] | None]
_READY: Kept[Key, Ready] = Kept(KEPT_BYTES, lambda ready: sum(map(len, ready.files or ())) + 1000)


def ready(
    pair: Pair,
    panel: Panel,
    seed: int,
    filters: FiltersSection,
    size: tuple[int, int] | None = None,
) -> Ready:
    """The files of a pair's panels; with `size`, fitted to it. From memory where this process made them lately."""
    return _READY.get(
        (pair, panel, seed, filters, size), lambda: _made(pair, panel, seed, filters, size)
    )


def _made(
    pair: Pair, panel: Panel, seed: int, filters: FiltersSection, size: tuple[int, int] | None
) -> Ready:
    before, after = pair_panels(pair, panel, seed)
    if (failure := failed(before, after, filters)) is not None:
        return Ready((before.shape[1], before.shape[0]), None, failure)
    size = size or (before.shape[1], before.shape[0])
    return Ready(
        size,
        (
            images.encode(fit(before, size), panel.format),
            images.encode(fit(after, size), panel.format),
        ),
        None,
    )
