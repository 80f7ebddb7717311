"""The static site in a real browser.

Sorted, filtered, compared, on a phone and a desk, by keyboard, without its script.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from leaderboard.board.render import render
from leaderboard.service.suite_intake import declare
from leaderboard.store.store import Store
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import to_array, to_image
from lorweb_bench.scoring.evaluate import predict, score

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (390, 1280)
OWN_TRAINING_DATASET = "0" * 64  # of the small suite
SCRIPT = "<script>document.title = 'ran'; alert(1)</script>"
MARKUP = (
    f"{SCRIPT}<img src=x onerror=alert(2)><svg onload=alert(3)>\"' onmouseover=alert(4) "
    "x='</style></title>{{ 7*7 }}"
)
METHODS = {"good": 0.8, "fair": 0.3, "hostile": 0.5}


class Share:
    """A method that makes a share of the change."""

    needs_full_view = True
    track = "closed"

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share

    def predict(self, triplets: Any) -> list[Any]:
        raise AssertionError("it looks at the answers")

    def predict_quadruplets(self, quadruplets: list[Any], suite: Dataset) -> list[Any]:
        pairs = [
            (to_array(q.b).astype(float), to_array(q.b_prime).astype(float)) for q in quadruplets
        ]
        return [
            to_image((b + self.share * (truth - b)).round().astype("uint8")) for b, truth in pairs
        ]


def hostile(example: dict[str, Any]) -> dict[str, Any]:
    """A card with markup in every field that takes a text, and the worst address that is one."""
    authors = [{"name": MARKUP, "affiliation": MARKUP}]
    links = dict.fromkeys(
        ("paper", "code", "weights", "page"), "https://example.org/?a=b&c=javascript:alert(1)"
    )
    texts = dict.fromkeys(("version", "base_model", "hardware", "licence", "description"), MARKUP)
    return (
        example
        | texts
        | {
            "authors": authors,
            "links": links,
            "training_data": [
                {"name": MARKUP, "link": links["page"], "fingerprint": OWN_TRAINING_DATASET}
            ],
        }
    )


@pytest.fixture(scope="module")
def site(
    small_suite: Dataset,
    good_zip: Path,
    copies: Path,
    example_card: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A board with a trivial method, two honest ones and a hostile one on the closed track, and one
    on the open track.
    """
    folder = tmp_path_factory.mktemp("board")
    store = Store(folder / "store")
    declare(store, small_suite, "public")
    store.add(good_zip, small_suite, score(copies, small_suite))
    for name, share in (*METHODS.items(), ("elsewhere", 0.6)):
        predict(
            Share(name, share),
            small_suite,
            folder / name,
            track="open" if name == "elsewhere" else None,
        )
        if name == "hostile":
            manifest = folder / name / "predictions.json"
            content = json.loads(manifest.read_text())
            content["cost"]["device"] = MARKUP
            manifest.write_text(json.dumps(content))
        fields: dict[str, Any] = hostile(example_card) if name == "hostile" else example_card
        fields = fields | {"method": name, "track": "open" if name == "elsewhere" else "closed"}
        (folder / f"{name}.yaml").write_text(json.dumps(fields))
        added = store.add(
            pack(folder / name, small_suite, folder / f"{name}.yaml", folder / f"{name}.zip"),
            small_suite,
        )
        assert added.new, added.verdict.reasons
    return render(store, folder / "site", [small_suite], f"A board {SCRIPT}").parent


Visit = Callable[..., Any]
Axe = Callable[["Page"], list[str]]


