"""Say what the study of docs/study.md found, from its results.

    python -P benchmarks/study_report.py table
    python -P benchmarks/study_report.py table --base tiny-kminus
    python -P benchmarks/study_report.py bounds
    python -P benchmarks/study_report.py bases
    python -P benchmarks/study_report.py finding docs/finding.svg
    python -P benchmarks/study_report.py families docs/families.svg

`table` prints means, and contrasts with their intervals; `bounds` what is reachable, and where it
is lost; `bases` what it is worth that K+ knows more than K-. `finding` draws the main arms as
trained and with a fit, `families` draws them over the number of trained families. All of it reads
benchmarks/results/study, which study.py writes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.stats.aggregate import clusters_of, groups, mean, parts_of
from lorweb_bench.stats.bootstrap import Trainings, between_trainings, intervals

RESULTS = Path(__file__).parent / "results" / "study"
ALL = 31  # trained families
BOUNDS = (  # of a basis, by the number of trained families
    *("router", "fit20", "fit40", "hull", "span", "better_lora"),
    *("router_gap", "simplex_gap", "span_gap", "better_gap"),
)
FITS_BESIDE_BOUNDS = ("fit20", "fit40")
DOUBLING = "by doubling"
SHARE = "router_gap / (better_lora - router)"
WORSE = 0.05  # edit_recovery that a fit should not lose
GROUPS = ("seen", "unseen", "new_parameters", "new_composition", "new_family", "new_to_base")
MAIN = ("lorweb", "token-control", "single-lora")
OTHERS = (
    *("frozen-router", "uniform-gates", "permuted-features", "frozen-basis", "basis-and-token"),
    *("one-element", "four-elements", "16-elements"),
)
FITS = ("fit5", "fit10", "fit20", "fit40")
COMPARED_EVERYWHERE = (  # first less second, on the same items, at every number of families
    ("lorweb", "token-control"),
    ("lorweb", "single-lora"),
    ("token-control", "single-lora"),
    ("lorweb+fit20", "lorweb"),
    ("lorweb+fit20", "token-control+fit20"),
    ("lorweb+fit20", "single-lora+fit20"),
)
COMPARED = (  # at all families
    *COMPARED_EVERYWHERE,
    ("token-control+fit20", "token-control"),
    ("single-lora+fit20", "single-lora"),
    *((f"{arm}+fit20", f"{arm}+hidden") for arm in MAIN),
    *((f"{arm}+fit40", arm) for arm in MAIN),
    ("lorweb+fit40", "token-control+fit40"),
    ("lorweb+fit40", "single-lora+fit40"),
    ("lorweb", "lorweb+mean"),
    ("lorweb", "lorweb+nearest"),
    *(("lorweb", arm) for arm in OTHERS),
)
COMPARED_ON = ("unseen", "seen", "new_family", "new_to_base")
ON_FEWER = ("unseen", "new_family")  # new_family is equally new to every number of families
BASES = ("tiny", "tiny-kminus")
LEAST = 2  # trainings that an interval over trainings needs
WAYS = {
    "hidden": "pair hidden, nothing fitted",
    "mean": "the mean mix",
    "nearest": "the nearest trained mix",
}
BLUE, RUST, GREY, GREEN = "#2a5d8f", "#b3461f", "#dedfda", "#4d7a4f"
COLOURS = dict(zip(MAIN, (BLUE, RUST, GREEN), strict=True))
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STYLE = "font: 14px system-ui, sans-serif; fill: #1c1d1f"
LEFT, WIDTH, ROW = 230, 430, 30  # of the finding's drawing, in pixels
MARGIN, ACROSS, HEIGHT = 60, 480, 300  # of the drawing over families, in pixels


def read_results() -> list[dict[str, Any]]:
    """All results, one for each training and way to run it."""
    paths = [path for path in sorted(RESULTS.glob("*.json")) if path.name != "items.json"]
    return [json.loads(path.read_text()) for path in paths]


def item_table() -> dict[str, np.ndarray]:
    """What the items of the suite are, as columns."""
    labels = json.loads((RESULTS / "items.json").read_text())
    return {name: np.asarray(values) for name, values in labels.items()}


@dataclass(frozen=True)
class Study:
    """The results on one base.

    Attributes:
        results: One for each training and way to run it.
        items: What the items of the suite are, as columns.
    """

    results: Sequence[dict[str, Any]]
    items: dict[str, np.ndarray]

    def of_seeds(self, families: int, name: str) -> dict[int, np.ndarray]:
        """By seed, the values of an arm run in some way, at so many families."""
        arm, _, way = name.partition("+")
        keys, found = self.items["key"].tolist(), {}
        for content in self.results:
            if (content["families"], content["arm"], content["way"]) == (families, arm, way):
                found[content["seed"]] = np.array([content["values"][key] for key in keys])
        return found

    def values(self, families: int, arms_and_ways: Sequence[str]) -> list[np.ndarray]:
        """The values (trainings, items) of some arms, each run in some way, at so many families.

        Only the seeds are taken that all of them have; none where there is no such seed.
        """
        return of_common_seeds([self.of_seeds(families, name) for name in arms_and_ways])

    def family_counts(self) -> list[int]:
        """The numbers of trained families that there are results of."""
        return sorted({content["families"] for content in self.results})


def of_common_seeds(sides: Sequence[dict[int, np.ndarray]]) -> list[np.ndarray]:
    """The values (trainings, items) of each side, of the seeds that all sides have."""
    seeds = sorted(set.intersection(*map(set, sides)))
    found = []
    for side in sides if seeds else ():
        found.append(np.array([side[seed] for seed in seeds]))
    return found


def open_study(base: str) -> Study:
    """The results on a base; ends with a sentence where there are none."""
    found = [content for content in read_results() if content["base"] == base]
    if not found:
        raise SystemExit(f"{RESULTS} has no results on the base '{base}'; run the study first")
    return Study(found, item_table())


Estimate = tuple[float, float, float]  # a mean and the ends of its 95 % interval


@dataclass(frozen=True)
class Measured:
    """Something that an interval is asked for.

    Attributes:
        values: One for each item.
        varying: The values (trainings, items) of everything that was trained.
    """

    values: np.ndarray
    varying: Sequence[np.ndarray]


def of_arm(values: np.ndarray) -> Measured:
    """An arm with the values (trainings, items)."""
    return Measured(values.mean(0), [values])


def lead(pair: tuple[str, str], sides: Sequence[np.ndarray]) -> Measured:
    """The first of two arms less the second.

    Two ways to run one training differ together, two trainings apart.
    """
    is_one_training = len({name.partition("+")[0] for name in pair}) == 1
    varying = [sides[0] - sides[1]] if is_one_training else sides
    return Measured(sides[0].mean(0) - sides[1].mean(0), varying)


def share(part: np.ndarray, whole: np.ndarray, items: dict[str, np.ndarray]) -> Measured:
    """What share one mean on `unseen` is of another; both are values (trainings, items).

    The ratio of two means is measured as a mean: it is linear in the items close to what was found
    (the delta method).
    """
    rows, transformation = groups(items)["unseen"], items["transformation"]
    scale = mean(rows, transformation, whole.mean(0))
    ratio = mean(rows, transformation, part.mean(0)) / scale
    return of_arm(ratio + (part - ratio * whole) / scale)


def slope(study: Study, pair: tuple[str, str]) -> tuple[int, Measured] | None:
    """The first of two arms less the second, by doubling of the trained families.

    At every number of families the same seeds are taken.

    Returns:
        How many trainings at each number, and the slope; None where there is one number of
        families, or no seed that is at all of them.
    """
    counts = [n for n in study.family_counts() if study.values(n, pair)]
    if len(counts) < 2:
        return None
    values = of_common_seeds([study.of_seeds(n, arm) for arm in pair for n in counts])
    if not values:
        return None
    sides = [change(counts, side) for side in (values[: len(counts)], values[len(counts) :])]
    return len(values[0]), lead(pair, sides)


def change(counts: Sequence[int], values: Sequence[np.ndarray]) -> np.ndarray:
    """What a doubling of the families adds to values (trainings, items): the least squares' slope.

    Args:
        counts: Numbers of families, two or more.
        values: At each of them.
    """
    weights = np.log2(counts) - np.mean(np.log2(counts))
    slope: np.ndarray = np.tensordot(weights / np.square(weights).sum(), np.array(values), 1)
    return slope


def estimate(
    measured: Sequence[Measured], items: dict[str, np.ndarray], chosen: Sequence[str]
) -> list[list[Estimate]]:
    """Means over trainings and items with their intervals.

    The intervals know what items share, and that trainings differ.

    Args:
        measured: What is asked for.
        items: What the items are, as columns.
        chosen: Groups of items, such as `unseen`.

    Returns:
        Of each that is asked for, one estimate for each group.
    """
    if not measured:
        return []
    transformation = items["transformation"]
    parts = [groups(items)[group] for group in chosen]
    trainings: list[list[tuple[Trainings, ...]]] = []
    for part in parts:
        of_part = []
        for asked in measured:
            between: list[Trainings] = []
            for runs in asked.varying:
                between += between_trainings([mean(part, transformation, run) for run in runs])
            of_part.append(tuple(between))
        trainings.append(of_part)
    offsets = intervals(
        [parts_of(part, transformation) for part in parts],
        np.stack([asked.values for asked in measured], axis=1),
        clusters_of(items),
        trainings=trainings,
    )
    found = []
    for column, asked in enumerate(measured):
        points = [mean(part, transformation, asked.values) for part in parts]
        ends = zip(points, offsets[:, column], strict=True)
        found.append([(point, point + low, point + high) for point, (low, high) in ends])
    return found


def number(value: float) -> str:
    """A value with three places, as .662."""
    return f"{value:.3f}".replace("0.", ".", 1)


def within(found: Estimate) -> str:
    """A value with its interval, as .737 (.680 to .781)."""
    point, low, high = found
    return f"{number(point)} ({number(low)} to {number(high)})"


def difference(found: Estimate) -> str:
    """A difference with its interval, as +.075 (.044 to .120)."""
    return ("+" if found[0] >= 0 else "") + within(found)


def called(name: str) -> str:
    """An arm and a way to run it, in words."""
    arm, _, way = name.partition("+")
    words = f"a fit of {way[3:]} steps" if way.startswith("fit") else WAYS.get(way, "")
    return f"`{arm}`, {words}" if way else f"`{arm}`"


def print_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown; nothing where it has no rows."""
    if rows:
        lines = [header, ["---"] * len(header), *rows]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")


