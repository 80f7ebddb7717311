"""An overview of a dataset: counts, a contact sheet, a page to browse."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.protocol import TIERS
from lorweb_bench.reports.sheet import Row, Section, contact_sheet, fit_panel
from lorweb_bench.runtime.files import atomic_path
from lorweb_bench.runtime.progress import Progress

PAGE_EDGE = 256  # pixels; larger panels are shrunk for the page, smaller ones shown as they are


@dataclass
class Counts:
    """What a split holds.

    Attributes:
        samples: How many samples.
        hard: How many of them are of a hard transformation.
        tiers: Samples by tier.
        families: Samples by tier and family.
        kinds: Samples by kind.
        sizes: Samples by (width, height) of their panels.
        transformations: Ids of transformations by tier.
        a_sources: The photographs and scenes behind the a.
        b_sources: The photographs and scenes behind the b.
    """

    samples: int = 0
    hard: int = 0
    tiers: Counter[str] = field(default_factory=Counter)
    families: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    transformations: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    a_sources: set[str] = field(default_factory=set)
    b_sources: set[str] = field(default_factory=set)


def count(records: Iterable[Record]) -> Counts:
    """Count the records of a split; a public view's have no labels, so only samples and sizes."""
    counts = Counts()
    for record in records:
        tier = record.tier or "no tier"
        counts.samples += 1
        counts.hard += bool(record.hard)
        counts.sizes[record.width, record.height] += 1
        if record.transformation:
            counts.tiers[tier] += 1
            counts.families[tier, record.family] += 1
            counts.kinds[record.kind] += 1
            counts.transformations[tier].add(record.transformation)
            counts.a_sources.add(record.a_source)
            counts.b_sources.add(record.b_source)
    return counts


def choose(records: Sequence[Record], number: int) -> list[str]:
    """The keys of `number` records that show the variety of a split.

    Families take turns, in an order by the hash of their names; records of a family come in the
    order of the hashes of their ids.
    """
    turns: Counter[str] = Counter()
    order = []
    for record in sorted(records, key=lambda record: _hash(record.id)):
        order.append((turns[record.family], _hash(record.family), record.id))
        turns[record.family] += 1
    return [key for _, _, key in sorted(order)[:number]]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def selected(dataset: Dataset, per_tier: int) -> dict[tuple[str, str], list[Quadruplet]]:
    """Up to `per_tier` decoded quadruplets of each (split, tier), in the order of the tiers."""
    chosen = {split: _chosen_keys(dataset, split, per_tier) for split in dataset.splits}
    groups: dict[tuple[str, str], list[Quadruplet]] = {
        (split, tier): [] for split in dataset.splits for tier in ("", *TIERS)
    }
    total = sum(len(keys) for keys in chosen.values())
    with Progress("reading samples", total) as progress:
        for split, keys in chosen.items():
            for quadruplet in dataset.quadruplets(split, keys=keys):
                groups[split, quadruplet.record.tier or ""].append(quadruplet)
                progress.advance()
    for quadruplets in groups.values():
        quadruplets.sort(key=lambda q: (q.record.family, q.record.transformation, q.key))
    return {group: quadruplets for group, quadruplets in groups.items() if quadruplets}


def _chosen_keys(dataset: Dataset, split: str, per_tier: int) -> set[str]:
    by_tier: dict[str, list[Record]] = defaultdict(list)
    for record in dataset.records(split):
        by_tier[record.tier or ""].append(record)
    keys: set[str] = set()
    for records in by_tier.values():
        keys.update(choose(records, per_tier))
    return keys


def write_sheet(
    dataset: Dataset, path: Path | str, per_tier: int = 8, sources: bool = False
) -> None:
    """Draw a contact sheet of every tier of every split to a PNG.

    Args:
        dataset: A dataset of any view.
        path: Where the PNG goes.
        per_tier: At most so many quadruplets of a tier.
        sources: Whether the photographs and scenes behind the panels are named.
    """
    sections = []
    for (split, tier), quadruplets in selected(dataset, per_tier).items():
        rows = [_row(quadruplet, sources) for quadruplet in quadruplets]
        sections.append(Section(" · ".join(filter(None, (split, tier))), rows))
    manifest = dataset.manifest
    samples = sum(info.samples for info in manifest.splits.values())
    subtitle = (
        f"{manifest.view} view · {samples:,} samples · fingerprint {manifest.fingerprint[:16]}"
    )
    sheet = contact_sheet(f"{manifest.name} {manifest.version}", subtitle, sections)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _row(quadruplet: Quadruplet, sources: bool) -> Row:
    record = quadruplet.record
    parts = (record.family, "hard" if record.hard else "") if record.transformation else ()
    line = _line(record)
    quiet = " · ".join(filter(None, parts)) or (record.id if line != record.id else "")
    panels = (quadruplet.a, quadruplet.a_prime, quadruplet.b, quadruplet.b_prime)
    named = [f"{role} from {source}" for role, source in _sources(record)] if sources else []
    return Row(panels, line, quiet, " · ".join(named))


def _line(record: Record) -> str:
    """The item in words that begin with a capital; a key, which is no word, stands as it is."""
    words = record.instruction or record.prompt or ""
    return words[:1].upper() + words[1:] or record.id


def _sources(record: Record) -> list[tuple[str, str]]:
    """Where the panels come from, each with its role; further pairs are `a_2` and so on."""
    named = [("a", record.a_source), ("b", record.b_source)]
    named += [(f"a_{i}", name) for i, name in enumerate(record.further_sources or (), start=2)]
    return [(role, name) for role, name in named if name]


def write_page(dataset: Dataset, path: Path | str, per_tier: int = 40) -> None:
    """Write an HTML page to browse up to `per_tier` quadruplets of each tier, images embedded."""
    from lorweb_bench.reports import html

    cards: list[dict[str, Any]] = []
    for (split, tier), quadruplets in selected(dataset, per_tier).items():
        for q in quadruplets:
            panels = [
                None if p is None else fit_panel(p, min(PAGE_EDGE, max(p.size)))
                for p in (q.a, q.a_prime, q.b, q.b_prime)
            ]
            cards.append(
                {
                    "split": split,
                    "tier": tier,
                    "panels": panels,
                    "line": _line(q.record),
                    "record": q.record,
                    "sources": _sources(q.record),
                }
            )
    counts = {split: count(dataset.records(split)) for split in dataset.splits}
    shown_tiers = {card["tier"] for card in cards}
    manifest = dataset.manifest
    html.write_page(
        path,
        "dataset.html.j2",
        folder="suites",
        title=f"{manifest.name} {manifest.version}",
        kicker=f"lorweb-bench · {'public view of a suite' if dataset.public else 'dataset'}",
        manifest=manifest,
        counts=counts,
        cards=cards,
        splits=sorted({c["split"] for c in cards}),
        tiers=[tier for tier in TIERS if tier in shown_tiers],
        families=sorted({q["record"].family for q in cards if q["record"].family}),
        total=sum(c.samples for c in counts.values()),
    )
