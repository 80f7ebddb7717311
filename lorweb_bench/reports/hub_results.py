"""A report as the hub's evaluation results: `.eval_results/*.yaml` of a model repository.

The form is that of https://huggingface.co/docs/hub/eval-results.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorweb_bench.data.benchmark_tasks import FRAMEWORK, task_id
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import Report, headline_of
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.runtime.yaml_files import to_yaml

FOLDER = ".eval_results"
GROUP = "unseen"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Benchmark:
    """Where a suite is on the hub, and where a result can be looked up.

    Attributes:
        dataset: The suite's dataset repository, `owner/name`.
        revision: The commit of it that was scored, 40 hex digits.
        url: A page of the result, such as a board's.
        url_name: What the link to it is called.
    """

    dataset: str
    revision: str | None = None
    url: str | None = None
    url_name: str | None = None

    def __post_init__(self) -> None:
        if not REPOSITORY.fullmatch(self.dataset):
            raise InputError(f"{self.dataset!r} is no dataset repository; give owner/name.")
        if self.revision is not None and not COMMIT.fullmatch(self.revision):
            raise InputError(
                f"The revision {self.revision!r} is no commit; give its 40 hex digits, which do "
                "not move as a branch does."
            )
        if self.url is not None and not self.url.startswith(("https://", "http://")):
            raise InputError(f"{self.url!r} is no address of a page; it begins with https://.")
        if self.url_name is not None and self.url is None:
            raise InputError("A link's name needs the link; give its address too.")


def eval_results(report: Report, benchmark: Benchmark) -> list[dict[str, Any]]:
    """The entry for a report's headline on unseen transformations.

    Raises:
        InputError: The report is of a part of the suite, of shuffled pairs, or has no such score.
    """
    headline = check_comparable(report)
    score = report.scores[GROUP][headline]
    dataset = {"id": benchmark.dataset, "task_id": task_id(report.track, report.prompt_mode)}
    if benchmark.revision is not None:
        dataset["revision"] = benchmark.revision
    entry: dict[str, Any] = {"dataset": dataset, "value": round(score.mean, 6)}
    if benchmark.url is not None:
        source = {"url": benchmark.url, "name": benchmark.url_name}
        entry["source"] = {key: value for key, value in source.items() if value is not None}
    entry["evaluation_framework"] = FRAMEWORK
    entry["notes"] = notes(report, headline)
    return [entry]


def check_comparable(report: Report) -> str:
    """The headline metric of a report; InputError where its score is no result of the suite's."""
    name = f"The report of {report.method.name} on {report.suite.name}"
    if report.partial:
        raise InputError(f"{name} is of a part of the suite, so it is no result; score all of it.")
    if report.pairs != "true":
        raise InputError(f"{name} is of shuffled pairs, a control; export the run on true pairs.")
    headline = headline_of(report.metrics)
    if headline is None or headline not in report.scores.get(GROUP, {}):
        raise InputError(f"{name} has no score on {GROUP}; score it with a metric that it serves.")
    return headline


def notes(report: Report, headline: str) -> str:
    """In a line, what the value is of: metric, interval, prompt, seed, missing answers."""
    score = report.scores[GROUP][headline]
    interval = (
        f" (95 % interval {score.ci_low:.3f} to {score.ci_high:.3f})"
        if score.ci_low is not None and score.ci_high is not None
        else ""
    )
    parts = [
        f"{headline} on {GROUP}{interval}",
        f"{report.suite.name} {report.suite.version}, fingerprint {report.suite.fingerprint[:12]}",
        f"{report.track} track, prompt {report.prompt_mode}",
        *([f"{report.exemplars} exemplar pairs"] if report.exemplars > 1 else []),
        *([] if report.seed is None else [f"seed {report.seed}"]),
        *([f"{report.missing} answers missing, counted as the worst"] if report.missing else []),
    ]
    return "; ".join(parts)


def write_eval_results(report: Report, benchmark: Benchmark, folder: Path | str) -> Path:
    """Write a report's entry to `<folder>/.eval_results/<suite>-<task>.yaml`, atomically.

    Args:
        report: The report.
        benchmark: Where its suite is on the hub.
        folder: A clone of the model repository, or a folder to upload to it.
    """
    entries = eval_results(report, benchmark)
    name = f"{report.suite.name}-{task_id(report.track, report.prompt_mode)}"
    path = Path(folder) / FOLDER / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.yaml"
    write_atomic(path, to_yaml(entries))
    return path
