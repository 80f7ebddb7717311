"""The gallery of a public suite.

The same few items for every method, with what each made of them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from leaderboard.board.board import Board
from leaderboard.board.rows import Row
from leaderboard.submission.submission import open_submission, sizes_of
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, resize
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.reader import Predictions
from lorweb_bench.protocol import TIERS
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.suites.overview import choose

PER_TIER = 4
MOST = 100  # methods that are shown, the best
LONG_EDGE = 256  # pixels of a shown panel; smaller ones are shown as they are
SOFT = 128  # smaller panels are enlarged with hard edges


@dataclass(frozen=True)
class Panel:
    """An image of the site.

    Its address as seen from a page in a folder, its size, and what stands below it.
    """

    path: str
    label: str
    width: int
    height: int
    truth: bool = False
    value: float | None = None
    of: str = ""  # the row that made it
    root: str = "../"

    @property
    def src(self) -> str:
        """The address."""
        return self.root + self.path

    @property
    def pixels(self) -> bool:
        """Whether it is small enough to be shown with hard edges."""
        return max(self.width, self.height) < SOFT


@dataclass(frozen=True)
class Item:
    """An item with its panels (a, a′, b, b′) and what each method made."""

    tier: str
    what: str
    transformation: str
    hard: bool
    panels: tuple[Panel, ...]
    made: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """The shown items by tier, and the files that were written for them.

    `best` is the place of the best method in `made`.
    """

    items: Mapping[str, tuple[Item, ...]]
    files: frozenset[Path]
    best: int | None
    sign: float = 1.0  # -1 where less is better

    def _worth(self, item: Item) -> float:
        """What the best ranked method's image of an item is worth; more is better."""
        value = item.made[self.best].value if self.best is not None else None
        return -math.inf if value is None else self.sign * value

    def strip(self, tiers: Iterable[str]) -> list[dict[str, Any]]:
        """An item of each of these tiers in one line, with the best method's image, for the first
        page.

        The next item for each next tier: tiers go through the families in one order, and would show
        the same one.
        """
        lines = []
        for turn, tier_items in enumerate(self.items[tier] for tier in tiers if tier in self.items):
            item = tier_items[turn % len(tier_items)]
            if self.best is not None:
                item = max(tier_items, key=lambda item: self._worth(item))
            a, a_prime, b, truth = item.panels
            best_panels = [item.made[self.best]] if self.best is not None else []
            panels = [
                replace(p, root="")
                for p in (a, a_prime, b, *best_panels, replace(truth, label="truth"))
            ]
            lines.append({"tier": item.tier, "what": item.what, "panels": panels})
        return lines


def make_gallery(board: Board, suite: Dataset, output: Path) -> Gallery:
    """Choose the items by a fixed rule, write their images under `output/gallery`, and tell what is
    where.

    Of thousands of methods the best are shown. The images of a submission, named by its digest,
    stay where all are there, and its archive is not opened. InputError when the archive of a
    submission is no longer what was verified.
    """
    records = [record for split in suite.scored_splits for record in suite.records(split)]
    chosen = {}
    for tier in TIERS:
        of_tier = [record for record in records if record.tier == tier]
        chosen[tier] = choose(of_tier, PER_TIER)
    chosen_keys = {key for keys in chosen.values() for key in keys}
    quadruplets = {
        q.key: q
        for split in suite.scored_splits
        for q in suite.quadruplets(split, keys=chosen_keys)
    }
    sizes = sizes_of(suite)
    writer, rows = _Writer(output, f"gallery/{board.slug}"), _shown(board.rows)
    row_images: list[tuple[Row, Predictions | None]] = []
    for row in rows:
        whole = all(writer.there(f"{key}-{row.anchor}") for key in chosen_keys)
        row_images.append((row, None if whole else _images(row, suite, sizes)))
    items = {}
    for tier, keys in chosen.items():
        if keys:
            items[tier] = tuple(
                _item(quadruplets[key], row_images, board.headline, writer) for key in keys
            )
    best = next((i for i, row in enumerate(rows) if row.rank is not None), None)
    sign = 1.0 if board.better.get(board.headline, True) else -1.0
    return Gallery(items, frozenset(writer.written), best, sign)


def _shown(rows: Iterable[Row]) -> list[Row]:
    """The rows less those of methods beyond the best."""
    rows = list(rows)
    best = [row for row in rows if row.kind == "method"][:MOST]
    methods = {id(row) for row in best}
    return [row for row in rows if row.kind != "method" or id(row) in methods]


def _images(row: Row, suite: Dataset, sizes: Mapping[str, tuple[int, int]]) -> Predictions:
    try:
        return open_submission(row.entry.archive, suite, sizes).predictions
    except InputError as e:
        raise InputError(f"{row.entry.archive} is not what was verified: {e}") from None


class _Writer:
    """Writes the images of a gallery."""

    def __init__(self, output: Path, folder: str) -> None:
        self.output, self.folder = output, folder
        self.written: list[Path] = []
        self.sizes: dict[str, tuple[int, int]] = {}  # of images that were there before, by name

    def there(self, name: str) -> bool:
        """Whether an image is there and whole."""
        try:
            with Image.open(self.place(name)) as image:
                image.verify()
                self.sizes[name] = image.size
        except (OSError, SyntaxError):  # what Pillow says of a PNG with a wrong checksum
            return False
        return True

    def place(self, name: str) -> Path:
        """Where an image lies."""
        return self.output / self.folder / f"{name}.png"

    def panel(self, image: Image.Image | None, name: str, label: str, **facts: Any) -> Panel:
        """Write an image, shrunk where it is large; without one it is there already."""
        path = self.place(name)
        self.written.append(path)
        if image is None:
            return Panel(f"{self.folder}/{name}.png", label, *self.sizes[name], **facts)
        edge = max(image.size)
        if edge > LONG_EDGE:
            image = resize(
                image,
                (
                    max(1, round(image.width * LONG_EDGE / edge)),
                    max(1, round(image.height * LONG_EDGE / edge)),
                ),
            )
        write_atomic(
            path, encode(image, "png"), flush=False
        )  # `board.json`, written last, says that the site is whole
        return Panel(f"{self.folder}/{name}.png", label, image.width, image.height, **facts)


def _item(
    q: Quadruplet, made: list[tuple[Row, Predictions | None]], metric: str, writer: _Writer
) -> Item:
    if q.b_prime is None:
        raise InputError(f"The item {q.key!r} has no answer to show.")
    named = [
        ("a", q.a, "a"),
        ("a_prime", q.a_prime, "a′"),
        ("b", q.b, "b"),
        ("b_prime", q.b_prime, "b′, the truth"),
    ]
    panels = [
        writer.panel(image, f"{q.key}-{role}", label, truth=role == "b_prime")
        for role, image, label in named
    ]
    methods = [
        writer.panel(
            None if images is None else images[q.key],
            f"{q.key}-{row.anchor}",
            row.method,
            value=_value(row, q.key, metric),
            of=row.anchor,
        )
        for row, images in made
    ]
    return Item(
        q.record.tier or "",
        _what(q.record),
        q.record.transformation,
        bool(q.record.hard),
        tuple(panels),
        tuple(methods),
    )


def _value(row: Row, key: str, metric: str) -> float | None:
    positions = np.flatnonzero(row.per_sample["key"].astype(str) == key)
    return float(row.per_sample[metric][positions[0]]) if len(positions) else None


def _what(record: Record) -> str:
    text = record.instruction or record.transformation
    return text[:1].upper() + text[1:]
