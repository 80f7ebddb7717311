"""The Parquet view: the shards' samples as a table that the hub's libraries read as images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.images import to_array
from lorweb_bench.data.parquet_view import check_view, write_view
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import PUBLIC_ROLES, ROLES
from lorweb_bench.runtime.yaml_files import parse_yaml
from lorweb_bench.suites.publish import publish
from lorweb_bench.suites.verify import verify


def front_matter(dataset: Dataset) -> dict[str, Any]:
    return parse_yaml((dataset.path / "README.md").read_text().split("---\n")[1])


def test_plain_datasets_reads_images_and_labels(tiny: Dataset, tmp_path: Path) -> None:
    """No code of ours, and no features named by hand."""
    load_dataset = pytest.importorskip("datasets").load_dataset
    write_view(tiny)
    samples = load_dataset(str(tiny.path), split="train", cache_dir=str(tmp_path / "cache"))
    quadruplets = list(tiny.quadruplets("train"))
    assert samples["key"] == [q.key for q in quadruplets]
    for row, q in zip(samples, quadruplets, strict=True):
        assert (row["family"], row["tier"]) == (q.record.family, q.record.tier)
        for role in ROLES:
            assert np.array_equal(np.asarray(row[role]), to_array(getattr(q, role)))
    inverted = samples.filter(lambda family: family == "invert", input_columns="family")
    assert inverted["key"] == [q.key for q in quadruplets if q.record.family == "invert"]


def test_a_file_for_each_shard_with_the_images_bytes(tiny: Dataset) -> None:
    files = write_view(tiny)
    assert [f.relative_to(tiny.path).as_posix() for f in files] == [
        "parquet/train/000000.parquet",
        "parquet/train/000001.parquet",
        "parquet/train/000002.parquet",
        "parquet/dev/000000.parquet",
    ]
    sample = next(tiny.samples("train"))
    first = parquet.read_table(files[0]).to_pylist()[0]
    assert first["b_prime"] == {"bytes": sample.images["b_prime"], "path": "t0.b_prime.png"}


def test_row_groups_are_bounded_by_the_bytes_of_their_images(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = tiny.split("train").shards[0]
    monkeypatch.setattr(
        "lorweb_bench.data.parquet_view.ROW_GROUP_BYTES", 2 * entry.bytes // entry.samples
    )
    file = parquet.ParquetFile(write_view(tiny)[0])
    rows = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert rows == [2, 2]


def test_the_card_names_what_the_viewer_shows(tiny: Dataset) -> None:
    write_view(tiny)
    matter = front_matter(tiny)
    assert matter["configs"][0]["data_files"][0] == {
        "split": "train",
        "path": "parquet/train/*.parquet",
    }
    features = {f["name"]: f["dtype"] for f in matter["dataset_info"]["features"]}
    assert all(features[role] == "image" for role in ROLES)
    assert features["tier"] == "string"


def test_a_view_is_kept_until_its_shard_is_another(tiny: Dataset) -> None:
    files = write_view(tiny)
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-9])  # as a copy that stopped leaves it
    before = files[0].stat().st_mtime_ns
    write_view(tiny)
    assert files[0].stat().st_mtime_ns == before
    assert check_view(tiny) == 13


def test_verify_compares_it_with_the_shards(tiny: Dataset) -> None:
    files = write_view(tiny)
    assert verify(tiny.path).problems == []
    files[0].write_bytes(files[1].read_bytes())
    [problem] = verify(tiny.path).problems
    assert "row 0 is not the sample of train/000000.tar" in problem
    files[0].unlink()
    with pytest.raises(InputError, match=r"train/000000\.parquet cannot be read"):
        check_view(open_dataset(tiny.path))


def test_a_public_view_gives_no_label_away(small_suite: Dataset, tmp_path: Path) -> None:
    public = publish(small_suite.path, tmp_path / "public")
    [file] = write_view(public)
    names = parquet.read_schema(file).names
    assert names == ["key", *PUBLIC_ROLES, "width", "height", "prompt"]
    again = publish(small_suite.path, tmp_path / "public")  # a card written anew keeps the view
    assert front_matter(again)["configs"][0]["data_files"][0]["path"] == "parquet/test/*.parquet"


def test_further_exemplars_are_columns(
    tmp_path: Path, sample: Callable[..., Any], write_dataset: Callable[..., Dataset]
) -> None:
    from lorweb_bench.data.finalize import finish_dataset
    from lorweb_bench.data.shard_writer import ShardWriter

    key, images, record = sample("k0")
    more = {"a_2": images["b"], "a_2_prime": images["b_prime"]}
    with ShardWriter(tmp_path, "train", 0) as shard:
        shard.add(key, {**images, **more}, {**record, "further_sources": ["other"]})
    dataset = finish_dataset(tmp_path, {"name": "two", "version": "1", "view": "full"})
    names = parquet.read_schema(write_view(dataset)[0]).names
    assert names[1:7] == [*ROLES, "a_2", "a_2_prime"]
