"""The suites of a board: what may be told of one in public, and what may be shown of it."""

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from leaderboard.store.tables import SuiteRow
from lorweb_bench.data.composition import families_of
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError

Standing = Literal["private", "public", "retired"]
SECRET_BITS = 128
SECRET_SALT = "lorweb-bench/suite-secret"
PUBLIC = "datagen"  # the library that ships with this package: the book that everybody can open


def suite_row(session: Session, suite: Dataset, standing: Standing = "private") -> SuiteRow:
    """The row of a suite that the store does not have yet.

    It is private until somebody says otherwise.
    """
    return SuiteRow(
        fingerprint=suite.fingerprint,
        targets_fingerprint=suite.manifest.targets_fingerprint,
        name=suite.name,
        version=suite.version,
        standing=standing,
        secret=secret_of(session, suite) if standing == "private" else None,
        about=about(suite),
    )


def secret_of(session: Session, suite: Dataset) -> str:
    """A digest of the secret that a private suite's keys and choices follow from.

    It is the seed of its recipe, which the full view alone holds. Keys are digests of the seed and
    of names that anybody can guess, so a short one can be searched from the public view, and one
    that another suite has is known to whoever has that one.

    Raises:
        InputError: The suite has no secret, or one that is short, no random number, or borrowed.
    """
    seed = (suite.manifest.recipe or {}).get("seed")
    way_out = (
        "build it with `--set seed=secret`, or say that it is public with `lorweb-bench "
        "leaderboard suite --standing public`"
    )
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(
            f"{suite.path} is to be private, but its recipe names no seed that its keys are kept "
            f"secret by; {way_out}."
        )
    if seed.bit_length() < SECRET_BITS:
        raise InputError(
            f"{suite.path} is to be private, but its seed has {seed.bit_length()} bits; keys of "
            f"one with less than {SECRET_BITS} can be searched: {way_out}."
        )
    if not 0.25 < seed.bit_count() / seed.bit_length() < 0.75 or len(set(f"{seed:x}")) < 8:
        raise InputError(
            f"{suite.path} is to be private, but its seed is no random one; {way_out}."
        )
    digest = hashlib.sha256(f"{SECRET_SALT} {seed}".encode()).hexdigest()
    others = select(SuiteRow).where(
        SuiteRow.secret == digest, SuiteRow.fingerprint != suite.fingerprint
    )
    if other := session.scalars(others).first():
        raise InputError(
            f"{suite.path} is to be private, but it has the seed of {other.name} {other.version}; "
            f"{way_out}."
        )
    return digest


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
        """The counts of the records by the value of a label."""
        groups: dict[str, list[Record]] = {}
        for record in records:
            groups.setdefault(getattr(record, label) or "", []).append(record)
        return {value: _counts(of) for value, of in sorted(groups.items())}

    base = suite.manifest.base
    declared = {"base": base.model_dump(mode="json")} if base else {}
    return {
        "splits": {split: suite.split(split).samples for split in suite.scored_splits},
        "tiers": counted("tier"),
        "kinds": counted("kind"),
        "sizes": sorted({f"{r.width}x{r.height}" for r in records}),
        "licences": sorted({r.licence for r in records if r.licence}),
        "transformation_library": suite.manifest.transformation_library,
        "tiers_relative_to": suite.manifest.tiers_relative_to,
        **declared,
        "book": book(records) if suite.manifest.transformation_library else None,
    }


def _counts(records: list[Record]) -> dict[str, int]:
    return {
        "samples": len(records),
        "transformations": len({record.transformation for record in records}),
        "families": len({record.family for record in records}),
        "hard": sum(bool(record.hard) for record in records),
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
