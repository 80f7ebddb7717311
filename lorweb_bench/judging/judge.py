"""Judging predictions: one question per item and prediction, or two per item and pair of predictions, one in each order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import MAX_TOKENS, TRIES, Endpoint, Reply
from lorweb_bench.judging.judgement import (
    JUDGEMENT_FORMAT,
    Agreement,
    Judged,
    Judgement,
    Position,
    write_judgement,
)
from lorweb_bench.judging.judgement_page import write_judgement_page
from lorweb_bench.judging.questions import (
    LONG_EDGE,
    LOWEST,
    VERSION,
    Protocol,
    Question,
    choice_question,
    rating_question,
)
from lorweb_bench.judging.votes import Votes, agreement_on_choice, agreement_on_rating, read_votes
from lorweb_bench.methods.predict import chosen_keys
from lorweb_bench.predictions.format import suite_id
from lorweb_bench.predictions.reader import Predictions, fitted, open_predictions
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.reports.report import PAGE, Score, environment
from lorweb_bench.runtime.files import claim_output
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.rerun_command import command_line, named
from lorweb_bench.scoring.score import LABELS

Source = str | Path | Mapping[str, Any]


@dataclass
class Rows:
    """What is known of each item before the judge has answered."""

    protocol: Protocol
    predictions: tuple[Predictions, ...]
    resize: bool
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)

    def questions(self, suite: Dataset, wanted: set[str]) -> Iterator[Question]:
        """The questions about all items that have predictions, in the suite's order; fills in the labels of every item on the way."""
        for split in suite.scored_splits:
            for q in suite.quadruplets(split, keys=wanted):
                labels = {label: getattr(q.record, label) or "" for label in LABELS}
                here = [q.key in predictions for predictions in self.predictions]
                images, resized = self._images(q) if all(here) else ([], False)
                known = {
                    "key": q.key,
                    "split": split,
                    "hard": bool(q.record.hard),
                    "missing": not all(here),
                    "resized": resized,
                }
                self.labels[q.key] = {**labels, **known, "here": here}
                if images:
                    yield from _questions(q, images)

    def _images(self, q: Quadruplet) -> tuple[list[Image.Image], bool]:
        found = [
            fitted(predictions[q.key], q.key, q.b.size, self.resize)
            for predictions in self.predictions
        ]
        return [image for image, _ in found], any(resized for _, resized in found)

    def worst(self, key: str) -> dict[str, float]:
        """What an item counts that lacks a prediction: the lowest rating; of two predictions the one that is there is preferred."""
        if self.protocol == "rating":
            return {"accuracy": float(LOWEST), "consistency": float(LOWEST)}
        first, second = self.labels[key]["here"]
        return {"preferred": 0.5 if first == second else float(first)}


def _questions(q: Quadruplet, images: list[Image.Image]) -> Iterator[Question]:
    if len(images) == 1:
        yield rating_question(q, images[0])
    else:
        yield choice_question(q, images[0], images[1])
        yield choice_question(q, images[1], images[0])


def judge(
    predictions: Source,
    suite: Dataset | str | Path,
    endpoint: Endpoint,
    *,
    other: Source | None = None,
    names: tuple[str | None, str | None] = (None, None),
    out: str | Path | None = None,
    votes: str | Path | None = None,
    limit: int | None = None,
    resize: bool = False,
    seed: int = BOOTSTRAP_SEED,
) -> Judgement:
    """Have a model rate predictions, or, where `other` is given too, choose between the two; write the folder `out` with its page.

    `predictions` and `other` are folders, or images by key, whose methods `names` then names. Items whose answers cannot be parsed
    are left out of every mean, counted and named. Missing predictions are not asked about: they count the lowest rating, or
    lose. `limit` judges so many items of the public order, and marks the result as partial. `votes` is a file of people's votes
    to compare with. InputError for whatever does not fit, and, after all other questions, when the endpoint failed on some: the
    answers are kept, and the same call asks only for what is left.
    """
    sources = [predictions] if other is None else [predictions, other]
    settings = {
        "votes": votes and named(votes),
        "limit": limit,
        "resize": resize,
        "seed": None if seed == BOOTSTRAP_SEED else seed,
    }
    command = _command(
        sources, suite, endpoint, {"name": names[0], "other_name": names[1], **settings}
    )
    suite = suite if isinstance(suite, Dataset) else open_suite(Path(suite).resolve())
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which does not say what belongs together; judge against the full view."
        )
    opened = tuple(
        open_predictions(source, suite, name) for source, name in zip(sources, names, strict=False)
    )
    protocol: Protocol = "rating" if other is None else "choice"
    wanted = chosen_keys(suite, limit, None)
    methods = [p.manifest.method.name for p in opened]
    voted = (
        read_votes(Path(votes), protocol, methods, chosen_keys(suite, None, None))
        if votes is not None
        else None
    )
    if out is not None:
        claim_output(out, JUDGEMENT_FORMAT)
    rows = Rows(protocol, opened, resize)
    asked = sum(all(key in p for p in opened) for key in wanted) * len(opened)
    replies = list(track(endpoint.ask_all(rows.questions(suite, wanted)), asked, "judging"))
    _refuse_failures(replies, endpoint)
    judgement, table = _judgement(rows, replies, suite, endpoint, voted, seed)
    judgement = judgement.model_copy(update={"command": command})
    if out is not None:
        answers = [
            {"key": r.key, "numbers": r.numbers, "answer": r.answer}
            for r in sorted(replies, key=lambda r: r.key)
        ]
        write_judgement_page(judgement, answers, suite, opened, Path(out) / PAGE)
        write_judgement(Path(out), judgement, table, answers)
    return judgement


