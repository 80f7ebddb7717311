"""The runs of a method, one for each set of seeds, and what they are together.

No row is the best of several.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from leaderboard.store.name_claims import REFERENCES
from leaderboard.store.store import Entry
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import Cost
from lorweb_bench.reports.report import Report, Score, read_per_sample

Table = dict[str, np.ndarray]
Method = tuple[str, str, str, str, int, int | None]
Run = tuple[Method, tuple[int, ...]]


def method_of(entry: Entry) -> Method:
    """What makes one row of a table: name, version, track, prompt mode, exemplars and owner."""
    s = entry.submission
    return (s.method, s.version, s.track, s.prompt_mode, s.exemplars, s.team_id)


def run_of(entry: Entry) -> Run:
    """What makes one run of a method: its seeds, each once, in the order of the card.

    The seed of the predictions is among them, so it adds nothing.
    """
    card = entry.verdict.card
    return (method_of(entry), tuple(dict.fromkeys(card.seeds)) if card else ())


def last_runs(entries: Iterable[Entry]) -> dict[Run, Entry]:
    """Of each run the submission that counts: the last.

    Of a reference row that the keeper ran, no one else's counts.
    """
    entries = list(entries)
    methods = {
        e.submission.method
        for e in entries
        if e.submission.method in REFERENCES and e.verdict.level == "reproduced"
    }
    return {
        run_of(e): e
        for e in entries
        if e.submission.method not in methods or e.verdict.level == "reproduced"
    }


def takes_the_place_of(entries: Sequence[Entry], sha256: str | None) -> Entry | None:
    """The earlier submission of the same run, which the one with this digest supersedes."""
    new = next((entry for entry in entries if entry.submission.sha256 == sha256), None)
    if new is None:
        return None
    earlier = [
        e
        for e in entries
        if e.submission.id < new.submission.id and e.suite.fingerprint == new.suite.fingerprint
    ]
    return last_runs(earlier).get(run_of(new))


def tables_of(runs: Sequence[Entry]) -> list[Table]:
    """The tables of per-item values of each run, by key.

    InputError when a file of the store is damaged.
    """
    tables = [read_per_sample(entry.per_sample) for entry in runs]
    tables = [_by_key(table) for table in tables]
    for entry, table in zip(runs, tables, strict=True):
        if not np.array_equal(table["key"], tables[0]["key"]):
            raise InputError(
                f"{entry.per_sample} has other items than those of the same suite; add that "
                "submission again."
            )
    return tables


def _by_key(table: Table) -> Table:
    order = np.argsort(table["key"].astype(str), kind="stable")
    return {name: column[order] for name, column in table.items()}


def metrics_of(runs: Sequence[Entry]) -> list[str]:
    """The metrics that all runs have."""
    shared = set.intersection(*(set(entry.report.metrics) for entry in runs))
    return [metric for metric in runs[0].report.metrics if metric in shared]


def mean_of(tables: Sequence[Table], metrics: Sequence[str]) -> Table:
    """The first table with the mean over all of each item's values."""
    means = {}
    for metric in metrics:
        columns = [table[metric].astype(float) for table in tables]
        means[metric] = np.mean(columns, axis=0)
    return tables[0] | means


def report_of(runs: Sequence[Entry], tables: Sequence[Table]) -> Report:
    """The report of a method.

    Of several runs the scores of their mean values, with intervals that hold what runs differ by.
    """
    first = runs[0].report
    if len(runs) == 1:
        return first
    from lorweb_bench.stats.aggregate import gap, summarise

    metrics = metrics_of(runs)
    values = mean_of(tables, metrics)
    better = {m: score.higher_is_better for of in first.scores.values() for m, score in of.items()}
    summary = summarise(values, metrics, trainings=tables)
    scores: dict[str, dict[str, Score]] = {}
    for group, of in summary.items():
        scores[group] = {m: Score(**v, higher_is_better=better[m]) for m, v in of.items()}
    between = gap(values, metrics, first.track, trainings=tables)
    return first.model_copy(update={"scores": scores, "gap": between, "cost": _cost(runs)})


def _cost(runs: Sequence[Entry]) -> Cost:
    costs = [entry.report.cost for entry in runs]
    took = [cost.seconds_per_image for cost in costs if cost.seconds_per_image is not None]
    return costs[0].model_copy(
        update={"seconds_per_image": sum(took) / len(took) if len(took) == len(costs) else None}
    )
