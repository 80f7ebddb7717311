"""The site of a service.

Only pages that change are made again, and thousands of methods do not make it grow without bound.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from leaderboard.board import gallery, ranking, render
from leaderboard.board.board import boards
from leaderboard.service import queue
from leaderboard.service.rendering import claim_rendering, end_rendering, render_store
from leaderboard.store.store import Store
from leaderboard.store.tables import SiteRow, SubmissionRow, SuiteRow
from lorweb_bench.data.dataset import Dataset


@pytest.fixture
def filled(
    light_board: Store, archives: Callable[[int], list[Path]], small_suite: Dataset
) -> Store:
    for path in archives(3):
        light_board.add(path, small_suite)
    return light_board


def moments(site: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (site / "methods").iterdir()}


def test_only_what_changes_is_made_again(
    filled: Store, archives: Any, small_suite: Dataset
) -> None:
    site = filled.folder / "site"
    render_store(filled, site, "A board")
    first = moments(site)
    render_store(filled, site, "A board")
    assert moments(site) == first and set(first) == {f"method-{n}.html" for n in range(3)}
    (site / "methods/method-0.html").unlink()
    digest = str(filled.entries()[1].submission.sha256)
    with filled.writing() as session:
        queue.withdraw(session, digest, "keeper")
    render_store(filled, site, "A board")
    later = moments(site)
    assert set(later) == {"method-0.html", "method-2.html"}, (
        "what was lost is made again, what was withdrawn is gone"
    )
    assert later["method-2.html"] != first["method-2.html"], (
        "its rank changed: it is one of two now"
    )
    render_store(filled, site, "Another title")
    assert all(moments(site)[name] != moment for name, moment in later.items()), (
        "the title stands on every page"
    )


def test_a_page_that_was_cut_is_made_again(filled: Store) -> None:
    render_store(filled, filled.folder / "site", "A board")
    page = filled.folder / "site/methods/method-1.html"
    whole = page.read_bytes()
    for cut in (whole[:-1], whole[:10], b""):
        page.write_bytes(cut)
        render_store(filled, filled.folder / "site", "A board")
        assert page.read_bytes() == whole


def test_the_same_pages_one_by_one_and_at_once(filled: Store, tmp_path: Path) -> None:
    for title in ("Another title", "A board", "A board"):
        render_store(filled, filled.folder / "site", title)
    render_store(filled, tmp_path / "fresh", "A board")
    for path in (tmp_path / "fresh").rglob("*.html"):
        assert (
            path.read_bytes()
            == (filled.folder / "site" / path.relative_to(tmp_path / "fresh")).read_bytes()
        )


def test_the_best_are_compared_and_the_first_page_stays_small(
    filled: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ranking, "RANKED", 2)
    monkeypatch.setattr(render, "SHOWN", 2)
    (found,) = boards(filled.entries())
    assert [row.rank for row in found.rows] == [(1, 2), (1, 2), None] and found.tables[
        0
    ].ranked == 2
    render_store(filled, tmp_path / "site", "A board")
    index, suite = (
        (tmp_path / "site/index.html").read_text(),
        next((tmp_path / "site/suites").iterdir()).read_text(),
    )
    assert "the best 2 of 3 methods" in index and "method-2" not in index and "method-2" in suite
    assert (tmp_path / "site/board.csv").read_text().count("\n") == 4 and (
        tmp_path / "site/methods/method-2.html"
    ).is_file()


def test_archives_are_not_opened_for_pictures_that_are_there(
    filled: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with filled.writing() as session:
        session.scalars(
            select(SuiteRow)
        ).one().standing = "public"  # as if it had been from the beginning
    site = filled.folder / "site"
    render_store(filled, site, "A board")
    before = {path: path.read_bytes() for path in (site / "gallery").rglob("*") if path.is_file()}
    opened: list[Path] = []
    whole = gallery.open_submission
    monkeypatch.setattr(
        gallery, "open_submission", lambda path, *rest: opened.append(path) or whole(path, *rest)
    )
    render_store(filled, site, "A board")
    assert opened == [] and {path: path.read_bytes() for path in before} == before
    lost, cut, *_ = {
        path.name.partition("-s-")[2]: path for path in before if "-s-" in path.name
    }.values()
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-20])
    render_store(filled, site, "A board")
    assert len(opened) == 2 and {path: path.read_bytes() for path in before} == before
    monkeypatch.setattr(gallery, "MOST", 1)
    render_store(filled, site, "A board")
    pictures = {path.name.partition("-s-")[2] for path in (site / "gallery").rglob("*-s-*.png")}
    assert len(pictures) == 1, "of many methods the best are shown"


def test_ranks_are_kept_for_the_api(filled: Store) -> None:
    render_store(filled, filled.folder / "site", "A board")
    with filled.reading() as session:
        assert [
            (row.rank_low, row.rank_high) for row in session.scalars(select(SubmissionRow))
        ] == [(1, 3)] * 3


def test_one_renders_at_a_time(light_board: Store) -> None:
    revision = claim_rendering(light_board, 60)
    assert revision is not None and claim_rendering(light_board, 60) is None
    with light_board.writing() as session:
        session.scalars(select(SiteRow)).one().revision += 1  # the board changes meanwhile
    end_rendering(light_board, revision)
    later = claim_rendering(light_board, 60)
    assert later == revision + 1, "so it is rendered once more"
    end_rendering(light_board, later)
    assert claim_rendering(light_board, 60) is None
