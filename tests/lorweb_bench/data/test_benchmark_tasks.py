"""`eval.yaml`: what makes a suite's repository a benchmark on the hub."""

from pathlib import Path

import yaml

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.suites.publish import publish


def test_a_suite_has_one_in_both_views(small_suite: Dataset, tmp_path: Path) -> None:
    publish(small_suite.path, tmp_path / "public")
    for folder, split in ((small_suite.path, "unseen"), (tmp_path / "public", "test")):
        content = yaml.safe_load((folder / "eval.yaml").read_text())
        assert set(content) == {"name", "description", "evaluation_framework", "tasks"}
        assert content["evaluation_framework"] == "lorweb-bench"
        assert {(t["config"], t["split"]) for t in content["tasks"]} == {("default", split)}
        ids = [task["id"] for task in content["tasks"]]
        assert len(set(ids)) == len(ids) == 6  # two tracks, three prompt modes
        assert "closed-none" in ids


def test_training_data_is_no_benchmark(tiny: Dataset) -> None:
    assert not (tiny.path / "eval.yaml").exists()
