"""The page of a report: tables with intervals, every transformation, the best, median and worst quadruplets, cost, versions."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorweb_bench.dataset import Dataset
from lorweb_bench.images import resize
from lorweb_bench.pages.render import data_uri, write_page
from lorweb_bench.protocol import PSNR_CAP, SEEN_TIERS, TIERS, UNSEEN_TIERS
from lorweb_bench.quadruplet import Quadruplet
from lorweb_bench.report import Report, Score

HEADLINE = "edit_recovery"
MAIN_GROUPS = ("seen", *SEEN_TIERS, "unseen", *UNSEEN_TIERS)
LONG_EDGE = 160  # pixels of a shown panel; smaller ones are shown as they are
MIN_SOURCES = 3  # of one transformation, for an interval of its own
TIER_WORDS = {
    "seen_single": "trained transformations",
    "seen_composition": "trained compositions",
    "new_parameters": "trained families, new values",
    "new_composition": "trained families, never together",
    "new_family": "families never trained",
    "new_task": "tasks never trained",
}
SCALES = {"edit_recovery": (-1.0, 1.0), "retrieval": (0.0, 1.0), "ssim": (-1.0, 1.0), "psnr": (0.0, PSNR_CAP)}


@dataclass(frozen=True)
class Bar:
    """A mean on a scale: `mean` and interval in the metric's units; `left`, `width`, `low`, `high`, `dots` in percent of the scale."""

    label: str
    note: str
    mean: float
    interval: tuple[float, float] | None
    left: float
    width: float
    low: float | None = None
    high: float | None = None
    dots: tuple[float, ...] = ()


@dataclass(frozen=True)
class Scale:
    """What the bars of a metric are drawn on."""

    start: float
    end: float

    def place(self, value: float) -> float:
        """Percent of the way from start to end, kept within."""
        return round(100.0 * min(1.0, max(0.0, (value - self.start) / ((self.end - self.start) or 1.0))), 2)

    @property
    def zero(self) -> float:
        """Where bars begin: at zero where the scale holds it, else at its start."""
        return self.place(0.0)

    @property
    def ticks(self) -> list[tuple[float, float]]:
        """Five values and their places."""
        return [(float(value), self.place(float(value))) for value in np.linspace(self.start, self.end, 5)]

    def bar(self, label: str, note: str, mean: float, interval: tuple[float, float] | None, dots: Sequence[float] = ()) -> Bar:
        """A bar from zero to the mean."""
        ends = sorted((self.zero, self.place(mean)))
        low, high = (self.place(interval[0]), self.place(interval[1])) if interval else (None, None)
        spots = tuple(sorted({self.place(float(value)) for value in dots}))
        return Bar(label, note, mean, interval, ends[0], round(ends[1] - ends[0], 2), low, high, spots)


def digits(metric: str) -> int:
    """Decimal places that a metric is read with."""
    return 2 if metric.startswith("psnr") else 4 if metric.startswith("mse") else 3


def scale_of(metric: str, values: np.ndarray) -> Scale:
    """The metric's own scale where it is known, else from zero (or the least value) to the greatest."""
    known = SCALES.get(metric)
    return Scale(*known) if known else Scale(min(0.0, float(values.min())), max(float(values.max()), 1e-9))


def group_bars(report: Report, metric: str, scale: Scale) -> list[Bar]:
    """One bar per main group that has items."""
    bars = []
    for name in MAIN_GROUPS:
        score: Score | None = report.scores.get(name, {}).get(metric)
        if score:
            interval = None if score.ci_low is None or score.ci_high is None else (score.ci_low, score.ci_high)
            bars.append(scale.bar(name, TIER_WORDS.get(name, "mean of its tiers"), score.mean, interval))
    return bars


