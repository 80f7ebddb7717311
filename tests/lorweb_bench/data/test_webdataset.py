"""`webdataset`'s own pipelines read our shards, and stop at the first sample that is not whole."""

import functools
import http.server
import io
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lorweb_bench as lb
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from lorweb_bench.suites.publish import publish

wds = pytest.importorskip("webdataset")
Member = tuple[str, bytes]


def pipeline(*shards: Path) -> "wds.WebDataset":
    return wds.WebDataset([str(shard) for shard in shards], shardshuffle=False).map(lb.decode)


def members_of(shard: Path) -> list[Member]:
    with tarfile.open(shard) as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar]
        return [(name, file.read()) for name, file in files if file is not None]


def write(shard: Path, members: list[Member]) -> Path:
    with tarfile.open(shard, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return shard


def test_a_pipeline_reads_what_our_reader_reads(tiny: Dataset) -> None:
    shards = [tiny.path / entry.path for entry in tiny.split("train").shards]
    samples = list(pipeline(*shards))
    quadruplets = list(tiny.quadruplets("train"))
    assert [s["__key__"] for s in samples] == [q.key for q in quadruplets]
    for sample, q in zip(samples, quadruplets, strict=True):
        assert sample["record"] == q.record
        for role in ROLES:
            assert np.array_equal(sample[role], to_array(getattr(q, role)))


def test_a_public_view_has_no_answers(small_suite: Dataset, tmp_path: Path) -> None:
    public = publish(small_suite.path, tmp_path / "public")
    samples = list(pipeline(*(tmp_path / "public" / "test").glob("*.tar")))
    assert len(samples) == public.split("test").samples
    assert all("b_prime" not in sample and sample["a"].dtype == np.uint8 for sample in samples)


def without(part: str) -> Callable[[list[Member]], list[Member]]:
    """The members without the last one whose name has a part."""

    def change(members: list[Member]) -> list[Member]:
        last = max(i for i, (name, _) in enumerate(members) if part in name)
        return [member for i, member in enumerate(members) if i != last]

    return change


def changed(part: str, data: bytes) -> Callable[[list[Member]], list[Member]]:
    """The members with other bytes in the first one whose name has a part."""

    def change(members: list[Member]) -> list[Member]:
        first = next(i for i, (name, _) in enumerate(members) if part in name)
        return [(name, data if i == first else old) for i, (name, old) in enumerate(members)]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(".b_prime."), "is not whole"),
        (without(".a."), "is not whole"),
        (without(".json"), "is not whole"),
        (lambda members: [*members, (members[-1][0].replace("json", "c.png"), b"x")], "not whole"),
        (changed(".json", b"{"), "is no JSON"),
        (changed(".json", b'{"id": "another"}'), "does not have that id"),
        (changed(".a.", b"no image"), "is not a whole png"),
        (changed(".b.", encode(np.zeros((8, 9, 3), np.uint8))), "pixels, as its record says"),
        (lambda members: members[:-1], "is not whole"),
    ],
)
def test_a_sample_that_is_not_whole_stops_the_pipeline(
    tiny: Dataset, tmp_path: Path, change: Callable[[list[Member]], list[Member]], said: str
) -> None:
    shard = tiny.path / tiny.split("train").shards[0].path
    spoilt = write(tmp_path / "spoilt.tar", change(members_of(shard)))
    with pytest.raises(InputError, match=said) as error:
        list(pipeline(spoilt))
    assert "spoilt.tar" in str(error.value)


def strict(*addresses: str) -> list[dict[str, Any]]:
    """What a pipeline with our reader as its stage gives."""
    stages = (wds.SimpleShardList(list(addresses)), lb.read_shards, wds.map(lb.decode))
    return list(wds.DataPipeline(*stages))


def copied(tiny: Dataset, folder: Path) -> Path:
    """A shard and its sidecar in a folder of their own."""
    shard = tiny.path / tiny.split("train").shards[0].path
    for file in (shard, shard.with_suffix(".json")):
        shutil.copy(file, folder)
    return folder / shard.name


def test_our_stage_reads_the_same_and_from_a_pipe(tiny: Dataset, tmp_path: Path) -> None:
    shard = copied(tiny, tmp_path)
    expected = list(pipeline(shard))
    for address in (str(shard), f"pipe:cat {shard}"):
        samples = strict(address)
        assert [s["__key__"] for s in samples] == [s["__key__"] for s in expected]
        for sample, other in zip(samples, expected, strict=True):
            assert sample["record"] == other["record"]
            assert all(np.array_equal(sample[role], other[role]) for role in ROLES)


