"""The dataset card is what the hub reads, and what people wrote stays words in it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.dataset_card import MAX_CREDITS, card
from lorweb_bench.data.manifest import SplitInfo
from lorweb_bench.protocol import CANARY
from lorweb_bench.suites.publish import publish


def test_the_hubs_library_reads_the_card(small_suite: Dataset) -> None:
    hub = pytest.importorskip("huggingface_hub")
    read = hub.DatasetCard.load(small_suite.path / "README.md").data
    assert read.task_categories == ["image-to-image"]
    files = [{"split": split, "path": f"{split}/*.tar"} for split in ("seen", "unseen")]
    assert read.configs == [{"config_name": "default", "data_files": files}]
    assert read.size_categories == ["n<1K"]


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        (["CC0-1.0"], "cc0-1.0"),
        (["CC-BY-4.0", "CC0-1.0"], ["cc-by-4.0", "cc0-1.0"]),
        (["CC0-1.0", "mine"], "other"),
        ([], "other"),
    ],
)
def test_the_licence_is_the_hubs_identifier_where_it_has_one(
    small_suite: Dataset, licences: list[str], expected: str | list[str]
) -> None:
    text = card(small_suite.manifest, [(licence, "somebody") for licence in licences])
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == expected


@pytest.mark.parametrize(
    ("samples", "category"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**6, "n>1M")],
)
def test_the_size_is_one_of_the_hubs_categories(
    small_suite: Dataset, samples: int, category: str
) -> None:
    splits = {"unseen": SplitInfo(samples=samples, shards=())}
    text = card(small_suite.manifest.model_copy(update={"splits": splits}))
    assert yaml.safe_load(text.split("---\n")[1])["size_categories"] == [category]


def test_suites_have_a_canary_in_both_views_and_training_data_has_none(
    small_suite: Dataset, tiny: Dataset, tmp_path: Path
) -> None:
    public = publish(small_suite.path, tmp_path / "public")
    for suite in (small_suite, public):
        assert suite.manifest.canary == CANARY
        assert CANARY in (suite.path / "README.md").read_text()
        assert CANARY in (suite.path / "dataset.json").read_text()
    assert "canary" not in (tiny.path / "dataset.json").read_text()
    assert CANARY not in (tiny.path / "README.md").read_text()


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
