"""The training order: every sample once an epoch, the same for a seed, taken up anywhere, shared
out over readers.
"""

import json
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.data.sampling_order import Order, batches
from lorweb_bench.data.shard_reader import ShardIndex, read_sample
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from lorweb_bench.runtime.files import read_json, write_json


def keys(
    dataset: Dataset, order: Order, number: int, reader: int = 0, readers: int = 1, skip: int = 0
) -> list[list[str]]:
    return [
        [r.id for r in batch["records"]]
        for batch in islice(batches(dataset, order, reader, readers, skip), number)
    ]


@pytest.mark.parametrize("buffer", [0, 3, 1000])
def test_an_epoch_has_every_sample_once(tiny: Dataset, buffer: int) -> None:
    read = [key for batch in keys(tiny, Order("train", 5, 1, buffer), 6) for key in batch]
    for epoch in range(3):
        assert sorted(read[10 * epoch : 10 * epoch + 10]) == [f"t{i}" for i in range(10)]
    assert read[:10] != read[10:20]


def test_the_seed_decides(tiny: Dataset) -> None:
    assert keys(tiny, Order("train", 2, seed=1), 20) == keys(tiny, Order("train", 2, seed=1), 20)
    assert keys(tiny, Order("train", 2, seed=1), 20) != keys(tiny, Order("train", 2, seed=2), 20)


@pytest.mark.parametrize("readers", [1, 2, 3, 5])
def test_readers_share_an_epoch_without_overlap(tiny: Dataset, readers: int) -> None:
    order = Order("train", 1)
    shares = [
        {key for batch in keys(tiny, order, 40, reader, readers) for key in batch}
        for reader in range(readers)
    ]
    # With more readers than shards each takes every n-th sample; whose turn it is changes with the
    # shards' order.
    if readers > 3:
        first = [
            key
            for reader in range(readers)
            for batch in keys(tiny, order, 2, reader, readers)
            for key in batch
        ]
        assert sorted(first) == [f"t{i}" for i in range(10)]
    assert set().union(*shares) == {f"t{i}" for i in range(10)}


def test_batches_hold_the_pixels_of_their_records(tiny: Dataset) -> None:
    batch = next(batches(tiny, Order("train", 4)))
    for i, record in enumerate(batch["records"]):
        quadruplet = next(tiny.quadruplets("train", keys={record.id}))
        for role in ROLES:
            assert batch[role].dtype == np.uint8
            assert (batch[role][i].transpose(1, 2, 0) == to_array(getattr(quadruplet, role))).all()


@pytest.mark.parametrize("skip", [1, 3, 7])
def test_it_goes_on_where_it_stopped(tiny: Dataset, skip: int) -> None:
    order = Order("train", 3, buffer=4)
    assert keys(tiny, order, 10 - skip, skip=skip) == keys(tiny, order, 10)[skip:]


