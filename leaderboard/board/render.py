"""The static site of a board.

Pages for the table, each method and each suite, a gallery, and the same as CSV and JSON.
"""

import base64
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from leaderboard.board.board import Board, boards
from leaderboard.board.exports import FORMAT, write_csv, write_json_board
from leaderboard.board.feed import write_feed
from leaderboard.board.gallery import Gallery, make_gallery
from leaderboard.board.plots import badge, cost_plot, history, history_plot
from leaderboard.board.records import hub_entry, record, record_path
from leaderboard.board.rows import GROUP, KINDS, Row
from leaderboard.store.store import Store
from lorweb_bench import __version__
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SUMMARY_GROUPS, UNSEEN_TIERS
from lorweb_bench.reports.bars import SCALES, TIER_WORDS, Bar, Scale, scale_of, transformation_bars
from lorweb_bench.reports.html import environment
from lorweb_bench.reports.html import render as render_page
from lorweb_bench.reports.report import Report, Score
from lorweb_bench.runtime.files import canonical_json, claim_output, finish_output, write_atomic

OURS = ("methods", "suites", "gallery", "badges", "records")  # these hold nothing else
EXTREMES = 8  # transformations that are shown as the best and as the worst
# methods of a table on the first page; ten times as many on its suite's, all in the CSV and JSON
SHOWN = 100
Part = tuple[Board, Row]
STRIP = ("seen_single", "new_parameters", "new_composition")
STANDING_WORDS = {
    "private": "Private: none of its items and single transformations is shown.",
    "public": "Public: its items may be shown, answers included.",
    "retired": "Retired: it was private, takes no more submissions, and its items may be shown.",
}
README = """---
title: {title}
sdk: static
app_file: index.html
---

A leaderboard of visual analogies, a static site: open `index.html`.
`board.csv` and `board.json` hold the same.
"""
LEAD = (
    "Visual analogies: a is to a′ as b is to what? Every score was computed here, from "
    "submitted images."
)


class BoardScale(Scale):
    """What the bars of a board are drawn on."""

    def of(self, score: Score, label: str = "", note: str = "") -> Bar:
        """The bar of a score, with its interval where it has one."""
        interval = (
            None if score.ci_low is None or score.ci_high is None else (score.ci_low, score.ci_high)
        )
        return self.bar(label, note, score.mean, interval)


def render(
    store: Store,
    output: Path | str,
    public: Sequence[Dataset] = (),
    title: str = "Leaderboard",
    note: str = "",
) -> Path:
    """Write the site of a store to the folder `output` and give back its `index.html`.

    The same store gives the same bytes.

    Items are shown of the suites in `public` alone, given in the full view. InputError when the
    folder holds something else, or a suite is not one that the store has, or private there. `note`
    is a word of the keeper's, plain text, above the tables of the first page.
    """
    found = boards(store.entries(withdrawn=True))
    return render_boards(found, Path(output), public, title, note=note)


def render_boards(
    found: Sequence[Board],
    output: Path,
    public: Sequence[Dataset],
    title: str,
    service: bool = False,
    note: str = "",
) -> Path:
    """`render` of boards that are made already.

    With `service` the pages link to the one where a team submits.

    Pages of methods and images of the gallery that are there and would be the same stay as they
    are.
    """
    public_boards = _public(found, public)
    claim_output(output, FORMAT)
    galleries = {
        slug: make_gallery(board, suite, output) for slug, (board, suite) in public_boards.items()
    }
    site = Site(output, title, found, galleries, service, note)
    current_files = {path for gallery in galleries.values() for path in gallery.files}
    current_files |= set(site.write())
    for path in (p for folder in OURS for p in (output / folder).rglob("*")):
        if path.is_file() and path not in current_files:
            path.unlink()  # of a method or an item that is no longer shown
    _for_hosts(output, title)
    finish_output(output)
    return output / "index.html"


def sources() -> str:
    """A digest of our version, templates, styles and scripts: other ones make other pages."""
    folders = [
        files("leaderboard").joinpath("board/page"),
        files("lorweb_bench").joinpath("reports"),
    ]
    texts = [
        entry.read_bytes()
        for folder in folders
        for entry in sorted(folder.iterdir(), key=lambda e: e.name)
        if entry.is_file()
    ]
    return hashlib.sha256(__version__.encode() + b"".join(texts)).hexdigest()


def _for_hosts(output: Path, title: str) -> None:
    """What hosts of static sites look for.

    GitHub Pages serves the files as they are, and a Space knows what it is.
    """
    hosts = {".nojekyll": "", "README.md": README.format(title=json.dumps(title))}
    for name, content in hosts.items():
        if not (output / name).exists():  # the keeper's own stays
            write_atomic(output / name, content)


