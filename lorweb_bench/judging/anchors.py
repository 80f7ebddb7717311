"""Anchors: pictures whose quality is known, shown to the judge in every run.

The judge sees the true answer, b handed back, and another edit of b. A judge that does not rate the
truth above the other two, or that rates them differently than last month, is not to be believed.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import to_array, to_image
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.judging.endpoint import Reply
from lorweb_bench.judging.questions import Protocol, Question, questions_about

ANCHORS = 8  # items that the anchors are taken from, the first ones of the public order
AnchorKind = Literal["truth", "b", "other_edit"]
NAMES: dict[str, str] = {
    "truth": "the truth",
    "b": "b handed back",
    "other_edit": "another edit of b",
}


class Anchor(BaseModel):
    """What the judge said of one kind of known picture, as means over the anchored items.

    `scores` has `accuracy` and `consistency` (1 to 10) of a rating; of a choice, `truth_preferred`,
    the share of answers that prefer the truth to this picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: AnchorKind
    items: int
    scores: dict[str, float]


def anchor_questions(suite: Dataset, keys: set[str], protocol: Protocol) -> Iterator[Question]:
    """Ask about the known pictures of the items `keys`.

    In a choice the truth stands against the others.
    """
    for split in suite.scored_splits:
        for q in suite.quadruplets(split, keys=keys):
            if q.b_prime is None:
                continue
            others: dict[str, Image.Image] = {"b": q.b, "other_edit": other_edit(q)}
            if protocol == "rating":
                for kind, image in {"truth": q.b_prime, **others}.items():
                    yield from questions_about(q, [image], kind)
            else:
                for kind, image in others.items():
                    yield from questions_about(q, [q.b_prime, image], kind)


def questions_per_item(protocol: Protocol) -> int:
    """How many questions the anchors of one item are."""
    return 3 if protocol == "rating" else 4


def other_edit(q: Quadruplet) -> Image.Image:
    """b as a negative or upside down, whichever is further from the true answer."""
    b, truth = to_array(q.b), to_array(q.b_prime or q.b).astype(np.int16)
    edits = [255 - b, np.ascontiguousarray(b[::-1])]
    return to_image(max(edits, key=lambda edit: float(np.abs(edit - truth).mean())))


def read_anchors(replies: Sequence[Reply]) -> list[Anchor]:
    """The means by kind over the anchors that were answered."""
    anchors = []
    for kind in NAMES:
        answered = [r for r in replies if r.about.anchor == kind and r.numbers]
        if answered:
            names = [name for name in (answered[0].numbers or {}) if name != "better"]
            scores = {}
            for name in names:
                scores[name] = fmean((r.numbers or {})[name] for r in answered)
            if not names:
                scores["truth_preferred"] = fmean(
                    ((r.numbers or {})["better"] == 2) == r.about.swapped for r in answered
                )
            items = len({r.key for r in answered})
            anchors.append(Anchor.model_validate({"kind": kind, "items": items, "scores": scores}))
    return anchors


def anchor_notes(anchors: Sequence[Anchor]) -> list[str]:
    """What the judge said of the known pictures, and a warning where it does not tell the truth
    from the others.
    """
    if not anchors:
        return []
    if "truth_preferred" in anchors[0].scores:
        shares = {anchor.kind: anchor.scores["truth_preferred"] for anchor in anchors}
        words = ", ".join(f"{value:.0%} to {NAMES[kind]}" for kind, value in shares.items())
        notes = [f"Of known pictures the judge prefers the truth in {words}."]
        fooled = [kind for kind, value in shares.items() if value <= 0.5]
    else:
        rated = {anchor.kind: anchor.scores["accuracy"] for anchor in anchors}
        words = ", ".join(
            f"{NAMES[a.kind]} {a.scores['accuracy']:.1f} and {a.scores['consistency']:.1f}"
            for a in anchors
        )
        notes = [f"Of known pictures the judge said, in accuracy and consistency: {words}."]
        fooled = [
            kind
            for kind, value in rated.items()
            if kind != "truth" and value >= rated.get("truth", 10)
        ]
    if fooled:
        names = " and ".join(NAMES[kind] for kind in fooled)
        notes.append(f"The judge does not tell the truth from {names}: do not believe its numbers.")
    return notes