def test_a_batch_has_one_size(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0) as shard:
        for i in range(9):
            width = 4 + i % 3
            image = (encode(np.full((4, width, 3), i, np.uint8)), "png")
            shard.add(
                f"k{i}", dict.fromkeys(ROLES, image), {"id": f"k{i}", "width": width, "height": 4}
            )
    dataset = finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    counts: Counter[str] = Counter()
    for batch in islice(batches(dataset, Order("train", 2)), 36):
        assert batch["a"].shape[0] == 2
        counts.update(record.id for record in batch["records"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_more_readers_than_samples_is_told(tiny: Dataset) -> None:
    with pytest.raises(InputError, match="fewer samples in train than readers"):
        next(batches(tiny, Order("train", 1), 11, 12))


@pytest.fixture
def training_loader() -> Callable[..., object]:
    pytest.importorskip("torch")
    from lorweb_bench.data.loader import training_loader

    return training_loader


@pytest.mark.parametrize("workers", [0, 2])
def test_the_torch_loader_goes_on_where_it_stopped(
    tiny: Dataset, training_loader: Callable[..., object], workers: int
) -> None:
    def first(number: int, start: int = 0) -> list[list[str]]:
        loader = training_loader(tiny.path, 2, seed=4, start=start, workers=workers, buffer=4)
        return [[r.id for r in batch["records"]] for batch in islice(loader, number)]

    assert first(4, start=6) == first(7)[3:]


def test_the_torch_loader_gives_tensors_and_shares_nodes(
    tiny: Dataset, training_loader: Callable[..., object]
) -> None:
    import torch

    nodes = [
        list(islice(training_loader(tiny.path, 2, rank=rank, world=2), 6)) for rank in range(2)
    ]  # type: ignore[call-overload]
    assert nodes[0][0]["a_prime"].dtype == torch.uint8
    assert nodes[0][0]["a_prime"].shape == (2, 3, 10, 12)
    first = {r.id for batch in nodes[0][:2] for r in batch["records"]}
    assert not first & {r.id for r in nodes[1][0]["records"]}


def test_the_torch_loader_refuses_what_it_cannot_do(
    tiny: Dataset, small_public: Dataset, training_loader: Callable[..., object]
) -> None:
    for path, options, words in (
        (tiny.path, {"start": 3}, "middle of a batch"),
        (tiny.path, {"rank": 2, "world": 2}, "no rank 2"),
        (tiny.path, {"split": "exam"}, "no split 'exam'"),
        (small_public.path, {"split": "test"}, "no answers"),
    ):
        with pytest.raises(InputError, match=words):
            training_loader(path, 2, **options)


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("given", [1, 4, 9])  # within an epoch, across one, after several
def test_a_loader_goes_on_from_its_state(
    write_dataset: Callable[..., Dataset],
    tmp_path: Path,
    training_loader: Callable[..., Any],
    workers: int,
    world: int,
    given: int,
) -> None:
    dataset = write_dataset(tmp_path, {"train": [f"t{i}" for i in range(22)]})
    for rank in range(world):
        options = {"seed": 3, "buffer": 5, "workers": workers, "rank": rank, "world": world}
        whole = [
            ids(batch) for batch in islice(training_loader(dataset.path, 2, **options), given + 4)
        ]
        first, second = (training_loader(dataset.path, 2, **options) for _ in range(2))
        assert [ids(batch) for batch in islice(first, given)] == whole[:given]
        state = json.loads(json.dumps(first.state_dict()))
        assert state["samples"] == 2 * given
        second.load_state_dict(state)
        assert [ids(batch) for batch in islice(second, 4)] == whole[given:]
        assert [ids(batch) for batch in islice(first, 4)] == whole[
            given:
        ]  # so does the same loader when it is asked again


def ids(batch: dict[str, Any]) -> list[str]:
    return [record.id for record in batch["records"]]


def test_nodes_and_workers_share_an_epoch(
    write_dataset: Callable[..., Dataset], tmp_path: Path, training_loader: Any
) -> None:
    dataset = write_dataset(tmp_path, {"train": [f"t{i}" for i in range(16)]})
    for workers in (0, 1, 2):
        loaders = [
            training_loader(dataset.path, 1, workers=workers, rank=rank, world=2, buffer=3)
            for rank in range(2)
        ]
        epoch = [key for loader in loaders for batch in islice(loader, 8) for key in ids(batch)]
        assert sorted(epoch) == sorted(f"t{i}" for i in range(16))


def test_a_state_of_another_order_is_refused(
    tiny: Dataset, training_loader: Callable[..., Any]
) -> None:
    state = training_loader(tiny.path, 2, seed=4).state_dict()
    for other, said in (
        ({"seed": 5}, "seed 4 and this one 5"),
        ({"seed": 4, "workers": 2}, "workers 0 and this one 2"),
    ):
        with pytest.raises(InputError, match=said):
            training_loader(tiny.path, 2, **other).load_state_dict(state)


def test_a_late_start_reads_what_is_due_alone(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = Dataset.sample_at
    monkeypatch.setattr(
        Dataset, "sample_at", lambda self, *place: (read.append(1), whole(self, *place))[1]
    )  # type: ignore[func-returns-value]
    late = keys(tiny, Order("train", 2, buffer=4), 3, skip=5_001)
    assert len(read) == 6
    assert late == keys(tiny, Order("train", 2, buffer=4), 3, skip=5_001)
    assert len(late[0]) == 2


@pytest.mark.parametrize("sidecars", [True, False])
def test_panels_of_several_sizes_are_taken_up_anywhere(tmp_path: Path, sidecars: bool) -> None:
    for index in range(3):
        with ShardWriter(tmp_path, "train", index) as shard:
            for i in range(5):
                width = 4 + (index + i) % 3
                image = (encode(np.full((4, width, 3), i, np.uint8)), "png")
                shard.add(
                    f"k{index}{i}",
                    dict.fromkeys(ROLES, image),
                    {"id": f"k{index}{i}", "width": width, "height": 4},
                )
    dataset = finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    for path in () if sidecars else tmp_path.glob("train/*.json"):
        path.unlink()  # a copy of the tars alone can be read too
    order = Order("train", 2, buffer=4)
    whole = keys(dataset, order, 20, 0, 2)
    for skip in (1, 7, 15):
        assert keys(dataset, order, 20 - skip, 0, 2, skip) == whole[skip:]


def test_no_sample_of_a_damaged_shard_reaches_a_training(tiny: Dataset) -> None:
    shard = tiny.path / "train" / "000001.tar"
    whole, order = shard.read_bytes(), Order("train", 1)
    middle = len(whole) // 2
    for data in (
        whole[:middle],
        whole[:-512],
        whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
    ):
        shard.write_bytes(data)
        given: list[str] = []
        with pytest.raises(InputError, match=r"train/000001\.tar"):
            given.extend(
                key
                for (key,) in (
                    [r.id for r in batch["records"]]
                    for batch in batches(open_dataset(tiny.path), order)
                )
            )
        assert not {"t4", "t5", "t6", "t7"} & set(given)


def test_the_index_of_another_shard_hands_out_nothing(tiny: Dataset) -> None:
    sidecar = tiny.path / "train" / "000000.json"
    content = read_json(sidecar)
    content["starts"] = [start + 512 for start in content["starts"]]
    write_json(sidecar, content)
    with pytest.raises(InputError, match=r"train/000000\.tar"):
        open_dataset(tiny.path).sample_at("train", 0, 0)


def test_a_sidecar_that_lies_about_sizes_hands_out_no_batch(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0) as shard:
        for i, width in enumerate((4, 4, 5)):
            image = (encode(np.full((4, width, 3), i, np.uint8)), "png")
            shard.add(
                f"k{i}", dict.fromkeys(ROLES, image), {"id": f"k{i}", "width": width, "height": 4}
            )
    dataset = finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    sidecar = tmp_path / "train" / "000000.json"
    write_json(sidecar, read_json(sidecar) | {"sizes": {"4x4": 3}})
    with pytest.raises(InputError, match=r"train/000000\.tar: sample 'k\d' is not of the size"):
        next(batches(dataset, Order("train", 3)))


def test_an_index_within_a_sample_hands_out_nothing(tiny: Dataset) -> None:
    index, path = tiny.index("train", 0), tiny.path / "train" / "000000.tar"
    start, end = index.starts[:2]
    assert read_sample(path, index, 0).key == "t0"
    for first, last in [(at, end) for at in range(start + 512, end, 512)] + [
        (start, at) for at in range(start, end, 512)
    ]:
        with pytest.raises(InputError, match=r"train/000000\.tar"):
            read_sample(path, ShardIndex((first, last), index.sizes), 0)
