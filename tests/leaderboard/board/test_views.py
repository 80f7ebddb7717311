"""What people look for on a board: columns, filters, shared views, plots, history, feed, badges."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from PIL import Image

from leaderboard.board.board import boards
from leaderboard.board.plots import cost_plot, history
from leaderboard.board.records import hub_entry, record_path
from leaderboard.board.render import render
from leaderboard.service.suite_intake import declare
from leaderboard.store.reference_rows import add_references
from leaderboard.store.store import Store
from leaderboard.store.teams import grant
from lorweb_bench.data.dataset import Dataset
from tests.leaderboard.service.test_rules import with_images

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCHEMAS = Path(__file__).parents[2] / "schemas"
LONG = "W" * 300
SVG = "{http://www.w3.org/2000/svg}"
ATOM = "{http://www.w3.org/2005/Atom}"
# name, share of the way to the answer, team, fields of the card
METHODS: list[tuple[str, float, str, dict[str, Any]]] = [
    ("alpha", 0.3, "Ada", {}),
    (
        "beta",
        0.5,
        "Blue",
        {"base_model": "FLUX", "parameters": {"trainable": 9, "total": 12 * 10**9}},
    ),
    ("gamma", 0.7, "Ada", {"links": {"code": "https://example.org/c"}, "licence": "MIT"}),
    (
        "delta",
        0.7,
        "Blue",
        {"hardware": LONG, "base_model": LONG, "licence": LONG, "version": LONG},
    ),
    ("worse", 0.1, "Ada", {}),
]


@pytest.fixture(scope="module")
def store(small_suite: Dataset, good_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A board with reference rows, and methods of two teams; one card is as long as it may be."""
    folder = tmp_path_factory.mktemp("views")
    store = Store(folder / "store")
    declare(store, small_suite, "public")
    list(add_references(store, small_suite))
    for team in ("Ada", "Blue"):
        grant(store, team)
    for method, share, team, fields in METHODS:
        images = {
            q.key: Image.blend(q.b, q.b_prime, share)
            for split in small_suite.scored_splits
            for q in small_suite.quadruplets(split)
            if q.b_prime is not None
        }
        path = with_images(good_zip, folder / f"{method}.zip", images, method=method, **fields)
        assert store.add(path, small_suite, team=team).new
    return store


