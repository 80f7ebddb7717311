"""The page of a judgement: what the judge gave, by group and with intervals, and whether it is to be believed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lorweb_bench.data.dataset import Dataset
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
    """Write the page of a judgement to the file `out`; it opens from disk and asks the network for nothing.

    `answers` are the lines of `answers.jsonl`; `predictions` of each judged method map keys to RGB images.
    """
    report = judgement.reports()[0]
    names = _names(judgement)
    shown = dict(zip(names if len(names) > 1 else ["prediction"], predictions, strict=True))
    context = page_context(report, judgement.per_sample or {}, suite, shown)
    for items in context["cards"].values():
        for item in items:
            item["word"] = _word(item, names)
            said = [
                change_in(answer["answer"])
                for answer in answers
                if answer["key"] == item["record"].id
            ]
            item["said"] = list(dict.fromkeys(words for words in said if words))
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
    return {1.0: f"{names[0]} preferred", 0.0: f"{names[1]} preferred"}.get(
        item["value"], "no preference"
    )


def _notes(judgement: "Judgement") -> list[str]:
    """What a reader has to know before any number."""
    said = notes(judgement.reports()[0].model_copy(update={"missing": 0}))
    if judgement.missing:
        lost = (
            "counts the lowest rating"
            if judgement.protocol == "rating"
            else "loses, and where both are missing nobody wins"
        )
        said.insert(
            0,
            f"{judgement.missing:,} of {judgement.items:,} items lack a prediction; it {lost}, without being asked about.",
        )
    if judgement.unparsable:
        said.append(
            f"The answers about {len(judgement.unparsable):,} of {judgement.items:,} items could not be parsed; "
            "these items are left out of every mean, and named below."
        )
    return said
