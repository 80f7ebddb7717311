"""A judgement on disk: `judgement.json` with the scores, `per_sample.parquet`, `answers.jsonl` with
every answer's words, a page.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lorweb_bench.judging.anchors import Anchor
from lorweb_bench.predictions.format import MethodId, PredictionsManifest, SuiteId
from lorweb_bench.reports.report import (
    PER_SAMPLE,
    Report,
    Score,
    read_format,
    read_per_sample,
    write_per_sample,
)
from lorweb_bench.runtime.files import finish_output, write_atomic, write_json

JUDGEMENT = "judgement.json"
JUDGEMENT_FORMAT = "lorweb-bench/judgement"
ANSWERS = "answers.jsonl"


class Judged(BaseModel):
    """Whose predictions were judged, and how these were made: the identity of a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: MethodId
    track: str
    prompt_mode: str
    pairs: str
    seed: int | None = None

    @classmethod
    def of(cls, made: PredictionsManifest) -> "Judged":
        """From the manifest of predictions."""
        return cls(
            method=made.method,
            track=made.track,
            prompt_mode=made.prompt_mode,
            pairs=made.pairs,
            seed=made.seed,
        )


class Position(BaseModel):
    """Of a forced choice: how often the picture shown first was chosen (0.5: no bias), and the same
    one in both orders.

    `when_first` and `when_second` are how often the first method was chosen where it was shown
    first, and where it was second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: float
    consistent: float
    when_first: float
    when_second: float
    answers: int
    items: int


class Noise(BaseModel):
    """The judge's own noise: how far its answers to one question differ between repeats.

    `same` is the share of questions with equal numbers each time, `deviation` by number the
    standard deviation within a question, pooled over the `questions` that were answered more than
    once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeats: int
    questions: int
    same: float
    deviation: dict[str, float]


class Agreement(BaseModel):
    """How far the judge agrees with people, over `items` that have both votes and a verdict.

    Of a choice: `agreement` is the share of items decided by both where the decision is the same,
    `kappa` the same corrected for chance (Cohen); `undecided` counts items where the judge's two
    answers contradict each other, `tied` those where the votes do. Of a rating: `correlation` is
    Spearman's of the judge's number with the mean of people's, by question. `between_people` is how
    often two votes on one item are the same. None where there is too little to tell.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int
    votes: int
    agreement: float | None = None
    kappa: float | None = None
    undecided: int = 0
    tied: int = 0
    correlation: dict[str, float | None] | None = None
    between_people: float | None = None


class Judgement(BaseModel):
    """`judgement.json`. `scores` is by group, then by what was asked, aggregated as in a report.

    `missing` predictions count the worst without being asked about. Items are left out of every
    mean, and named, where no answer can be parsed (`unparsable`; `cut` counts the answers that
    ended at the limit of tokens) or the endpoint gave none (`failed`, with the reason). `anchors`
    is what the judge said of known pictures, `noise` how far it contradicts itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lorweb-bench/judgement"] = "lorweb-bench/judgement"
    format_version: Literal[1] = 1
    suite: SuiteId
    protocol: Literal["rating", "choice"]
    judge: dict[str, Any]
    judged: list[Judged] = Field(min_length=1, max_length=2)
    partial: bool = False
    scores: dict[str, dict[str, Score]]
    position: Position | None = None
    items: int
    questions: int
    missing: int
    resized: int
    unparsable: list[str]
    failed: dict[str, str] = {}
    cut: int = 0
    anchors: list[Anchor] = []
    noise: Noise | None = None
    agreement: Agreement | None = None
    command: str | None = None
    environment: dict[str, Any]
    per_sample: dict[str, Any] | None = Field(default=None, exclude=True, repr=False)

    def reports(self) -> tuple[Report, ...]:
        """One report for each judged method, whose metrics are the judge's numbers: for pages, and
        to compare.

        Of a choice, the second method's numbers are what the first's leave of 1.
        """
        first = self._report(self.judged[0], self.scores, self.per_sample)
        if self.protocol == "rating":
            return (first,)
        scores: dict[str, dict[str, Score]] = {}
        for group, of_group in self.scores.items():
            scores[group] = {metric: _turned(score) for metric, score in of_group.items()}
        table = self.per_sample and self.per_sample | {
            metric: 1.0 - self.per_sample[metric] for metric in first.metrics
        }
        return first, self._report(self.judged[1], scores, table)

    def _report(
        self, judged: Judged, scores: dict[str, dict[str, Score]], table: dict[str, Any] | None
    ) -> Report:
        shared = {
            name: getattr(self, name)
            for name in ("suite", "partial", "missing", "resized", "environment", "command")
        }
        settings = dict.fromkeys(next(iter(scores.values())), self.judge)
        report = Report(
            **shared,
            **{name: getattr(judged, name) for name in Judged.model_fields},
            scores=scores,
            metric_settings=settings,
        )
        return report.model_copy(update={"per_sample": table})


def _turned(score: Score) -> Score:
    low, high = (None if end is None else 1.0 - end for end in (score.ci_high, score.ci_low))
    return score.model_copy(update={"mean": 1.0 - score.mean, "ci_low": low, "ci_high": high})


def open_judgement(folder: Path) -> Judgement:
    """Read the judgement in a folder, with its per-item table.

    InputError when it is malformed, or of another format or version.
    """
    file = folder / JUDGEMENT
    judgement = read_format(file, JUDGEMENT_FORMAT, Judgement, "judge the predictions again")
    return judgement.model_copy(update={"per_sample": read_per_sample(folder / PER_SAMPLE)})


def write_judgement(
    folder: Path,
    judgement: Judgement,
    table: dict[str, np.ndarray],
    answers: Iterable[Mapping[str, Any]],
) -> None:
    """Write the answers, the per-item table, and last `judgement.json`, which marks the folder as
    whole.
    """
    write_atomic(
        folder / ANSWERS,
        "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers),
    )
    write_per_sample(folder / PER_SAMPLE, table)
    write_json(folder / JUDGEMENT, judgement.model_dump(mode="json"))
    finish_output(folder)