def print_table(study: Study) -> None:
    """Print means and contrasts at all families, then those by the number of families."""
    if ALL in study.family_counts():
        print_means(study)
        print_contrasts(study)
        print_worse(study)
    print_by_families(study)
    print_slopes(study)


def print_contrasts(study: Study) -> None:
    """Print the contrasts at all families."""
    sides = {pair: study.values(ALL, pair) for pair in COMPARED}
    sides = {pair: values for pair, values in sides.items() if values}
    found = estimate([lead(*entry) for entry in sides.items()], study.items, COMPARED_ON)
    rows = []
    for (pair, values), estimates in zip(sides.items(), found, strict=True):
        words = " - ".join(map(called, pair))
        rows.append([words, str(len(values[0])), *map(difference, estimates)])
    print_rows(["difference", "trainings", *COMPARED_ON], rows)


def print_means(study: Study) -> None:
    """Print the mean of every arm and way in every group, at all families."""
    present, transformation = groups(study.items), study.items["transformation"]
    shown = [group for group in GROUPS if group in present]
    ways = [f"{arm}+{way}" for way in ("hidden", *FITS) for arm in MAIN]
    rows = []
    for name in (*MAIN, *OTHERS, *ways, "lorweb+mean", "lorweb+nearest"):
        for values in study.values(ALL, [name]):
            means = [number(mean(present[g], transformation, values.mean(0))) for g in shown]
            rows.append([called(name), str(len(values)), *means])
    print_rows(["", "trainings", *shown], rows)


