"""What a method loses when it is shown the pair of another transformation: how much it uses the
analogy at all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import PredictionsManifest
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.reports.report import PER_SAMPLE, Report, open_report


def open_shuffled(path: Path | str, made: PredictionsManifest) -> Report:
    """The report of a run of the same method, suite and prompt mode on shuffled pairs;
    InputError where it is another one.
    """
    report = open_report(path)
    for what, theirs, ours in (
        ("suite", report.suite.fingerprint, made.suite.fingerprint),
        ("method", report.method.name, made.method.name),
        ("prompt mode", report.prompt_mode, made.prompt_mode),
        ("pairs", report.pairs, "shuffled"),
    ):
        if theirs != ours:
            raise InputError(
                f"{path} is no run of {made.method.name} on shuffled pairs: "
                f"its {what} is {theirs!r}, not {ours!r}."
            )
    if made.pairs != "true":
        raise InputError(
            "These predictions were made from shuffled pairs themselves, "
            "so there is no drop to tell."
        )
    if report.per_sample is None:
        raise InputError(
            f"{path} has no {PER_SAMPLE}; the drop is paired by item, "
            "so score the shuffled run again."
        )
    return report


def shuffled_drop(
    table: Mapping[str, np.ndarray],
    metrics: Sequence[str],
    shuffled: Report,
    seed: int = BOOTSTRAP_SEED,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Per group and metric that both have: `shuffled` (its mean), `drop` (own mean less that),
    `ci_low`, `ci_high`.

    Paired by item, then averaged and with intervals as all means are. InputError where the items
    are not the same.
    """
    from lorweb_bench.stats.aggregate import ordered, summarise

    common = [metric for metric in metrics if metric in shuffled.metrics]
    true_table, other = ordered(table, common), ordered(shuffled.per_sample or {}, common)
    if list(true_table["key"]) != list(other["key"]):
        raise InputError(
            "The report on shuffled pairs has other items than this suite; score it again."
        )
    differences = summarise(
        true_table | {metric: true_table[metric] - other[metric] for metric in common}, common, seed
    )
    drops: dict[str, dict[str, dict[str, Any]]] = {}
    for group, of_group in differences.items():
        drops[group] = {
            metric: {
                "shuffled": shuffled.scores[group][metric].mean,
                "drop": numbers["mean"],
                "ci_low": numbers["ci_low"],
                "ci_high": numbers["ci_high"],
            }
            for metric, numbers in of_group.items()
        }
    return drops
