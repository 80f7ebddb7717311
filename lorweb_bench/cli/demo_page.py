"""The demo's first page: the table, a picture of analogies, and where everything lies."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lorweb_bench.compare.compare import compare_reports
from lorweb_bench.compare.comparison import Difference
from lorweb_bench.data.dataset import open_suite
from lorweb_bench.data.images import decode, encode
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.protocol import SUMMARY_GROUPS, TIERS
from lorweb_bench.reports.html import write_page
from lorweb_bench.reports.report import Report, Score, open_report
from lorweb_bench.reports.sheet import Row, Section, contact_sheet
from lorweb_bench.runtime.files import write_atomic

PICTURED = ("lorweb", "single-lora", "token-control", "ceiling")
PER_TIER = 4
CONTROLS = ("token-control", "single-lora")
# From benchmarks/results/study, by `python -P benchmarks/study_report.py table`.
STUDY = (
    "The study (docs/study.md; 1,200 steps, three seeds): on unseen edits lorweb is .11 ahead of "
    "the single LoRA, no lead over the token control can be told, and a router that stays as it "
    "was drawn does as well. Twenty steps of search for its mix, on the given pair, add .075; the "
    "same search brings neither control anything."
)


def groups_of(reports: Mapping[str, Report]) -> list[str]:
    """The columns of the table: unseen, new to the base and seen, then the other scored tiers.

    Args:
        reports: The reports, by the names of the rows; all of one suite.
    """
    scores = next(iter(reports.values())).scores
    return [g for g in dict.fromkeys((*SUMMARY_GROUPS, *TIERS)) if g in scores]


def interval(score: Score) -> str:
    """`mean [low, high]`, or the mean alone where there are too few clusters."""
    if score.ci_low is None:
        return f"{score.mean:.2f}"
    return f"{score.mean:.2f} [{score.ci_low:.2f}, {score.ci_high:.2f}]"


def markdown_table(reports: Mapping[str, Report], metric: str) -> str:
    """A Markdown table of one metric: a row per report, a column per group.

    Args:
        reports: The reports, by the names of the rows; all of one suite.
        metric: The identity of the metric, which every report has.
    """
    groups = groups_of(reports)
    lines = [f"| {metric} | " + " | ".join(groups) + " |", "|---|" + "---|" * len(groups)]
    for name, report in reports.items():
        cells = [interval(report.scores[group][metric]) for group in groups]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain_table(reports: Mapping[str, Report]) -> str:
    """A table of `edit_recovery` for a terminal: a row per report, a column per group.

    Args:
        reports: The reports, by the names of the rows; all of one suite.
    """
    groups = groups_of(reports)
    short = [g.replace("composition", "comp").replace("parameters", "param") for g in groups]
    lines = ["edit_recovery".ljust(18) + "".join(name.rjust(13) for name in short)]
    for name, report in reports.items():
        means = [report.scores[group]["edit_recovery"].mean for group in groups]
        lines.append(name.ljust(18) + "".join(f"{mean:13.3f}" for mean in means))
    return "\n".join(lines)


def analogies_sheet(suite: Path, reports: Mapping[str, Path]) -> Image.Image:
    """A sheet of analogies of every tier: the pair, b, what methods made of it, and the truth.

    Items are taken in the order of their opaque keys, one per transformation: nobody chose them.

    Args:
        suite: The suite, in its full view.
        reports: The folders of the reports, by the names of the rows; of those in `PICTURED` the
            predictions are drawn.

    Raises:
        InputError: A picture cannot be read.
    """
    opened = open_suite(suite)
    names = [n for n in PICTURED if n in reports]
    predictions = [reports[name] / "predictions" for name in names]
    sections = []
    for tier in TIERS:
        split = "seen" if tier.startswith("seen") else "unseen"
        if split not in opened.manifest.splits:
            continue
        chosen: dict[str, Quadruplet] = {}
        for q in opened.quadruplets(split):
            if q.record.tier == tier and len(chosen) < PER_TIER:
                chosen.setdefault(q.record.transformation, q)
        if chosen:
            rows = [_row(q, predictions) for q in chosen.values()]
            sections.append(Section(tier.replace("_", " "), rows))
    return contact_sheet(
        "Analogies",
        "a : a' as b : b'. Items in the order of their keys.",
        sections,
        ("a", "a'", "b", *names, "truth"),
    )


def _row(q: Quadruplet, predictions: Sequence[Path]) -> Row:
    paths = [folder / f"{q.key}.png" for folder in predictions]
    answers = [decode(path.read_bytes(), str(path)) for path in paths]
    return Row([q.a, q.a_prime, q.b, *answers, q.b_prime], q.record.instruction, q.record.family)


def claimed_differences(reports: Mapping[str, Path]) -> list[Difference]:
    """LoRWeB less each of its two controls on `unseen`, paired by item: the paper's claim.

    Args:
        reports: The folders of the reports, by the names of the rows.

    Returns:
        The two differences; none where a report of the three is missing.
    """
    if not {"lorweb", *CONTROLS} <= set(reports):
        return []
    compared = compare_reports([reports[name] for name in ("lorweb", *CONTROLS)])
    found = compared.groups["unseen"].differences
    return [difference for difference in found if "lorweb" in (difference.first, difference.second)]


def conclusion(claim: Sequence[Difference]) -> str:
    """Whether a run bears the paper's claim out, in a sentence.

    Args:
        claim: The differences that `claimed_differences` found.
    """
    ahead = [d.verdict.startswith("lorweb is better") for d in claim]
    others = [d.second if d.first == "lorweb" else d.first for d in claim]
    if all(ahead):
        return "This run bears it out: lorweb is ahead of both, by more than noise."
    if not any(ahead):
        return "This run does not bear it out: lorweb is ahead of neither by more than noise."
    behind = others[ahead.index(False)]
    return (
        f"This run bears half of it out: lorweb is ahead of {others[ahead.index(True)]} "
        f"by more than noise, and not of {behind}."
    )


def board_note(reports: Mapping[str, Path]) -> str:
    """What a board of the demo says above its tables: what this run, and the study, say.

    Args:
        reports: The folders of the reports, by the names of the rows.
    """
    claim = claimed_differences(reports)
    if not claim:
        return f"{STUDY}\n"
    return f"The claim: a basis of LoRAs does better on unseen. {conclusion(claim)} {STUDY}\n"


def write_demo_page(
    folder: Path, suite: Path, reports: Mapping[str, Path], quick: bool = False
) -> str:
    """Write `index.html`, `analogies.png` and `table.md` to the demo's folder.

    Args:
        folder: The demo's folder.
        suite: The suite, in its full view.
        reports: The folders of the reports, by the names of the rows.
        quick: Whether it was a quick run, which the page then says.

    Returns:
        The table for a terminal.
    """
    opened = {name: open_report(path) for name, path in reports.items()}
    picture = analogies_sheet(suite, reports)
    write_atomic(folder / "analogies.png", encode(np.asarray(picture), "png"))
    tables = "\n\n".join(
        markdown_table(opened, metric) for metric in ("edit_recovery", "retrieval")
    )
    write_atomic(folder / "table.md", (tables + "\n").encode())
    groups = groups_of(opened)
    cells: dict[str, dict[str, Score]] = {}
    for name, report in opened.items():
        cells[name] = {g: report.scores[g]["edit_recovery"] for g in groups}
    claim = claimed_differences(reports)
    write_page(
        folder / "index.html",
        "demo_page.html.j2",
        folder="cli",
        title="Visual analogies, end to end",
        lead="A dataset, a reference model with its controls, nine kinds of method on seen and "
        "unseen transformations, a leaderboard.",
        groups=groups,
        cells=cells,
        claim=claim,
        conclusion=conclusion(claim) if claim else None,
        quick=quick,
        study=STUDY,
        links={name: f"reports/{path.name}/index.html" for name, path in reports.items()},
        suite=next(iter(opened.values())).suite,
    )
    return plain_table(opened)