def print_worse(study: Study) -> None:
    """Print how many fits of 20 steps are kept, and how many items lose by them.

    An item whose fit is not kept has the answer, and so the value, of the arm as trained.
    """
    rows = []
    unseen = np.concatenate(groups(study.items)["unseen"])
    for arm in MAIN:
        sides = study.values(ALL, [f"{arm}+fit20", arm])
        if sides:
            gain = sides[0] - sides[1]
            shares = [(gain != 0).mean(), (gain < -WORSE).mean(), (gain[:, unseen] < -WORSE).mean()]
            rows.append([f"`{arm}`", str(len(gain)), *(f"{100 * share:.1f}%" for share in shares)])
    header = ["a fit of 20 steps", "trainings", "kept", f"lose more than {number(WORSE)}"]
    print_rows([*header, "of `unseen`"], rows)


def print_by_families(study: Study) -> None:
    """Print means and contrasts by the number of trained families, a table for each group."""
    counts = study.family_counts()
    sides = {}
    for pair in COMPARED_EVERYWHERE:
        for families in counts:
            values = study.values(families, pair)
            if values and len(values[0]) >= LEAST:
                sides[pair, families] = lead(pair, values)
    leads = dict(zip(sides, estimate(list(sides.values()), study.items, ON_FEWER), strict=True))
    for place, group in enumerate(ON_FEWER):
        names = [*MAIN, *(f"{arm}+fit20" for arm in MAIN)]
        rows = [mean_cells(study, name, group) for name in names]
        for pair in COMPARED_EVERYWHERE:
            cells = []
            for families in counts:
                found = leads.get((pair, families))
                cells.append(difference(found[place]) if found else "-")
            rows.append([" - ".join(map(called, pair)), *cells])
        header = [f"on `{group}`, trained families", *map(str, counts)]
        print_rows(header, [row for row in rows if set(row[1:]) != {"-"}])


