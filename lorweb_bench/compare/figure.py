"""A figure for a paper or a talk: the same items across methods, as PNG or PDF."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lorweb_bench.compare.opening import (
    Compared,
    Table,
    common_metric,
    open_compared,
    paired_tables,
)
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.reader import Predictions, open_predictions
from lorweb_bench.protocol import TIERS
from lorweb_bench.reports.bars import digits
from lorweb_bench.reports.fonts import plain_font
from lorweb_bench.reports.report import open_report, plain
from lorweb_bench.reports.report_page import chosen_items
from lorweb_bench.reports.sheet import fit_line, fit_panel
from lorweb_bench.runtime.files import atomic_path

FORMATS = (".png", ".pdf")
CHOICES = ("best", "median", "worst")
PANEL, GAP, MARGIN, LINE = 192, 8, 16, 22
INK, QUIET, GROUND, EMPTY = "#1c1d1f", "#5c6066", "#ffffff", "#ececE8"
DOTS_PER_INCH = 200


@dataclass(frozen=True)
class FigureRow:
    """One item: its panels by name (None is missing), a value under each answer, and its words."""

    panels: Mapping[str, Image.Image | None]
    values: Mapping[str, str]
    words: str


def write_figure(
    reports: Sequence[str | Path],
    out: str | Path,
    *,
    suite: str | Path | Dataset | None = None,
    predictions: Sequence[str | Path] = (),
    keys: Sequence[str] = (),
    choose: Sequence[str] = CHOICES,
    tiers: Sequence[str] = (),
    metric: str | None = None,
) -> tuple[str, ...]:
    """Draw the same items across methods, a row for each: a, a', b, what each made, the truth.

    Args:
        reports: Folders of reports on one suite.
        out: Ends in `.png` or `.pdf`.
        suite: The suite's full view; None for the one that the first report's command names.
        predictions: The predictions of each report, in the same order; without them, `predictions`
            in the report's folder, or those that its command names.
        keys: Which items. Without them, of each tier those that the first report is best, median
            and worst on.
        choose: Which of best, median and worst.
        tiers: Which tiers; by default the unseen ones that have items.
        metric: What chooses and stands under the answers; by default the one to look at first.

    Returns:
        The keys of the items, in the order of the rows.

    Raises:
        InputError: A file is missing, an item unknown, or the reports are of several suites.
    """
    out = Path(out)
    _check_arguments(out, reports, predictions)
    compared = open_compared(reports) if len(reports) > 1 else [_alone(Path(reports[0]))]
    opened = suite if isinstance(suite, Dataset) else open_suite(_suite_of(compared[0], suite))
    metric = metric or common_metric(compared)
    tables, _ = paired_tables(compared, metric)
    higher = next(iter(compared[0].report.scores.values()))[metric].higher_is_better
    chosen = tuple(keys) or _chosen(tables[0], metric, higher, choose, tiers)
    quadruplets = _quadruplets(opened, chosen)
    answers = []
    for i, entry in enumerate(compared):
        folder = Path(predictions[i]) if predictions else _predictions_of(entry)
        answers.append(
            open_predictions(folder, opened, entry.report.method.name, allow_missing=True)
        )
    names = _names(compared)
    answers_of = dict(zip(names, answers, strict=True))
    table_of = dict(zip(names, tables, strict=True))
    rows = [_row(quadruplets[key], answers_of, table_of, metric) for key in chosen]
    drawn = draw_figure(rows, f"{metric}, {'higher' if higher else 'lower'} is better")
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        drawn.save(temporary, format=out.suffix[1:].upper(), resolution=DOTS_PER_INCH)
    return chosen


def _check_arguments(
    out: Path, reports: Sequence[str | Path], predictions: Sequence[str | Path]
) -> None:
    """InputError where the figure's ending or the number of folders is wrong."""
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"{out}: a figure is written as {' or '.join(FORMATS)}; name the file so.")
    if predictions and len(predictions) != len(reports):
        raise InputError(
            f"There are {len(reports)} reports and {len(predictions)} folders of predictions; "
            "give one for each report, in the same order."
        )


def _row(
    quadruplet: Quadruplet,
    answers_of: Mapping[str, Predictions],
    table_of: Mapping[str, Table],
    metric: str,
) -> FigureRow:
    """The row of one item, with each method's answer and its value."""
    key, record = quadruplet.key, quadruplet.record
    panels = {
        "a": quadruplet.a,
        "a'": quadruplet.a_prime,
        "b": quadruplet.b,
        **{name: answers.get(key) for name, answers in answers_of.items()},
        "truth": quadruplet.b_prime,
    }
    values = {}
    for name, table in table_of.items():
        value = float(table[metric][table["key"] == key][0])
        values[name] = plain(value, digits(metric, [value]))
    words = record.instruction or record.transformation or key
    return FigureRow(panels, values, f"{words} ({record.tier}, {key})")