@pytest.fixture(scope="module")
def site(store: Store, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(store, tmp_path_factory.mktemp("site"), [small_suite], "A board").parent


@pytest.fixture
def page(browser: "Browser", site: Path) -> Any:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(f"file://{site}/index.html")
    yield opened
    assert problems == []
    context.close()


def methods(page: "Page") -> list[str]:
    """The methods that the main table shows, from top to bottom."""
    rows = page.locator("table.board:not([data-tiers]) tbody tr:visible th a").all_inner_texts()
    return [name for name in rows if name in {m[0] for m in METHODS}]


def test_the_address_holds_the_view(page: "Page", site: Path) -> None:
    page.locator("summary", has_text="Columns").click()
    page.get_by_role("checkbox", name="links").check()
    page.get_by_role("checkbox", name="ssim").uncheck()
    page.get_by_label("trivial methods and bounds").uncheck()
    page.locator("table.board:not([data-tiers]) th button", has_text="Rank").click()
    page.get_by_label("Find a method").fill("blue")
    address = page.evaluate("location.href")
    assert address.startswith(f"file://{site}/index.html#view:")
    view = unquote_plus(address.partition("#view:")[2])
    assert "words=blue" in view and "compared=no" in view and "sort=rank ascending" in view
    shown = methods(page)
    assert set(shown) == {"beta", "delta"}
    page.goto("about:blank")
    page.goto(address)
    assert methods(page) == shown
    assert page.locator("th", has_text="Links").first.is_visible()
    assert not page.locator("th", has_text="ssim").first.is_visible()
    assert page.get_by_label("Find a method").input_value() == "blue"
    page.get_by_role("button", name="Reset").click()
    for _ in range(100):  # the page's policy lets no string be waited for
        if "view" not in page.evaluate("location.hash"):
            break
        page.wait_for_timeout(50)
    assert len(methods(page)) == len(METHODS)


@pytest.mark.parametrize(
    ("label", "option", "expected"),
    [
        ("base", "FLUX", {"beta"}),
        ("licence", "MIT", {"gamma"}),
        ("size", "more than 10 B", {"beta"}),
    ],
)
def test_filters(label: str, option: str, expected: set[str], page: "Page") -> None:
    page.locator(f"select[name={label}]").select_option(label=option)
    page.get_by_label("trivial methods and bounds").uncheck()
    assert set(methods(page)) == expected


def test_the_best_of_each_team(page: "Page") -> None:
    page.get_by_label("best of each team").check()
    assert methods(page) == ["gamma", "delta"]


def test_rows_keep_their_height_whatever_a_card_holds(page: "Page") -> None:
    page.locator("summary", has_text="Columns").click()
    for box in page.locator("#columns input").all():
        box.check()
    heights = {
        row.locator("th a").inner_text(): row.bounding_box()["height"]  # type: ignore[index]
        for row in page.locator("table.board:not([data-tiers]) tbody tr").all()
    }
    assert heights["delta"] < 2.2 * heights["gamma"] and heights["delta"] < 260
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_teams_and_copies_are_said(page: "Page") -> None:
    text = page.locator("main").inner_text()
    assert "by Ada" in text and "by the keeper" in text
    assert text.count("same images as gamma") >= 1 and "same images as delta" not in text


def test_the_first_cards_show_the_best_ranked_method(site: Path) -> None:
    index = (site / "index.html").read_text()
    strip = index.partition('<div class="strip">')[2].partition("<form")[0]
    labels = re.findall(r'alt="([^"]+)"', strip)
    assert labels.count("gamma") == strip.count('<div class="card">') > 0
    assert not {"copy-b", "library-search"} & set(labels)


def test_score_against_cost_and_the_history_of_the_best(store: Store, site: Path) -> None:
    (board,) = boards(store.entries())
    drawn = cost_plot(board.tables[0], board)
    assert drawn is not None and {m.label for m in drawn.marks} >= {"gamma", "copy-b"}
    assert all(0 <= m.x <= drawn.width and 0 <= m.y <= drawn.height for m in drawn.marks)
    best = [value for _, _, value in history(board)]
    assert best == sorted(best) and [row.method for _, row, _ in history(board)][-1] == "gamma"
    suite = next((site / "suites").iterdir()).read_text()
    assert "History of the best" in suite and "Score against cost" in suite


def test_places_are_shared_by_equal_scores(store: Store) -> None:
    (board,) = boards(store.entries())
    places = {row.method: row.places for row in board.rows}
    assert places["gamma"]["new_family edit_recovery"] == (1, 2)
    assert places["delta"]["unseen psnr"] == (1, 2) and places["beta"]["unseen psnr"] == (3, 3)
    assert places["copy-b"] == {}


def test_the_feed_is_atom_with_the_newest_first(site: Path) -> None:
    root = ElementTree.parse(site / "feed.xml").getroot()
    entries = root.findall(f"{ATOM}entry")
    assert root.tag == f"{ATOM}feed" and root.find(f"{ATOM}updated") is not None
    assert len(entries) == len(METHODS) + 5
    moments = [entry.findtext(f"{ATOM}updated") or "" for entry in entries]
    assert moments == sorted(moments, reverse=True)
    for entry in entries:
        link = entry.find(f"{ATOM}link")
        assert link is not None and (site / link.attrib["href"].partition("#")[0]).is_file()


def test_a_badge_and_a_snippet(page: "Page", site: Path) -> None:
    badges = sorted((site / "badges").rglob("*.svg"))
    assert len(badges) == len(METHODS) + 5
    texts = set()
    for path in badges:
        root = ElementTree.parse(path).getroot()
        assert root.tag == f"{SVG}svg"
        texts.add(root.findtext(f"{SVG}title"))
    assert any(text and text.startswith("gamma on small 1: edit_recovery 0.") for text in texts)
    page.goto(f"file://{site}/methods/gamma.html")
    page.locator("summary", has_text="Badge").click()
    text = page.locator("pre[data-site]").first.inner_text()
    assert text.startswith("[![small 1](SITE/badges/") and "edit_recovery" in text
    assert page.locator(".snippet img").evaluate("image => image.naturalWidth") > 50


def test_every_row_has_a_record_that_others_read(site: Path, store: Store) -> None:
    """By Every Eval Ever's own schema, and the hub's own parser of evaluation results."""
    schema = json.loads((SCHEMAS / "every_eval_ever" / "eval.schema.json").read_text())
    (board,) = boards(store.entries())
    for row in board.rows:
        content = json.loads((site / record_path(board, row)).read_text())
        jsonschema.validate(content, schema)
        results = {r["evaluation_result_id"]: r for r in content["evaluation_results"]}
        told = row.score("unseen", "edit_recovery")
        assert told is not None
        score = results["unseen/edit_recovery"]["score_details"]
        assert score["score"] == told.mean
        assert content["source_metadata"]["evaluator_relationship"] == "third_party"
        page = (site / "methods" / f"{row.slug}.html").read_text()
        assert f'href="../{record_path(board, row)}"' in page
        entries = yaml.safe_load(hub_entry("A board", row) or "")
        assert entries[0]["value"] == pytest.approx(told.mean, abs=1e-6)
        assert entries[0]["source"]["url"].startswith(f"SITE/methods/{row.slug}.html#")


def test_the_json_says_what_the_page_says(site: Path) -> None:
    content = json.loads((site / "board.json").read_text())
    rows = {row["method"]: row for row in content["suites"][0]["rows"]}
    assert rows["gamma"]["team"] == "Ada" and rows["delta"]["same_images"] == "gamma"
    assert rows["gamma"]["places"]["unseen psnr"] == [1, 2]


def test_the_new_parts_are_accessible(
    page: "Page", site: Path, axe: Callable[["Page"], list[str]]
) -> None:
    for path in ("index.html", "methods/gamma.html"):
        page.goto(f"file://{site}/{path}")
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
        assert axe(page) == []
