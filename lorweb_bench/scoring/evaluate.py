"""Scoring methods from Python: `predict`, `score`, and `evaluate`, which does both."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.methods.predict import PromptMode, predict
from lorweb_bench.metrics.base import Metric, choose_metrics
from lorweb_bench.protocol import PREDICT_SEED, REPORT_FORMAT
from lorweb_bench.reports.report import Report, open_report
from lorweb_bench.runtime.files import claim_output
from lorweb_bench.runtime.rerun_command import rerun_command
from lorweb_bench.scoring.score import score
from lorweb_bench.scoring.tracks import Statement, named_statements

__all__ = ["evaluate", "predict", "score"]


def evaluate(
    method: Any,
    suite: Dataset | str | Path,
    metrics: Sequence[str | Metric] | None = None,
    *,
    out: str | Path | None = None,
    prompt: PromptMode = "none",
    skip_unavailable: bool = False,
    shuffled: str | Path | None = None,
    trained_on: Sequence[Statement] | None = None,
    workers: int = 1,
    engine: str = "local",
    **settings: Any,
) -> Report:
    """Run a method on a suite and score it; the report's folder `out` keeps the predictions in
    `predictions`.

    Args:
        method: A SPEC, an object with `name` and `predict(triplets)`, or a function of triplets.
        suite: The suite's full view, or its folder.
        metrics: Which metrics; None is every one without downloaded weights that the suite
            supports.
        out: The folder to write; without it the images lie in a temporary folder meanwhile.
        prompt: What text the method is given.
        skip_unavailable: Leave out metrics whose weights or packages are not there.
        shuffled: The report of a run on shuffled pairs, to tell what the method lost by them.
        trained_on: What the method was trained on, as of `score`.
        workers: Processes.
        engine: `local` or `ray`.
        **settings: Further settings of `predict`: pairs, seed, limit, track, batch, options,
            allow_missing, overwrite.

    Raises:
        InputError: Something does not fit, as for `predict` and `score`.
    """
    scoring: dict[str, Any] = {
        "skip_unavailable": skip_unavailable,
        "shuffled": shuffled,
        "trained_on": trained_on,
        "workers": workers,
        "engine": engine,
    }
    repeated = {
        "prompt": prompt,
        "pairs": "true",
        "exemplars": 1,
        "seed": PREDICT_SEED,
        **settings,
        "skip_unavailable": skip_unavailable,
    }
    repeated.pop("overwrite", None)
    repeated |= {
        "shuffled": shuffled and Path(shuffled),
        "trained_on": named_statements(trained_on),
        "set": repeated.pop("options", None),
    }
    scoring["command"] = rerun_command(
        "evaluate", [], suite, repeated, method=method, metrics=metrics
    )
    suite = suite if isinstance(suite, Dataset) else open_suite(suite)
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which has no answers; "
            "use predict, and score against the full view."
        )
    choose_metrics(
        metrics, suite, skip_unavailable
    )  # a wrong name is told before the method has run
    if shuffled is not None:
        open_report(shuffled)  # and so is a report that is not there
    if out is None:
        with tempfile.TemporaryDirectory(prefix="lorweb-bench-") as folder:
            predict(
                method, suite, folder, prompt=prompt, workers=workers, engine=engine, **settings
            )
            return score(folder, suite, metrics, **scoring)
    claim_output(out, REPORT_FORMAT)
    folder = str(Path(out) / "predictions")
    predict(method, suite, folder, prompt=prompt, workers=workers, engine=engine, **settings)
    return score(folder, suite, metrics, out=out, **scoring)