def test_our_stage_reads_over_http(tiny: Dataset, tmp_path: Path) -> None:
    shard = copied(tiny, tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        samples = strict(f"http://127.0.0.1:{server.server_port}/{shard.name}")
        server.shutdown()
    assert [s["__key__"] for s in samples] == [s["__key__"] for s in pipeline(shard)]


@pytest.fixture
def served(tiny: Dataset) -> Iterator[str]:
    """The address of `tiny` on a plain web server."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tiny.path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_shards_of_a_split_are_listed_wherever_they_lie(
    tiny: Dataset, served: str, hub: Any, hub_repository: Callable[..., Any], monkeypatch: Any
) -> None:
    repository = hub_repository("me/tiny", tiny.path)
    repository.private = False
    keys = [s.key for s in tiny.samples("train")]
    for place in (tiny.path, served, f"{served}/?signed=1"):
        assert [s["__key__"] for s in strict(*lb.shard_urls(place))] == keys
    with_token = lb.shard_urls("hub:me/tiny", "dev")
    assert with_token == [f"hf://datasets/me/tiny@{repository.branches['main']}/dev/000000.tar"]
    assert [s["__key__"] for s in strict(*with_token)] == ["d0", "d1", "d2"]
    monkeypatch.delenv("HF_TOKEN")
    without = lb.shard_urls("hub:me/tiny")
    assert without[0].startswith("http://")
    assert [s["__key__"] for s in strict(*without)] == keys


def test_a_place_that_is_no_dataset_is_told(tiny: Dataset, served: str) -> None:
    with pytest.raises(InputError, match=r"train/dataset\.json is no manifest.*404"):
        lb.shard_urls(f"{served}/train")
    with pytest.raises(InputError, match="has no split 'seen'; it has train, dev"):
        lb.shard_urls(served, "seen")
    with pytest.raises(InputError, match=r"train/000009\.json cannot be read"):
        strict(f"{served}/train/000009.tar")
    with pytest.raises(InputError, match=r"nothing.json cannot be read"):
        strict("pipe:cat /nothing.tar")


def test_every_sample_is_read_once_over_nodes_and_workers(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shards for two nodes of two workers, one of which has nothing to do."""
    read = []
    for rank, worker in ((0, 0), (0, 1), (1, 0), (1, 1)):
        variables = {"RANK": rank, "WORLD_SIZE": 2, "WORKER": worker, "NUM_WORKERS": 2}
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        stages = (wds.split_by_node, wds.split_by_worker, lb.read_shards, wds.map(lb.decode))
        shards = wds.SimpleShardList(lb.shard_urls(tiny.path))
        read.append([s["__key__"] for s in wds.DataPipeline(shards, *stages)])
    assert sorted(len(keys) for keys in read) == [0, 2, 4, 4]
    assert sorted(sum(read, [])) == sorted(s.key for s in tiny.samples("train"))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.73, 0.96])
def test_a_shard_that_is_cut_stops_our_stage_wherever_it_is_cut(
    tiny: Dataset, tmp_path: Path, share: float
) -> None:
    """Half of this shard ends between two samples, where only the sum can tell."""
    shard = copied(tiny, tmp_path)
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=shard.name):
        strict(str(shard))


def test_a_changed_byte_stops_our_stage(tiny: Dataset, tmp_path: Path) -> None:
    shard = copied(tiny, tmp_path)
    data = bytearray(shard.read_bytes())
    data[-600] ^= 1  # in the padding, which no sample has
    shard.write_bytes(data)
    with pytest.raises(InputError, match="sha256 is not its sidecar's"):
        strict(str(shard))
    shard.with_suffix(".json").write_text("{}")
    with pytest.raises(InputError, match="The sidecar of .* is none"):
        strict(str(shard))
    with pytest.raises(InputError, match="no .tar in it"):
        strict(str(tmp_path / "shard.zip"))


def test_a_pipeline_that_decodes_before_is_told_so(tiny: Dataset) -> None:
    shard = tiny.path / tiny.split("train").shards[0].path
    twice = wds.WebDataset([str(shard)], shardshuffle=False).decode("rgb8").map(lb.decode)
    with pytest.raises(InputError, match="right after WebDataset"):
        next(iter(twice))