def draw_figure(rows: Sequence[FigureRow], note: str) -> Image.Image:
    """Rows of panels with their names above and, under the answers, their values."""
    names = list(rows[0].panels)
    height = PANEL + 2 * LINE + GAP
    width = 2 * MARGIN + len(names) * (PANEL + GAP) - GAP
    figure = Image.new("RGB", (width, 2 * MARGIN + 2 * LINE + len(rows) * height), GROUND)
    draw = ImageDraw.Draw(figure)
    small, normal = plain_font(13), plain_font(15)
    for column, name in enumerate(names):
        middle = MARGIN + column * (PANEL + GAP) + PANEL / 2
        text = fit_line(draw, name, normal, PANEL)
        draw.text((middle, MARGIN + LINE / 2), text, INK, normal, anchor="mm")
    for i, row in enumerate(rows):
        top = MARGIN + LINE + i * height
        for column, (name, panel) in enumerate(row.panels.items()):
            x = MARGIN + column * (PANEL + GAP)
            if panel is None:
                draw.rectangle((x, top, x + PANEL - 1, top + PANEL - 1), EMPTY)
                centre = (x + PANEL / 2, top + PANEL / 2)
                draw.text(centre, "missing", QUIET, normal, anchor="mm")
            else:
                fitted = fit_panel(panel, PANEL)
                corner = (x + (PANEL - fitted.width) // 2, top + (PANEL - fitted.height) // 2)
                figure.paste(fitted, corner)
            if name in row.values:
                below = (x + PANEL / 2, top + PANEL + LINE / 2)
                draw.text(below, row.values[name], INK, small, anchor="mm")
        words = fit_line(draw, row.words, small, width - 2 * MARGIN)
        draw.text((MARGIN, top + PANEL + LINE), words, QUIET, small)
    draw.text((MARGIN, figure.height - MARGIN - LINE / 2), note, QUIET, small)
    return figure


def _alone(path: Path) -> Compared:
    report = open_report(path)
    if report.per_sample is None:
        raise InputError(f"{path} has no values per item; score the predictions again.")
    return Compared(path, report)


def _names(compared: Sequence[Compared]) -> list[str]:
    """The methods' names, told apart by a number where they are the same."""
    names = [entry.report.method.name for entry in compared]
    return [
        f"{n} #{names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)
    ]


def _named_in_command(one: Compared, option: str | None) -> str | None:
    """What the report's command names: the value of an option, or its first argument."""
    words = shlex.split(one.report.command or "")[2:]
    if option is None:
        return words[0] if words and not words[0].startswith("-") else None
    return next(
        (value for word, value in zip(words, words[1:], strict=False) if word == option), None
    )


def _suite_of(one: Compared, given: str | Path | None) -> Path:
    named = given or _named_in_command(one, "--suite")
    if named is None or not Path(named).is_dir():
        raise InputError(
            f"{one.path} does not say where its suite lies here ({named}); name it with --suite."
        )
    return Path(named)


def _predictions_of(one: Compared) -> Path:
    beside = (one.path.parent if one.path.is_file() else one.path) / "predictions"
    named = _named_in_command(one, None)
    if beside.is_dir():
        return beside
    if named is None or not Path(named).is_dir():
        raise InputError(
            f"{one.path} does not say where its predictions lie here ({named}); "
            "name those of each report with --predictions."
        )
    return Path(named)


def _chosen(
    table: Mapping[str, np.ndarray],
    metric: str,
    higher: bool,
    choose: Sequence[str],
    tiers: Sequence[str],
) -> tuple[str, ...]:
    """The keys of the items of each tier that the words choose."""
    if unknown := [word for word in (*choose, *tiers) if word not in (*CHOICES, *TIERS)]:
        raise InputError(
            f"{unknown[0]!r} is no tier and none of {', '.join(CHOICES)}; tiers are "
            f"{', '.join(TIERS)}."
        )
    by_tier = chosen_items(table, metric, higher)
    chosen_tiers = (
        list(tiers) or [tier for tier in by_tier if not tier.startswith("seen")] or list(by_tier)
    )
    if lacking := [tier for tier in chosen_tiers if tier not in by_tier]:
        raise InputError(f"The suite has no items of the tier {lacking[0]}.")
    keys: list[str] = []
    for tier in chosen_tiers:
        keys += [by_tier[tier][word] for word in choose]
    return tuple(dict.fromkeys(keys))


def _quadruplets(suite: Dataset, keys: Sequence[str]) -> dict[str, Quadruplet]:
    by_key: dict[str, Quadruplet] = {}
    for split in suite.scored_splits:
        for quadruplet in suite.quadruplets(split, keys=set(keys)):
            by_key[quadruplet.key] = quadruplet
    if missing := [key for key in keys if key not in by_key]:
        raise InputError(
            f"{suite.path} has no item {missing[0]!r}; --keys takes keys of its items."
        )
    return by_key
