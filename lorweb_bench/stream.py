"""The order of training: an endless, seeded stream of batches from shards, for one of several readers.

It is a pure function of the dataset, the order's fields, and which reader of how many it is for; so it can be taken up anywhere.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.images import to_array
from lorweb_bench.protocol import ROLES
from lorweb_bench.shards import Sample


@dataclass(frozen=True)
class Order:
    """What decides which samples come when: batches of one panel size, shards shuffled, then `buffer` samples at a time."""

    split: str
    batch_size: int
    seed: int = 0
    buffer: int = 1000


def batches(dataset: Dataset, order: Order, reader: int = 0, readers: int = 1, skip: int = 0) -> Iterator[dict[str, Any]]:
    """The batches of one reader from the `skip`-th on, without end.

    A batch is `a`, `a_prime`, `b`, `b_prime` as uint8 arrays B x 3 x H x W, and `records`. All of its samples have one size;
    what an epoch leaves incomplete is filled from the next. Skipped batches are read, not decoded.
    """
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in _samples(dataset, order, reader, readers):
        size = (sample.record["width"], sample.record["height"])
        group = groups.setdefault(size, [])
        group.append(sample)
        if len(group) == order.batch_size:
            del groups[size]
            if skip:
                skip -= 1
            else:
                yield _decoded(dataset, group)


def _decoded(dataset: Dataset, group: list[Sample]) -> dict[str, Any]:
    quadruplets = [dataset.decode(sample) for sample in group]
    batch: dict[str, Any] = {"records": [q.record for q in quadruplets]}
    for role in ROLES:
        panels = np.stack([to_array(getattr(q, role)) for q in quadruplets])
        batch[role] = np.ascontiguousarray(panels.transpose(0, 3, 1, 2))
    return batch


def _samples(dataset: Dataset, order: Order, reader: int, readers: int) -> Iterator[Sample]:
    epoch = 0
    while True:
        rng = random.Random(f"{order.seed} {epoch} {reader}")
        pool: list[Sample] = []
        empty = True
        for sample in _share(dataset, order, epoch, reader, readers):
            empty = False
            pool.append(sample)
            if len(pool) > order.buffer:
                i = rng.randrange(len(pool))
                pool[i], pool[-1] = pool[-1], pool[i]
                yield pool.pop()
        if empty:
            raise InputError(f"{dataset.path} has fewer samples in {order.split} than readers ({readers}); use fewer workers or nodes.")
        rng.shuffle(pool)
        yield from pool
        epoch += 1


def _share(dataset: Dataset, order: Order, epoch: int, reader: int, readers: int) -> Iterator[Sample]:
    """The part of an epoch that is this reader's: whole shards where there are enough of them, else every n-th sample."""
    shards = list(range(len(dataset.split(order.split).shards)))
    random.Random(f"{order.seed} {epoch}").shuffle(shards)
    by_shard = len(shards) >= readers
    number = 0
    for shard in shards[reader::readers] if by_shard else shards:
        for sample in dataset.samples(order.split, [shard]):
            if by_shard or number % readers == reader:
                yield sample
            number += 1
