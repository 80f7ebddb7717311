"""Make the README's picture and its tables from reports on one suite.

    python -P benchmarks/readme.py demo/data/photos-mini -o docs --fitted lorweb \
        lorweb=reports/lorweb ceiling=demo/reports/ceiling

One row of the picture stands for a tier: the item with the median `edit_recovery` of the method
that is named first. So nobody chose it, and half of the items came out better. `--fitted` adds what
a checkpoint, that of the first report, makes of the same items with a fit of 20 steps. Rows of the
small table are the reports in their order; `table.md` has every tier and the interval of each
number.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lorweb_bench.cli.demo_page import markdown_table
from lorweb_bench.compare.compare import compare_reports
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.images import decode
from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.reports.fonts import plain_font
from lorweb_bench.reports.report import PER_SAMPLE, Report, open_report, read_per_sample
from lorweb_bench.runtime.files import write_atomic

METRIC = "edit_recovery"
SHOWN = ("new_parameters", "new_composition", "new_family", "seen_composition")
GROUPS = ("unseen", "new_parameters", "new_composition", "new_family", "new_to_base", "seen")
PANEL, GAP, MARGIN, TEXT = 224, 10, 24, 30  # twice the pixels that the README shows


def median_item(report: Path, tier: str) -> str:
    """The key of the item of a tier whose value is the median, the lower one of two."""
    table = read_per_sample(report / PER_SAMPLE)
    of_tier = np.flatnonzero(np.asarray(table["tier"]) == tier)
    values = np.asarray(table[METRIC])[of_tier]
    order = np.argsort(values, kind="stable")
    return str(table["key"][of_tier[order[(len(order) - 1) // 2]]])


def find_items(suite: Dataset, keys: list[str]) -> list[Quadruplet]:
    """The items of a suite that have the keys, in their order."""
    found = {}
    for split in suite.scored_splits:
        for item in suite.quadruplets(split):
            if item.key in keys:
                found[item.key] = item
    return [found[key] for key in keys]


def read_predictions(items: list[Quadruplet], report: Path) -> list[Image.Image]:
    """What a method has made of the items."""
    paths = [report / "predictions" / f"{item.key}.png" for item in items]
    return [decode(path.read_bytes(), str(path)) for path in paths]


def predict_fitted(items: list[Quadruplet], checkpoint: str) -> list[Image.Image]:
    """What a checkpoint makes of the items with a fit of 20 steps."""
    from reference_model.method import from_checkpoint

    triplets = [
        Triplet(item.key, item.a, item.a_prime, item.b, None, number)
        for number, item in enumerate(items)
    ]
    return from_checkpoint(checkpoint, fit={"steps": 20}).predict(triplets)


def draw_rows(items: list[Quadruplet], made: dict[str, list[Image.Image]]) -> Image.Image:
    """A row of panels for each item, with its instruction above."""
    names = ["a", "a'", "b", *made, "truth"]
    width = 2 * MARGIN + len(names) * (PANEL + GAP) - GAP
    row_height = PANEL + TEXT + 2 * GAP
    sheet = Image.new("RGB", (width, MARGIN + TEXT + len(items) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        middle = MARGIN + column * (PANEL + GAP) + PANEL // 2
        draw.text((middle, MARGIN), name, "#1c1d1f", plain_font(24), anchor="mt")
    for number, item in enumerate(items):
        top = MARGIN + TEXT + GAP + number * row_height
        words = f"{item.record.tier.replace('_', ' ')}: {item.record.instruction}"
        draw.text((MARGIN, top), words, "#5c6066", plain_font(20))
        answers = [pictures[number] for pictures in made.values()]
        for column, panel in enumerate([item.a, item.a_prime, item.b, *answers, item.b_prime]):
            enlarged = panel.resize((PANEL, PANEL), Image.Resampling.BICUBIC)
            sheet.paste(enlarged, (MARGIN + column * (PANEL + GAP), top + TEXT))
    return sheet


def small_table(reports: dict[str, Report]) -> str:
    """A Markdown table of means, a row for each report."""
    first = next(iter(reports.values()))
    groups = [group for group in GROUPS if group in first.scores]
    lines = [f"| {METRIC} | " + " | ".join(groups) + " |", "|---|" + "---|" * len(groups)]
    for name, report in reports.items():
        means = " | ".join(f"{report.scores[group][METRIC].mean:.2f}" for group in groups)
        lines.append(f"| {name} | {means} |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("suite", type=Path)
    parser.add_argument("reports", nargs="+", help="NAME=FOLDER")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictured", nargs="*", help="names in the picture; all where left out")
    parser.add_argument("--fitted", help="a checkpoint that is fitted to the items' own pairs")
    given = parser.parse_args()
    folders = {}
    for pair in given.reports:
        name, _, folder = pair.partition("=")
        folders[name] = Path(folder)
    first = next(iter(folders.values()))
    keys = [median_item(first, tier) for tier in SHOWN]
    items = find_items(open_suite(given.suite), keys)
    made = {}
    for name in given.pictured or folders:
        made[name] = read_predictions(items, folders[name])
        if given.fitted and len(made) == 1:
            made["with a fit"] = predict_fitted(items, given.fitted)
    sheet = draw_rows(items, made)
    sheet.save(given.output / "analogies.jpg", quality=88, optimize=True)
    opened = {name: open_report(folder) for name, folder in folders.items()}
    tables = [markdown_table(opened, metric) for metric in (METRIC, "retrieval")]
    write_atomic(given.output / "table.md", ("\n\n".join(tables) + "\n").encode())
    print(small_table(opened))
    for difference in compare_reports(list(folders.values())).groups["unseen"].differences:
        print(difference.first, difference.second, difference.verdict)


if __name__ == "__main__":
    main()
