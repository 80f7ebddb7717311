"""The page of a whole report in a real browser: light and dark, at a desk and on a phone, opened from disk with no network."""

from pathlib import Path

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.scoring.evaluate import evaluate

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
                    "scatter",
                    "quadruplets",
                    "transformations",
                    "repeat",
                ):
                    box = tab.locator(f"#{section}").bounding_box()
                    assert (
                        box
                        and box["height"] > 40
                        and box["x"] >= 0
                        and box["x"] + box["width"] <= width
                    ), section
                marks = tab.locator(".plot svg circle, .plot svg rect")
                frame = tab.locator(".plot > svg").bounding_box()
                for i in range(marks.count()):
                    box = marks.nth(i).bounding_box()
                    assert box and frame["x"] - 8 <= box["x"] <= frame["x"] + frame["width"] + 8
                    assert frame["y"] - 8 <= box["y"] <= frame["y"] + frame["height"] + 8
                assert marks.count() == 16
                tab.close()
        browser.close()


def test_text_can_be_read_in_both_schemes(page: Path) -> None:
    """The contrast of every small text with what is behind it is that of WCAG 2.2, level AA: 4.5 to 1."""
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
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let least = {ratio: 99};
  for (const e of document.querySelectorAll('main *, header *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest('svg') || !e.offsetParent) continue;
    const [a, b] = [luminance(numbers(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < least.ratio) least = {ratio, text: e.textContent.slice(0, 40)};
  }
  return least;
}"""
