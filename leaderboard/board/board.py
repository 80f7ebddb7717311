"""What a board shows.

The rows of each suite, track and prompt mode, ordered by the headline and ranked as ranges.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice, product
from typing import Any

import numpy as np

from leaderboard.board.disclosure import disclosed, disclosed_about, disclosed_entry, places
from leaderboard.board.run_groups import (
    last_runs,
    mean_of,
    method_of,
    metrics_of,
    report_of,
    tables_of,
)
from leaderboard.store.store import Entry
from leaderboard.store.tables import SuiteRow
from lorweb_bench.methods.reference_rows import BOUNDS, OPEN_BOOK, TRIVIAL
from lorweb_bench.protocol import MAX_EXEMPLARS, PROMPT_MODES, TIERS, TRACKS
from lorweb_bench.reports.report import Report, Score

HEADLINE, GROUP = "edit_recovery", "unseen"
PRESERVATION = "lpips_to_b["  # nothing is ranked by it while there is anything else
# methods that are compared in a table, the best ones: pairs of more would take hours, and hide each
# other
RANKED = 200
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


@dataclass(frozen=True)
class Table:
    """The rows of one suite, track, prompt mode and number of exemplar pairs, best first.

    `borrowed` are trivial methods and bounds from other tables.
    """

    track: str
    prompt_mode: str
    exemplars: int
    rows: tuple[Row, ...]
    borrowed: frozenset[str] = frozenset()

    @cached_property
    def ranked(self) -> int:
        """How many rows have a rank."""
        return sum(row.rank is not None for row in self.rows)

    @cached_property
    def methods(self) -> int:
        """How many rows are of methods, and neither trivial nor bounds."""
        return sum(row.kind == "method" for row in self.rows)

    def first(self, most: int) -> "Table":
        """The table with its best methods alone, so many; trivial methods and bounds stay."""
        if self.methods <= most:
            return self
        methods = (row for row in self.rows if row.kind == "method")
        first_methods = {id(row) for row in islice(methods, most)}
        rows = [row for row in self.rows if row.kind != "method" or id(row) in first_methods]
        return replace(self, rows=tuple(rows))


@dataclass(frozen=True)
class Book:
    """How much of a suite's unseen can be looked up in the public library.

    `search` is what doing so gets.
    """

    families: int
    held: int
    search: Score | None

    @property
    def open(self) -> bool:
        """Whether any of it can."""
        return self.held > 0

    @property
    def label(self) -> str:
        """In two words."""
        return (
            "closed-book"
            if not self.held
            else "open-book"
            if self.held == self.families
            else "partly open-book"
        )

    @property
    def sentence(self) -> str:
        """What it means."""
        if not self.held:
            return (
                "Closed-book: the library that ships with lorweb-bench holds none of the "
                f"{self.families} families behind the unseen items."
            )
        which = (
            f"all {self.families}"
            if self.held == self.families
            else f"{self.held} of the {self.families}"
        )
        return (
            f"{self.label.capitalize()}: the library that ships with lorweb-bench holds "
            f"{which} families behind the unseen items."
        )


@dataclass(frozen=True)
class Board:
    """A suite with its tables."""

    suite: SuiteRow
    rows: tuple[Row, ...]  # each once, best first
    tables: tuple[Table, ...]
    superseded: tuple[Row, ...]
    headline: str
    withdrawn: tuple[Row, ...] = ()  # all of their runs
    held: tuple[Row, ...] = ()  # all of their runs

    @property
    def slug(self) -> str:
        """The suite's name in addresses."""
        return f"{slug(self.suite.name)}-{self.suite.fingerprint[:8]}"

    @property
    def private(self) -> bool:
        """Whether little is told of the suite; see `disclosed`."""
        return self.suite.standing == "private"

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any row has, the headline first."""
        metrics = dict.fromkeys(metric for row in self.rows for metric in row.report.metrics)
        return tuple(sorted(metrics, key=lambda metric: metric != self.headline))

    @cached_property
    def places(self) -> dict[str, int]:
        """The decimal places that a metric has here, by metric."""
        return {
            metric: places(metric, self.suite.standing) for metric in (self.headline, *self.metrics)
        }

    @cached_property
    def better(self) -> dict[str, bool]:
        """Whether higher is better, by metric."""
        directions: dict[str, bool] = {}
        for row in self.rows:
            if not directions.keys() >= set(row.report.metrics):
                directions |= {
                    metric: score.higher_is_better
                    for of in row.report.scores.values()
                    for metric, score in of.items()
                }
        return directions

    @property
    def book(self) -> Book | None:
        """Whether the suite is an open book.

        None where its items have no families, as pairs that somebody edited.
        """
        counted = self.suite.about.get("book")
        search = next(
            (row.score(GROUP, self.headline) for row in self.rows if row.label == "open book"), None
        )
        return Book(counted["families"], counted["held"], search) if counted else None

    @cached_property
    def about(self) -> dict[str, Any]:
        """What may be told of the suite; see `suites.about`."""
        return disclosed_about(self.suite.about, self.suite.standing)

    @property
    def items(self) -> int:
        """How many items the suite has."""
        return int(sum(self.suite.about["splits"].values()))

    @property
    def methods(self) -> int:
        """How many methods there are, trivial ones and bounds included."""
        return len({row.method for row in self.rows})

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers that the suite has, in the protocol's order."""
        return tuple(tier for tier in TIERS if tier in self.suite.about["tiers"])


