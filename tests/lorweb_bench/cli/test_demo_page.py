"""The demo's tables show what is new to the base beside unseen, where a suite has it."""

from pathlib import Path

import pytest

from lorweb_bench.cli.demo_page import markdown_table, plain_table, write_demo_page
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.reports.report import open_report
from lorweb_bench.scoring.evaluate import evaluate

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