def mean_cells(study: Study, name: str, group: str) -> list[str]:
    """An arm's name, and its mean in a group at each number of trained families."""
    part, transformation = groups(study.items)[group], study.items["transformation"]
    cells = [called(name)]
    for families in study.family_counts():
        values = study.values(families, [name])
        cells += [number(mean(part, transformation, v.mean(0))) for v in values] or ["-"]
    return cells


def print_slopes(study: Study) -> None:
    """Print what each doubling of the trained families adds to a difference."""
    slopes = {}
    for pair in COMPARED_EVERYWHERE:
        if found := slope(study, pair):
            slopes[pair] = found
    found = estimate([measured for _, measured in slopes.values()], study.items, ON_FEWER)
    rows = []
    for (pair, (trainings, _)), estimates in zip(slopes.items(), found, strict=True):
        words = " - ".join(map(called, pair))
        rows.append([words, str(trainings), *map(difference, estimates)])
    print_rows(["change by doubling of the families", "trainings", *ON_FEWER], rows)


def print_bases() -> None:
    """Print how far each main arm is ahead on the base that knows more, at all families."""
    knowing, narrow = map(open_study, BASES)
    rows = []
    for arm in MAIN:
        sides = of_common_seeds([study.of_seeds(ALL, arm) for study in (knowing, narrow)])
        measured = lead((arm, f"{arm} on K-"), sides)
        (found,) = estimate([measured], knowing.items, COMPARED_ON)
        rows.append([f"`{arm}`", str(len(sides[0])), *map(difference, found)])
    print_rows(["K+ less K-", "trainings", *COMPARED_ON], rows)


