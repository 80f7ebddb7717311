"""The page of a report: tables with intervals, every transformation, the best, median and worst
quadruplets, cost, versions.
"""

import base64
import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, resize
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.protocol import SUMMARY_GROUPS, TIERS
from lorweb_bench.reports.bars import (
    MAIN_GROUPS,
    TIER_WORDS,
    digits,
    group_bars,
    scale_of,
    transformation_bars,
)
from lorweb_bench.reports.html import data_uri, write_page
from lorweb_bench.reports.report import Report, headline_of
from lorweb_bench.reports.scatter import scatter

LONG_EDGE = 160  # pixels of a shown panel; smaller ones are shown as they are
STRIP_EDGE = 128  # of a panel among all items
ITEMS = "items"  # the folder beside the page with a picture of every item


def chosen_items(
    table: Mapping[str, np.ndarray], metric: str, higher_is_better: bool
) -> dict[str, dict[str, str]]:
    """Per tier the keys of the best, the median and the worst item by one metric; ties go by
    key.
    """
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
        size = (
            max(1, round(image.width * LONG_EDGE / edge)),
            max(1, round(image.height * LONG_EDGE / edge)),
        )
        return {"uri": data_uri(resize(image, size), "jpg"), "width": size[0], "height": size[1]}
    return {"uri": data_uri(image, "png"), "width": image.width, "height": image.height}


def _panels(
    quadruplet: Quadruplet, answers: Mapping[str, Mapping[str, Image.Image]]
) -> list[dict[str, Any]]:
    """a, a′, b, each answer (None where it is missing) and the truth, named and ready to show."""
    answer_of = {name: predictions.get(quadruplet.key) for name, predictions in answers.items()}
    images = {
        "a": quadruplet.a,
        "a′": quadruplet.a_prime,
        "b": quadruplet.b,
        **answer_of,
        "truth": quadruplet.b_prime,
    }
    return [
        {"name": name, "answer": name in answer_of, "shown": _panel(image)}
        for name, image in images.items()
    ]


def _cards(
    report: Report,
    table: Mapping[str, np.ndarray],
    suite: Dataset,
    answers: Mapping[str, Mapping[str, Image.Image]],
    metric: str,
) -> dict[str, list[dict[str, Any]]]:
    """Per tier the best, median and worst quadruplet with the predictions, ready to show."""
    chosen = chosen_items(
        table, metric, next(iter(report.scores.values()))[metric].higher_is_better
    )
    row_of = {str(key): i for i, key in enumerate(table["key"])}
    keys = {key for words in chosen.values() for key in words.values()}
    quadruplets: dict[str, Quadruplet] = {}
    for split in sorted({str(table["split"][row_of[key]]) for key in keys}):
        for quadruplet in suite.quadruplets(split, keys=keys):
            quadruplets[quadruplet.key] = quadruplet
    cards: dict[str, list[dict[str, Any]]] = {}
    for tier, words in chosen.items():
        cards[tier] = [
            {
                "word": word,
                "value": float(table[metric][row_of[key]]),
                "panels": _panels(quadruplets[key], answers),
                "record": quadruplets[key].record,
                "said": [],
            }
            for word, key in words.items()
            if key in quadruplets
        ]
    return cards


