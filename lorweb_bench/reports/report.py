"""Reports: `report.json` with the scores, `per_sample.parquet` with one row per item, and
`index.html` to look at.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorweb_bench.errors import InputError, first_error
from lorweb_bench.predictions.format import Cost, MethodId, SuiteId
from lorweb_bench.protocol import MAX_EXEMPLARS
from lorweb_bench.runtime.files import read_json, write_json
from lorweb_bench.runtime.parquet import read_columns, write_columns

REPORT = "report.json"
PER_SAMPLE = "per_sample.parquet"
PAGE = "index.html"
HEADLINES = ("edit_recovery", "clip_direction", "clip_image", "lpips_to_b_prime")
Kind = TypeVar("Kind", bound=BaseModel)


class Score(BaseModel):
    """A metric in a group: the mean, its 95 % interval (None with too few clusters), and how
    much it rests on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    ci_low: float | None = None
    ci_high: float | None = None
    transformations: int
    samples: int
    higher_is_better: bool


class TrainedOn(BaseModel):
    """A dataset that a method was trained on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(min_length=1)
    version: str | None = None
    fingerprint: str | None = None


class Novelty(BaseModel):
    """What a method was trained on, and how many of the suite's unseen families were among that.

    `trained_on` is None where nobody stated it, and empty for a method that is not trained;
    `trained_families` is None where no manifest tells.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    trained_on: tuple[TrainedOn, ...] | None = None
    unseen_families: int
    trained_families: int | None = None

    @property
    def sentence(self) -> str:
        """How new the suite is to the method, for a row of a table.

        >>> Novelty(unseen_families=12, trained_families=3, trained_on=()).sentence
        'trained on 3 of the 12 unseen families'
        >>> Novelty(unseen_families=12).sentence
        'not stated'
        """
        if self.trained_families is None:
            return "not stated"
        return f"trained on {self.trained_families} of the {self.unseen_families} unseen families"

    @property
    def words(self) -> str:
        """The same as a remark that stands alone."""
        return "trained on: not stated" if self.trained_families is None else self.sentence


class Report(BaseModel):
    """`report.json`. `scores` is by group, then by metric identity; `per_sample` holds the columns
    of `per_sample.parquet`.

    `gap` is None on the open track. `chance` is what guessing gets, for the metrics where that is
    known. `resized` counts the predictions that had another size and were resized on request, by
    `resize`; `partial` marks predictions of a part of the suite. `shuffled` is what a run on
    shuffled pairs lost, where one was given. `unpinned` says how the suite differs from its pinned
    build, where it does. `command` repeats it, from the files as they were named; None where it
    was made from Python with objects. `metric_settings` is what a metric with weights depends on,
    by identity; `not_computed` why a metric that was asked for is not there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lorweb-bench/report"] = "lorweb-bench/report"
    format_version: Literal[1] = 1
    suite: SuiteId
    method: MethodId
    track: Literal["closed", "open"]
    novelty: Novelty | None = None
    prompt_mode: Literal["none", "task", "instruction"]
    pairs: Literal["true", "shuffled"] = "true"
    exemplars: int = Field(1, ge=1, le=MAX_EXEMPLARS)
    seed: int | None = None
    partial: bool = False
    scores: dict[str, dict[str, Score]]
    gap: dict[str, Any] | None = None
    shuffled: dict[str, dict[str, dict[str, float | None]]] | None = None
    chance: dict[str, float] = Field(default_factory=dict)
    metric_settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    not_computed: dict[str, str] = Field(default_factory=dict)
    unpinned: str | None = None
    command: str | None = None
    missing: int
    resized: int = 0
    resize: Literal["scale", "crop", "pad", "stretch"] | None = None
    cost: Cost = Cost()
    environment: dict[str, Any]
    per_sample: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The identities of the metrics, in order."""
        return tuple(next(iter(self.scores.values()), {}))


def headline_of(metrics: Sequence[str]) -> str | None:
    """The metric to look at first: `edit_recovery`, fixed beforehand; without it one of accuracy,
    never `lpips_to_b` if there is another.

    None where there are no metrics.
    """
    by_name = {metric.partition("[")[0]: metric for metric in reversed(metrics)}
    headline = next((by_name[name] for name in HEADLINES if name in by_name), None)
    return headline or next(
        (m for m in metrics if not m.startswith("lpips_to_b[")), metrics[0] if metrics else None
    )


def plain(value: float, places: int) -> str:
    """A number for a terminal; what rounds to 0 has no sign."""
    return f"{round(value, places) + 0.0:.{places}f}"


def write_report(folder: Path | str, report: Report) -> None:
    """Write `report.json` atomically; the last file of a report's folder."""
    write_json(Path(folder) / REPORT, report.model_dump(mode="json"))


def open_report(path: Path | str) -> Report:
    """Read a report from its folder or its `report.json`, with the per-item columns where they lie
    beside it.

    InputError when it is missing, malformed, or of another format or version.
    """
    path = Path(path)
    file = path / REPORT if path.is_dir() else path
    report = read_format(file, "lorweb-bench/report", Report, "score the predictions again")
    table = file.parent / PER_SAMPLE
    return (
        report.model_copy(update={"per_sample": read_per_sample(table)})
        if table.is_file()
        else report
    )


def read_format(file: Path, name: str, model: type[Kind], way_out: str) -> Kind:
    """The content of a JSON file of format `name`, version 1; InputError when it is missing,
    malformed, or of another format or version.
    """
    content = read_json(file)
    made_by = (
        (content.get("format"), content.get("format_version"))
        if isinstance(content, dict)
        else None
    )
    if made_by != (name, 1):
        raise InputError(
            f"{file} is no {name.rpartition('/')[2]} of format version 1 (it says {made_by}); "
            f"{way_out}."
        )
    try:
        return model.model_validate(content)
    except ValidationError as e:
        raise InputError(f"{file}: {first_error(e)}.") from None


def write_per_sample(path: Path | str, columns: dict[str, np.ndarray]) -> None:
    """Write one row per item, atomically; see `lorweb_bench.runtime.parquet`."""
    write_columns(path, columns)


def read_per_sample(path: Path | str) -> dict[str, np.ndarray]:
    """The columns of `per_sample.parquet`; InputError when it is missing or damaged."""
    try:
        return read_columns(path)
    except InputError as error:
        raise InputError(f"{str(error).rstrip('.')}; score the predictions again.") from None