def open_bounds(base: str) -> Study:
    """The bounds on a base, each as a way to run its training; ends with a sentence without any."""
    results: list[dict[str, Any]] = []
    for path in sorted((RESULTS / "oracles").glob("*.json")):
        content = json.loads(path.read_text())
        for word, values in content["values"].items() if content["base"] == base else ():
            results.append({**content, "way": word, "values": values})
    if not results:
        raise SystemExit(f"{RESULTS / 'oracles'} has nothing of the base '{base}'")
    items = item_table()
    measured = np.isin(items["key"], list(results[0]["values"]))
    items = {name: column[measured] for name, column in items.items()}
    study = Study([*results, *fits_on(base)], items)
    return Study([*study.results, *better_of_two_loras(study)], items)


def fits_on(base: str) -> list[dict[str, Any]]:
    """The results of fits on a base."""
    return [c for c in read_results() if c["base"] == base and c["way"] in FITS_BESIDE_BOUNDS]


def better_of_two_loras(study: Study) -> list[dict[str, Any]]:
    """For each transformation the better of its two fresh LoRAs, and how far the span is behind it.

    A search can fail: then the whole LoRA is worse than one of a single element's rank, and bounds
    nothing.
    """
    results = []
    _, code = np.unique(study.items["transformation"], return_inverse=True)
    for content in [content for content in study.results if content["way"] == "span"]:
        values: dict[str, np.ndarray] = {}
        for way in ("lora", "lora_element", "span"):
            found = study.of_seeds(content["families"], f"lorweb+{way}")
            values[way] = found[content["seed"]]
        ahead = np.bincount(code, values["lora"] - values["lora_element"]) >= 0
        better = np.where(ahead[code], values["lora"], values["lora_element"])
        keys = study.items["key"].tolist()
        for way, of_items in (("better_lora", better), ("better_gap", better - values["span"])):
            by_key = dict(zip(keys, of_items.tolist(), strict=True))
            results.append({**content, "way": way, "values": by_key})
    return results


def print_bounds(study: Study) -> None:
    """Print what is reachable with the basis: at all families by group, then by their number."""
    found = {}
    for content in study.results:
        if content["way"] not in FITS_BESIDE_BOUNDS:
            found[content["way"]] = study.values(ALL, [f"lorweb+{content['way']}"])
    words = [word for word, values in found.items() if values]
    chosen = [name for name in groups(study.items) if "/" not in name and "_hard" not in name]
    of_words = estimate([of_arm(found[word][0]) for word in words], study.items, chosen)
    rows = []
    for place, group in enumerate(chosen):
        estimates = [of_word[place] for of_word in of_words]
        rows.append([group, *(number(point) for point, _, _ in estimates)])
        if group == "unseen":
            ends = [f"{number(low)} to {number(high)}" for _, low, high in estimates]
            rows.append(["95 %", *ends])
    trained = len(study.of_seeds(ALL, "lorweb+hull"))
    print_rows([f"with all families, trained: {trained}", *words], rows)
    print_bounds_by_families(study)


def print_bounds_by_families(study: Study) -> None:
    """Print what is reachable on `unseen` by the number of trained families."""
    counts = [n for n in study.family_counts() if study.of_seeds(n, "lorweb+hull")]
    measured: dict[tuple[str, int | str], Measured] = {}
    for word in BOUNDS:
        for families in counts:
            for values in study.values(families, [f"lorweb+{word}", "lorweb+hull"])[:1]:
                measured[word, families] = of_arm(values)
    for families in counts:
        part, best, router = study.values(
            families, [f"lorweb+{word}" for word in ("router_gap", "better_lora", "router")]
        )
        measured[SHARE, families] = share(part, best - router, study.items)
    for word in BOUNDS if len(counts) > 1 else ():
        values = of_common_seeds([study.of_seeds(n, f"lorweb+{word}") for n in counts])
        if values:
            measured[word, DOUBLING] = of_arm(change(counts, values))
    found = estimate(list(measured.values()), study.items, ["unseen"])
    cells = {key: within(of_key) for key, (of_key,) in zip(measured, found, strict=True)}
    rows = []
    for word in (*BOUNDS, SHARE):
        _, _, fit = called(f"lorweb+{word}").partition(", ")
        columns = [*counts, DOUBLING]
        rows.append([fit or word, *(cells.get((word, column), "-") for column in columns)])
    trained = [len(study.of_seeds(families, "lorweb+hull")) for families in counts]
    header = [f"{n}, trained: {k}" for n, k in zip(counts, trained, strict=True)]
    print_rows(["on `unseen`, trained families", *header, DOUBLING], rows)


