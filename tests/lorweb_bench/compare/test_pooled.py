"""One mean per task over several suites, as the paper counts its 100 tasks."""

import csv
from pathlib import Path

import numpy as np
import pytest

import lorweb_bench as lb
from lorweb_bench.cli.main import main
from lorweb_bench.compare.pooled import pool_tasks
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import open_report
from lorweb_bench.runtime.files import read_json, write_json


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, small_suite: Dataset) -> Path:
    """Reports of a method on two suites, the second being the first under another name."""
    folder = tmp_path_factory.mktemp("reports")
    lb.evaluate("copy-b", small_suite, ["mse", "psnr"], out=folder / "first")
    lb.evaluate("copy-b", small_suite, ["mse", "psnr"], out=folder / "second")
    content = read_json(folder / "second" / "report.json")
    content["suite"]["name"] = "another"
    write_json(folder / "second" / "report.json", content)
    return folder


def test_items_are_averaged_by_task_and_then_the_tasks_of_all_suites(reports: Path) -> None:
    pooled = {row.metric: row for row in pool_tasks([reports])}
    table = open_report(reports / "first").per_sample
    assert table is not None
    unseen = table["split"].astype(str) == "unseen"
    by_task: dict[str, list[float]] = {}
    for name, value in zip(table["transformation"][unseen], table["mse"][unseen], strict=True):
        by_task.setdefault(str(name), []).append(float(value))
    expected = np.mean([np.mean(values) for values in by_task.values()])
    row = pooled["mse"]
    assert row.mean == pytest.approx(expected)
    assert (row.tasks, row.triplets) == (2 * len(by_task), 2 * int(unseen.sum()))
    assert row.suites == ("small 1", "another 1")
    assert row.ci_low is not None and row.ci_high is not None
    assert row.ci_low < row.mean < row.ci_high


def test_the_command_prints_and_writes_the_means(
    reports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["-o", str(tmp_path / "t.csv")]):
        with pytest.raises(SystemExit) as ended:
            main(["results", str(reports), "--by-task", *words])
        assert not ended.value.code
    assert "small 1, another 1" in capsys.readouterr().out
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["metric"] for row in rows] == ["mse", "psnr"]


def test_what_cannot_be_pooled_is_named(reports: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no report"):
        pool_tasks([tmp_path])
    with pytest.raises(InputError, match="is not a folder"):
        pool_tasks([tmp_path / "none"])
    content = read_json(reports / "first" / "report.json")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "report.json", content)
        table = (reports / "first" / "per_sample.parquet").read_bytes()
        (tmp_path / name / "per_sample.parquet").write_bytes(table)
    with pytest.raises(InputError, match="both have mse of copy-b .* on small 1; name one"):
        pool_tasks([tmp_path])
