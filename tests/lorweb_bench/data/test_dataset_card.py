"""The dataset card is what the hub reads, and what people wrote stays words in it."""

from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.dataset_card import MAX_CREDITS, card


def test_the_hubs_library_reads_the_card(small_suite: Dataset) -> None:
    hub = pytest.importorskip("huggingface_hub")
    read = hub.DatasetCard.load(small_suite.path / "README.md").data
    assert read.task_categories == ["image-to-image"]
    files = [{"split": split, "path": f"{split}/*.tar"} for split in ("seen", "unseen")]
    assert read.configs == [{"config_name": "default", "data_files": files}]


def test_attributions_cannot_become_markup_or_lines_of_their_own(small_suite: Dataset) -> None:
    text = card(
        small_suite.manifest, {("CC-BY-4.0", "A\n\n# B <script>alert(1)</script>"), ("", "")}
    )
    assert "- CC-BY-4.0: A # B &lt;script>alert(1)&lt;/script>" in text.splitlines()
    assert "- no licence stated" in text.splitlines()


def test_very_many_attributions_are_named_by_licence(small_suite: Dataset) -> None:
    credits: set[Any] = {("CC0-1.0", str(i)) for i in range(MAX_CREDITS + 1)} | {
        ("CC-BY-4.0", "one")
    }
    lines = card(small_suite.manifest, credits).splitlines()
    assert lines[-4:-2] == ["- CC-BY-4.0", "- CC0-1.0"]


def test_each_split_is_read_by_datasets(small_suite: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for split in ("seen", "unseen"):
        rows = datasets.load_dataset(str(small_suite.path), split=split, cache_dir=str(tmp_path))
        assert len(rows) == small_suite.split(split).samples
        assert rows[0]["b_prime.png"].size == (32, 32)