@pytest.fixture
def visit(browser: "Browser", site: Path) -> Iterator[Visit]:
    """Opens a page of the site.

    What it says on the console, any dialog and any request to the network fails the test.
    """
    said: list[str] = []

    @contextmanager
    def open_page(name: str, width: int = 1280, **context: Any) -> Iterator["Page"]:
        opened = browser.new_context(viewport={"width": width, "height": 900}, **context)
        page = opened.new_page()
        page.on("console", lambda message: said.append(f"{name}: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"{name}: {error}"))
        page.on(
            "dialog",
            lambda dialog: (said.append(f"{name}: a dialog: {dialog.message}"), dialog.dismiss()),
        )
        page.on(
            "request",
            lambda request: (
                said.append(request.url) if not request.url.startswith(("file:", "data:")) else None
            ),
        )
        page.goto((site / name).as_uri())
        yield page
        opened.close()

    yield open_page
    assert said == []


def soon(true: Callable[[], bool]) -> None:
    """Wait for what the page does in a moment.

    Its policy keeps Playwright from waiting inside it.
    """
    for _ in range(100):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come")


def names(site: Path) -> list[str]:
    return [str(path.relative_to(site)) for path in sorted(site.rglob("*.html"))]


def rows(page: "Page", section: int = 0) -> list[str]:
    """The methods in the first table of a section, as they are shown."""
    table = page.locator("section[data-track]").nth(section).locator("table.board").first
    return list(table.locator("tbody tr:visible th a").all_inner_texts())


def test_sorting_by_a_click_and_by_the_keyboard(visit: Visit) -> None:
    with visit("index.html") as page:
        assert rows(page) == ["good", "hostile", "fair", "copy-b"]
        heads = page.locator("section[data-track] table.board").first.locator("thead th")
        unseen = heads.filter(has_text="Unseen").first
        unseen.get_by_role("button").click()
        assert unseen.get_attribute("aria-sort") == "descending" and rows(page) == [
            "good",
            "hostile",
            "fair",
            "copy-b",
        ]
        unseen.get_by_role("button").click()
        assert unseen.get_attribute("aria-sort") == "ascending" and rows(page) == [
            "copy-b",
            "fair",
            "hostile",
            "good",
        ]
        method = heads.filter(has_text="Method").get_by_role("button")
        method.focus()
        page.keyboard.press("Enter")
        assert (
            rows(page) == ["copy-b", "fair", "good", "hostile"]
            and unseen.get_attribute("aria-sort") is None
        )
        rank = heads.filter(has_text="Rank").get_by_role("button")
        rank.focus()
        page.keyboard.press("Space")
        assert rows(page)[-1] == "copy-b", "what has no rank stays last"
        page.keyboard.press("Space")
        assert rows(page)[-1] == "copy-b"


@pytest.mark.parametrize("width", WIDTHS)
def test_filtering(visit: Visit, width: int) -> None:
    with visit("index.html", width) as page:
        shown = page.get_by_role("status")
        assert shown.inner_text() == "6 rows"
        page.get_by_label("Find a method").fill("GOOD")
        assert rows(page) == ["good"] and shown.inner_text() == "1 of 6 rows"
        page.get_by_label("Find a method").fill("ada example fair")
        assert rows(page) == ["fair"]
        page.get_by_role("button", name="Reset").click()
        soon(lambda: shown.inner_text() == "6 rows")
        page.get_by_label("trivial methods and bounds").uncheck()
        assert rows(page) == ["good", "hostile", "fair"] and shown.inner_text() == "4 of 6 rows"
        page.get_by_label("Track", exact=False).and_(page.locator("select")).select_option("open")
        assert page.locator("section[data-track]:visible").count() == 1 and rows(page, 1) == [
            "elsewhere"
        ]


def gallery(site: Path) -> str:
    return next(name for name in names(site) if name.startswith("gallery/"))


def test_comparing_the_same_items_across_chosen_methods(visit: Visit, site: Path) -> None:
    with visit(gallery(site)) as page:
        item = page.locator("article").first

        def made() -> list[str]:
            return list(item.locator(".made figure:visible strong").all_inner_texts())

        assert (
            made() == ["good", "elsewhere", "hostile", "fair", "copy-b"]
            and "5 of 5 shown" in page.locator("#chosen").inner_text()
        )
        page.get_by_role("button", name="None").click()
        assert made() == []
        page.get_by_role("checkbox", name="good").check()
        page.get_by_role("checkbox", name="copy-b").focus()
        page.keyboard.press("Space")
        assert (
            made() == ["good", "copy-b"] and "2 of 5 shown" in page.locator("#chosen").inner_text()
        )
        assert item.locator(".quartet figure:visible").count() == 4
        address = page.url
        page.goto("about:blank")
        page.goto(address)
        assert made() == ["good", "copy-b"], "a comparison can be handed on by its address"
        widths = page.locator("article img").evaluate_all(
            "all => all.map(one => (one.loading = 'eager', one.decode()))"
        )
        assert len(widths) >= 5 * 9


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_fits_and_every_image_loads(visit: Visit, site: Path, width: int) -> None:
    for name in names(site):
        with visit(name, width) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (
                f"{name} is wider than its window"
            )
            images = (
                "Promise.all([...document.images].map(i => (i.loading = 'eager', "
                "i.decode().then(() => i.naturalWidth))))"
            )
            assert all(page.evaluate(images))
            assert page.get_by_role("heading", level=1).count() == 1


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_accessibility(visit: Visit, site: Path, axe: Axe, width: int, scheme: str) -> None:
    for name in names(site):
        if name not in ("methods/good.html", "methods/fair.html"):  # as the others
            with visit(name, width, color_scheme=scheme) as page:
                assert axe(page) == [], name


def test_nothing_of_a_card_runs(visit: Visit, site: Path) -> None:
    for name in names(site):
        with visit(name) as page:
            assert (
                page.title() != "ran"
                and page.evaluate(
                    "document.querySelectorAll('img[src=x], svg[onload], [onmouseover]').length"
                )
                == 0
            )
            page.mouse.move(200, 300)
    with visit("methods/hostile.html") as page:
        assert page.get_by_text("onmouseover=alert(4)").count() >= 6, "it is there as a text"
        assert (
            page.get_by_role("link", name="weights").get_attribute("rel")
            == "nofollow noopener noreferrer"
        )


def test_the_policy_of_the_pages_stops_a_script_that_got_in_all_the_same(
    browser: "Browser", site: Path, tmp_path: Path
) -> None:
    broken = (
        (site / "index.html")
        .read_text()
        .replace("</main>", f"{SCRIPT}<b onclick=alert(1) id=b>b</b></main>")
    )
    (tmp_path / "index.html").write_text(broken)
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.locator("#b").click()
    assert page.title() != "ran"
    page.close()


def test_without_its_script_everything_is_there(visit: Visit, site: Path) -> None:
    with visit("index.html", java_script_enabled=False) as page:
        table = page.locator("section[data-track] table.board").first
        assert (
            table.locator("tbody tr").count() == 4 and table.locator("tbody tr").first.is_visible()
        )
        assert page.locator("form.controls").is_hidden() and table.locator("button").count() == 0
        assert table.locator("svg").first.is_visible(), "intervals are drawn without it"
        text = page.inner_text("main").replace("\xa0", " ")
        assert all(
            word in text
            for word in ("closed, no prompt, small 1", "open-book", "fingerprint", "re-scored")
        )
    with visit(gallery(site), java_script_enabled=False) as page:
        assert page.locator("form.chooser").is_hidden()
        assert page.locator("article").first.locator(".made figure:visible").count() == 5


def test_by_keyboard_one_gets_to_the_content_and_into_the_tables(visit: Visit) -> None:
    with visit("index.html", 390) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        table = page.locator(".table").first
        table.focus()
        page.keyboard.press("ArrowRight")
        soon(lambda: table.evaluate("table => table.scrollLeft > 0"))


def test_axe_would_say_so(browser: "Browser", axe: Axe) -> None:
    page = browser.new_page()
    page.set_content(
        "<img src='data:,'><div style='color: #aaa; background: #fff'>pale</div><input>"
    )
    assert {"image-alt", "color-contrast", "label", "html-has-lang"} <= {
        line.partition(":")[0] for line in axe(page)
    }
    page.close()
