"""Judging predictions: one question per item and prediction, or two per item and pair, one in each
order.
"""

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
from lorweb_bench.judging.anchors import (
    ANCHORS,
    Anchor,
    anchor_questions,
    questions_per_item,
    read_anchors,
)
from lorweb_bench.judging.endpoint import TRIES, Endpoint, Reply
from lorweb_bench.judging.judgement import (
    JUDGEMENT_FORMAT,
    Agreement,
    Judged,
    Judgement,
    Noise,
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
    questions_about,
)
from lorweb_bench.judging.votes import Votes, agreement_on_choice, agreement_on_rating, read_votes
from lorweb_bench.methods.predict import chosen_keys
from lorweb_bench.predictions.format import suite_id
from lorweb_bench.predictions.reader import (
    Predictions,
    Resize,
    fitted,
    open_predictions,
    resize_mode,
)
from lorweb_bench.protocol import BOOTSTRAP_SEED
from lorweb_bench.reports.report import PAGE, Score
from lorweb_bench.runtime.environment import environment
from lorweb_bench.runtime.files import claim_output
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.rerun_command import rerun_command
from lorweb_bench.scoring.score import LABELS

Source = str | Path | Mapping[str, Any]


@dataclass
class JudgedItems:
    """The items of a judgement: their questions, and what is known of each before the judge
    answers.
    """

    protocol: Protocol
    predictions: tuple[Predictions, ...]
    resize: Resize | None
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)

    def questions(self, suite: Dataset, keys: set[str]) -> Iterator[Question]:
        """The questions about all items that have predictions, in the suite's order.

        The labels of every item are filled in on the way.
        """
        for split in suite.scored_splits:
            for q in suite.quadruplets(split, keys=keys):
                present = [q.key in predictions for predictions in self.predictions]
                images, resized = self._images(q) if all(present) else ([], False)
                labels = {label: getattr(q.record, label) or "" for label in LABELS}
                self.labels[q.key] = {
                    **labels,
                    "key": q.key,
                    "split": split,
                    "hard": bool(q.record.hard),
                    "missing": not all(present),
                    "resized": resized,
                    "present": present,
                }
                if images:
                    yield from questions_about(q, images)

    def _images(self, q: Quadruplet) -> tuple[list[Image.Image], bool]:
        images = [
            fitted(predictions[q.key], q.key, q.b.size, self.resize)
            for predictions in self.predictions
        ]
        return [image for image, _ in images], any(resized for _, resized in images)

    def worst(self, key: str) -> dict[str, float]:
        """What an item without a prediction counts: the lowest rating.

        Of two, the one that is there wins.
        """
        if self.protocol == "rating":
            return {"accuracy": float(LOWEST), "consistency": float(LOWEST)}
        first, second = self.labels[key]["present"]
        return {"preferred": 0.5 if first == second else float(first)}


