"""The suites of a board: what may be told of one in public, and what may be shown of it."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from leaderboard.store.tables import SuiteRow
from lorweb_bench.data.composition import families_of
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError

Standing = Literal["private", "public", "retired"]
PUBLIC = "datagen"  # the library that ships with this package: the book that everybody can open


def suite_row(suite: Dataset, standing: Standing = "private") -> SuiteRow:
    """The row of a suite that the store does not have yet.

    It is private until somebody says otherwise.
    """
    return SuiteRow(
        fingerprint=suite.fingerprint,
        targets_fingerprint=suite.manifest.targets_fingerprint,
        name=suite.name,
        version=suite.version,
        standing=standing,
        about=about(suite),
    )


def check_answers(row: SuiteRow | None, suite: Dataset) -> None:
    """InputError when the store knows the suite with other answers or labels."""
    if row is not None and row.targets_fingerprint != suite.manifest.targets_fingerprint:
        raise InputError(
            f"{suite.path} has other answers or labels than the {row.name} {row.version} of this "
            "store; use that one, "
            "or put it in its place with `lorweb-bench leaderboard suite --replace`."
        )


def about(suite: Dataset) -> dict[str, Any]:
    """What a board tells of a suite.

    How many items, transformations and families it has by tier and by kind; no keys.
    """
    records = [record for split in suite.scored_splits for record in suite.records(split)]

    def counted(label: str) -> dict[str, dict[str, int]]:
        values = Counter(getattr(record, label) or "" for record in records)
        return {
            value: {
                "samples": count,
                "transformations": len(
                    {r.transformation for r in records if (getattr(r, label) or "") == value}
                ),
                "families": len({r.family for r in records if (getattr(r, label) or "") == value}),
                "hard": sum(bool(r.hard) for r in records if (getattr(r, label) or "") == value),
            }
            for value, count in sorted(values.items())
        }

    return {
        "splits": {split: suite.split(split).samples for split in suite.scored_splits},
        "tiers": counted("tier"),
        "kinds": counted("kind"),
        "sizes": sorted({f"{r.width}x{r.height}" for r in records}),
        "licences": sorted({r.licence for r in records if r.licence}),
        "transformation_library": suite.manifest.transformation_library,
        "tiers_relative_to": suite.manifest.tiers_relative_to,
        "book": book(records) if suite.manifest.transformation_library else None,
    }


def book(records: Iterable[Record]) -> dict[str, int] | None:
    """How many families the unseen items have, and how many of these the public library holds.

    What can be looked up there.

    Steps of compositions count as families of their own. None where no unseen item has a family.
    """
    families = {
        part
        for r in records
        if (r.tier or "").startswith("new_") and r.family
        for part in families_of(r.family)
    }
    if not families:
        return None
    singles = load_library(PUBLIC).singles()  # type: ignore[attr-defined]
    return {
        "families": len(families),
        "held": len(families & {spec["family"] for spec in singles.values()}),
    }
