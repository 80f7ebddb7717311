"""Datasets round trip, fingerprints depend on content alone, shards are whole or refused by name,
and others can read them.
"""

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorweb_bench.data.dataset import Dataset, open_dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import pixel_hash, to_array
from lorweb_bench.data.shard_format import read_sidecar, shard_done
from lorweb_bench.data.shard_reader import read_shard
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import PUBLIC_ROLES, ROLES
from lorweb_bench.runtime.files import read_json, write_json

KEYS = st.lists(
    st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=5, unique=True
)
Write = Callable[..., Dataset]
SampleOf = Callable[..., tuple[str, dict[str, tuple[bytes, str]], dict[str, Any]]]


@given(
    keys=KEYS,
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    randoms=st.randoms(use_true_random=False),
)
@settings(max_examples=12, deadline=None)
def test_fingerprints_depend_on_content_alone(
    tmp_path_factory: pytest.TempPathFactory,
    write_dataset: Write,
    keys: list[str],
    sizes: tuple[int, int],
    randoms: Any,
) -> None:
    folder = tmp_path_factory.mktemp("fingerprints")
    one = write_dataset(folder / "one", {"train": keys}, sizes[0])
    cut, shuffled = randoms.randint(0, len(keys) - 1), randoms.sample(keys, len(keys))
    two = write_dataset(folder / "two", {"dev": shuffled[cut:], "train": shuffled[:cut]}, sizes[1])
    assert (one.fingerprint, one.manifest.targets_fingerprint) == (
        two.fingerprint,
        two.manifest.targets_fingerprint,
    )


def test_what_is_written_is_read(
    tiny: Dataset, sample: SampleOf, panel: Callable[[str], np.ndarray]
) -> None:
    read = list(open_dataset(tiny.path).quadruplets("train"))
    assert [q.key for q in read] == [f"t{i}" for i in range(10)]
    for q in read:
        assert q.record.model_dump(mode="json", exclude_unset=True) == sample(q.key)[2]
        for role in ROLES:
            assert (to_array(getattr(q, role)) == panel(f"{q.key} {role}")).all()
    triplet = read[0].triplet("make it so", seed=3)
    assert (triplet.key, triplet.prompt, triplet.seed, triplet.b) == (
        "t0",
        "make it so",
        3,
        read[0].b,
    )


def test_parts_can_be_read(tiny: Dataset) -> None:
    assert [r.id for r in tiny.records("train", shards=[1])] == ["t4", "t5", "t6", "t7"]
    assert [q.key for q in tiny.quadruplets("train", keys={"t9", "t2"})] == ["t2", "t9"]
    assert tiny.splits == ("train", "dev")


def test_the_fingerprint_is_the_stated_sum(
    tiny: Dataset, panel: Callable[[str], np.ndarray]
) -> None:
    keys = sorted([f"t{i}" for i in range(10)] + ["d0", "d1", "d2"])
    lines = (
        " ".join([key, *(pixel_hash(panel(f"{key} {role}")) for role in PUBLIC_ROLES)])
        for key in keys
    )
    assert (
        tiny.fingerprint
        == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"tier": "seen_composition"},
        {"hard": True},
        {"candidates": ["invert"]},
        {"instruction": "other"},
    ],
)
def test_labels_change_the_targets_fingerprint_alone(
    tmp_path: Path, sample: SampleOf, changed: dict[str, Any]
) -> None:
    both = []
    for name, labels in (("one", {}), ("two", changed)):
        with ShardWriter(tmp_path / name, "train", 0) as shard:
            shard.add(*sample("k", **labels))
        both.append(finish_dataset(tmp_path / name, {"name": "n", "version": "1", "view": "full"}))
    assert both[0].fingerprint == both[1].fingerprint
    assert both[0].manifest.targets_fingerprint != both[1].manifest.targets_fingerprint


def test_the_same_content_gives_the_same_bytes(tmp_path: Path, write_dataset: Write) -> None:
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"train": ["x", "y"], "dev": ["z"]})
    one, two = (
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in ("one", "two")
    )
    assert one == two
    assert {str(p) for p in one} == {
        "dataset.json",
        "README.md",
        "croissant.json",
        "train/000000.tar",
        "train/000000.json",
        "dev/000000.tar",
        "dev/000000.json",
    }


def damaged(dataset: Dataset, data: bytes) -> Dataset:
    (dataset.path / "train" / "000001.tar").write_bytes(data)
    return open_dataset(dataset.path)


def test_a_cut_shard_is_refused_by_name(tiny: Dataset) -> None:
    whole = (tiny.path / "train" / "000001.tar").read_bytes()
    for length in [*range(0, len(whole), 512), 700, len(whole) - 1]:
        with pytest.raises(InputError, match=r"train/000001\.tar"):
            list(damaged(tiny, whole[:length]).samples("train"))