@dataclass(frozen=True)
class Line:
    """One line of the finding's drawing: what was run, how many trainings, mean and interval."""

    name: str
    trainings: int
    mean: float
    low: float
    high: float


def lines_of_finding(study: Study) -> list[Line]:
    """The main arms on `unseen` at all families, as trained and with a fit of 20 steps."""
    lines = []
    for arm in MAIN:
        for way, words in (("", ""), ("+fit20", " with a fit")):
            for values in study.values(ALL, [arm + way]):
                ((found,),) = estimate([of_arm(values)], study.items, ["unseen"])
                lines.append(Line(f"{arm}{words}", len(values), *found))
    if not lines:
        raise SystemExit("there are no results of the main arms yet; run the study first")
    return lines


def across(value: float) -> float:
    """Where a value from 0 to 1 stands in the finding's drawing."""
    return round(LEFT + WIDTH * min(1.0, max(0.0, value)), 1)


def draw_line(line: Line, y: float) -> str:
    """The name, interval and mean of a line, at a height."""
    colour = RUST if line.name.endswith("fit") else BLUE
    low, point, high = across(line.low), across(line.mean), across(line.high)
    note = f"{line.mean:.2f}, {line.trainings} trained"
    return (
        f'<text x="{LEFT - 12}" y="{y + 5}" text-anchor="end">{line.name}</text>\n'
        f'<path d="M{low} {y}H{high}" stroke="{colour}" stroke-width="3"/>\n'
        f'<circle cx="{point}" cy="{y}" r="6" fill="{colour}"/>\n'
        f'<text x="{high + 10}" y="{y + 5}">{note}</text>'
    )


def sheet(width: int, height: int) -> list[str]:
    """The first lines of an SVG: its size, and white paper."""
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{STYLE}">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]


def draw_finding(lines: Sequence[Line]) -> str:
    """The lines as an SVG over an axis from 0 to 1."""
    bottom = ROW * len(lines) + 46
    shapes = sheet(LEFT + WIDTH + 150, bottom)
    for tick in TICKS:
        x = across(tick)
        shapes.append(f'<path d="M{x} 8V{bottom - 38}" stroke="{GREY}"/>')
        shapes.append(f'<text x="{x}" y="{bottom - 20}" text-anchor="middle">{tick:.1f}</text>')
    shapes += [draw_line(line, 8 + ROW * (n + 0.5)) for n, line in enumerate(lines)]
    words = "edit_recovery on unseen, 95 % intervals"
    middle = LEFT + WIDTH // 2
    shapes.append(f'<text x="{middle}" y="{bottom - 3}" text-anchor="middle">{words}</text>')
    return "\n".join([*shapes, "</svg>\n"])


@dataclass(frozen=True)
class Point:
    """A mean with its interval, at a number of trained families."""

    families: int
    mean: float
    low: float
    high: float


def curves_over_families(study: Study) -> dict[str, list[Point]]:
    """By arm, as trained and with a fit, its points on `unseen`; no curve has one point."""
    curves: dict[str, list[Point]] = {}
    for name in (*MAIN, *(f"{arm}+fit20" for arm in MAIN)):
        points = []
        for families in study.family_counts():
            for values in study.values(families, [name]):
                ((found,),) = estimate([of_arm(values)], study.items, ["unseen"])
                points.append(Point(families, *found))
        if len(points) > 1:
            curves[name] = points
    if not curves:
        raise SystemExit("there is no arm with two numbers of families yet; run the study first")
    return curves


