"""From predictions to a report: every item of the manifest counts, predicted or not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.images import to_array
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import (
    TABLE,
    Metric,
    Scored,
    chance_of,
    choose_metrics,
    load_metric,
    needs_weights,
    settings_of,
)
from lorweb_bench.predictions.format import suite_id, suite_keys
from lorweb_bench.predictions.reader import (
    Predictions,
    Resize,
    fitted,
    open_predictions,
    resize_mode,
)
from lorweb_bench.protocol import BOOTSTRAP_SEED, REPORT_FORMAT
from lorweb_bench.reports.report import (
    PAGE,
    PER_SAMPLE,
    Report,
    Score,
    write_per_sample,
    write_report,
)
from lorweb_bench.reports.report_page import ITEMS, item_strip
from lorweb_bench.runtime.environment import environment
from lorweb_bench.runtime.files import claim_output, finish_output
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.runtime.plugins import absolute
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.rerun_command import rerun_command
from lorweb_bench.runtime.workers import run_pieces
from lorweb_bench.scoring.shuffled_control import open_shuffled, shuffled_drop
from lorweb_bench.scoring.tracks import Statement, named_statements, novelty, track_of
from lorweb_bench.suites.pins import drift

BATCH = 32  # items that are in memory at a time
LABELS = ("transformation", "family", "kind", "tier", "a_source", "b_source")
RESERVED = ("key", "split", *LABELS, "hard", "missing", "resized", "pictures")
PICTURES = "pictures"  # the column of pictures to browse, which is written beside the table
Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Task:
    """What each item is scored by."""

    suite: Dataset
    metrics: tuple[str | Metric, ...]
    resize: Resize | None
    pictures: bool = False


@dataclass(frozen=True)
class Piece:
    """Some items of one shard, and the predictions that there are of them."""

    split: str
    shard: int
    keys: tuple[str, ...]
    predictions: Predictions


def score(
    predictions: str | Path | Mapping[str, Any],
    suite: Dataset | str | Path,
    metrics: Sequence[str | Metric] | None = None,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    prompt: str | None = None,
    track: str | None = None,
    resize: bool | str | None = None,
    allow_missing: bool = False,
    skip_unavailable: bool = False,
    shuffled: str | Path | None = None,
    trained_on: Sequence[Statement] | None = None,
    workers: int = 1,
    engine: str = "local",
    seed: int = BOOTSTRAP_SEED,
    command: str | None = None,
) -> Report:
    """Score predictions against a suite.

    Missing predictions count the worst value of each metric.

    Args:
        predictions: A folder that `predict` wrote, a bare folder of images, or images by key.
        suite: The suite's full view, or its folder.
        metrics: Which metrics; None is every one without downloaded weights that the suite
            supports.
        name: The method's name, where no manifest says it; likewise `prompt` and `track`.
        out: The folder to write the report to.
        prompt: The prompt mode of predictions without a manifest.
        track: The track of predictions without a manifest.
        resize: What happens to predictions of another size than b's: None refuses them, True or
            `scale` resizes those of b's aspect, `crop`, `pad` and `stretch` also others.
        allow_missing: Score the folder of a run that is not finished, too.
        skip_unavailable: Leave out metrics whose weights or packages are not there; the report
            says so.
        shuffled: The report of a run of the same method on shuffled pairs, to tell what it lost by
            them.
        trained_on: What the method was trained on, in place of what it says of itself: datasets
            (their folders or `dataset.json`), or `nothing`. The track follows from it.
        workers: Processes.
        engine: `local` or `ray`.
        seed: Of the intervals.
        command: The command that repeats the whole, where that is more than this scoring.

    Raises:
        InputError: Something does not fit.
    """
    settings = {
        "name": name,
        "prompt": prompt,
        "track": track,
        "resize": resize_mode(resize),
        "allow_missing": allow_missing,
        "skip_unavailable": skip_unavailable,
        "seed": None if seed == BOOTSTRAP_SEED else seed,
        "shuffled": shuffled and Path(shuffled),
        "trained_on": named_statements(trained_on),
    }
    command = command or rerun_command("score", [predictions], suite, settings, metrics=metrics)
    suite = (
        suite
        if isinstance(suite, Dataset)
        else open_suite(local_folder(suite, "dataset").resolve())
    )
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which has no answers; score against the full view."
        )
    selection = choose_metrics(metrics, suite, skip_unavailable)
    chosen = selection.metrics
    opened = open_predictions(
        predictions, suite, name, prompt=prompt, track=track, allow_missing=allow_missing
    )
    mode = resize_mode(resize)
    training_novelty = novelty(opened.manifest, suite, trained_on)
    track_found = track_of(opened.manifest, suite, training_novelty, given=trained_on is not None)
    other = open_shuffled(shuffled, opened.manifest) if shuffled is not None else None
    if out is not None:
        claim_output(out, REPORT_FORMAT)
    if reserved := next((m.identity for m in chosen if m.identity in RESERVED), None):
        raise InputError(
            f"A metric cannot be called {reserved!r}: the per-item table has a column of that name."
        )
    sent = _sendable(chosen, metrics) if workers > 1 or engine != "local" else chosen
    task = Task(suite, tuple(sent), mode, pictures=out is not None)
    table = _table(task, opened, workers, engine, None if out is None else Path(out) / ITEMS)
    report = _report(table, opened, suite, chosen, seed, track_found).model_copy(
        update={
            "novelty": training_novelty,
            "not_computed": selection.not_computed,
            "command": command,
            "resize": mode,
            "unpinned": str(differs) if (differs := drift(suite)) else None,
            "shuffled": shuffled_drop(table, [m.identity for m in chosen], other, seed)
            if other
            else None,
        }
    )
    if out is not None:
        write_report_folder(Path(out), report, suite, opened)
    return report


def _sendable(
    chosen: Sequence[Metric], metrics: Sequence[str | Metric] | None
) -> list[str | Metric]:
    """The metrics as another process takes them.

    What a file defines cannot be sent to one, so it is loaded there by its name.
    """
    specs = [m for m in metrics or () if isinstance(m, str) and m.partition("[")[0] not in TABLE]
    names = {load_metric(m).identity: absolute(m, TABLE) for m in specs}
    return [names.get(metric.identity, metric) for metric in chosen]


def write_report_folder(
    out: Path, report: Report, suite: Dataset, predictions: Predictions
) -> None:
    """Write the per-item table, the page, and last `report.json`, which marks the folder as
    whole.
    """
    from lorweb_bench.reports.report_page import write_report_page

    table = report.per_sample or {}
    write_per_sample(out / PER_SAMPLE, table)
    write_report_page(report, table, suite, predictions, out / PAGE, pictures=True)
    write_report(out, report)
    finish_output(out)


def _report(
    table: dict[str, np.ndarray],
    opened: Predictions,
    suite: Dataset,
    metrics: list[Metric],
    seed: int,
    track: Literal["closed", "open"],
) -> Report:
    from lorweb_bench.stats.aggregate import gap, summarise

    manifest = opened.manifest
    higher = {m.identity: m.higher_is_better for m in metrics}
    scores: dict[str, dict[str, Score]] = {}
    for group, of_group in summarise(table, list(higher), seed).items():
        scores[group] = {
            metric: Score(**numbers, higher_is_better=higher[metric])
            for metric, numbers in of_group.items()
        }
    chances = {m.identity: chance_of(m, suite) for m in metrics}
    settings = {m.identity: settings_of(m) for m in metrics}
    return Report(
        suite=suite_id(suite),
        method=manifest.method,
        track=track,
        prompt_mode=manifest.prompt_mode,
        pairs=manifest.pairs,
        exemplars=manifest.exemplars,
        seed=manifest.seed,
        partial=manifest.partial,
        scores=scores,
        gap=gap(table, list(higher), track, seed),
        chance={name: chance for name, chance in chances.items() if chance is not None},
        metric_settings={
            name: setting for name, setting in settings.items() if setting is not None
        },
        missing=int(table["missing"].sum()),
        resized=int(table["resized"].sum()),
        cost=manifest.cost,
        environment=environment(any(map(needs_weights, metrics))),
        per_sample=table,
    )


def _table(
    task: Task, predictions: Predictions, workers: int, engine: str, pictures: Path | None
) -> dict[str, np.ndarray]:
    """One row per item of the manifest, sorted by key; pictures to browse go to their folder."""
    here = workers == 1 and engine == "local"
    pieces = list(_pieces(task.suite, predictions, None if here else workers))
    if here:
        batches = (batch for piece in pieces for batch in _score_batches(task, piece))
        parts = track(batches, sum(-(-len(piece.keys) // BATCH) for piece in pieces), "scoring")
    else:
        gpus = float(any(map(needs_weights, map(_loaded, task.metrics))))
        parts = run_pieces(partial(_score_piece, task), pieces, workers, engine, "scoring", gpus)
    columns = _joined(parts if pictures is None else _write_pictures(parts, pictures))
    order = np.argsort(np.array(columns["key"]), kind="stable")
    return {name: np.array(values)[order] for name, values in columns.items()}


def _write_pictures(parts: Iterable[Columns], folder: Path) -> Iterator[Columns]:
    """Write the pictures of each part as it comes, and pass on the other columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for key, picture in zip(part["key"], part.pop(PICTURES), strict=True):
            (folder / f"{key}.jpg").write_bytes(picture)
        yield part


