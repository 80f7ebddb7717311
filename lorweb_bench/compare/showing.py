"""A comparison as text for a terminal, as CSV and as the table of a document."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorweb_bench.compare.comparison import Comparison, Ends
from lorweb_bench.compare.tables import (
    Cell,
    DocumentTable,
    TextTable,
    table_format,
    terminal_text,
    write_csv,
    write_document,
)
from lorweb_bench.reports.report import plain


def text_of(comparison: Comparison) -> str:
    """The tables of `compare` for a terminal, as wide as it is and at least 80 characters."""
    tables = [_ranks_table(comparison)]
    if comparison.differences:
        tables.append(_differences_table(comparison))
    width = max(80, shutil.get_terminal_size((132, 0)).columns)
    lead = f"{comparison.metric} on {comparison.suite}, paired by item"
    return terminal_text(lead, tables, _notes(comparison), width)


def write_comparisons(path: str | Path, comparisons: Sequence[Comparison]) -> None:
    """Write comparisons of the same reports as one table.

    Args:
        path: Ends in `.csv` (one row per mean and per difference, every digit), `.md` or `.tex`
            (one table per metric: a row per method, a column per group; bold where the
            rank begins at 1).
        comparisons: One per metric.

    Raises:
        InputError: The file has another ending.
    """
    path = Path(path)
    if table_format(path) == ".csv":
        rows: list[dict[str, object]] = []
        for comparison in comparisons:
            rows += _csv_rows(comparison)
        write_csv(path, rows)
    else:
        write_document(path, [_document_table(comparison) for comparison in comparisons])


def _interval(ends: Ends, places: int) -> str:
    low, high = ends
    return "-" if low is None or high is None else f"{plain(low, places)} to {plain(high, places)}"


def _ranks_table(comparison: Comparison) -> TextTable:
    header = ("group", "method", "mean", "95 %", "rank", "track", "prompt", "")
    rows: list[tuple[str, ...]] = []
    sections, places = [], comparison.places
    for group in comparison.groups.values():
        sections.append(len(rows))
        for i, method in enumerate(comparison.methods):
            mean = plain(group.means[method.label], places)
            interval = _interval(group.intervals[method.label], places)
            rank = _rank(group.ranks.get(method.label))
            words = (method.track, method.prompt_mode, method.remarks)
            rows.append(("" if i else group.name, method.label, mean, interval, rank, *words))
    return TextTable("Means and ranks", header, rows, sections[1:])


def _rank(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return "not ranked"
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _differences_table(comparison: Comparison) -> TextTable:
    header = ("group", "pair", "difference", "95 % interval", "p", "in words")
    rows: list[tuple[str, ...]] = []
    sections, places = [], comparison.places
    for group in comparison.groups.values():
        sections.append(len(rows))
        for i, d in enumerate(group.differences):
            p = "-" if d.p is None else f"{d.p:.3f}" if d.p >= 0.001 else "<0.001"
            numbers = (plain(d.mean, places), _interval((d.ci_low, d.ci_high), places), p)
            pair = f"{d.first} - {d.second}"
            rows.append(("" if i else group.name, pair, *numbers, d.verdict))
    return TextTable("Differences", header, rows, sections[1:])


def _notes(comparison: Comparison) -> Iterator[str]:
    several = any(method.trainings > 1 for method in comparison.methods)
    over = "families and photographs" + (
        ", and over trainings where there are several" if several else ""
    )
    yield (
        f"Intervals are 95 %, over {over}, each of one number alone; p by sign-flips, "
        "corrected over all pairs of methods in a group (step-down max-T). "
        "Ranks are ranges, among methods of one track and prompt mode."
    )
    single = [method.label for method in comparison.methods if method.trainings == 1]
    if several and single:
        yield (
            f"Of {', '.join(single)} there is one report: how much another training would differ "
            "is not in its interval."
        )
    if comparison.left_out:
        yield (
            f"{comparison.left_out:,} items are left out: "
            "not all of the judgements have a verdict on them."
        )


def _csv_rows(comparison: Comparison) -> Iterator[dict[str, object]]:
    """One row per mean, then one per difference (`method` less `minus`)."""
    common = {"suite": comparison.suite, "metric": comparison.metric}
    common["better"] = "higher" if comparison.higher_is_better else "lower"
    for group in comparison.groups.values():
        for method in comparison.methods:
            low, high = group.intervals[method.label]
            first, last = group.ranks.get(method.label, (None, None))
            yield {
                **common,
                "group": group.name,
                "method": method.label,
                "minus": None,
                "mean": group.means[method.label],
                "ci_low": low,
                "ci_high": high,
                "p": None,
                "rank_from": first,
                "rank_to": last,
                "track": method.track,
                "prompt_mode": method.prompt_mode,
                "pairs": method.pairs,
                "missing": method.missing,
                "trainings": method.trainings,
                "novelty": method.novelty,
                "verdict": None,
            }
        for d in group.differences:
            blank = (
                "rank_from",
                "rank_to",
                "track",
                "prompt_mode",
                "pairs",
                "missing",
                "trainings",
                "novelty",
            )
            yield {
                **common,
                "group": group.name,
                "method": d.first,
                "minus": d.second,
                "mean": d.mean,
                "ci_low": d.ci_low,
                "ci_high": d.ci_high,
                "p": d.p,
                **dict.fromkeys(blank),
                "verdict": d.verdict,
            }


def _document_table(comparison: Comparison) -> DocumentTable:
    groups_shown, places = list(comparison.groups.values()), comparison.places
    rows = []
    for method in comparison.methods:
        details = ", ".join(
            word for word in (method.track, method.prompt_mode, method.remarks) if word
        )
        row = [Cell(f"{method.label} ({details})")]
        for group in groups_shown:
            low, high = group.intervals[method.label]
            mean = plain(group.means[method.label], places)
            within = (
                ""
                if low is None or high is None
                else f" [{plain(low, places)}, {plain(high, places)}]"
            )
            row.append(Cell(mean + within, group.ranks.get(method.label, (0, 0))[0] == 1))
        rows.append(row)
    arrow = "↑" if comparison.higher_is_better else "↓"
    note = (
        "Mean [95 % interval]; bold: no method of the same track and prompt mode is significantly "
        "better (p at most 0.05 over all pairs, step-down max-T)."
    )
    header = ["method", *(group.name for group in groups_shown)]
    return DocumentTable(f"{comparison.metric} {arrow} on {comparison.suite}", header, rows, note)