@dataclass(frozen=True)
class Verdicts:
    """What the replies come to.

    Attributes:
        values: By item, the mean of each number; of a choice, how far the first prediction is
            preferred.
        unparsable: The items whose answers cannot be parsed.
        failed: By item, why the endpoint gave no answer.
        cut: How many answers were cut at the limit of tokens before they could be parsed.
    """

    values: dict[str, dict[str, float]]
    unparsable: list[str]
    failed: dict[str, str]
    cut: int

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> "Verdicts":
        """Decide each item; one that any of its questions has no answer to is left out."""
        verdicts = cls(
            {}, [], {}, sum(bool(r.answer and r.answer.cut and not r.numbers) for r in replies)
        )
        for key, replies_to_item in sorted(_by_key(replies).items()):
            answered = []
            for swapped in sorted({r.about.swapped for r in replies_to_item}):
                of_order = (r for r in replies_to_item if r.about.swapped == swapped)
                answered.append([r.numbers for r in of_order if r.numbers])
            if all(answered):
                verdicts.values[key] = _verdict(answered)
            elif failures := [r.failure for r in replies_to_item if r.failure]:
                verdicts.failed[key] = failures[0]
            else:
                verdicts.unparsable.append(key)
        return verdicts


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
    resize: bool | str | None = None,
    repeats: int = 1,
    anchors: int = ANCHORS,
    seed: int = BOOTSTRAP_SEED,
) -> Judgement:
    """Have a model rate predictions, or, where `other` is given, choose between the two.

    Items whose answers cannot be parsed, or that the endpoint refused or failed on, are left out of
    every mean, counted and named. Missing predictions are not asked about: they count the lowest
    rating, or lose.

    Args:
        predictions: A folder, or images by key.
        suite: The suite, or its folder; its full view.
        endpoint: The server and the model.
        other: A second folder, or images by key, to choose between.
        names: The methods' names, where no manifest says them.
        out: The folder to write the judgement and its page to.
        votes: A CSV file of people's votes to compare the judge with.
        limit: Judge so many items of the public order; marks the result as partial.
        resize: What happens to predictions of another size than b's; see `score`.
        repeats: How often to ask each question, which gives the judge's own noise.
        anchors: From how many items to show known pictures; see `Judgement.anchors`.
        seed: Of the intervals.

    Returns:
        The judgement, which `out` holds too.

    Raises:
        InputError: Something does not fit, or the endpoint has no answer to any question. The
            answers that it gave are kept, and the same call asks only for what is left.
    """
    sources = [predictions] if other is None else [predictions, other]
    settings = {
        "endpoint": endpoint.address,
        "model": endpoint.model,
        "name": names[0],
        "other_name": names[1],
        "votes": votes and Path(votes),
        "limit": limit,
        "resize": resize_mode(resize),
        "repeats": None if repeats == 1 else repeats,
        "anchors": None if anchors == ANCHORS else anchors,
        "body": dict(endpoint.body) or None,
        "seed": None if seed == BOOTSTRAP_SEED else seed,
    }
    command = rerun_command("judge", sources, suite, settings, out="JUDGED")
    if repeats < 1 or anchors < 0:
        raise InputError(f"{repeats} repeats and {anchors} anchors: give 1 or more, and 0 or more.")
    suite = (
        suite
        if isinstance(suite, Dataset)
        else open_suite(local_folder(suite, "dataset").resolve())
    )
    if suite.public:
        raise InputError(
            f"{suite.path} is a public view, which does not say what belongs together; "
            "judge against the full view."
        )
    opened = tuple(
        open_predictions(source, suite, name) for source, name in zip(sources, names, strict=False)
    )
    protocol: Protocol = "rating" if other is None else "choice"
    methods = [p.manifest.method.name for p in opened]
    people = None
    if votes is not None:
        people = read_votes(Path(votes), protocol, methods, chosen_keys(suite, None, None))
    if out is not None:
        claim_output(out, JUDGEMENT_FORMAT)
    items = JudgedItems(protocol, opened, resize_mode(resize))
    keys = chosen_keys(suite, limit, None)
    replies = _ask(items, suite, keys, endpoint, repeats)
    asked_anew = any(r.answer and not r.remembered for r in replies)
    anchor_results = _ask_anchors(suite, min(anchors, len(keys)), protocol, endpoint, asked_anew)
    judgement, table = _judgement(items, replies, suite, endpoint, people, seed)
    judgement = judgement.model_copy(
        update={"command": command, "anchors": anchor_results, "noise": _noise(replies, repeats)}
    )
    if out is not None:
        answers = [_answer_row(r, repeats) for r in sorted(replies, key=lambda r: r.key)]
        write_judgement_page(judgement, answers, suite, opened, Path(out) / PAGE)
        write_judgement(Path(out), judgement, table, answers)
    return judgement


def _ask(
    items: JudgedItems, suite: Dataset, keys: set[str], endpoint: Endpoint, repeats: int
) -> list[Reply]:
    """All replies about the predictions, from one model name as far as the server gives one.

    Where the server answers under another name than it did in an earlier run, the kept answers are
    another model's, and are asked for again.
    """
    per_item = len(items.predictions)
    answered = keys.intersection(*items.predictions)
    total = per_item * repeats * len(answered)
    questions = items.questions(suite, keys)
    replies = list(track(endpoint.ask_all(questions, repeats), total, "judging"))
    served = {r.answer.served for r in replies if r.answer and not r.remembered}
    stale = {r.key for r in replies if r.answer and r.remembered and r.answer.served not in served}
    if not served or not stale:
        return replies
    questions = items.questions(suite, stale)
    again = endpoint.ask_all(questions, repeats, accepted=served)
    total = per_item * repeats * len(stale)
    return [r for r in replies if r.key not in stale] + list(
        track(again, total, "judging again, by the model that the server runs now")
    )


