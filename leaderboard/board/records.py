"""A row of a board in forms that other places read: Every Eval Ever, and the hub's results."""

import json
from dataclasses import replace

from leaderboard.board.board import Board
from leaderboard.board.rows import Row, slug
from lorweb_bench.errors import InputError
from lorweb_bench.reports.every_eval_ever import Source, aggregate
from lorweb_bench.reports.hub_results import Benchmark, eval_results
from lorweb_bench.runtime.yaml_files import to_yaml

SUITE_REPOSITORY = "OWNER/SUITE"  # to be filled in: a board does not know where its suite lies


def record_path(board: Board, row: Row) -> str:
    """Where the record of a row lies in the site."""
    return f"records/{board.slug}/{row.anchor}.json"


def record(title: str, board: Board, row: Row) -> str:
    """A row as a record of Every Eval Ever: scores that the board computed, told by the board.

    Args:
        title: The board's.
        board: The suite's part of it.
        row: The row, with the report that may be shown.
    """
    card = row.entry.verdict.card
    source = Source(title, f"{slug(row.team)}/{row.slug}", "third_party")
    if card is not None and card.links.weights:
        source = replace(source, availability="open_weights")
    content = aggregate(row.report, source, int(row.decided.timestamp()))
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def hub_entry(title: str, row: Row) -> str | None:
    """What the model's repository holds in `.eval_results/`; None where a row has no headline.

    `SITE` stands for the board's address and `OWNER/SUITE` for the suite's repository.
    """
    try:
        entries = eval_results(row.report, Benchmark(SUITE_REPOSITORY))
    except InputError:
        return None
    for entry in entries:
        entry["source"] = {"url": f"SITE/methods/{row.slug}.html#{row.anchor}", "name": title}
    return to_yaml(entries)