def slug(name: str) -> str:
    """A name as part of an address.

    Lower case letters, digits and hyphens, with a digest where that loses something.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "x"
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def kind_of(entry: Entry) -> str:
    """What a submission is on a board.

    `trivial` or `bound` where the keeper ran the method that has such a fixed name.

    Of anybody else's, only that it has that name is known: it is a method as others are.
    """
    method = entry.submission.method if entry.verdict.level == "reproduced" else ""
    return "trivial" if method in TRIVIAL else "bound" if method in BOUNDS else "method"


def boards(entries: Sequence[Entry]) -> list[Board]:
    """The boards of all suites, by name.

    A row is a method with all its runs, also those that its team withdrew; of one run the last
    submission counts.
    """
    by_suite: dict[str, list[Entry]] = {}
    for entry in map(disclosed_entry, entries):
        by_suite.setdefault(entry.suite.fingerprint, []).append(entry)
    suite_boards = [
        _board(suite_entries[-1].suite, suite_entries) for suite_entries in by_suite.values()
    ]
    return sorted(suite_boards, key=lambda b: (b.suite.name, b.suite.version, b.suite.fingerprint))


def _board(suite: SuiteRow, own: list[Entry]) -> Board:
    last = last_runs(own)
    by_method: dict[Any, list[Entry]] = {}
    for run in sorted(last, key=lambda run: run[1]):
        by_method.setdefault(run[0], []).append(last[run])
    counting = {entry.submission.id for entry in last.values()}
    old = [entry for entry in own if entry.submission.id not in counting]
    replaced = Counter(method_of(entry) for entry in old)
    rows = [_row(runs, replaced[method]) for method, runs in by_method.items()]
    withdrawn = [row for row in rows if row.gone]
    held = [row for row in rows if not row.gone and row.held == row.runs]
    listed_rows = [row for row in rows if not row.gone and row.held != row.runs]
    headline = headline_of(metric for row in listed_rows for metric in row.report.metrics)
    _mark_repacked(listed_rows)
    _rank(listed_rows, headline)
    listed_rows = best_first(listed_rows, headline)
    superseded = tuple(Row((entry,), kind_of(entry)) for entry in old)
    return Board(
        suite,
        tuple(listed_rows),
        tuple(_tables(listed_rows)),
        superseded,
        headline,
        tuple(sorted(withdrawn, key=lambda row: row.decided)),
        tuple(sorted(held, key=lambda row: row.decided)),
    )


def _row(runs: list[Entry], replaced: int) -> Row:
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


def _mark_repacked(rows: Sequence[Row]) -> None:
    """Name the earlier row whose very images a later one has under another name."""
    first: dict[str, Row] = {}
    order = sorted(rows, key=lambda row: min(run.submission.id for run in row.runs))
    for row in order:
        for run in row.runs:
            earlier = first.setdefault(run.submission.pixels or run.submission.sha256, row)
            if earlier.method != row.method:
                row.same_images = row.same_images or earlier.method


def headline_of(metrics: Iterable[str]) -> str:
    """The metric that tables are ordered by: `edit_recovery`.

    Without it the first there is, and the board says so.

    Preservation comes last, as handing b back wins it.
    """
    there = sorted(dict.fromkeys(metrics), key=lambda metric: metric.startswith(PRESERVATION))
    return HEADLINE if HEADLINE in there or not there else there[0]


def _table_of(row: Row) -> tuple[str, str, int]:
    return row.report.track, row.report.prompt_mode, row.report.exemplars


def _rank(rows: Sequence[Row], headline: str) -> None:
    """Give methods their rank within their table: the best ones, less those that leak."""
    for table in dict.fromkeys(_table_of(row) for row in rows):
        methods = [
            row
            for row in rows
            if row.kind == "method" and _table_of(row) == table and not row.leaks
        ]
        best = best_first(methods, headline)[:RANKED]
        for row, rank in zip(best, _ranks(best, headline), strict=True):
            row.rank = rank
        _places(methods, headline)


def _places(rows: Sequence[Row], headline: str) -> None:
    """Give rows their places by single groups and metrics: ranges that equal scores share.

    They follow from the scores as they are shown, so on a private suite they tell nothing more. Of
    the headline on unseen there is a rank instead, which says what is more than noise.
    """
    metrics = dict.fromkeys(metric for row in rows for metric in row.report.metrics)
    cells = [(group, headline) for group in ("seen", *TIERS)]
    cells += [(GROUP, metric) for metric in metrics if metric != headline]
    for group, metric in cells:
        scored = [(row, score) for row in rows if (score := row.score(group, metric))]
        worse = [-s.mean if s.higher_is_better else s.mean for _, s in scored]
        order = sorted(worse)
        for (row, _), value in zip(scored, worse, strict=True):
            rank_range = bisect_left(order, value) + 1, bisect_right(order, value)
            row.places[f"{group} {metric}"] = rank_range


def _tables(rows: Sequence[Row]) -> Iterable[Table]:
    """Tables with a method in them, each with all trivial methods and bounds.

    Where there is no method at all, those alone.
    """
    compared = [row for row in rows if row.kind != "method"]
    method_tables = {_table_of(row) for row in rows if row.kind == "method"} or {
        _table_of(row) for row in rows
    }
    for table_key in product(TRACKS, PROMPT_MODES, range(1, MAX_EXEMPLARS + 1)):
        if table_key not in method_tables:
            continue
        here = [row for row in rows if _table_of(row) == table_key]
        names, row_ids = {row.method for row in here}, {id(row) for row in here}
        borrowed = {row.anchor for row in compared if row.method not in names}
        yield Table(
            *table_key,
            tuple(row for row in rows if id(row) in row_ids or row.anchor in borrowed),
            frozenset(borrowed),
        )


def best_first(rows: Iterable[Row], headline: str) -> list[Row]:
    """Best first by the headline on unseen, of equal ones the earlier; rows without it last."""

    def place(row: Row) -> tuple[bool, float, int]:
        """What a row is ordered by: its score, then when it was first submitted."""
        score = row.score(GROUP, headline)
        sign = -1.0 if score is None or score.higher_is_better else 1.0
        first = min(run.submission.id for run in row.runs)
        return (score is None, sign * score.mean if score else 0.0, first)

    return sorted(rows, key=place)


def _ranks(rows: Sequence[Row], metric: str) -> list[Rank]:
    """The range of each row's rank among them, by the headline on unseen, paired by item."""
    from lorweb_bench.stats.aggregate import clusters_of, groups, mean, ordered, parts_of
    from lorweb_bench.stats.bootstrap import between_trainings
    from lorweb_bench.stats.significance import rank_ranges

    if len(rows) < 2:
        return [(1, 1)] * len(rows)
    tables = {row.anchor: ordered(row.per_sample, [metric]) for row in rows}
    items = next(iter(tables.values()))
    group, transformation = groups(items)[GROUP], items["transformation"]
    higher = all(score.higher_is_better for row in rows if (score := row.score(GROUP, metric)))
    values = {anchor: table[metric] for anchor, table in tables.items()}
    trainings = {}
    for row in rows:
        runs = [ordered(table, [metric])[metric] for table in row.tables]
        means = [mean(group, transformation, run) for run in runs]
        trainings[row.anchor] = between_trainings(means)
    ranks = rank_ranges(
        values, parts_of(group, transformation), clusters_of(items), higher, trainings=trainings
    )
    return [ranks[row.anchor] for row in rows]
