"""The page of a whole report in a real browser: light and dark, at a desk and on a phone, opened
from disk with no network.
"""

from pathlib import Path

import numpy as np
import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.reports.report import Score
from lorweb_bench.reports.report_page import write_report_page
from lorweb_bench.scoring.evaluate import evaluate
from lorweb_bench.stats.aggregate import summarise

CHROMIUM = Path("/usr/bin/chromium")
SCHEMES, WIDTHS = ("light", "dark"), (390, 1280)

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")


@pytest.fixture(scope="module")
def page(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report that has every section."""
    folder = tmp_path_factory.mktemp("report")
    evaluate(
        "color-transfer", small_suite, out=folder / "shuffled", pairs="shuffled", track="closed"
    )
    evaluate(
        "color-transfer",
        small_suite,
        out=folder / "true",
        shuffled=folder / "shuffled",
        track="closed",
    )
    return folder / "true" / "index.html"


def test_the_page_fits_and_says_nothing_in_the_console(page: Path, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for scheme in SCHEMES:
            for width in WIDTHS:
                tab = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                said: list[str] = []
                asked: list[str] = []
                tab.on("console", lambda message, said=said: said.append(message.text))
                tab.on("pageerror", lambda error, said=said: said.append(str(error)))
                tab.on("request", lambda request, asked=asked: asked.append(request.url))
                tab.goto(page.as_uri())
                assert said == []
                assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                for section in (
                    "scores",
                    "gap",
                    "shuffled",
                    "quadruplets",
                    "transformations",
                    "items",
                    "repeat",
                ):
                    box = tab.locator(f"#{section}").bounding_box()
                    assert (
                        box
                        and box["height"] > 40
                        and box["x"] >= 0
                        and box["x"] + box["width"] <= width
                    ), section
                tab.close()
        browser.close()


def test_the_points_of_the_plot_lie_in_its_frame(small_suite: Dataset, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    kept = "lpips_to_b[alex/v0.1]"
    report = evaluate("color-transfer", small_suite)
    table = {**(report.per_sample or {}), kept: np.linspace(0, 0.5, 48)}
    scores = {group: dict(of) for group, of in report.scores.items()}
    for group, of in summarise(table, [kept], resamples=20).items():
        scores[group][kept] = Score(**of[kept], higher_is_better=False)
    report = report.model_copy(update={"scores": scores, "gap": None})
    write_report_page(report, table, small_suite, {}, tmp_path / "index.html")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width in WIDTHS:
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.goto((tmp_path / "index.html").as_uri())
            marks = tab.locator(".plot svg circle, .plot svg rect")
            frame = tab.locator(".plot > svg").bounding_box()
            assert frame and marks.count() == 16
            for i in range(marks.count()):
                box = marks.nth(i).bounding_box()
                assert box and frame["x"] - 8 <= box["x"] <= frame["x"] + frame["width"] + 8
                assert frame["y"] - 8 <= box["y"] <= frame["y"] + frame["height"] + 8
            tab.close()
        browser.close()


def test_an_item_is_found_by_its_address_and_shows_its_picture(page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        pictures = sorted((page.parent / "items").glob("*.jpg"))
        assert len(pictures) == 48
        tab.goto(f"{page.as_uri()}#item-{pictures[7].stem}")
        row = tab.locator(f"#item-{pictures[7].stem}")
        row.wait_for(state="visible")  # the browser opens what it is folded in
        shown = row.locator("img")
        tab.wait_for_function("img => img.naturalWidth > 100", arg=shown.element_handle())
        browser.close()


def test_text_can_be_read_in_both_schemes(page: Path) -> None:
    """The contrast of every small text with what is behind it is that of WCAG 2.2, level AA: 4.5
    to 1.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for scheme in SCHEMES:
            tab = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
            tab.goto(page.as_uri())
            least = tab.evaluate(CONTRAST)
            assert least["ratio"] >= 4.5, (scheme, least)
            tab.close()
        browser.close()


CONTRAST = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 :
  ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c =
  numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = {ratio: 99};
  for (const e of document.querySelectorAll('main *, header *')) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!words || e.closest('svg') || !e.offsetParent) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(e).color)), luminance(behind(e))].sort((x,
    y) => y - x); const ratio = (a + .05) / (b + .05);
    if (ratio < least.ratio) least = {ratio, text: e.textContent.slice(0, 40)};
  }
  return least;
}"""
