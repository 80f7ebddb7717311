"""Tables on the terminal for the commands on datasets."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lorweb_bench.data.composition import is_composed_family
from lorweb_bench.protocol import NEW_FAMILY_TIERS, SEEN_TIERS, TIERS

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset
    from lorweb_bench.suites.leaks import SharedContent
    from lorweb_bench.suites.overview import Counts

MAX_PAIRS = 30
WIDEST = 44  # letters of a name


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        if column.startswith("#"):
            table.add_column(column.lstrip("#"), justify="right")
        else:
            table.add_column(column, no_wrap=True, max_width=WIDEST)
    return table


def show_counts(dataset: "Dataset", counts: Mapping[str, "Counts"]) -> None:
    """Print what a dataset holds: by split, by tier, by family."""
    console, manifest = (
        Console(markup=False),
        dataset.manifest,
    )  # the words of a dataset are no markup
    title = Text(f"{manifest.name} {manifest.version}", style="bold")
    console.print(
        title.append(
            f", {manifest.view} view, fingerprint {manifest.fingerprint}", style="not bold"
        )
    )
    if manifest.supersedes:
        console.print(f"takes the place of version {manifest.supersedes}")
    if manifest.tiers_relative_to:
        console.print(f"tiers relative to the training dataset {manifest.tiers_relative_to}")
    if manifest.base_words:
        console.print(f"declared base {manifest.base_words}")
    if manifest.left_out:
        dropped = ", ".join(f"{n:,} by {name}" for name, n in manifest.left_out.items())
        console.print(f"left out when it was built: {dropped}")
    labels = () if dataset.public else ("#hard", "#a from", "#b from")
    table = _table("Splits", "split", "#samples", "#shards", "#MB", "panels", *labels)
    for split, c in counts.items():
        info = dataset.split(split)
        sizes = ", ".join(f"{w}x{h}" for (w, h), _ in c.sizes.most_common(2)) + (
            " …" if len(c.sizes) > 2 else ""
        )
        megabytes = sum(shard.bytes for shard in info.shards) / 1e6
        numbers = (
            ()
            if dataset.public
            else (f"{c.hard:,}", f"{len(c.a_sources):,}", f"{len(c.b_sources):,}")
        )
        table.add_row(
            split, f"{c.samples:,}", f"{len(info.shards):,}", f"{megabytes:,.1f}", sizes, *numbers
        )
    console.print(table)
    present: Counter[str] = sum((c.tiers for c in counts.values()), Counter())
    tiers = [tier for tier in (*TIERS, "no tier") if present[tier]]
    if tiers:
        _show_tiers(console, counts, tiers)
        _show_families(console, counts, tiers)


def _show_tiers(console: Console, counts: Mapping[str, "Counts"], tiers: list[str]) -> None:
    table = _table("Tiers", "split", "tier", "#samples", "#transformations", "#families")
    for split, c in counts.items():
        for tier in tiers:
            if c.tiers[tier]:
                families = sum(t == tier for t, _ in c.families)
                table.add_row(
                    split,
                    tier,
                    f"{c.tiers[tier]:,}",
                    f"{len(c.transformations[tier]):,}",
                    f"{families:,}",
                )
    console.print(table)


def _show_families(console: Console, counts: Mapping[str, "Counts"], tiers: list[str]) -> None:
    """The families of single transformations; pairs of them are too many to list."""
    filled: set[tuple[str, str]] = set()
    single: set[str] = set()
    for split, c in counts.items():
        for (tier, family), samples in c.families.items():
            if samples and not is_composed_family(family):
                filled.add((split, tier))
                single.add(family)
    families = sorted(single)
    columns = [(split, tier) for split in counts for tier in tiers if (split, tier) in filled]
    if not columns:
        return
    table = _table(
        "Families, samples by split and tier",
        "family",
        *(f"#{split} {tier}" for split, tier in columns),
    )
    for family in families:
        numbers = (counts[split].families[tier, family] for split, tier in columns)
        table.add_row(family, *(f"{n:,}" if n else "" for n in numbers))
    console.print(table)


def show_leaks(shared: "SharedContent") -> None:
    """Print what a training dataset and a suite share, tier by tier, then the pairs of images."""
    console = Console(markup=False)
    if shared.tiers:
        table = _table(
            "Transformations", "tier", "#in suite", "#trained on", "#families trained on", "verdict"
        )
        for tier, share in shared.tiers.items():
            new = tier in ("new_composition", *NEW_FAMILY_TIERS)
            verdict = (
                "by design"
                if tier in SEEN_TIERS
                else "LEAK"
                if share.shared or share.families
                else "new"
            )
            families = str(len(share.families)) if new else ""
            table.add_row(
                tier, str(len(share.transformations)), str(len(share.shared)), families, verdict
            )
        console.print(table)
        names = f": {', '.join(shared.sources[:20])}" if shared.sources else ""
        console.print(f"Photographs or scenes in both: {len(shared.sources)}{names}")
    if shared.like_sources:
        table = _table("Like photographs", "suite", "training data", "#apart")
        for near in shared.like_sources[:MAX_PAIRS]:
            table.add_row(near.suite, near.train, f"{near.levels:.1f} levels")
        console.print(table)
    there, here = shared.compared
    console.print(
        f"Images compared: {here:,} of the suite with {there:,} of the training data "
        f"({shared.flat:,} without content left out)"
    )
    if shared.images:
        table = _table("Like images", "suite", "training data", "#apart")
        for pair in shared.images[:MAX_PAIRS]:
            apart = "equal" if pair.equal else f"{pair.levels:.1f} levels"
            table.add_row(
                f"{pair.suite_key} {pair.suite_role}", f"{pair.train_key} {pair.train_role}", apart
            )
        console.print(table)
        if len(shared.images) > MAX_PAIRS:
            console.print(f"and {len(shared.images) - MAX_PAIRS:,} more")
    for note in shared.notes:
        console.print(f"Note: {note}.")