def _joined(parts: Iterable[Columns]) -> Columns:
    columns: Columns = {}
    for part in parts:
        for name, values in part.items():
            columns.setdefault(name, []).extend(values)
    return columns


def _pieces(suite: Dataset, predictions: Predictions, workers: int | None) -> Iterator[Piece]:
    """Whole shards, or, for several workers, parts of shards that share the work out evenly."""
    total = sum(suite.split(split).samples for split in suite.scored_splits)
    size = max(BATCH, -(-total // (4 * workers))) if workers else total
    for split in suite.scored_splits:
        for shard, keys in enumerate(suite_keys(suite, split)):
            for start in range(0, len(keys), size):
                part = keys[start : start + size]
                yield Piece(split, shard, tuple(part), predictions.part(part))


def _loaded(metric: str | Metric) -> Metric:
    return load_metric(metric) if isinstance(metric, str) else metric


def _score_piece(task: Task, piece: Piece) -> Columns:
    return _joined(_score_batches(task, piece))


def _score_batches(task: Task, piece: Piece) -> Iterator[Columns]:
    """The rows of a piece, batch by batch, as columns.

    They are the labels, `missing`, `resized`, one per metric, and pictures where these are asked
    for.
    """
    metrics = [_loaded(m) for m in task.metrics]
    stream = task.suite.quadruplets(piece.split, shards=[piece.shard], keys=set(piece.keys))
    unscored = set(piece.keys)
    for batch in iter(lambda: list(islice(stream, BATCH)), []):
        columns = _labels(piece, batch)
        answered = [q for q in batch if q.key in piece.predictions]
        scored = [_scored(q, piece.predictions, task.resize) for q in answered]
        resized = {s.key for s, was_resized in scored if was_resized}
        columns["resized"] = [q.key in resized for q in batch]
        for metric in metrics:
            numbers = _values(metric, [s for s, _ in scored], task.suite)
            values = {q.key: number for q, number in zip(answered, numbers, strict=True)}
            columns[metric.identity] = [values.get(q.key, float(metric.worst)) for q in batch]
        if task.pictures:
            answers = {s.key: s.prediction for s, _ in scored}
            columns[PICTURES] = [item_strip(q, answers.get(q.key)) for q in batch]
        unscored.difference_update(columns["key"])
        yield columns
    if unscored:
        raise InputError(
            f"{task.suite.path}: a shard of {piece.split} lacks {min(unscored)!r}, "
            "which its sidecar names; fetch or build it again."
        )


def _labels(piece: Piece, batch: list[Quadruplet]) -> Columns:
    columns: Columns = {}
    for label in LABELS:
        columns[label] = [getattr(q.record, label) or "" for q in batch]
    return {
        "key": [q.key for q in batch],
        "split": [piece.split] * len(batch),
        **columns,
        "hard": [bool(q.record.hard) for q in batch],
        "missing": [q.key not in piece.predictions for q in batch],
    }


def _scored(q: Quadruplet, predictions: Predictions, resize: Resize | None) -> tuple[Scored, bool]:
    image, resized = fitted(predictions[q.key], q.key, q.b.size, resize)
    return Scored(q, to_array(image)), resized


def _values(metric: Metric, scored: list[Scored], suite: Dataset) -> list[float]:
    if not scored:
        return []
    values = np.asarray(metric.values(scored, suite), dtype=np.float64)
    if values.shape != (len(scored),):
        raise InputError(
            f"The metric {metric.identity} gave values of shape {values.shape} "
            f"for {len(scored)} items."
        )
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(
            f"The metric {metric.identity} gave {values[bad]} for {scored[bad].key!r}; "
            "it has to give a finite number."
        )
    return [float(v) for v in values]
