"""Scoring methods from Python: `predict`, `score`, and `evaluate`, which does both."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.methods.base import Method
from lorweb_bench.methods.predict import PromptMode, predict
from lorweb_bench.metrics.base import Metric, choose_metrics
from lorweb_bench.protocol import PREDICT_SEED, REPORT_FORMAT
from lorweb_bench.reports.report import Report, open_report
from lorweb_bench.runtime.files import claim_output
from lorweb_bench.runtime.rerun_command import command_line, named, named_spec
from lorweb_bench.scoring.score import score

__all__ = ["evaluate", "predict", "score"]


def evaluate(
    method: str | Method,
    suite: Dataset | str | Path,
    metrics: Sequence[str | Metric] | None = None,
    *,
    out: str | Path | None = None,
    prompt: PromptMode = "none",
    skip_unavailable: bool = False,
    shuffled: str | Path | None = None,
    workers: int = 1,
    engine: str = "local",
    **settings: Any,
) -> Report:
    """Run a method on a suite and score it; the report's folder `out` keeps the predictions in `predictions`.

    `method` is an object with `name` and `predict(triplets)`, or a SPEC. `settings` are further ones of `predict`: pairs,
    seed, limit, track, batch, options. Without `out`, images lie in a temporary folder meanwhile. InputError as of `predict` and `score`.
    """
    scoring: dict[str, Any] = {
        "skip_unavailable": skip_unavailable,
        "shuffled": shuffled,
        "workers": workers,
        "engine": engine,
    }
    repeated = {
        "prompt": prompt,
        "pairs": "true",
        "seed": PREDICT_SEED,
        **settings,
        "skip_unavailable": skip_unavailable,
    }
    repeated |= {"shuffled": shuffled and named(shuffled), "set": repeated.pop("options", None)}
    scoring["command"] = _command(method, suite, metrics, repeated)
    suite = suite if isinstance(suite, Dataset) else open_suite(suite)
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which has no answers; use predict, and score against the full view."
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


def _command(
    method: str | Method,
    suite: Dataset | str | Path,
    metrics: Sequence[str | Metric] | None,
    settings: Mapping[str, Any],
) -> str | None:
    """What repeats an evaluation on the command line, or None where the method or a metric is an object."""
    if not isinstance(method, str) or not all(isinstance(metric, str) for metric in metrics or ()):
        return None
    words = [
        "evaluate",
        "--method",
        named_spec(method),
        "--suite",
        named(suite.path if isinstance(suite, Dataset) else suite),
    ]
    asked = None if metrics is None else [named_spec(str(metric)) for metric in metrics]
    return command_line(words, {"metrics": asked, **settings})
