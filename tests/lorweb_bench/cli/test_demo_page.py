"""The demo's page: its table with what is new to the base beside unseen, and what it means."""

import os
import shutil
from pathlib import Path

import pytest

from lorweb_bench.cli.demo import Plan
from lorweb_bench.cli.demo_page import conclusion, markdown_table, plain_table, write_demo_page
from lorweb_bench.compare.comparison import Difference
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.protocol import SUMMARY_GROUPS, TIERS
from lorweb_bench.reports.report import Score, open_report, write_report
from lorweb_bench.scoring.evaluate import evaluate

CHROMIUM = Path("/usr/bin/chromium")
WIDEST = Score(
    mean=-0.55, ci_low=-0.66, ci_high=-0.44, transformations=9, samples=90, higher_is_better=True
)
SENTENCE = "families that neither training data nor base has seen"


def test_the_columns_are_unseen_new_to_base_seen_and_the_other_tiers(
    report_with_base: Path,
) -> None:
    report = open_report(report_with_base)
    head, _, row = markdown_table({"mine": report}, "edit_recovery").splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    assert names[:4] == ["edit_recovery", "unseen", "new_to_base", "seen"]
    assert names.count("new_to_base") == 1 and names[4:6] == ["seen_single", "seen_composition"]
    values = [cell.split()[0] for cell in row.strip("|").split("|")]
    assert float(values[2]) == pytest.approx(
        report.scores["new_to_base"]["edit_recovery"].mean, abs=0.005
    )
    assert "new_to_base" in plain_table({"mine": report}).splitlines()[0]


def test_the_page_says_what_the_column_is(
    report_with_base: Path, suite_with_base: Dataset, tmp_path: Path
) -> None:
    write_demo_page(tmp_path, suite_with_base.path, {"copy-a-prime": report_with_base})
    page = (tmp_path / "index.html").read_text()
    assert SENTENCE in page and ">new to base</th>" in page


def test_the_page_says_whether_lorweb_is_ahead_of_its_controls(
    small_suite: Dataset, tmp_path: Path
) -> None:
    reports = {}
    for name, method in (
        ("lorweb", "color-transfer"),
        ("token-control", "copy-b"),
        ("single-lora", "copy-a-prime"),
    ):
        reports[name] = tmp_path / name
        evaluate(method, small_suite, ["edit_recovery", "retrieval"], out=reports[name])
        path = reports[name] / "report.json"
        path.write_text(path.read_text().replace(f'"name": "{method}"', f'"name": "{name}"'))
    write_demo_page(tmp_path, small_suite.path, reports, quick=True)
    page = (tmp_path / "index.html").read_text()
    assert page.count("lorweb less") + page.count("less lorweb") == 2
    assert "This was a quick run" in page


def difference(first: str, second: str, mean: float, p: float) -> Difference:
    """A difference between two methods whose interval is 0.1 to either side."""
    ends = (mean - 0.1, mean + 0.1)
    return Difference("unseen", first, second, mean, *ends, p, 9, None, True)


@pytest.mark.parametrize(
    ("from_single", "from_token", "said"),
    [
        ((0.3, 0.01), (0.2, 0.03), "bears it out: lorweb is ahead of both"),
        ((0.3, 0.01), (0.2, 0.40), "ahead of single-lora by more than noise, and not of token-con"),
        ((0.0, 0.90), (0.2, 0.03), "ahead of token-control by more than noise, and not of single"),
        ((-0.3, 0.01), (0.0, 0.90), "does not bear it out: lorweb is ahead of neither"),
    ],
)
def test_the_conclusion_needs_both_controls(
    from_single: tuple[float, float], from_token: tuple[float, float], said: str
) -> None:
    mean, p = from_token
    claim = [
        difference("lorweb", "single-lora", *from_single),
        difference("token-control", "lorweb", -mean, p),
    ]
    assert said in conclusion(claim)


@pytest.fixture
def fullest_page(suite_with_base: Dataset, report_with_base: Path, tmp_path: Path) -> Path:
    """The page of a demo with all its rows and every column, with the longest numbers."""
    report = open_report(report_with_base)
    scores = {group: {"edit_recovery": WIDEST, "retrieval": WIDEST} for group in SUMMARY_GROUPS}
    scores |= dict.fromkeys(TIERS, scores["seen"])
    demo = Plan(tmp_path, None, None, full=True, training_steps=None, workers=1)
    reports = {row.name: demo.report(row) for row in demo.rows()}
    for row in demo.rows():
        folder = reports[row.name]
        shutil.copytree(report_with_base, folder)
        method = report.method.model_copy(update={"name": row.method, "version": str(row.seed)})
        write_report(folder, report.model_copy(update={"method": method, "scores": scores}))
    write_demo_page(tmp_path, suite_with_base.path, reports)
    return tmp_path / "index.html"


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")
def test_the_whole_table_is_seen_on_a_desk(fullest_page: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(fullest_page.as_uri())
        heads = [text.replace("\n", " ") for text in tab.locator("thead th").all_inner_texts()]
        assert heads[:4] == ["method", "unseen", "new to base", "seen"] and len(heads) == 10
        assert tab.locator("tbody tr").count() == 15
        for width in (1280, 390):
            tab.set_viewport_size({"width": width, "height": 900})
            if folder := os.environ.get("LORWEB_BENCH_PICTURES"):
                tab.screenshot(path=Path(folder) / f"demo-{width}.png", full_page=True)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            cut_off = tab.locator(".table").evaluate("f => f.scrollWidth - f.clientWidth")
            assert width < 1280 or cut_off == 0
