"""What a board shows.

The rows of each suite, track and prompt mode, ordered by the headline and ranked as ranges.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, product
from typing import Any

from leaderboard.board.disclosure import disclosed_about, disclosed_entry, places
from leaderboard.board.ranking import best_first, rank_rows, table_of
from leaderboard.board.rows import GROUP, HEADLINE, Row, kind_of, row_of, slug
from leaderboard.board.run_groups import last_runs, method_of
from leaderboard.store.store import Entry
from leaderboard.store.tables import SuiteRow
from lorweb_bench.protocol import MAX_EXEMPLARS, PROMPT_MODES, TIERS, TRACKS
from lorweb_bench.reports.report import Score

PRESERVATION = "lpips_to_b["  # nothing is ranked by it while there is anything else


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
    rows = [row_of(runs, replaced[method]) for method, runs in by_method.items()]
    withdrawn = [row for row in rows if row.gone]
    held = [row for row in rows if not row.gone and row.held == row.runs]
    listed_rows = [row for row in rows if not row.gone and row.held != row.runs]
    headline = headline_of(metric for row in listed_rows for metric in row.report.metrics)
    _mark_repacked(listed_rows)
    rank_rows(listed_rows, headline)
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


def _tables(rows: Sequence[Row]) -> Iterable[Table]:
    """Tables with a method in them, each with all trivial methods and bounds.

    Where there is no method at all, those alone.
    """
    compared = [row for row in rows if row.kind != "method"]
    method_tables = {table_of(row) for row in rows if row.kind == "method"} or {
        table_of(row) for row in rows
    }
    for table_key in product(TRACKS, PROMPT_MODES, range(1, MAX_EXEMPLARS + 1)):
        if table_key not in method_tables:
            continue
        here = [row for row in rows if table_of(row) == table_key]
        names, row_ids = {row.method for row in here}, {id(row) for row in here}
        borrowed = {row.anchor for row in compared if row.method not in names}
        yield Table(
            *table_key,
            tuple(row for row in rows if id(row) in row_ids or row.anchor in borrowed),
            frozenset(borrowed),
        )