def _public(found: Sequence[Board], public: Sequence[Dataset]) -> dict[str, tuple[Board, Dataset]]:
    boards_by_slug = {}
    for suite in public:
        board = next((b for b in found if b.suite.fingerprint == suite.fingerprint), None)
        if board is None:
            raise InputError(
                f"{suite.path} is not a suite of this board; nothing was submitted to it."
            )
        if suite.public:
            raise InputError(
                f"{suite.path} is a public view, which has no answers to show; give the full view."
            )
        if board.suite.standing == "private":
            raise InputError(
                f"{suite.name} {suite.version} is private, so none of its items is shown; "
                "`lorweb-bench leaderboard suite` says that it is public, or retires it."
            )
        boards_by_slug[board.slug] = (board, suite)
    return boards_by_slug


class Site:
    """The pages of a board, once its galleries are made."""

    def __init__(
        self,
        output: Path,
        title: str,
        found: Sequence[Board],
        galleries: Mapping[str, Gallery],
        service: bool,
        note: str = "",
    ) -> None:
        self.output, self.title, self.boards, self.galleries = output, title, found, galleries
        self.note = note
        script = files("leaderboard").joinpath("board/page/board.js").read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        self.scales = {board.slug: _scale(board) for board in found}
        self.context: dict[str, Any] = {
            "script": Markup(script),
            "script_hash": f"sha256-{digest}",
            "kicker": title,
            "boards": found,
            "galleries": galleries,
            "words": TIER_WORDS,
            "summary_groups": SUMMARY_GROUPS,
            "kinds": KINDS,
            "standings": STANDING_WORDS,
            "service": service,
            "most": SHOWN,
            "cost_plot": cost_plot,
            "history": history,
            "history_plot": history_plot,
        }
        self.frame = [
            title,
            service,
            sources(),
            [(b.slug, b.suite.name, b.suite.version) for b in found],
            sorted(galleries),
        ]
        self.rows: dict[str, tuple[list[Part], list[Part]]] = {}
        for board in found:
            for row in board.rows:
                self.rows.setdefault(row.method, ([], []))[0].append((board, row))
            for row in board.superseded:
                self.rows.setdefault(row.method, ([], []))[1].append((board, row))
        environment("leaderboard", "board/page").filters.update(seconds=seconds, amount=amount)

    def write(self) -> Iterable[Path]:
        """Write every page and file; yields their paths.

        `board.json` comes last: it marks the site as whole.
        """
        for board in self.boards:
            context: dict[str, Any] = {"board": board, "scale": self.scales[board.slug]}
            yield self._page(
                f"suites/{board.slug}.html",
                "suite",
                f"{board.suite.name} {board.suite.version}",
                board.slug,
                **context,
            )
            if board.slug in self.galleries:
                gallery = self.galleries[board.slug]
                title, here = (
                    f"Gallery of {board.suite.name} {board.suite.version}",
                    f"gallery {board.slug}",
                )
                yield self._page(
                    f"gallery/{board.slug}.html",
                    "gallery",
                    title,
                    here,
                    board=board,
                    items=gallery.items,
                )
        for method, (mine, older) in self.rows.items():
            yield self._method(method, mine, older)
        strip = [item for gallery in self.galleries.values() for item in gallery.strip(STRIP)][:3]
        yield self._page(
            "index.html",
            "index",
            self.title,
            "index",
            lead=LEAD,
            kicker="Leaderboard",
            note=self.note,
            strip=strip,
            scales=self.scales,
        )
        for board in self.boards:
            yield from (self.output / _badge(board, row) for row in board.rows)
            yield from (self.output / record_path(board, row) for row in board.rows)
        yield write_feed(self.output / "feed.xml", self.title, self.boards)
        yield write_csv(self.output / "board.csv", self.boards)
        yield write_json_board(self.output / "board.json", self.title, self.boards)

    def _page(
        self, path: str, template: str, title: str, here: str, end: str = "", **context: Any
    ) -> Path:
        root = "../" * path.count("/")
        context = {**self.context, "title": title, "here": here, "root": root, **context}
        page = render_page(f"{template}.html.j2", "leaderboard", "board/page", **context)
        write_atomic(
            self.output / path, page + end, flush=False
        )  # `board.json`, written last, says that the site is whole
        return self.output / path

    def _method(self, method: str, mine: list[Part], older: list[Part]) -> Path:
        """The page of a method.

        The one that is there where its last line, a digest of what it was made of, says the same.
        """
        path = f"methods/{(mine or older)[0][1].slug}.html"
        identities = [self._identity(board, row) for board, row in (*mine, *older)]
        content = canonical_json([*self.frame, identities])
        end = f"\n<!-- made of {hashlib.sha256(content.encode()).hexdigest()} -->\n"
        badges = {_badge(board, row): (board, row) for board, row in mine}
        records = {record_path(board, row): (board, row) for board, row in mine}
        there = all((self.output / name).is_file() for name in (*badges, *records))
        if not there or not _ends_with(self.output / path, end):
            for badge_path, part in badges.items():
                write_atomic(self.output / badge_path, badge(*part), flush=False)
            for name, part in records.items():
                write_atomic(self.output / name, record(self.title, *part), flush=False)
            parts = [self._part(board, row) for board, row in mine]
            self._page(path, "method", method, "method", end, parts=parts, older=older)
            for _, row in mine:
                row.forget_values()
        return self.output / path

    def _identity(self, board: Board, row: Row) -> list[Any]:
        """What a row on its method's page depends on."""
        verdicts = [run.submission.last_verdict for run in row.runs]
        return [
            board.suite.fingerprint,
            board.suite.standing,
            board.headline,
            board.better,
            row.rank,
            row.kind,
            row.leaks,
            verdicts,
            row.team,
            row.remarks,
            row.same_images,
            [run.submission.withdrawn is not None for run in row.runs],
        ]

    def _part(self, board: Board, row: Row) -> dict[str, Any]:
        """What a method's page shows of one submission."""
        scale = _own_scale(board.headline, row)
        tiers = (
            transformation_bars(row.per_sample, board.headline, scale)
            if board.suite.standing != "private"
            else {}
        )
        sign = 1.0 if board.better[board.headline] else -1.0
        unseen = sorted(
            (bar for tier in UNSEEN_TIERS for bar in tiers.get(tier, [])),
            key=lambda bar: (-sign * bar.mean, bar.label),
        )
        half = min(EXTREMES, len(unseen) // 2)
        return {
            "row": row,
            "board": board,
            "badge": _badge(board, row),
            "record": record_path(board, row),
            "hub_entry": hub_entry(self.title, row),
            "scale": scale,
            "groups": [name for name in _groups(row.report) if row.report.scores[name]],
            "kinds": _kind_bars(row.report, board.headline, scale),
            "tiers": tiers,
            "best": unseen[:half],
            "worst": unseen[::-1][:half],
        }


def _badge(board: Board, row: Row) -> str:
    """Where the badge of a row lies in the site."""
    return f"badges/{board.slug}/{row.anchor}.svg"


def _groups(report: Report) -> list[str]:
    """The groups of a report without those by kind, which are drawn."""
    return [name for name in report.scores if not name.startswith(f"{GROUP}/")]


def _kind_bars(report: Report, metric: str, scale: BoardScale) -> list[Bar]:
    prefix = f"{GROUP}/"
    kinds = {
        n.removeprefix(prefix): s
        for n, s in report.scores.items()
        if n.startswith(prefix) and not n.endswith("_hard")
    }
    bars = [
        scale.of(s[metric], kind, f"{s[metric].transformations} transformations")
        for kind, s in kinds.items()
        if metric in s
    ]
    return sorted(bars, key=lambda bar: (-bar.mean, bar.label))


def _ends_with(path: Path, end: str) -> bool:
    """Whether a file is there and whole: its last bytes are these."""
    try:
        with path.open("rb") as f:
            f.seek(-len(end), os.SEEK_END)
            return f.read() == end.encode()
    except OSError:  # not there, or shorter
        return False


def _own_scale(metric: str, row: Row) -> BoardScale:
    """The metric's own scale, or one that all values by item of a row are on.

    They are read for that alone.
    """
    if fixed_scale := SCALES.get(metric.partition("[")[0]):
        return BoardScale(fixed_scale.start, fixed_scale.end)
    scale = scale_of(metric, row.per_sample[metric].astype(float))
    return BoardScale(scale.start, scale.end)


def _scale(board: Board) -> BoardScale:
    """One scale for all bars of a board.

    From the lowest that is drawn, to the best there can be or is.
    """
    scores = [
        row.score(group, board.headline)
        for row in board.rows
        for group in ("seen", "unseen", *board.tiers)
    ]
    values = [v for s in scores if s for v in (s.mean, s.ci_low, s.ci_high) if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    if board.headline == "edit_recovery":
        return BoardScale(max(-1.0, math.floor(low * 10) / 10), 1.0)
    return BoardScale(low, high)


def seconds(value: float | None) -> str:
    """Seconds for reading: three digits that count."""
    if value is None:
        return "–"
    return (
        f"{value:,.0f} s"
        if value >= 100
        else f"{value:.3g} s"
        if value >= 0.1
        else f"{value * 1000:.2g} ms"
    )


def amount(count: int) -> str:
    """A number of parameters for reading: 0, 812, 254 k, 1.4 M, 12 B."""
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return str(count)
