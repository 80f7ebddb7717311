"""A comparison as tables for the terminal."""

from typing import TYPE_CHECKING

from lorweb_bench.reports.report import plain

if TYPE_CHECKING:
    from lorweb_bench.compare.compare import Comparison


def _interval(ends: tuple[float | None, float | None], places: int) -> str:
    low, high = ends
    return "-" if low is None or high is None else f"{plain(low, places)} to {plain(high, places)}"


def _places(comparison: "Comparison") -> int:
    from lorweb_bench.reports.bars import digits

    return digits(
        comparison.metric, (mean for means in comparison.means.values() for mean in means.values())
    )


def ranks_table(comparison: "Comparison") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "group",
        "method",
        "mean",
        "95 %",
        "rank",
        "track",
        "prompt",
        "",
        title="Means and ranks",
        title_justify="left",
    )
    places = _places(comparison)
    for name, means in comparison.means.items():
        for i, entry in enumerate(comparison.entries):
            low, high = comparison.ranks[name].get(entry.label, (0, 0))
            rank = "not ranked" if not low else str(low) if low == high else f"{low} to {high}"
            said = [f"pairs {entry.pairs}"] * (entry.pairs != "true") + [
                f"{entry.missing:,} missing"
            ] * bool(entry.missing)
            said += [f"{entry.trainings} trainings"] * (entry.trainings > 1)
            between = _interval(comparison.intervals[name][entry.label], places)
            words = (entry.track, entry.prompt_mode, ", ".join(said))
            cells = (
                "" if i else name,
                entry.label,
                plain(means[entry.label], places),
                between,
                rank,
                *words,
            )
            table.add_row(
                *(Text(cell) for cell in cells), end_section=entry is comparison.entries[-1]
            )
    return table


def differences_table(comparison: "Comparison") -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "group",
        "pair",
        "difference",
        "95 % interval",
        "p",
        "in words",
        title="Differences",
        title_justify="left",
    )
    group, places = "", _places(comparison)
    for d in comparison.differences:
        if group and d.group != group:
            table.add_section()
        interval = _interval((d.ci_low, d.ci_high), places)
        p = "-" if d.p is None else f"{d.p:.3f}" if d.p >= 0.001 else "<0.001"
        first_of_group = d.group != group
        group = d.group
        cells = (
            d.group if first_of_group else "",
            f"{d.first} - {d.second}",
            plain(d.mean, places),
            interval,
            p,
            d.verdict,
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table
