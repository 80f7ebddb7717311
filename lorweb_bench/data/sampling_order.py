"""The order of training: an endless, seeded stream of batches for one of several readers.

The order is a pure function of the dataset, the order's settings, and the number of the reader
among all readers, so that a run can go on from any batch. It is decided on positions alone, which
are a shard and a sample's number in it; a sample is read when its batch is due.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.data.shard_format import read_sidecar
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES

Position = tuple[int, int]  # the number of a shard, the number of a sample in it


@dataclass(frozen=True)
class Order:
    """What decides which samples come when.

    Attributes:
        split: The split to read.
        batch_size: Samples in a batch, all of one panel size.
        seed: What shards and samples are shuffled by.
        buffer: How many samples are shuffled at a time, after the shards.
    """

    split: str
    batch_size: int
    seed: int = 0
    buffer: int = 1000


def batches(
    dataset: Dataset, order: Order, reader: int = 0, readers: int = 1, skip: int = 0
) -> Iterator[dict[str, Any]]:
    """The batches of one reader, without end.

    All samples of a batch have one size; what an epoch leaves incomplete is filled from the next.

    Args:
        dataset: The dataset to read.
        order: What decides the order.
        reader: The number of this reader, from 0.
        readers: How many readers there are.
        skip: The first batch to read; no image of an earlier one is read.

    Yields:
        `a`, `a_prime`, `b`, `b_prime` as uint8 arrays B x 3 x H x W, and the list `records`.
    """
    for positions in _positions_of_batches(dataset, order, reader, readers, skip):
        yield _decode_batch(dataset, order.split, positions)


def _positions_of_batches(
    dataset: Dataset, order: Order, reader: int, readers: int, skip: int
) -> Iterator[list[Position]]:
    if dataset.split(order.split).samples < readers:
        raise InputError(
            f"{dataset.path} has fewer samples in {order.split} than readers ({readers}); "
            "use fewer workers or nodes."
        )
    one_size = _has_one_size(dataset, order.split)
    epoch = samples = 0
    if one_size:  # then batches follow each other in order, and whole epochs can be skipped
        samples, skip = skip * order.batch_size, 0
        while samples >= (length := _epoch_length(dataset, order, epoch, reader, readers)):
            samples, epoch = samples - length, epoch + 1
    positions = _positions(dataset, order, reader, readers, epoch, samples)
    return itertools.islice(_batched(dataset, order, positions, one_size), skip, None)


def _has_one_size(dataset: Dataset, split: str) -> bool:
    """Whether the sidecars say that all panels of a split have one size.

    Where they do not, the size is looked up sample by sample.
    """
    sizes: set[str] = set()
    for entry in dataset.split(split).shards:
        if not (dataset.path / entry.path).with_suffix(".json").is_file():
            return False
        sizes |= set(read_sidecar(dataset.path / entry.path).sizes) or {""}
    return len(sizes) == 1 and "" not in sizes


def _batched(
    dataset: Dataset, order: Order, positions: Iterator[Position], one_size: bool
) -> Iterator[list[Position]]:
    """Positions in batches of one panel size, each handed out when it is full."""
    filling: dict[tuple[int, int] | None, list[Position]] = {}
    for shard, number in positions:
        size = None if one_size else dataset.index(order.split, shard).sizes[number]
        batch = filling.setdefault(size, [])
        batch.append((shard, number))
        if len(batch) == order.batch_size:
            del filling[size]
            yield batch


def _decode_batch(dataset: Dataset, split: str, positions: list[Position]) -> dict[str, Any]:
    import cv2

    records: list[Record] = []
    batch: dict[str, Any] = {"records": records}
    for shard, number in positions:
        record, panels = dataset.panels(dataset.sample_at(split, shard, number))
        if (record.width, record.height) != dataset.index(split, shard).sizes[number]:
            path = dataset.path / dataset.split(split).shards[shard].path
            raise InputError(
                f"{path}: sample {record.id!r} is not of the size that the sidecar says; "
                "fetch or build both again."
            )
        for role in ROLES:
            if not records:
                batch[role] = np.empty((len(positions), 3, record.height, record.width), np.uint8)
            # Several times as fast as NumPy's transposition.
            cv2.split(panels[role], list(batch[role][len(records)]))
        records.append(record)
    return batch


def _positions(
    dataset: Dataset, order: Order, reader: int, readers: int, epoch: int, skip: int
) -> Iterator[Position]:
    """This reader's positions, shuffled, from the `skip`-th of an epoch on, epoch after epoch."""
    while True:
        share = _share(dataset, order, epoch, reader, readers)
        shuffled = _shuffled(share, order.buffer, f"{order.seed} {epoch} {reader}")
        for _ in range(skip):
            next(shuffled)
        yield from shuffled
        epoch, skip = epoch + 1, 0


def _shuffled(positions: Iterator[Position], buffer: int, seed: str) -> Iterator[Position]:
    rng = random.Random(seed)
    pool: list[Position] = []
    for position in positions:
        pool.append(position)
        if len(pool) > buffer:
            i = rng.randrange(len(pool))
            pool[i], pool[-1] = pool[-1], pool[i]
            yield pool.pop()
    rng.shuffle(pool)
    yield from pool


def _share(
    dataset: Dataset, order: Order, epoch: int, reader: int, readers: int
) -> Iterator[Position]:
    """This reader's part of an epoch.

    Readers get whole shards where there is one for each of them, and every n-th sample otherwise.
    """
    shards = _shard_order(dataset, order, epoch)
    if len(shards) >= readers:
        return _positions_in(dataset, order.split, shards[reader::readers])
    positions = _positions_in(dataset, order.split, shards)
    return itertools.islice(positions, reader, None, readers)


def _positions_in(dataset: Dataset, split: str, shards: list[int]) -> Iterator[Position]:
    entries = dataset.split(split).shards
    for shard in shards:
        for number in range(entries[shard].samples):
            yield shard, number


def _shard_order(dataset: Dataset, order: Order, epoch: int) -> list[int]:
    shards = list(range(len(dataset.split(order.split).shards)))
    random.Random(f"{order.seed} {epoch}").shuffle(shards)
    return shards


def _epoch_length(dataset: Dataset, order: Order, epoch: int, reader: int, readers: int) -> int:
    """How many samples of an epoch are this reader's."""
    split = dataset.split(order.split)
    if len(split.shards) >= readers:
        shards = _shard_order(dataset, order, epoch)[reader::readers]
        return sum(split.shards[shard].samples for shard in shards)
    return len(range(reader, split.samples, readers))