def test_a_flipped_byte_is_refused_by_name(tiny: Dataset) -> None:
    whole = (tiny.path / "train" / "000001.tar").read_bytes()
    for place in (0, 130, 600, len(whole) // 2, len(whole) - 1):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        dataset, read = damaged(tiny, bytes(flipped)), []
        with pytest.raises(InputError, match=r"train/000001\.tar is damaged"):
            read.extend(q.key for q in dataset.quadruplets("train"))
        assert set(read) <= {"t0", "t1", "t2", "t3"}


def test_a_missing_shard_is_named(tiny: Dataset) -> None:
    (tiny.path / "train" / "000002.tar").unlink()
    with pytest.raises(InputError, match=r"train/000002\.tar is missing"):
        list(open_dataset(tiny.path).records("train"))


def test_no_half_sample_even_without_a_checksum(tiny: Dataset) -> None:
    """A shard cut between members is a sound tar; the strict reader still hands out whole samples
    alone.
    """
    shard = tiny.path / "train" / "000000.tar"
    with tarfile.open(shard) as tar:
        members = tar.getmembers()
    for member in members[1:]:
        cut = tiny.path / "cut.tar"
        cut.write_bytes(shard.read_bytes()[: member.offset] + bytes(1024))
        whole = members.index(member) // 5
        read = []
        try:
            for sample in read_shard(cut):
                assert set(sample.images) in (set(ROLES), set(PUBLIC_ROLES))
                read.append(sample.key)
        except InputError as e:
            assert "cut.tar" in str(e)
        else:
            assert members.index(member) % 5 == 0
        assert len(read) == whole


def tar_of(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_samples_that_are_not_as_they_should_be_are_refused(
    tmp_path: Path, sample: SampleOf
) -> None:
    def members(key: str) -> list[tuple[str, bytes]]:
        _, images, record = sample(key)
        return [
            *((f"{key}.{role}.{ext}", data) for role, (data, ext) in images.items()),
            (f"{key}.json", json.dumps(record).encode()),
        ]

    x, y = members("x"), members("y")
    wrong = {
        "apart": [*x[:3], *y, *x[3:]],
        "come back": [*x, *y, x[0]],
        "twice": [x[0], *x],
        "no record": x[:-1],
        "only b and its answer": [*x[2:]],
        "foreign member": [*x, ("x.mask.png", b"")],
        "wrong id": [*x[:4], ("x.json", y[4][1])],
        "record is no object": [*x[:4], ("x.json", b"[]")],
        "capital letters": [(name.replace("x", "X"), data) for name, data in x],
        "a folder in the name": [(f"../{name}", data) for name, data in x],
        "two extensions": [(x[0][0].replace("png", "jpg"), x[0][1]), *x[1:]],
    }
    for what, content in wrong.items():
        with pytest.raises(InputError, match=r"x\.tar"):
            list(read_shard(tar_of(tmp_path / "x.tar", content)))
            pytest.fail(what)
    assert [s.key for s in read_shard(tar_of(tmp_path / "x.tar", [*x, *y]))] == ["x", "y"]


def test_links_in_a_shard_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        link = tarfile.TarInfo("x.a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(InputError, match="plain file"):
        list(read_shard(tmp_path / "x.tar"))


def test_the_writer_refuses_what_readers_would(tmp_path: Path, sample: SampleOf) -> None:
    key, images, record = sample("k")
    wrong: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("K", images, {**record, "id": "K"}),
        ("k.1", images, {**record, "id": "k.1"}),
        ("k", images, {**record, "id": "other"}),
        ("k", {r: i for r, i in images.items() if r != "a"}, record),
        ("k", {**images, "a": (images["a"][0], "gif")}, record),
        ("k", {**images, "a": (images["a"][0][:60], "png")}, record),
        ("k", images, {**record, "width": 13}),
        ("k", images, {**record, "colour": "red"}),
        ("k", images, {name: value for name, value in record.items() if name != "height"}),
    ]
    for bad in wrong:
        with pytest.raises(InputError, match="sample"), ShardWriter(tmp_path, "train", 0) as shard:
            shard.add(*bad)
        assert not list((tmp_path / "train").iterdir())
    with pytest.raises(InputError, match="new"), ShardWriter(tmp_path, "train", 0) as shard:
        shard.add(key, images, record)
        shard.add(key, images, record)
    assert not list((tmp_path / "train").iterdir())


KILLED = """
import sys, time
from lorweb_bench.data.images import encode
from lorweb_bench.data.shard_writer import ShardWriter
import numpy as np
image = (encode(np.zeros((4, 4, 3), np.uint8)), "png")
with ShardWriter(sys.argv[1], "train", 0) as shard:
    for i in range(5000):
        roles = {role: image for role in ("a", "a_prime", "b", "b_prime")}
        shard.add(f"k{i}", roles, {"id": f"k{i}", "width": 4, "height": 4})
        if i == 20:
            print("writing", flush=True)
            time.sleep(60)
"""


def test_a_writer_that_is_killed_leaves_no_final_name(tmp_path: Path, write_dataset: Write) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not shard_done(tmp_path, "train", 0)
    assert all(path.name.startswith(".") for path in (tmp_path / "train").iterdir())
    with pytest.raises(InputError, match="empty dataset"):
        finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    write_dataset(tmp_path, {"train": ["x"]})
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == [
        "000000.json",
        "000000.tar",
    ]


def test_a_shard_without_samples_is_done_and_not_listed(tmp_path: Path, sample: SampleOf) -> None:
    with ShardWriter(tmp_path, "train", 0) as shard:
        shard.add(*sample("from-another-time"))
    with ShardWriter(tmp_path, "train", 0):
        pass
    with ShardWriter(tmp_path, "train", 1) as shard:
        shard.add(*sample("k"))
    assert shard_done(tmp_path, "train", 0)
    assert not (tmp_path / "train" / "000000.tar").exists()
    dataset = finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    assert [entry.path for entry in dataset.split("train").shards] == ["train/000001.tar"]


def test_a_dataset_is_not_finished_over_broken_parts(
    tmp_path: Path, tiny: Dataset, sample: SampleOf
) -> None:
    fields = {"name": "n", "version": "1", "view": "full"}
    with ShardWriter(tiny.path, "dev", 7) as shard:
        shard.add(*sample("t3"))
    with pytest.raises(InputError, match="'t3' occurs twice"):
        finish_dataset(tiny.path, fields)
    with ShardWriter(tiny.path, "dev", 7) as shard:
        shard.add(*sample("new", ext="webp"))
    with pytest.raises(InputError, match="mixes image extensions"):
        finish_dataset(tiny.path, fields)
    (tiny.path / "dev" / "000007.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"000007\.tar is not what its sidecar says"):
        finish_dataset(tiny.path, fields)


def test_the_sidecar_tells_what_the_shard_holds(tiny: Dataset) -> None:
    sidecar = read_sidecar(tiny.path / "train" / "000002.tar")
    assert (sidecar.samples, [item.key for item in sidecar.items], sidecar.extension) == (
        2,
        ["t8", "t9"],
        "png",
    )
    assert (
        sidecar.sha256
        == hashlib.sha256((tiny.path / "train" / "000002.tar").read_bytes()).hexdigest()
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "lorweb-bench/report"),
        ("format_version", 2),
        ("view", "secret"),
        ("surprise", 1),
        ("splits", {"exam": {}}),
    ],
)
def test_manifests_of_another_form_are_refused_by_field(
    tiny: Dataset, field: str, value: object
) -> None:
    content = read_json(tiny.path / "dataset.json")
    write_json(tiny.path / "dataset.json", {**content, field: value})
    with pytest.raises(InputError, match=rf"dataset\.json: {field}"):
        open_dataset(tiny.path)


def test_a_manifest_cannot_lead_out_of_its_folder(tiny: Dataset) -> None:
    content = read_json(tiny.path / "dataset.json")
    content["splits"]["train"]["shards"][0]["path"] = "../secret/000000.tar"
    write_json(tiny.path / "dataset.json", content)
    with pytest.raises(InputError, match="path"):
        open_dataset(tiny.path)


def test_what_is_no_dataset_or_no_suite_is_told(tmp_path: Path, tiny: Dataset) -> None:
    with pytest.raises(InputError, match="not a folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no dataset\.json"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="no suite"):
        open_suite(tiny.path)
    with pytest.raises(InputError, match="no split 'exam'; it has train, dev"):
        tiny.split("exam")
    with pytest.raises(InputError, match="names no transformation library"):
        tiny.library()


def test_libraries_are_found_by_name() -> None:
    assert hasattr(load_library("datagen"), "apply")
    with pytest.raises(InputError, match="did you mean 'datagen'"):
        load_library("datagn")


def test_sources_are_read_with_and_without_sidecars(tiny: Dataset) -> None:
    wanted = {
        name for record in tiny.records("train") for name in (record.a_source, record.b_source)
    }
    assert tiny.sources("train") == wanted
    (tiny.path / "train" / "000001.json").unlink()
    assert tiny.sources("train") == wanted


def test_plain_webdataset_reads_it(tiny: Dataset) -> None:
    wds = pytest.importorskip("webdataset")
    tars = [str(tiny.path / entry.path) for entry in tiny.split("train").shards]
    for sample in wds.WebDataset(tars, shardshuffle=False).decode("rgb8"):
        assert (
            sample["b_prime.png"]
            == to_array(next(tiny.quadruplets("train", keys={sample["__key__"]})).b_prime)
        ).all()
        assert sample["json"]["id"] == sample["__key__"]
    assert [s["__key__"] for s in wds.WebDataset(tars, shardshuffle=False)] == [
        f"t{i}" for i in range(10)
    ]


def test_load_dataset_reads_it(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(tiny.path), split="dev", cache_dir=str(tmp_path / "cache"))
    assert [row["__key__"] for row in loaded] == ["d0", "d1", "d2"]
    assert (
        np.asarray(loaded[1]["a_prime.png"])
        == to_array(next(tiny.quadruplets("dev", keys={"d1"})).a_prime)
    ).all()
    assert loaded[0]["json"]["transformation"] in tiny.manifest.transformations