def _command(
    sources: Sequence[Source],
    suite: Dataset | str | Path,
    endpoint: Endpoint,
    settings: Mapping[str, object],
) -> str | None:
    """What repeats a judgement on the command line, or None where predictions are objects."""
    places = [named(source) for source in sources if isinstance(source, str | Path)]
    if len(places) < len(sources):
        return None
    words = [
        "judge",
        *places,
        "--suite",
        named(suite.path if isinstance(suite, Dataset) else suite),
    ]
    return command_line(
        [*words, "--endpoint", endpoint.address, "--model", endpoint.model], settings, "JUDGED"
    )


def _refuse_failures(replies: list[Reply], endpoint: Endpoint) -> None:
    if failed := [reply for reply in replies if reply.failure]:
        raise InputError(
            f"{endpoint.url} failed on {len(failed)} of {len(replies)} questions, the first is about {failed[0].key!r}: "
            f"{failed[0].failure}. The other answers are kept; run the same command again to ask for the rest."
        )


def _judgement(
    rows: Rows,
    replies: list[Reply],
    suite: Dataset,
    endpoint: Endpoint,
    votes: Votes | None,
    seed: int,
) -> tuple[Judgement, dict[str, np.ndarray]]:
    from lorweb_bench.stats.aggregate import summarise

    by_key: dict[str, list[Reply]] = {}
    for reply in replies:
        by_key.setdefault(reply.key, []).append(reply)
    verdicts = {
        key: _verdict(own) for key, own in by_key.items() if all(reply.numbers for reply in own)
    }
    unparsable = sorted(set(by_key) - set(verdicts))
    values = {
        key: verdicts.get(key) or rows.worst(key)
        for key in sorted(rows.labels)
        if key not in unparsable
    }
    if not verdicts:
        raise InputError(
            f"No answer of {endpoint.model} can be parsed ({len(replies)} were given); try another model."
        )
    table = {
        name: np.array([rows.labels[key][name] for key in values])
        for name in ("key", "split", *LABELS, "hard", "missing", "resized")
    }
    asked = list(next(iter(values.values())))
    table |= {
        f"judge_{name}[{endpoint.model}]": np.array([value[name] for value in values.values()])
        for name in asked
    }
    metrics = [f"judge_{name}[{endpoint.model}]" for name in asked]
    summary = summarise(table, metrics, seed)
    settings = {
        "model": endpoint.model,
        "version": VERSION,
        "long_edge": LONG_EDGE,
        "temperature": 0,
        "tries": TRIES,
        "max_tokens": MAX_TOKENS,
    }
    total = sum(suite.split(split).samples for split in suite.scored_splits)
    made = Judgement(
        suite=suite_id(suite),
        protocol=rows.protocol,
        judge=settings,
        judged=[Judged.of(p.manifest) for p in rows.predictions],
        partial=len(rows.labels) < total or any(p.manifest.partial for p in rows.predictions),
        scores={
            g: {m: Score(**v, higher_is_better=True) for m, v in of.items()}
            for g, of in summary.items()
        },
        position=_position(by_key) if rows.protocol == "choice" else None,
        items=len(rows.labels),
        questions=len(replies),
        missing=sum(label["missing"] for label in rows.labels.values()),
        resized=sum(label["resized"] for label in rows.labels.values()),
        unparsable=unparsable,
        agreement=_agreement(votes, rows.protocol, verdicts),
        environment=environment(),
        per_sample=table,
    )
    return made, table


def _verdict(replies: list[Reply]) -> dict[str, float]:
    """The numbers of an item; of a choice the share of its two orders in which the first prediction was preferred."""
    numbers = [reply.numbers or {} for reply in replies]
    if len(numbers) == 1:
        return {name: float(value) for name, value in numbers[0].items()}
    return {"preferred": ((numbers[0]["better"] == 1) + (numbers[1]["better"] == 2)) / 2}


def _position(by_key: Mapping[str, list[Reply]]) -> Position:
    numbers = [
        [(reply.numbers or {})["better"] for reply in own]
        for own in by_key.values()
        if all(reply.numbers for reply in own)
    ]
    when_first, when_second = (
        fmean(first == 1 for first, _ in numbers),
        fmean(second == 2 for _, second in numbers),
    )
    return Position(
        first=(when_first + 1 - when_second) / 2,
        consistent=fmean(first != second for first, second in numbers),
        when_first=when_first,
        when_second=when_second,
        answers=2 * len(numbers),
        items=len(numbers),
    )


def _agreement(
    votes: Votes | None, protocol: Protocol, verdicts: Mapping[str, dict[str, float]]
) -> Agreement | None:
    if votes is None:
        return None
    if protocol == "rating":
        return agreement_on_rating(votes, verdicts)
    return agreement_on_choice(votes, {key: value["preferred"] for key, value in verdicts.items()})
