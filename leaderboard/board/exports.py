"""The board as CSV and JSON."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leaderboard.board.board import Board
from leaderboard.board.disclosure import GROUPS
from leaderboard.board.rows import GROUP, Row
from leaderboard.store.store import Entry
from lorweb_bench import __version__
from lorweb_bench.protocol import NEW_TO_BASE, SUMMARY_GROUPS
from lorweb_bench.reports.report import Report, Score
from lorweb_bench.runtime.files import write_atomic

FORMAT = "lorweb-bench/board"  # so `board.json` is what marks a folder as a site
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(path: Path, boards: Sequence[Board]) -> Path:
    """One line per row of the board: who, what, rank, and per group the headline with its interval.

    Other metrics on unseen.
    """
    metrics = list(dict.fromkeys(metric for board in boards for metric in board.metrics))
    lines = [_line(board, row, metrics) for board in boards for row in board.rows]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(
        buffer, list(lines[0]) if lines else ["suite", "method"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(lines)
    write_atomic(path, buffer.getvalue())
    return path


def _line(board: Board, row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    submission, card, cost = row.entry.submission, row.entry.verdict.card, row.report.cost
    line: dict[str, Any] = {
        "suite": text(board.suite.name),
        "suite_version": text(board.suite.version),
        "suite_fingerprint": board.suite.fingerprint,
        "method": text(row.method),
        "version": text(submission.version),
        "team": text(row.team),
        "track": submission.track,
        "prompt_mode": submission.prompt_mode,
        "exemplars": submission.exemplars,
        "runs": len(row.runs),
        "seeds": "; ".join(" ".join(map(str, seeds_of(run))) for run in row.runs),
        "kind": row.kind,
        "rank_low": row.rank[0] if row.rank else None,
        "rank_high": row.rank[1] if row.rank else None,
        "verdict": row.level,
        "leaks": row.leaks,
        "remarks": text("; ".join(row.remarks)),
        "same_images": text(row.same_images or ""),
        "decided": max(run.verdict.decided for run in row.runs).isoformat(),
        "base_model": text(card.base_model if card else ""),
        "trainable_parameters": card.parameters.trainable if card else None,
        "seconds_per_image": cost.seconds_per_image,
        "sampling_steps": cost.sampling_steps,
        "device": text(cost.device or ""),
    }
    for group in GROUPS:
        line |= _values(f"{board.headline}_{group}", row.score(group, board.headline))
    line |= dict(
        zip(
            (f"{board.headline}_lowest_run", f"{board.headline}_highest_run"),
            row.spread(board.headline) or (None, None),
            strict=True,
        )
    )
    for metric in metrics:
        if metric != board.headline:
            line |= _values(f"{metric}_{GROUP}", row.score(GROUP, metric))
    return line | {"sha256": " ".join(run.submission.sha256 for run in row.runs)}


def seeds_of(run: Entry) -> list[int]:
    """The seeds that a run's card declares."""
    return run.verdict.card.seeds if run.verdict.card else []


def _values(name: str, score: Score | None) -> dict[str, Any]:
    numbers = (score.mean, score.ci_low, score.ci_high) if score else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def text(value: str) -> str:
    """Text for a cell: what a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{value}" if value.startswith(FORMULA) else value


def write_json_board(path: Path, title: str, boards: Sequence[Board]) -> Path:
    """Everything that the pages show.

    Per suite its facts and its rows, best first, each with all scores, card and verdict.

    A row is a line, so that a commit shows which ones changed, and thousands are written in
    seconds.
    """
    suites = ",\n".join(
        _holding(_facts(board), "rows", map(_plain, map(_row, board.rows))) for board in boards
    )
    head = {
        "format": FORMAT,
        "format_version": 1,
        "lorweb_bench": __version__,
        "revision": hashlib.sha256(suites.encode()).hexdigest()[:16],
        "title": title,
    }
    write_atomic(path, _holding(head, "suites", [suites] if suites else []) + "\n")
    return path


def _plain(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _holding(facts: dict[str, Any], name: str, texts: Iterable[str]) -> str:
    """The JSON of `facts` with a list under `name` besides, whose elements are JSON already."""
    elements = ",\n".join(texts)
    return f"{_plain(facts)[:-1]}, {_plain(name)}: [\n{elements}\n]}}"


def _facts(board: Board) -> dict[str, Any]:
    return {
        "name": board.suite.name,
        "version": board.suite.version,
        "fingerprint": board.suite.fingerprint,
        "targets_fingerprint": board.suite.targets_fingerprint,
        "standing": board.suite.standing,
        "book": board.book.label if board.book else None,
        "about": board.about,
        "headline": {"metric": board.headline, "group": GROUP},
    }


def _row(row: Row) -> dict[str, Any]:
    card, report = row.entry.verdict.card, row.report
    return {
        "method": row.method,
        "version": row.entry.submission.version,
        "team": row.team,
        "track": report.track,
        "prompt_mode": report.prompt_mode,
        "exemplars": report.exemplars,
        "kind": row.kind,
        "rank": list(row.rank) if row.rank else None,
        "places": {cell: list(rank_range) for cell, rank_range in row.places.items()},
        "remarks": row.remarks,
        "same_images": row.same_images,
        "verdict": row.level,
        "runs": [_run(run) for run in row.runs],
        "card": card.model_dump(mode="json") if card else None,
        "cost": report.cost.model_dump(mode="json"),
        **report.model_dump(mode="json", include={"scores"}),
        "gap": report.gap,
        "chance": report.chance,
    }


def _run(run: Entry) -> dict[str, Any]:
    verdict = run.verdict
    return {
        "seeds": seeds_of(run),
        "verdict": verdict.level,
        "reasons": list(verdict.reasons),
        "decided": verdict.decided.isoformat(),
        "withdrawn": run.submission.withdrawn is not None,
        "sha256": verdict.sha256,
        "training": [finding.model_dump(mode="json") for finding in verdict.training],
        "environment": verdict.environment,
        "scores": {
            group: _means(run.report, group)
            for group in SUMMARY_GROUPS
            if group != NEW_TO_BASE or group in run.report.scores
        },
    }


def _means(report: Report, group: str) -> dict[str, float]:
    return {metric: score.mean for metric, score in report.scores.get(group, {}).items()}
