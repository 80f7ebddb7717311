"""Declared training data against the suite, where its manifest is given.

What a method was trained on and is then tested on.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from leaderboard.submission.card import Card
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import MANIFEST
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SEEN_TIERS
from lorweb_bench.suites.leaks import SharedContent, TierShare, find_leaks, share_by_tier


class TrainingFound(BaseModel):
    """A declared training dataset and what it shares with the suite.

    Counts alone, so that a private suite gives nothing away.

    `by_tier` counts, for each new tier, the transformations and families (or pairs of families) of
    the suite that were trained on. `sources` and `images` are None where only the manifest was
    given. `own` is the suite's own training dataset: what it shares is the suite's to answer for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    own: bool
    by_tier: dict[str, int]
    sources: int | None = None
    images: int | None = None

    @property
    def leaks(self) -> bool:
        """Whether something was trained on that the suite calls new, and it is not the suite's own
        training dataset.
        """
        return not self.own and bool(self.by_tier or self.sources or self.images)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        counts = [f"{count} of {tier}" for tier, count in self.by_tier.items()]
        counts += [
            f"{count} {what}"
            for what, count in (("photographs or scenes", self.sources), ("images", self.images))
            if count
        ]
        compared = "its manifest alone" if self.images is None else "its labels and images"
        whose, what = ", the suite's own," if self.own else "", ", ".join(counts) or "nothing new"
        return (
            f"The declared training data {self.name} ({self.fingerprint[:12]}){whose} shares "
            f"{what}, by {compared}."
        )


def check_training(card: Card, suite: Dataset, given: Sequence[Path]) -> tuple[TrainingFound, ...]:
    """Search each given training dataset, a folder or its `dataset.json`, for what the suite says
    is new.

    Images are compared where the folder has its shards. InputError when the card does not declare
    the dataset, or it cannot be read: that says nothing about the submission.
    """
    return tuple(_check(card, suite, Path(path)) for path in given)


def _check(card: Card, suite: Dataset, path: Path) -> TrainingFound:
    folder = path.parent if path.name == MANIFEST else path
    training = open_dataset(folder)
    if not any(
        d.fingerprint == training.fingerprint or (d.fingerprint is None and d.name == training.name)
        for d in card.training_data
    ):
        declared = (
            ", ".join(f"{d.name} {(d.fingerprint or '')[:12]}".strip() for d in card.training_data)
            or "none"
        )
        raise InputError(
            f"{path} is {training.name} {training.fingerprint[:12]}, which the card does not "
            f"declare; it declares {declared}."
        )
    whole = all(
        (folder / entry.path).is_file()
        for split in training.splits
        for entry in training.split(split).shards
    )
    if whole:
        leaks = find_leaks(folder, suite.path)
        return _found(training, suite, leaks.tiers, leaks)
    by_tier: dict[str, set[str]] = {}
    for split in suite.scored_splits:
        for record in suite.records(split):
            by_tier.setdefault(record.tier or "no tier", set()).add(record.transformation)
    trained = {
        name
        for name, info in training.manifest.transformations.items()
        if info.trained is not False
    }
    return _found(
        training, suite, share_by_tier(training.manifest, trained, suite.manifest, by_tier)
    )


def _found(
    training: Dataset,
    suite: Dataset,
    tiers: dict[str, TierShare],
    whole: SharedContent | None = None,
) -> TrainingFound:
    new = {
        tier: len(share.shared) or len(share.families)
        for tier, share in tiers.items()
        if tier not in SEEN_TIERS
    }
    return TrainingFound(
        name=training.name,
        fingerprint=training.fingerprint,
        own=training.fingerprint == suite.manifest.tiers_relative_to,
        by_tier={tier: count for tier, count in new.items() if count},
        sources=len(whole.sources) if whole else None,
        images=len(whole.images) if whole else None,
    )
