"""Whatever happens to the files of a dataset, verify finds it, and a reader refuses it or gives
what it always gave.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.sampling_order import Order, batches
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, write_json
from lorweb_bench.suites.verify import verify

FREE = (' "name": ', ' "version": ')  # what a manifest may say as it likes


def found(path: Path) -> str:
    try:
        return " ".join(verify(path, rerun=False).problems)
    except InputError as e:
        return str(e)


def read(path: Path) -> list[list[str]] | str:
    """The first batches of a training, or why there are none."""
    try:
        return [
            [record.id for record in batch["records"]]
            for batch in islice(batches(open_dataset(path), Order("train", 5, 1)), 4)
        ]
    except InputError as e:
        return str(e)


@pytest.mark.parametrize("name", ["dataset.json", "train/000001.json"])
def test_a_flipped_byte_of_a_manifest_or_sidecar_is_found_and_trains_on_nothing_else(
    tiny: Dataset, name: str
) -> None:
    whole, undisturbed = (tiny.path / name).read_bytes(), read(tiny.path)
    for at in range(3, len(whole), 13):
        (tiny.path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        line = whole[whole.rfind(b"\n", 0, at) + 1 : whole.find(b"\n", at)].decode()
        assert found(tiny.path) or line.startswith(FREE), line
        assert isinstance(read(tiny.path), str) or read(tiny.path) == undisturbed, line


@pytest.mark.parametrize("name", ["dataset.json", "train/000001.json"])
def test_a_manifest_or_sidecar_cut_anywhere_is_named(tiny: Dataset, name: str) -> None:
    whole = (tiny.path / name).read_bytes().rstrip()
    for length in range(0, len(whole), 29):
        (tiny.path / name).write_bytes(whole[:length])
        assert name in found(tiny.path)
        assert name in read(tiny.path)


@pytest.mark.parametrize("suffixes", [(".tar",), (".json",), (".tar", ".json")])
def test_swapped_shards_are_named(
    write_dataset: Callable[..., Dataset], tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    dataset = write_dataset(tmp_path, {"train": [f"t{i}" for i in range(8)]})
    for suffix in suffixes:
        first, second = (tmp_path / "train" / f"{i:06d}{suffix}" for i in range(2))
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
    assert "train/000000" in found(tmp_path)
    assert "train/000001" in found(tmp_path)
    if ".tar" in suffixes:
        with pytest.raises(InputError, match=r"train/000000\.tar is damaged"):
            list(open_dataset(dataset.path).samples("train"))


def test_a_shard_that_is_listed_twice_is_refused(tiny: Dataset) -> None:
    manifest = read_json(tiny.path / "dataset.json")
    manifest["splits"]["train"]["shards"][1] |= {"path": "train/000000.tar"}
    write_json(tiny.path / "dataset.json", manifest)
    with pytest.raises(InputError, match=r"the shard train/000000\.tar is listed twice"):
        open_dataset(tiny.path)


def test_no_sample_of_a_shard_cut_anywhere_or_with_a_flipped_byte_is_handed_out(
    tiny: Dataset,
) -> None:
    shard = tiny.path / "train" / "000001.tar"
    whole = shard.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 512)]
    damaged += [
        whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(7, len(whole), 397)
    ]
    for data in damaged:
        shard.write_bytes(data)
        given: list[str] = []
        with pytest.raises(InputError, match=r"train/000001\.tar"):
            given.extend(sample.key for sample in open_dataset(tiny.path).samples("train"))
        assert given == ["t0", "t1", "t2", "t3"]
        with pytest.raises(InputError, match=r"train/000001\.tar"):
            open_dataset(tiny.path).sample_at("train", 1, 0)
        assert "train/000001.tar" in read(tiny.path)


def test_a_key_in_two_shards_is_found(
    write_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="the key 't0' occurs twice"):
        write_dataset(tmp_path / "split", {"train": ["t0", "t1"], "dev": ["t0"]})
    write_dataset(tmp_path / "whole", {"train": [f"t{i}" for i in range(8)]})
    for suffix in (
        ".tar",
        ".json",
    ):  # the second shard becomes a copy of the first, and the manifest is made to agree
        copy = (tmp_path / "whole" / "train" / "000000").with_suffix(suffix).read_bytes()
        (tmp_path / "whole" / "train" / "000001").with_suffix(suffix).write_bytes(copy)
    manifest = read_json(tmp_path / "whole" / "dataset.json")
    first, second = manifest["splits"]["train"]["shards"]
    second |= {"sha256": first["sha256"], "bytes": first["bytes"]}
    write_json(tmp_path / "whole" / "dataset.json", manifest)
    assert "the key 't0' occurs twice" in found(tmp_path / "whole")