def along(families: float) -> float:
    """Where a number of families stands in the drawing over families."""
    share = (np.log2(families) - 2) / (np.log2(ALL) - 2)
    return round(float(MARGIN + 30 + (ACROSS - 60) * share), 1)


def height(value: float) -> float:
    """How far from the top a value from 0 to 1 stands in it."""
    return round(12 + HEIGHT * (1 - min(1.0, max(0.0, value))), 1)


def draw_curve(name: str, points: Sequence[Point], number: int) -> list[str]:
    """A curve with its intervals, and its name beside its end."""
    arm, _, way = name.partition("+")
    colour, dashes = COLOURS[arm], ' stroke-dasharray="6 4"' if way else ""
    nudge = 2 ** ((number - 2.5) * 0.04)  # so that intervals do not cover each other
    places = [(along(p.families * nudge), height(p.mean)) for p in points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    shapes = [f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>']
    for point, (x, y) in zip(points, places, strict=True):
        low, high = height(point.low), height(point.high)
        shapes.append(f'<path d="M{x} {low}V{high}" stroke="{colour}" stroke-opacity=".6"/>')
        shapes.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/>')
    return shapes


def draw_key(names: Sequence[str], ends: Sequence[float]) -> list[str]:
    """The names of curves, each at the height where its curve ends, and none upon another."""
    shapes, last = [], -20.0
    for y, name in sorted(zip(ends, names, strict=True)):
        last = max(y, last + 18)
        words = name.replace("+fit20", " with a fit")
        colour = COLOURS[name.partition("+")[0]]
        x = MARGIN + ACROSS
        shapes.append(f'<text x="{x}" y="{last + 5}" fill="{colour}">{words}</text>')
    return shapes


def draw_families(curves: dict[str, list[Point]]) -> str:
    """The curves as an SVG, the number of families doubling along its axis."""
    shapes = sheet(MARGIN + ACROSS + 190, HEIGHT + 60)
    for tick in TICKS:
        y = height(tick)
        shapes.append(f'<path d="M{MARGIN} {y}H{MARGIN + ACROSS - 10}" stroke="{GREY}"/>')
        shapes.append(f'<text x="{MARGIN - 8}" y="{y + 5}" text-anchor="end">{tick:.1f}</text>')
    for families in sorted({point.families for points in curves.values() for point in points}):
        x = along(families)
        shapes.append(f'<text x="{x}" y="{HEIGHT + 32}" text-anchor="middle">{families}</text>')
    for number, (name, points) in enumerate(curves.items()):
        shapes += draw_curve(name, points, number)
    ends = [height(points[-1].mean) for points in curves.values()]
    shapes += draw_key(list(curves), ends)
    words = "trained families; edit_recovery on unseen, 95 % intervals"
    middle = MARGIN + ACROSS // 2
    shapes.append(f'<text x="{middle}" y="{HEIGHT + 52}" text-anchor="middle">{words}</text>')
    return "\n".join([*shapes, "</svg>\n"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("table", "bounds", "bases", "finding", "families"))
    parser.add_argument("picture", nargs="?", type=Path, help="of a drawing: where it goes")
    parser.add_argument("--base", default="tiny", help="name of the base that was adapted")
    settings = parser.parse_args()
    if settings.what == "bounds":
        print_bounds(open_bounds(settings.base))
        return
    if settings.what == "bases":
        print_bases()
        return
    study = open_study(settings.base)
    if settings.what == "table":
        print_table(study)
        return
    if settings.what == "finding":
        picture = draw_finding(lines_of_finding(study))
    else:
        picture = draw_families(curves_over_families(study))
    write_atomic(settings.picture or Path(f"{settings.what}.svg"), picture)


if __name__ == "__main__":
    main()