def _csv(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV, in an address that a link can offer to save."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    data = base64.b64encode(text.getvalue().encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{data}"


def scores_csv(report: Report) -> str:
    """Every group and metric with every digit, as CSV."""
    names = ("mean", "ci_low", "ci_high", "transformations", "samples", "higher_is_better")
    rows: list[Sequence[object]] = [("group", "metric", *names)]
    for group, scores in report.scores.items():
        for metric, score in scores.items():
            rows.append((group, metric, *(getattr(score, name) for name in names)))
    return _csv(rows)


def items_csv(table: Mapping[str, np.ndarray]) -> str:
    """Every item with its labels and values, as CSV: the columns of `per_sample.parquet`."""
    columns = [column.tolist() for column in table.values()]
    return _csv([tuple(table), *zip(*columns, strict=True)])


@dataclass(frozen=True)
class TransformationRow:
    """A transformation with its mean in every metric."""

    name: str
    items: int
    means: Mapping[str, float]


@dataclass(frozen=True)
class ItemRow:
    """An item with its value in every metric; `picture` is where its panels lie, if anywhere."""

    key: str
    transformation: str
    missing: bool
    values: Mapping[str, float]
    picture: str | None


def transformation_rows(
    table: Mapping[str, np.ndarray], metrics: Sequence[str]
) -> dict[str, list[TransformationRow]]:
    """Per tier every transformation with the mean over its items in every metric, by name."""
    tiers: dict[str, list[TransformationRow]] = {}
    of_tier, names = table["tier"].astype(str), table["transformation"].astype(str)
    for tier in TIERS:
        rows = np.flatnonzero(of_tier == tier)
        for name in np.unique(names[rows]):
            members = rows[names[rows] == name]
            means = {m: float(np.mean(np.asarray(table[m], dtype=float)[members])) for m in metrics}
            tiers.setdefault(tier, []).append(TransformationRow(str(name), len(members), means))
    return tiers


def item_rows(
    table: Mapping[str, np.ndarray], metrics: Sequence[str], pictures: bool
) -> dict[str, list[ItemRow]]:
    """Per tier every item, by transformation and key."""
    tiers: dict[str, list[ItemRow]] = {}
    of_tier = table["tier"].astype(str)
    missing = table.get("missing", np.zeros(len(of_tier), dtype=bool))
    for tier in TIERS:
        rows = np.flatnonzero(of_tier == tier)
        for i in sorted(
            rows, key=lambda i: (str(table["transformation"][i]), str(table["key"][i]))
        ):
            key = str(table["key"][i])
            row = ItemRow(
                key,
                str(table["transformation"][i]),
                bool(missing[i]),
                {m: float(table[m][i]) for m in metrics},
                f"{ITEMS}/{key}.jpg" if pictures else None,
            )
            tiers.setdefault(tier, []).append(row)
    return tiers


def item_strip(q: Quadruplet, answer: np.ndarray | None) -> bytes:
    """a, a', b, the answer and the truth side by side, as a JPEG to browse; None shows as grey."""
    panels = [q.a, q.a_prime, q.b, answer, q.b_prime]
    images = []
    for panel in panels:
        image = np.full((*q.b.size[::-1], 3), 128, np.uint8) if panel is None else np.asarray(panel)
        height, width = image.shape[:2]
        scale = STRIP_EDGE / max(height, width)
        if scale < 1:
            image = resize(image, (max(1, round(width * scale)), max(1, round(height * scale))))
        images.append(image)
    height = max(len(image) for image in images)
    gap = 3
    strip = np.full((height, sum(p.shape[1] + gap for p in images) - gap, 3), 255, np.uint8)
    x = 0
    for image in images:
        strip[: image.shape[0], x : x + image.shape[1]] = image
        x += image.shape[1] + gap
    return encode(strip, "jpg")


def _from_python(report: Report) -> str:
    """What repeats a report that was made from Python with objects."""
    suite = f'lorweb_bench.open_suite("{report.suite.name}")'
    return f'lorweb_bench.evaluate(METHOD, {suite}, prompt="{report.prompt_mode}")'


def notes(report: Report) -> list[str]:
    """What a reader has to know before any number."""
    items = sum(
        group[m].samples
        for name, group in report.scores.items()
        if name in SUMMARY_GROUPS
        for m in list(group)[:1]
    )
    sentences = []
    if report.missing:
        sentences.append(
            f"{report.missing:,} of {items:,} predictions are missing; "
            "each counts as the worst value of every metric."
        )
    if report.unpinned:
        sentences.append(
            f"{report.unpinned}. These scores are of that build, "
            "and not to be set beside those of the pinned one."
        )
    if report.partial:
        sentences.append(
            "The predictions were made for a part of the suite only. This report is never ranked."
        )
    if report.pairs == "shuffled":
        sentences.append(
            "The method was shown the pair of another transformation: "
            "this measures how much it uses the analogy at all."
        )
    sentences += [
        f"{metric} was asked for and not computed: {reason}."
        for metric, reason in report.not_computed.items()
    ]
    if report.resized:
        sentences.append(
            f"{report.resized:,} predictions had another size than b and were resized on request "
            f"({report.resize or 'scale'})."
        )
    return sentences


def page_context(
    report: Report,
    table: Mapping[str, np.ndarray],
    suite: Dataset,
    answers: Mapping[str, Mapping[str, Image.Image]],
    pictures: bool = False,
) -> dict[str, Any]:
    """What `report.html.j2` shows; only the few quadruplets shown are kept in memory.

    Args:
        report: The scores.
        table: The columns of `per_sample.parquet`.
        suite: The suite's full view.
        answers: By the name that stands under the panel, images by key; a key that is not there
            shows as missing.
        pictures: Whether the folder `items` beside the page has a picture of every item.
    """
    headline = headline_of(report.metrics)
    metrics = tuple(sorted(report.metrics, key=lambda metric: metric != headline))
    better = {
        m: score.higher_is_better for group in report.scores.values() for m, score in group.items()
    }
    context: dict[str, Any] = {
        "group_bars": [],
        "tiers": {},
        "cards": {},
        "scale": None,
        "scatter": scatter(table, metrics, better),
        "transformation_rows": {},
        "item_rows": {},
        "downloads": {},
    }
    if headline:
        scale = scale_of(headline, np.asarray(table[headline], dtype=float))
        context["scale"] = scale
        context["group_bars"] = group_bars(report, headline, scale)
        context["tiers"] = transformation_bars(table, headline, scale)
        context["cards"] = _cards(report, table, suite, answers, headline)
        context["transformation_rows"] = transformation_rows(table, metrics)
        context["item_rows"] = item_rows(table, metrics, pictures)
        context["downloads"] = {
            "scores.csv": scores_csv(report),
            "items.csv": items_csv(table),
        }
    return (
        context
        | {"metrics": metrics, "headline": headline, "better": better}
        | _report_context(report, metrics)
    )


def _report_context(report: Report, metrics: Sequence[str]) -> dict[str, Any]:
    """What the page shows of the report alone."""
    places = {}
    for metric in metrics:
        means = (scores[metric].mean for scores in report.scores.values())
        places[metric] = digits(metric, means)
    return {
        "report": report,
        "digits": places,
        "main_groups": [name for name in MAIN_GROUPS if name in report.scores],
        "kind_groups": [
            n for n in report.scores if n.startswith("unseen/") and not n.endswith("_hard")
        ],
        "hard_groups": [
            name.removesuffix("_hard") for name in report.scores if name.endswith("_hard")
        ],
        "tier_words": TIER_WORDS,
        "summary_groups": SUMMARY_GROUPS,
        "notes": notes(report),
        "command": report.command or _from_python(report),
        "details": {
            name: value
            for name, value in (report.method.model_extra or {}).items()
            if value not in (None, "", [], {}) and name != "training_dataset"
        },
    }


def write_report_page(
    report: Report,
    table: Mapping[str, np.ndarray],
    suite: Dataset,
    predictions: Mapping[str, Image.Image],
    out: Path | str,
    pictures: bool = False,
) -> None:
    """Write the page of a report to the file `out`; it opens from disk and asks the network for
    nothing.

    `pictures`: the folder `items` beside it has a picture of every item, for browsing.
    """
    lead = f"Scored on {report.suite.name} {report.suite.version}"
    context = page_context(report, table, suite, {"prediction": predictions}, pictures)
    write_page(
        out, "report.html.j2", title=report.method.name, kicker="Report", lead=lead, **context
    )