def _ask_anchors(
    suite: Dataset, items: int, protocol: Protocol, endpoint: Endpoint, asked_anew: bool
) -> list[Anchor]:
    """Ask about known pictures: anew in a run that asked anything anew, so that drift is seen."""
    if not items:
        return []
    questions = anchor_questions(suite, chosen_keys(suite, items, None), protocol)
    replies = endpoint.ask_all(questions, accepted=frozenset() if asked_anew else None)
    return read_anchors(
        list(track(replies, items * questions_per_item(protocol), "judging known pictures"))
    )


def _judgement(
    items: JudgedItems,
    replies: list[Reply],
    suite: Dataset,
    endpoint: Endpoint,
    votes: Votes | None,
    seed: int,
) -> tuple[Judgement, dict[str, np.ndarray]]:
    from lorweb_bench.stats.aggregate import summarise

    verdicts = Verdicts.of(replies)
    if not verdicts.values:
        raise InputError(_why_nothing(verdicts, replies, endpoint))
    left_out = {*verdicts.unparsable, *verdicts.failed}
    judged = sorted(key for key in items.labels if key not in left_out)
    values = [verdicts.values.get(key) or items.worst(key) for key in judged]
    columns = ("key", "split", *LABELS, "hard", "missing", "resized")
    table = {}
    for name in columns:
        table[name] = np.array([items.labels[key][name] for key in judged])
    metrics = []
    for name in values[0]:
        metrics.append(f"judge_{name}[{endpoint.model}]")
        table[metrics[-1]] = np.array([value[name] for value in values])
    scores: dict[str, dict[str, Score]] = {}
    for group, of_group in summarise(table, metrics, seed).items():
        scores[group] = {
            m: Score(**numbers, higher_is_better=True) for m, numbers in of_group.items()
        }
    total = sum(suite.split(split).samples for split in suite.scored_splits)
    judgement = Judgement(
        suite=suite_id(suite),
        protocol=items.protocol,
        judge=_settings(endpoint, replies),
        judged=[Judged.of(p.manifest) for p in items.predictions],
        partial=len(items.labels) < total or any(p.manifest.partial for p in items.predictions),
        scores=scores,
        position=_position(replies) if items.protocol == "choice" else None,
        items=len(items.labels),
        questions=len(replies),
        missing=sum(label["missing"] for label in items.labels.values()),
        resized=sum(label["resized"] for label in items.labels.values()),
        unparsable=verdicts.unparsable,
        failed=verdicts.failed,
        cut=verdicts.cut,
        agreement=_agreement(votes, items.protocol, verdicts.values),
        environment=environment(),
        per_sample=table,
    )
    return judgement, table


def _settings(endpoint: Endpoint, replies: Sequence[Reply]) -> dict[str, Any]:
    """How the judge was asked, and under which names the server answered."""
    served: dict[str, int] = {}
    for reply in replies:
        if reply.answer and reply.answer.served:
            served[reply.answer.served] = served.get(reply.answer.served, 0) + 1
    return {
        "model": endpoint.model,
        "endpoint": endpoint.address,
        "served": dict(sorted(served.items())),
        "version": VERSION,
        "long_edge": LONG_EDGE,
        "tries": TRIES,
        **endpoint.fields(),
    }


