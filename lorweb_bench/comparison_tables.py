"""A comparison as tables for the terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lorweb_bench.compare import Comparison


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-0.000", "0.000")


def _interval(ends: tuple[float | None, float | None]) -> str:
    low, high = ends
    return "-" if low is None or high is None else f"{_number(low)} to {_number(high)}"


def ranks_table(comparison: "Comparison") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "method", "mean", "95 %", "rank", "track", "prompt", "", title="Means and ranks", title_justify="left")
    for name, means in comparison.means.items():
        for i, entry in enumerate(comparison.entries):
            low, high = comparison.ranks[name].get(entry.label, (0, 0))
            rank = "not ranked" if not low else str(low) if low == high else f"{low} to {high}"
            said = [f"pairs {entry.pairs}"] * (entry.pairs != "true") + [f"{entry.missing:,} missing"] * bool(entry.missing)
            said += [f"{entry.trainings} trainings"] * (entry.trainings > 1)
            between = _interval(comparison.intervals[name][entry.label])
            words = (entry.track, entry.prompt_mode, ", ".join(said))
            cells = ("" if i else name, entry.label, _number(means[entry.label]), between, rank, *words)
            table.add_row(*(Text(cell) for cell in cells), end_section=entry is comparison.entries[-1])
    return table


def differences_table(comparison: "Comparison") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table("group", "pair", "difference", "95 % interval", "p", "in words", title="Differences", title_justify="left")
    group = ""
    for d in comparison.differences:
        if group and d.group != group:
            table.add_section()
        interval = _interval((d.ci_low, d.ci_high))
        p = "-" if d.p is None else f"{d.p:.3f}" if d.p >= 0.001 else "<0.001"
        first_of_group = d.group != group
        group = d.group
        cells = (d.group if first_of_group else "", f"{d.first} - {d.second}", _number(d.mean), interval, p, d.verdict)
        table.add_row(*(Text(cell) for cell in cells))
    return table
