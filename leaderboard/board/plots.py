"""Drawings of a board: score against cost, and the history of a suite's best. And its badges."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import escape

from leaderboard.board.board import Board, Table
from leaderboard.board.rows import GROUP, Row

WIDTH, HEIGHT = 720, 300  # of a drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 40  # margins
LETTER = 6.6  # width of a letter of a badge, at least


@dataclass(frozen=True)
class Mark:
    """A point of a drawing: where it is, what it is called, where it leads to."""

    x: float
    y: float
    label: str
    note: str
    href: str
    kind: str


@dataclass(frozen=True)
class Tick:
    """A value of an axis and where it stands."""

    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """A drawing in units of WIDTH x HEIGHT; `line` is a path through the marks, or nothing."""

    marks: tuple[Mark, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    line: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    floor: int = HEIGHT - BOTTOM


def cost_plot(table: Table, board: Board) -> Plot | None:
    """Unseen headline against seconds an image on a logarithmic axis; None with less than two."""
    priced = [
        (row, score.mean, row.report.cost.seconds_per_image)
        for row in table.rows
        if (score := row.score(GROUP, board.headline)) and row.report.cost.seconds_per_image
    ]
    if len(priced) < 2:
        return None
    exponents = [math.log10(seconds) for _, _, seconds in priced if seconds]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents) + 1e-9)
    high = max(high, low + 1)
    bottom, top = _range([mean for _, mean, _ in priced])
    marks = [
        Mark(
            _across((math.log10(seconds) - low) / (high - low)),
            _up((mean - bottom) / (top - bottom)),
            row.method,
            f"{mean:.{board.places[board.headline]}f}, {seconds:.3g} s an image",
            f"methods/{row.slug}.html#{row.anchor}",
            row.kind,
        )
        for row, mean, seconds in priced
        if seconds
    ]
    ticks = tuple(
        Tick(_across((n - low) / (high - low)), _seconds(10.0**n)) for n in range(low, high + 1)
    )
    return Plot(tuple(marks), ticks, _ticks(bottom, top))


def history(board: Board) -> list[tuple[date, Row, float]]:
    """When the best unseen headline of a suite rose: the day, the method and the score.

    A row with the same images as an earlier one is never the best.
    """
    counted = [
        row for row in board.rows if row.kind == "method" and not (row.leaks or row.same_images)
    ]
    scored = [(row, score) for row in counted if (score := row.score(GROUP, board.headline))]
    steps: list[tuple[date, Row, float]] = []
    for row, score in sorted(scored, key=lambda pair: (pair[0].decided, pair[0].method)):
        sign = 1.0 if score.higher_is_better else -1.0
        if not steps or sign * score.mean > sign * steps[-1][2]:
            steps.append((row.decided.date(), row, score.mean))
    return steps


def history_plot(steps: Sequence[tuple[date, Row, float]], board: Board) -> Plot | None:
    """The steps of a suite's best as a drawing; None with less than two."""
    if len(steps) < 2:
        return None
    first, last = (
        steps[0][0].toordinal(),
        max(steps[-1][0].toordinal(), steps[0][0].toordinal() + 1),
    )
    bottom, top = _range([value for _, _, value in steps])
    marks = [
        Mark(
            _across((day.toordinal() - first) / (last - first)),
            _up((value - bottom) / (top - bottom)),
            row.method,
            f"{value:.{board.places[board.headline]}f} on {day.isoformat()}",
            f"methods/{row.slug}.html#{row.anchor}",
            row.kind,
        )
        for day, row, value in steps
    ]
    path = f"M{marks[0].x} {marks[0].y}"
    path += "".join(f"H{mark.x}V{mark.y}" for mark in marks[1:]) + f"H{WIDTH - RIGHT}"
    days = (steps[0][0], steps[-1][0])
    ticks = tuple(
        Tick(_across((day.toordinal() - first) / (last - first)), day.isoformat())
        for day in dict.fromkeys(days)
    )
    return Plot(tuple(marks), ticks, _ticks(bottom, top), path)


def _across(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _up(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _range(values: Iterable[float]) -> tuple[float, float]:
    """A little more than the values span, and never nothing."""
    values = [*values]
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, abs(high) * 0.02, 1e-6)
    return low - room, high + room


def _ticks(bottom: float, top: float) -> tuple[Tick, ...]:
    digits = max(2, 1 - math.floor(math.log10(top - bottom)))
    values = [bottom + share * (top - bottom) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    return tuple(
        Tick(_up(share), f"{value:.{digits}f}".replace("-", "−"))
        for share, value in zip(shares, values, strict=True)
    )


def _seconds(value: float) -> str:
    return f"{value:g} s" if value >= 1 else f"{value * 1000:g} ms"


def badge(board: Board, row: Row) -> str:
    """An SVG that a README can show: the suite, the score on unseen, and the rank."""
    score = row.score(GROUP, board.headline)
    value = f"{score.mean:.{board.places[board.headline]}f}" if score else "–"
    rank = f", rank {words_of(row)}" if row.rank else ""
    label, right = f"{board.suite.name} {board.suite.version}", f"{value}{rank}"
    first, second = (round(LETTER * len(text) + 14) for text in (label, right))
    total = first + second
    title = escape(f"{row.method} on {label}: {board.headline} {right}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total}" height="20" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<rect width="{total}" height="20" rx="3" fill="#3a3f45"/>'
        f'<path d="M{first} 0h{second - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{second - 3}z" '
        'fill="#1a5fb4"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" '
        'text-anchor="middle">'
        f'<text x="{first / 2}" y="14" textLength="{first - 12}">{escape(label)}</text>'
        f'<text x="{first + second / 2}" y="14" textLength="{second - 12}">{escape(right)}</text>'
        "</g></svg>\n"
    )


def words_of(row: Row) -> str:
    """A rank for reading."""
    if row.rank is None:
        return "–"
    low, high = row.rank
    return str(low) if low == high else f"{low}–{high}"