def _why_nothing(verdicts: Verdicts, replies: Sequence[Reply], endpoint: Endpoint) -> str:
    """The sentence for a run without a single verdict."""
    if verdicts.failed:
        key, reason = next(iter(verdicts.failed.items()))
        return (
            f"{endpoint.address} has no answer to any question; "
            f"the first is about {key!r}: {reason}."
        )
    problem = f"No answer of {endpoint.model} can be parsed ({len(replies)} were given)"
    if not verdicts.cut:
        return f"{problem}; try another model."
    limit = endpoint.token_limit
    tokens = [r.answer.tokens for r in replies if r.answer and r.answer.tokens]
    at = f"{limit or max(tokens, default=0) or 'its limit of'} tokens"
    name = "max_tokens" if "max_tokens" in endpoint.fields() else "max_completion_tokens"
    return (
        f"{problem}: {verdicts.cut} were cut at {at}, before the model had come to an answer; "
        f"raise the limit with --body {name}={8 * (limit or 1024)}."
    )


def _by_key(replies: Sequence[Reply]) -> dict[str, list[Reply]]:
    by_key: dict[str, list[Reply]] = {}
    for reply in replies:
        by_key.setdefault(reply.key, []).append(reply)
    return by_key


def _verdict(answered: Sequence[Sequence[Mapping[str, int]]]) -> dict[str, float]:
    """The means of an item's numbers.

    Of a choice, the share of both orders that prefers the first.
    """
    if "better" not in answered[0][0]:
        means = {}
        for name in answered[0][0]:
            means[name] = fmean(numbers[name] for numbers in answered[0])
        return means
    shares = []
    for swapped, order in enumerate(answered):
        shares.append(fmean((numbers["better"] == 1) != swapped for numbers in order))
    return {"preferred": fmean(shares)}


def _position(replies: Sequence[Reply]) -> Position | None:
    """How far choices go by the order, over the items and repeats that have an answer in both
    orders.
    """
    chosen: dict[tuple[str, int], dict[bool, int]] = {}
    for reply in replies:
        if reply.numbers:
            orders = chosen.setdefault((reply.key, reply.repeat), {})
            orders[reply.about.swapped] = reply.numbers["better"]
    pairs = [(orders[False], orders[True]) for orders in chosen.values() if len(orders) == 2]
    if not pairs:
        return None
    when_first = fmean(straight == 1 for straight, _ in pairs)
    when_second = fmean(swapped == 2 for _, swapped in pairs)
    return Position(
        first=(when_first + 1 - when_second) / 2,
        consistent=fmean(straight != swapped for straight, swapped in pairs),
        when_first=when_first,
        when_second=when_second,
        answers=2 * len(pairs),
        items=len(pairs),
    )


def _noise(replies: Sequence[Reply], repeats: int) -> Noise | None:
    """How far the answers to one question differ between repeats."""
    by_question: dict[Any, list[dict[str, int]]] = {}
    for reply in replies:
        if reply.numbers:
            by_question.setdefault(reply.about, []).append(reply.numbers)
    repeated = [numbers for numbers in by_question.values() if len(numbers) > 1]
    if not repeated:
        return None
    deviation = {}
    for name in repeated[0][0]:
        variances = []
        for answers in repeated:
            values = [numbers[name] for numbers in answers]
            variances.append(float(np.var(values, ddof=1)))
        deviation[name] = fmean(variances) ** 0.5
    same = fmean(answers.count(answers[0]) == len(answers) for answers in repeated)
    return Noise(repeats=repeats, questions=len(repeated), same=same, deviation=deviation)


def _answer_row(reply: Reply, repeats: int) -> dict[str, Any]:
    """A line of `answers.jsonl`."""
    row: dict[str, Any] = {"key": reply.key, "numbers": reply.numbers}
    row["answer"] = reply.answer.text if reply.answer else ""
    if repeats > 1:
        row["repeat"] = reply.repeat
    if reply.failure:
        row["failure"] = reply.failure
    if reply.answer:
        row |= {"served": reply.answer.served, "finish": reply.answer.finish}
        if reply.answer.reasoning:
            row["reasoning"] = reply.answer.reasoning
    return row


def _agreement(
    votes: Votes | None, protocol: Protocol, verdicts: Mapping[str, dict[str, float]]
) -> Agreement | None:
    if votes is None:
        return None
    if protocol == "rating":
        return agreement_on_rating(votes, verdicts)
    return agreement_on_choice(votes, {key: value["preferred"] for key, value in verdicts.items()})
