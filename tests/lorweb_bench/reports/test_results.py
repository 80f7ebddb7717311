"""Reports stacked into one table, by the command and from Python."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lorweb_bench as lb
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, small_suite: Dataset) -> Path:
    """Reports of two methods, one of them deeper in the folder than the other."""
    folder = tmp_path_factory.mktemp("reports")
    lb.evaluate("copy-b", small_suite, ["mse", "edit_recovery"], out=folder / "b")
    lb.evaluate("copy-a-prime", small_suite, ["mse"], out=folder / "deep" / "a", limit=6)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(["results", *map(str, words)])
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def test_every_score_of_every_report_is_a_row(reports: Path) -> None:
    table = lb.results(reports)
    lengths = {len(column) for column in table.values()}
    expected = []
    for file in (reports / "b" / "report.json", reports / "deep" / "a" / "report.json"):
        report = json.loads(file.read_text())
        for group, scores in report["scores"].items():
            for metric, score in scores.items():
                row = (report["method"]["name"], report["partial"], group, metric)
                expected.append((*row, score["mean"], score["ci_low"], score["samples"]))
    names = ("method", "partial", "group", "metric", "mean", "ci_low", "samples")
    assert lengths == {len(expected)}
    assert list(zip(*(table[name] for name in names), strict=True)) == expected


def test_a_report_that_is_named_twice_is_stacked_once(reports: Path) -> None:
    assert lb.results(reports, reports / "b") == lb.results(reports)
    assert set(lb.results(reports / "b")["method"]) == {"copy-b"}


def test_csv_and_parquet_hold_the_same(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = lb.results(reports)
    for name in ("t.csv", "t.parquet"):
        code, out, _ = run(capsys, reports, "-o", tmp_path / name)
        assert (code, f"{len(table['mean'])} rows of 2 reports" in out) == (0, True)
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(table)
    assert [float(row["mean"]) for row in rows] == table["mean"]
    assert [row["ci_low"] for row in rows] == ["" if c is None else str(c) for c in table["ci_low"]]
    pandas = pytest.importorskip("pandas")  # an independent reader
    frame = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns) == list(table)
    assert frame["mean"].tolist() == table["mean"]
    assert frame["partial"].tolist() == table["partial"]
    assert [None if pandas.isna(x) else x for x in frame["ci_low"]] == table["ci_low"]
    assert pandas.DataFrame(table)["metric"].tolist() == frame["metric"].tolist()


def test_without_a_file_the_headlines_are_printed(
    reports: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, reports)
    assert code == 0
    line = next(line for line in out.splitlines() if "copy-b" in line)
    assert "edit_recovery" in line and line.count("0.000") == 2


def spoilt(folder: Path) -> Path:
    (folder / "report.json").write_text('{"format": "lorweb-bench/report", "format_version": 1}')
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: folder / "nowhere", "is not a folder"),
        (lambda folder: folder / "predictions", "holds no report"),
        (spoilt, "report.json: suite: Field required"),
    ],
)
def test_what_is_no_report_is_named(
    reports: Path, tmp_path: Path, change: Callable[[Path], Path], said: str
) -> None:
    shutil.copytree(reports / "b", tmp_path / "b")
    with pytest.raises(InputError, match=said):
        lb.results(change(tmp_path / "b"))


def test_another_ending_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, tmp_path, "-o", tmp_path / "t.xlsx")
    assert (code, "is written as .csv or .parquet" in err) == (2, True)


def test_what_is_new_to_the_base_has_a_column_where_a_report_has_it(
    report_with_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, report_with_base)
    head = out.splitlines()[0].split()
    assert head[-3:] == ["unseen", "new_to_base", "seen"]
