"""The service in a real browser, from the upload to the rank.

Submit, watch, withdraw, sort, filter, compare; on a phone and a desk.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from leaderboard.service.suite_intake import take
from leaderboard.store.store import Store
from leaderboard.store.tables import SuiteRow
from leaderboard.store.teams import grant
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.scoring.evaluate import predict

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (390, 1280)
MARKUP = "<img src=x onerror=alert(1)>"
Visit = Callable[..., Any]
Axe = Callable[["Page"], list[str]]


@pytest.fixture
def visit(browser: "Browser", service: Any) -> Iterator[Visit]:
    """Opens a page of the service.

    An error on the console, a dialog, or a request elsewhere fails the test.
    """
    said: list[str] = []
    allowed: list[str] = []

    @contextmanager
    def open_page(path: str, width: int = 1280, **context: Any) -> Iterator["Page"]:
        opened = browser.new_context(viewport={"width": width, "height": 900}, **context)
        page = opened.new_page()
        page.on(
            "console",
            lambda message: (
                said.append(f"{path}: {message.text}")
                if message.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: said.append(f"{path}: {error}"))
        page.on(
            "dialog", lambda dialog: (said.append(f"a dialog: {dialog.message}"), dialog.dismiss())
        )
        page.on(
            "request",
            lambda r: (
                said.append(r.url) if not r.url.startswith((service.address, "data:")) else None
            ),
        )
        page.goto(service.address + path)
        yield page
        opened.close()

    open_page.allowed = allowed  # type: ignore[attr-defined]
    yield open_page
    assert [line for line in said if not any(word in line for word in allowed)] == []


def soon(true: Callable[[], Any], seconds: float = 20.0) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def fill(page: "Page", token: str, archive: Path | None = None) -> None:
    page.get_by_label("Token of your team").fill(token)
    if archive:
        page.get_by_label("Archive", exact=True).set_input_files(archive)


def fits(page: "Page") -> bool:
    """Whether nothing sticks out sideways."""
    return bool(
        page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
    )


def look(page: "Page", name: str) -> None:
    """Keep a picture where LORWEB_BENCH_PICTURES names a folder, to look at."""
    if folder := os.environ.get("LORWEB_BENCH_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("width", WIDTHS)
def test_submit_watch_and_see_the_rank(
    width: int,
    light_board: Store,
    service: Any,
    team: str,
    archives: Any,
    visit: Visit,
    axe: Axe,
    score: Any,
    good_zip: Path,
) -> None:
    first, second = archives(2)
    with visit("/submit", width) as page:
        look(page, f"submit-{width}")
        assert axe(page) == [] and fits(page)
        for path in (first, second):
            fill(page, team, path)
            page.get_by_role("button", name="Submit", exact=True).click()
            soon(lambda path=path: f"{path.name} is received" in page.locator("#said").inner_text())
        rows = page.locator("#own tbody tr")
        soon(lambda: rows.count() == 2)
        assert (
            "queued, 1 before it" in rows.nth(0).inner_text()
            and "queued, next" in rows.nth(1).inner_text()
        )
        score(light_board)
        soon(
            lambda: rows.nth(0).inner_text().count("accepted") and "1–2" in rows.nth(0).inner_text()
        )
        soon(lambda: page.locator("#said").inner_text() == "method-1.zip is accepted.")
        assert not page.get_by_role("columnheader", name="New to base").is_visible()
        look(page, f"submitted-{width}")
        assert axe(page) == [] and fits(page)

        rows.nth(0).get_by_role("link").click()
        assert page.get_by_role("heading", level=1).inner_text() == "method-1"
        page.goto(service.address)
        board_of(page, axe, width)


def board_of(page: "Page", axe: Axe, width: int) -> None:
    """The board itself, as the service gives it out: sorted, filtered, compared."""
    assert axe(page) == [] and fits(page)
    look(page, f"board-{width}")
    table = page.locator("table.board").first
    shown = table.locator("tbody tr:visible th a")
    assert sorted(shown.all_inner_texts()) == ["method-0", "method-1"]
    page.get_by_role("button", name="Method").first.click()
    assert shown.all_inner_texts() == ["method-0", "method-1"]
    page.get_by_role("button", name="Method").first.click()
    assert shown.all_inner_texts() == ["method-1", "method-0"]
    page.get_by_label("Find a method").fill("method-1")
    soon(lambda: shown.all_inner_texts() == ["method-1"])
    page.get_by_role("button", name="Reset").click()
    soon(lambda: shown.count() == 2)
    page.get_by_role("link", name="Submit").click()
    soon(lambda: page.get_by_role("heading", level=1).inner_text() == "Submit")


def test_every_tier_of_a_suite_is_shown_once_scored(
    light_board: Store,
    suite_with_base: Dataset,
    service: Any,
    team: str,
    post: Any,
    visit: Visit,
    axe: Axe,
    score: Any,
    write_card: Callable[..., Path],
    renamed: Callable[..., Path],
    tmp_path: Path,
) -> None:
    take(light_board, suite_with_base, accepting=True, replace=True)
    predict("copy-a-prime", suite_with_base, tmp_path / "copies")
    card = write_card(method="copy-a-prime")
    archive = pack(tmp_path / "copies", suite_with_base, card, tmp_path / "copies.zip")
    with service.client(team) as client:
        post(client, light_board, renamed(archive, tmp_path / "mine.zip", method="mine"))
        score(light_board)
        verdict = client.get("/api/v1/submissions").json()[0]["verdict"]
    means = {group: told["edit_recovery"]["mean"] for group, told in verdict["scores"].items()}
    shown = {group: f"{mean:.2f}".replace("-", "−") for group, mean in means.items()}
    with visit("/submit") as page:
        fill(page, team)
        page.get_by_role("button", name="Show what my team submitted").click()
        cells = page.locator("#own tbody td.num")
        soon(lambda: cells.count() == 4)
        columns = page.locator("#own thead th:visible").all_inner_texts()
        assert columns[2:6] == ["Unseen", "New to base", "Seen", "Rank"]
        assert [text.splitlines() for text in cells.all_inner_texts()[:3]] == [
            [
                shown["unseen"],
                f"new parameters {shown['new_parameters']}",
                f"new composition {shown['new_composition']}",
                f"new family {shown['new_family']}",
            ],
            [shown["new_to_base"]],
            [
                shown["seen"],
                f"seen single {shown['seen_single']}",
                f"seen composition {shown['seen_composition']}",
            ],
        ]
        look(page, "tiers")
        assert axe(page) == [] and fits(page)


def test_what_is_wrong_is_said_on_the_page(
    light_board: Store, service: Any, team: str, archives: Any, visit: Visit, tmp_path: Path
) -> None:
    token = grant(light_board, "Once", per_day=1)
    one, two = archives(2)
    visit.allowed += ["401", "429"]  # what the browser itself notes of a refused request
    with visit("/submit") as page:
        said = page.locator("#said")
        submit = page.get_by_role("button", name="Submit", exact=True)
        fill(page, token)
        submit.click()
        soon(lambda: "Choose the archive" in said.inner_text())
        fill(page, "lwb_wrong", one)
        submit.click()
        soon(lambda: "wrong or revoked" in said.inner_text())
        fill(page, token, one)
        submit.click()
        soon(lambda: "is received" in said.inner_text())
        submit.click()
        soon(
            lambda: (
                "used its 1 submissions" in said.inner_text()
                or "submitted before" in said.inner_text()
            )
        )
        fill(page, token, two)
        submit.click()
        soon(lambda: "used its 1 submissions" in said.inner_text())


def test_a_reason_and_a_name_with_markup_stay_text(
    light_board: Store, team: str, good_zip: Path, visit: Visit, score: Any, tmp_path: Path
) -> None:
    bad = tmp_path / f"{MARKUP.replace('/', '')}.zip"
    data = bytearray(good_zip.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    with visit("/submit") as page:
        fill(page, team, bad)
        page.get_by_role("button", name="Submit", exact=True).click()
        row = page.locator("#own tbody tr")
        soon(lambda: row.count() == 1)
        score(light_board)
        soon(lambda: "refused" in row.inner_text() and "damaged" in row.inner_text())
        assert MARKUP in row.inner_text() and row.locator("img").count() == 0
        look(page, "refused")


def test_withdrawing_asks_once_more(
    light_board: Store, service: Any, team: str, archives: Any, post: Any, visit: Visit
) -> None:
    with service.client(team) as client:
        post(client, light_board, *archives(1))
        with visit("/submit") as page:
            fill(page, team)
            page.get_by_role("button", name="Show what my team submitted").click()
            soon(lambda: page.locator("#own tbody tr").count() == 1)
            page.get_by_role("button", name="Withdraw method-0.zip", exact=True).click()
            page.get_by_role("button", name="Really withdraw method-0.zip?").click()
            soon(lambda: "withdrawn" in page.locator("#own tbody tr").inner_text())
        assert client.get("/api/v1/submissions").json()[0]["status"] == "withdrawn"


def test_comparing_on_a_public_suite(
    light_board: Store,
    service: Any,
    team: str,
    archives: Any,
    post: Any,
    visit: Visit,
    axe: Axe,
    score: Any,
) -> None:
    with light_board.writing() as session:
        session.scalars(
            select(SuiteRow)
        ).one().standing = "public"  # as if it had been from the beginning
    with service.client(team) as client:
        for path in archives(2):
            post(client, light_board, path)
        score(light_board)
    with visit("/") as page:
        page.get_by_role("link", name="Gallery").first.click()
        made = page.locator("article").first.locator(".made figure:visible strong")
        assert sorted(made.all_inner_texts()) == ["method-0", "method-1"] and axe(page) == []
        page.get_by_role("checkbox", name="method-0").uncheck()
        assert made.all_inner_texts() == ["method-1"]
        look(page, "gallery")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_of_the_waiting_page_and_without_script(
    light_board: Store, team: str, visit: Visit, axe: Axe, scheme: str
) -> None:
    for width in WIDTHS:
        with visit("/", width, color_scheme=scheme) as page:
            assert (
                "has no pages yet" in page.locator("main").inner_text()
                and axe(page) == []
                and fits(page)
            )
        with visit("/submit", width, color_scheme=scheme) as page:
            look(page, f"submit-{scheme}-{width}")
            assert axe(page) == [] and fits(page)
    with visit("/submit", java_script_enabled=False) as page:
        assert "leaderboard submit" in page.locator("main").inner_text()
