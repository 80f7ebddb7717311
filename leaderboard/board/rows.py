"""The rows of a board: a method's accepted runs as one line, and what is told of it."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np

from leaderboard.board.disclosure import disclosed
from leaderboard.board.run_groups import mean_of, metrics_of, report_of, tables_of
from leaderboard.store.store import Entry
from lorweb_bench.methods.reference_rows import BOUNDS, OPEN_BOOK, TRIVIAL
from lorweb_bench.reports.report import Report, Score

HEADLINE, GROUP = "edit_recovery", "unseen"
KINDS = {
    "method": "",
    "trivial": "needs no learning; shown to compare with, not ranked",
    "bound": (
        "looks where no method may (the answers or the true transformation); shown to "
        "compare with, not ranked"
    ),
    "open book": (
        "searches the library that anyone can install for what explains a to a′; shown "
        "to compare with, not ranked"
    ),
}
Rank = tuple[int, int]


@dataclass(eq=False)
class Row:
    """A line of a table: a method's accepted runs, and its rank where it has one.

    `kind` is method, trivial or bound. A run that its team withdrew is among `runs`, so nobody
    chooses the best by withdrawing the others. `held` are runs whose scores are not told (see
    `ladder`), `repeats` such as have the very images of another run and count once, and `replaced`
    earlier submissions of the same runs. `same_images` names the method of an earlier row that has
    the very images of this one.
    """

    runs: tuple[Entry, ...]  # by their seeds; each with the report that may be shown
    kind: str
    rank: Rank | None = None
    held: tuple[Entry, ...] = ()
    repeats: tuple[Entry, ...] = ()
    replaced: int = 0
    same_images: str | None = None
    places: dict[str, Rank] = field(default_factory=dict)  # see `_places`

    @property
    def entry(self) -> Entry:
        """The first run that was not withdrawn: its card and its images stand for the method."""
        standing = [run for run in self.runs if run.submission.withdrawn is None]
        return (standing or [*self.runs])[0]

    @property
    def gone(self) -> bool:
        """Whether its team withdrew all of its runs."""
        return self.entry.submission.withdrawn is not None

    @property
    def team(self) -> str:
        """Who submitted it."""
        return self.entry.team or "the keeper"

    @property
    def withdrawn(self) -> int:
        """How many of its runs its team withdrew."""
        return sum(run.submission.withdrawn is not None for run in (*self.runs, *self.repeats))

    @property
    def decided(self) -> datetime:
        """When its last run was decided on."""
        return max(run.verdict.decided for run in self.runs)

    @property
    def remarks(self) -> list[str]:
        """What a reader must know of how its runs came to be, in words."""
        runs = len(self.runs) + len(self.repeats) + len(self.held)
        counted_remarks = [
            (self.withdrawn, f"{self.withdrawn} of {runs} runs withdrawn, and counted"),
            (len(self.held), f"{len(self.held)} of {runs} runs held"),
            (len(self.repeats), f"{len(self.repeats)} of {runs} runs repeat another's images"),
            (self.replaced, f"{self.replaced} earlier submissions replaced"),
        ]
        return [text for count, text in counted_remarks if count]

    @cached_property
    def report(self) -> Report:
        """The scores that the board computed, as they may be shown.

        Of several runs those of their mean.
        """
        return (
            self.runs[0].report
            if len(self.runs) == 1
            else disclosed(report_of(self.runs, self.tables), self.entry.suite.standing)
        )

    @property
    def level(self) -> str:
        """`reproduced` where every run is, else `re-scored`."""
        levels = {run.verdict.level for run in self.runs}
        return "reproduced" if levels == {"reproduced"} else "re-scored"

    @property
    def leaks(self) -> bool:
        """Whether declared training data of a run holds what the suite calls new.

        Then nothing is unseen, and it has no rank.
        """
        return any(finding.leaks for run in self.runs for finding in run.verdict.training)

    def spread(self, metric: str = HEADLINE) -> tuple[float, float] | None:
        """The lowest and the highest mean on unseen of several runs."""
        scores = [
            run.report.scores[GROUP][metric].mean
            for run in self.runs
            if metric in run.report.scores.get(GROUP, {})
        ]
        return (min(scores), max(scores)) if len(scores) > 1 else None

    @property
    def method(self) -> str:
        """The method's name."""
        return self.entry.submission.method

    @property
    def label(self) -> str:
        """What it is called where others have a rank.

        Its kind, and of `library-search` what it is an example of.
        """
        return "open book" if self.kind == "bound" and self.method == OPEN_BOOK else self.kind

    @property
    def words(self) -> str:
        """What a reader may look for it by, in lower case."""
        card = self.entry.verdict.card
        declared = (
            [*(author.name for author in card.authors), card.base_model, card.licence]
            if card
            else []
        )
        return " ".join(
            [
                self.method,
                self.team,
                self.entry.submission.version,
                self.report.track,
                self.report.prompt_mode,
                *declared,
            ]
        ).lower()

    @property
    def slug(self) -> str:
        """The method's name in addresses; different for different names."""
        return slug(self.method)

    @property
    def anchor(self) -> str:
        """Where on its method's page the row is told of."""
        return f"s-{self.entry.submission.sha256[:12]}"

    def score(self, group: str, metric: str = HEADLINE) -> Score | None:
        """A score, or None where the suite has no such group or metric."""
        return self.report.scores.get(group, {}).get(metric)

    @cached_property
    def per_sample(self) -> dict[str, np.ndarray]:
        """The values per item, of several runs their means.

        InputError when the store's file is damaged.
        """
        return mean_of(self.tables, metrics_of(self.runs))

    @cached_property
    def tables(self) -> list[dict[str, np.ndarray]]:
        """The values per item of each run."""
        return tables_of(self.runs)

    def forget_values(self) -> None:
        """Let go of the values per item, which are read again when they are asked for.

        Boards can have thousands of rows.
        """
        for name in ("tables", "per_sample"):
            self.__dict__.pop(name, None)


def row_of(runs: Sequence[Entry], replaced: int) -> Row:
    """The row of a method's runs: those that are told, and aside those that repeat or are held."""
    held = tuple(run for run in runs if is_held(run))
    unique_runs: dict[str, Entry] = {}
    repeats = []
    for run in runs:
        if run in held:
            continue
        key = run.submission.pixels or run.submission.sha256
        if key in unique_runs:
            repeats.append(run)
        else:
            unique_runs[key] = run
    return Row(
        tuple(unique_runs.values()) or held,
        kind_of(runs[0]),
        held=held,
        repeats=tuple(repeats),
        replaced=replaced,
    )


def is_held(entry: Entry) -> bool:
    """Whether the scores of a submission are not told; all are once a suite is not private."""
    return entry.submission.held is not None and entry.suite.standing == "private"


def kind_of(entry: Entry) -> str:
    """What a submission is on a board.

    `trivial` or `bound` where the keeper ran the method that has such a fixed name.

    Of anybody else's, only that it has that name is known: it is a method as others are.
    """
    method = entry.submission.method if entry.verdict.level == "reproduced" else ""
    return "trivial" if method in TRIVIAL else "bound" if method in BOUNDS else "method"


def slug(name: str) -> str:
    """A name as part of an address.

    Lower case letters, digits and hyphens, with a digest where that loses something.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "x"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
