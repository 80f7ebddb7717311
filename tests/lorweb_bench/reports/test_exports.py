"""Reports in others' forms: held to the hub's own parser, and to Every Eval Ever's own schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.reports.every_eval_ever import Source, write_every_eval_ever
from lorweb_bench.reports.hub_results import Benchmark, write_eval_results
from lorweb_bench.reports.report import Report, open_report
from lorweb_bench.scoring.evaluate import evaluate

SCHEMAS = Path(__file__).parents[2] / "schemas" / "every_eval_ever"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folder(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "report"
    metrics = ["edit_recovery", "psnr", "retrieval"]
    evaluate("copy-a-prime", small_suite, metrics=metrics, out=out)
    return out


@pytest.fixture
def report(folder: Path) -> Report:
    return open_report(folder)


def validate(instance: Any, schema: str) -> None:
    jsonschema.validate(instance, json.loads((SCHEMAS / schema).read_text()))


def test_the_hub_reads_its_results(report: Report, tmp_path: Path) -> None:
    """`parse_eval_result_entries` is what the hub's own client reads these files with."""
    hub = pytest.importorskip("huggingface_hub")
    where = Benchmark("me/suite", COMMIT, "https://board.example/small", "board")
    path = write_eval_results(report, where, tmp_path)
    assert path.parent == tmp_path / ".eval_results"
    written = yaml.safe_load(path.read_text())
    [entry] = hub.parse_eval_result_entries(written)
    score = report.scores["unseen"]["edit_recovery"]
    assert (entry.dataset_id, entry.task_id) == ("me/suite", f"{report.track}-none")
    assert entry.value == pytest.approx(score.mean, abs=1e-6)
    assert (entry.dataset_revision, entry.source_url, entry.source_name) == (
        COMMIT,
        "https://board.example/small",
        "board",
    )
    assert "edit_recovery on unseen" in entry.notes
    assert written[0]["evaluation_framework"] == "lorweb-bench"


def test_a_result_is_of_a_task_that_the_suite_declares(
    report: Report, small_suite: Dataset, tmp_path: Path
) -> None:
    tasks = yaml.safe_load((small_suite.path / "eval.yaml").read_text())["tasks"]
    [entry] = yaml.safe_load(
        write_eval_results(report, Benchmark("me/suite"), tmp_path).read_text()
    )
    assert entry["dataset"]["task_id"] in [task["id"] for task in tasks]


def test_records_are_valid_by_the_published_schema(report: Report, tmp_path: Path) -> None:
    source = Source("A lab", "lab/copy-a-prime", "first_party", dataset="me/suite")
    record_file, items_file = write_every_eval_ever(report, source, tmp_path)
    record = json.loads(record_file.read_text())
    validate(record, "eval.schema.json")
    results = {r["evaluation_result_id"]: r for r in record["evaluation_results"]}
    assert len(results) == sum(len(scores) for scores in report.scores.values())
    psnr = results["unseen/psnr"]
    assert psnr["score_details"]["score"] == report.scores["unseen"]["psnr"].mean
    assert psnr["metric_config"]["lower_is_better"] is False
    rows = [json.loads(line) for line in items_file.read_text().splitlines()]
    for row in rows:
        validate(row, "instance_level_eval.schema.json")
        assert row["evaluation_result_id"] in results
        assert row["evaluation_id"] == record["evaluation_id"]
    assert record["detailed_evaluation_results"]["total_rows"] == len(rows) == 48
    assert (tmp_path / record["detailed_evaluation_results"]["file_path"]) == items_file
    right = {row["sample_id"]: row["evaluation"]["is_correct"] for row in rows}
    assert report.per_sample is not None
    for key, value in zip(*(report.per_sample[c] for c in ("key", "retrieval")), strict=True):
        assert right[key] == (value == 1)


def test_a_second_export_replaces_the_first(report: Report, tmp_path: Path) -> None:
    source = Source("A lab", "lab/copy-a-prime")
    first = write_every_eval_ever(report, source, tmp_path)
    assert write_every_eval_ever(report, source, tmp_path) == first
    without = report.model_copy(update={"per_sample": None})
    [record] = write_every_eval_ever(without, source, tmp_path / "other")
    validate(json.loads(record.read_text()), "eval.schema.json")


def test_what_is_no_result_is_refused(report: Report, tmp_path: Path) -> None:
    partial = report.model_copy(update={"partial": True})
    shuffled = report.model_copy(update={"pairs": "shuffled"})
    for other, said in ((partial, "of a part of the suite"), (shuffled, "of shuffled pairs")):
        with pytest.raises(InputError, match=said):
            write_eval_results(other, Benchmark("me/suite"), tmp_path)
        with pytest.raises(InputError, match=said):
            write_every_eval_ever(other, Source("A lab", "lab/m"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_hub_would_refuse(report: Report) -> None:
    with pytest.raises(InputError, match="is no dataset repository; give owner/name"):
        Benchmark("suite")
    with pytest.raises(InputError, match="is no commit; give its 40 hex digits"):
        Benchmark("me/suite", "main")
    with pytest.raises(InputError, match="it begins with https"):
        Benchmark("me/suite", url="board.example")
    with pytest.raises(InputError, match="give developer/name"):
        Source("A lab", "model")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(folder), "-o", str(tmp_path), "--as"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "eval-results"])
    assert stop.value.code == 2
    assert "--as eval-results needs --dataset" in capsys.readouterr().err
    every = ["every-eval-ever", "--organization", "A lab", "--model", "lab/m"]
    for more in (["eval-results", "--dataset", "me/suite"], every):
        with pytest.raises(SystemExit) as stop:
            main([*words, *more])
        assert stop.value.code == 0
    written = capsys.readouterr().out.splitlines()
    assert len(written) == 3
    assert all(Path(line).is_file() for line in written)
