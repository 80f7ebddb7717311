"""The page of a judgement: what the judge gave, by group and with intervals, and whether it is to
be believed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.judging.anchors import NAMES, anchor_notes
from lorweb_bench.judging.questions import change_in
from lorweb_bench.reports.html import write_page
from lorweb_bench.reports.report_page import notes, page_context

if TYPE_CHECKING:
    from lorweb_bench.judging.judgement import Judgement


def write_judgement_page(
    judgement: "Judgement",
    answers: Sequence[Mapping[str, Any]],
    suite: Dataset,
    predictions: Sequence[Mapping[str, Image.Image]],
    out: Path | str,
) -> None:
    """Write the page of a judgement to the file `out`; it opens from disk, without a network.

    Args:
        judgement: What the page shows.
        answers: The lines of `answers.jsonl`.
        suite: The suite that the predictions are of.
        predictions: Of each judged method, RGB images by key.
        out: The file to write.
    """
    report = judgement.reports()[0]
    names = _names(judgement)
    by_name = dict(zip(names if len(names) > 1 else ["prediction"], predictions, strict=True))
    context = page_context(report, judgement.per_sample or {}, suite, by_name)
    for items in context["cards"].values():
        for item in items:
            item["word"] = _word(item, names)
            key = item["record"].id
            changes = [change_in(answer["answer"]) for answer in answers if answer["key"] == key]
            item["said"] = list(dict.fromkeys(change for change in changes if change))
    context["notes"] = _notes(judgement)
    lead = (
        f"Judged by {judgement.judge['model']} on {judgement.suite.name} {judgement.suite.version}"
    )
    write_page(
        out,
        "judgement.html.j2",
        folder="judging",
        title=" against ".join(names),
        kicker="Judgement",
        lead=lead,
        judgement=judgement,
        names=names,
        anchor_names=NAMES,
        **context,
    )


def _names(judgement: "Judgement") -> list[str]:
    """The methods' names, told apart by a number where both are the same."""
    names = [judged.method.name for judged in judgement.judged]
    return (
        names
        if len(set(names)) == len(names)
        else [f"{name} #{i}" for i, name in enumerate(names, 1)]
    )


def _word(item: Mapping[str, Any], names: Sequence[str]) -> str:
    if len(names) == 1:
        return str(item["word"])
    if item["value"] == 0.5:
        return "no preference"
    return f"{names[0] if item['value'] > 0.5 else names[1]} preferred"


def _notes(judgement: "Judgement") -> list[str]:
    """What a reader has to know before any number."""
    lines = notes(judgement.reports()[0].model_copy(update={"missing": 0}))
    if judgement.missing:
        lost = (
            "counts the lowest rating"
            if judgement.protocol == "rating"
            else "loses, and where both are missing nobody wins"
        )
        lines.insert(
            0,
            f"{judgement.missing:,} of {judgement.items:,} items lack a prediction; it {lost}, "
            "without being asked about.",
        )
    lines += left_out_notes(judgement)
    return lines + anchor_notes(judgement.anchors)


def left_out_notes(judgement: "Judgement") -> list[str]:
    """Which items no mean holds, and why; and whether several models answered."""
    lines = []
    if judgement.unparsable:
        cut = (
            f" ({judgement.cut:,} answers were cut at the limit of tokens)" if judgement.cut else ""
        )
        lines.append(
            f"The answers about {len(judgement.unparsable):,} of {judgement.items:,} items could "
            "not be "
            f"parsed{cut}; these items are left out of every mean, and named below."
        )
    if judgement.failed:
        key, reason = next(iter(judgement.failed.items()))
        lines.append(
            f"{len(judgement.failed):,} of {judgement.items:,} items have no answer and are left "
            "out of "
            f"every mean; the first is {key}: {reason}."
        )
    served = judgement.judge.get("served", {})
    if len(served) > 1:
        lines.append(f"The server answered under several model names: {', '.join(served)}.")
    return lines
