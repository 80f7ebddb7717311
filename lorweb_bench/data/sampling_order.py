"""The order of training: an endless, seeded stream of batches from shards, for one of several readers.

It is a pure function of the dataset, the order's fields, and which reader of how many it is for; so it can be taken up anywhere.
The order is decided on places (shard, number) alone; a sample is read when its batch is due.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.data.shards import read_sidecar
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES

Place = tuple[int, int]  # the index of a shard, the number of a sample in it


@dataclass(frozen=True)
class Order:
    """What decides which samples come when: batches of one panel size, shards shuffled, then `buffer` samples at a time."""

    split: str
    batch_size: int
    seed: int = 0
    buffer: int = 1000


def batches(
    dataset: Dataset, order: Order, reader: int = 0, readers: int = 1, skip: int = 0
) -> Iterator[dict[str, Any]]:
    """The batches of one reader from the `skip`-th on, without end.

    A batch is `a`, `a_prime`, `b`, `b_prime` as uint8 arrays B x 3 x H x W, and `records`. All of its samples have one size;
    what an epoch leaves incomplete is filled from the next. Of skipped batches no image is read.
    """
    for group in _groups(dataset, order, reader, readers, skip):
        yield _decoded(dataset, order.split, group)


def _groups(
    dataset: Dataset, order: Order, reader: int, readers: int, skip: int
) -> Iterator[list[Place]]:
    if dataset.split(order.split).samples < readers:
        raise InputError(
            f"{dataset.path} has fewer samples in {order.split} than readers ({readers}); use fewer workers or nodes."
        )
    alike = _one_size(dataset, order.split)
    epoch = left = 0
    if (
        alike
    ):  # then batches are cut off one after the other, and epochs are skipped by their length
        left, skip = skip * order.batch_size, 0
        while left >= (length := _length(dataset, order, epoch, reader, readers)):
            left, epoch = left - length, epoch + 1
    groups = _cut(dataset, order, _places(dataset, order, reader, readers, epoch, left), alike)
    return itertools.islice(groups, skip, None)


def _one_size(dataset: Dataset, split: str) -> bool:
    """Whether the sidecars say that all panels of a split have one size; without them it is looked up sample by sample."""
    found: set[str] = set()
    for entry in dataset.split(split).shards:
        if not (dataset.path / entry.path).with_suffix(".json").is_file():
            return False
        found |= set(read_sidecar(dataset.path / entry.path).sizes) or {""}
    return len(found) == 1 and "" not in found


def _cut(
    dataset: Dataset, order: Order, places: Iterator[Place], alike: bool
) -> Iterator[list[Place]]:
    groups: dict[tuple[int, int] | None, list[Place]] = {}
    for shard, number in places:
        size = None if alike else dataset.places(order.split, shard).sizes[number]
        group = groups.setdefault(size, [])
        group.append((shard, number))
        if len(group) == order.batch_size:
            del groups[size]
            yield group


def _decoded(dataset: Dataset, split: str, group: list[Place]) -> dict[str, Any]:
    import cv2

    records: list[Record] = []
    batch: dict[str, Any] = {"records": records}
    for place in group:
        record, panels = dataset.panels(dataset.sample_at(split, *place))
        if (record.width, record.height) != dataset.places(split, place[0]).sizes[place[1]]:
            shard = dataset.path / dataset.split(split).shards[place[0]].path
            raise InputError(
                f"{shard}: sample {record.id!r} is not of the size that the sidecar says; fetch or build both again."
            )
        for role in ROLES:
            if not records:
                batch[role] = np.empty((len(group), 3, record.height, record.width), np.uint8)
            cv2.split(
                panels[role], list(batch[role][len(records)])
            )  # several times as fast as NumPy's transposition
        records.append(record)
    return batch


def _places(
    dataset: Dataset, order: Order, reader: int, readers: int, epoch: int, skip: int
) -> Iterator[Place]:
    """The places of this reader, shuffled, from the `skip`-th of an epoch on, epoch after epoch."""
    while True:
        shuffled = _shuffled(
            _share(dataset, order, epoch, reader, readers),
            order.buffer,
            f"{order.seed} {epoch} {reader}",
        )
        for _ in range(skip):
            next(shuffled)
        yield from shuffled
        epoch, skip = epoch + 1, 0


def _shuffled(places: Iterator[Place], buffer: int, seed: str) -> Iterator[Place]:
    rng = random.Random(seed)
    pool: list[Place] = []
    for place in places:
        pool.append(place)
        if len(pool) > buffer:
            i = rng.randrange(len(pool))
            pool[i], pool[-1] = pool[-1], pool[i]
            yield pool.pop()
    rng.shuffle(pool)
    yield from pool


def _share(
    dataset: Dataset, order: Order, epoch: int, reader: int, readers: int
) -> Iterator[Place]:
    """The part of an epoch that is this reader's: whole shards where there are enough of them, else every n-th sample."""
    entries, shards = dataset.split(order.split).shards, _shard_order(dataset, order, epoch)
    if len(shards) >= readers:
        return (
            (shard, number)
            for shard in shards[reader::readers]
            for number in range(entries[shard].samples)
        )
    places = ((shard, number) for shard in shards for number in range(entries[shard].samples))
    return itertools.islice(places, reader, None, readers)


def _shard_order(dataset: Dataset, order: Order, epoch: int) -> list[int]:
    shards = list(range(len(dataset.split(order.split).shards)))
    random.Random(f"{order.seed} {epoch}").shuffle(shards)
    return shards


def _length(dataset: Dataset, order: Order, epoch: int, reader: int, readers: int) -> int:
    """How many samples of an epoch are this reader's."""
    split = dataset.split(order.split)
    if len(split.shards) >= readers:
        return sum(
            split.shards[shard].samples
            for shard in _shard_order(dataset, order, epoch)[reader::readers]
        )
    return len(range(reader, split.samples, readers))