def transformation_bars(table: Mapping[str, np.ndarray], metric: str, scale: Scale) -> dict[str, list[Bar]]:
    """Per tier a bar per transformation, best first, with its items as dots.

    The interval is Student's, over the sources of b: within one transformation only these are shared. None for fewer than three.
    """
    from scipy import stats

    tiers: dict[str, list[Bar]] = {}
    for tier in TIERS:
        rows = np.flatnonzero(table["tier"].astype(str) == tier)
        bars = []
        for name in np.unique(table["transformation"][rows].astype(str)):
            own = rows[table["transformation"][rows].astype(str) == name]
            values, sources = np.asarray(table[metric][own], dtype=float), table["b_source"][own].astype(str)
            means = np.array([values[sources == source].mean() for source in np.unique(sources)])
            mean, interval = float(values.mean()), None
            if len(means) >= MIN_SOURCES:
                half = float(stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
                interval = (mean - half, mean + half)
            items = f"{len(own)} item{'s' if len(own) != 1 else ''}{', hard' if table['hard'][own].all() else ''}"
            bars.append(scale.bar(str(name), items, mean, interval, values.tolist()))
        if bars:
            tiers[tier] = sorted(bars, key=lambda bar: (-bar.mean, bar.label))
    return tiers


def chosen_items(table: Mapping[str, np.ndarray], metric: str, higher_is_better: bool) -> dict[str, dict[str, str]]:
    """Per tier the keys of the best, the median and the worst item by one metric; ties go by key."""
    chosen: dict[str, dict[str, str]] = {}
    for tier in TIERS:
        rows = np.flatnonzero(table["tier"].astype(str) == tier)
        if not len(rows):
            continue
        sign = -1.0 if higher_is_better else 1.0
        ranked = sorted(rows, key=lambda i: (sign * float(table[metric][i]), str(table["key"][i])))
        picked = {"best": ranked[0], "median": ranked[len(ranked) // 2], "worst": ranked[-1]}
        chosen[tier] = {word: str(table["key"][i]) for word, i in picked.items()}
    return chosen


def _panel(image: Image.Image | None) -> dict[str, Any] | None:
    if image is None:
        return None
    edge = max(image.size)
    if edge > LONG_EDGE:
        size = (max(1, round(image.width * LONG_EDGE / edge)), max(1, round(image.height * LONG_EDGE / edge)))
        return {"uri": data_uri(resize(image, size), "jpg"), "width": size[0], "height": size[1]}
    return {"uri": data_uri(image, "png"), "width": image.width, "height": image.height}


def _shown(quadruplet: Quadruplet, prediction: Image.Image | None) -> list[tuple[str, dict[str, Any] | None]]:
    images = (quadruplet.a, quadruplet.a_prime, quadruplet.b, prediction, quadruplet.b_prime)
    return [(name, _panel(image)) for name, image in zip(("a", "a′", "b", "prediction", "truth"), images, strict=True)]


def _cards(
    report: Report, table: Mapping[str, np.ndarray], suite: Dataset, predictions: Mapping[str, Image.Image], metric: str
) -> dict[str, list[dict[str, Any]]]:
    """Per tier the best, median and worst quadruplet with the prediction, ready to show."""
    chosen = chosen_items(table, metric, next(iter(report.scores.values()))[metric].higher_is_better)
    place = {str(key): i for i, key in enumerate(table["key"])}
    wanted = {key for words in chosen.values() for key in words.values()}
    found: dict[str, Quadruplet] = {}
    for split in sorted({str(table["split"][place[key]]) for key in wanted}):
        for quadruplet in suite.quadruplets(split, keys=wanted):
            found[quadruplet.key] = quadruplet
    return {
        tier: [
            {
                "word": word,
                "value": float(table[metric][place[key]]),
                "panels": _shown(found[key], predictions.get(key)),
                "record": found[key].record,
            }
            for word, key in words.items()
            if key in found
        ]
        for tier, words in chosen.items()
    }


def _command(report: Report) -> str:
    spec = str((report.method.model_extra or {}).get("spec") or report.method.name)
    words = ["lorweb-bench", "evaluate", "--method", spec, "--suite", report.suite.name, "--prompt", report.prompt_mode]
    words += ["--pairs", report.pairs] if report.pairs != "true" else []
    words += ["--track", report.track] + (["--seed", str(report.seed)] if report.seed is not None else [])
    return shlex.join([*words, "-o", "REPORT"])


def _notes(report: Report) -> list[str]:
    """What a reader has to know before any number."""
    items = sum(group[m].samples for name, group in report.scores.items() if name in ("seen", "unseen") for m in list(group)[:1])
    notes = []
    if report.missing:
        notes.append(f"{report.missing:,} of {items:,} predictions are missing; each counts as the worst value of every metric.")
    if report.partial:
        notes.append("The predictions were made for a part of the suite only. This report is never ranked.")
    if report.pairs == "shuffled":
        notes.append("The method was shown the pair of another transformation: this measures how much it uses the analogy at all.")
    notes += [f"{metric} was asked for and not computed: {reason}." for metric, reason in report.not_computed.items()]
    if report.resized:
        notes.append(f"{report.resized:,} predictions had another size than b and were resized on request.")
    return notes


def write_report_page(
    report: Report, table: Mapping[str, np.ndarray], suite: Dataset, predictions: Mapping[str, Image.Image], out: Path | str
) -> None:
    """Write the page of a report to the file `out`; it opens from disk and asks the network for nothing.

    `table` has the columns of `per_sample.parquet`; `predictions` maps keys to RGB images, and a key that is not there shows as
    missing. Only the few quadruplets that are shown are kept in memory.
    """
    metrics = report.metrics
    headline = HEADLINE if HEADLINE in metrics else metrics[0] if metrics else None
    metrics = tuple(sorted(metrics, key=lambda metric: metric != headline))
    context: dict[str, Any] = {"group_bars": [], "tiers": {}, "cards": {}, "scale": None}
    if headline:
        scale = scale_of(headline, np.asarray(table[headline], dtype=float))
        context["scale"] = scale
        context["group_bars"] = group_bars(report, headline, scale)
        context["tiers"] = transformation_bars(table, headline, scale)
        context["cards"] = _cards(report, table, suite, predictions, headline)
    write_page(
        out,
        "report.html.j2",
        title=report.method.name,
        kicker="Report",
        lead=f"Scored on {report.suite.name} {report.suite.version}",
        report=report,
        metrics=metrics,
        headline=headline,
        digits={metric: digits(metric) for metric in metrics},
        better={m: s.higher_is_better for group in report.scores.values() for m, s in group.items()},
        main_groups=[name for name in MAIN_GROUPS if name in report.scores],
        kind_groups=[n for n in report.scores if n.startswith("unseen/") and not n.endswith("_hard")],
        hard_groups=[name.removesuffix("_hard") for name in report.scores if name.endswith("_hard")],
        tier_words=TIER_WORDS,
        notes=_notes(report),
        command=_command(report),
        details={name: value for name, value in (report.method.model_extra or {}).items() if value not in (None, "", [], {})},
        **context,
    )
