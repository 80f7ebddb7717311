"""A training loader for torch: batches of quadruplets from shards, resumable by sample.

Samples are streamed over workers and nodes by this package's own strict reader, so that no half
sample reaches a training. Importing this module imports torch.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from lorweb_bench.data.dataset import open_dataset
from lorweb_bench.data.sampling_order import Order, batches
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES

Batch = dict[str, Any]


class BatchStream(IterableDataset[Batch]):
    """The batches of one node from batch `skip` on, dealt out to torch's workers in turns."""

    def __init__(self, path: str, order: Order, skip: int, rank: int, world: int) -> None:
        self.path, self.order, self.skip, self.rank, self.world = path, order, skip, rank, world

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        # torch takes batches from worker 0, 1, … in turns; after a skip another turn comes first.
        turn = (number + self.skip) % workers
        skip = self.skip // workers + (turn < self.skip % workers)
        reader, readers = self.rank * workers + turn, self.world * workers
        for batch in batches(open_dataset(self.path), self.order, reader, readers, skip):
            yield {
                name: torch.from_numpy(value) if name in ROLES else value
                for name, value in batch.items()
            }


class TrainingLoader(DataLoader[Batch]):
    """Endless batches that go on after those that were handed out; see `training_loader`."""

    stream: BatchStream
    identity: dict[str, Any]

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches after those that were handed out so far, whoever asked for them."""
        for batch in super().__iter__():
            self.stream.skip += 1  # what workers hold ready was not handed out yet
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """How many samples this rank had, and what the order of the rest depends on; JSON-able."""
        return {"samples": self.stream.skip * self.stream.order.batch_size, **self.identity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after a state, from the next `iter` on, with the batches that would have come.

        Raises:
            InputError: The state is of a loader of another order.
        """
        for name, value in self.identity.items():
            if state.get(name) != value:
                raise InputError(
                    f"The state of a loader has {name} {state.get(name)!r} "
                    f"and this one {value!r}; make both alike."
                )
        self.stream.skip = state["samples"] // self.stream.order.batch_size


def training_loader(
    dataset: Path | str,
    batch_size: int,
    *,
    split: str = "train",
    seed: int = 0,
    start: int = 0,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    buffer: int = 1000,
) -> TrainingLoader:
    """An endless torch DataLoader of batches of quadruplets.

    The order depends on the dataset, the seed, the batch size, the buffer, and on workers and
    world, and on nothing else. `state_dict` and `load_state_dict` take a run up where it stopped.

    Args:
        dataset: The folder of a training dataset.
        batch_size: Samples in a batch, all of one panel size.
        split: The split to read.
        seed: What the order is drawn from.
        start: How many samples this rank already had, a multiple of the batch size; they are not
            read again.
        workers: Processes of torch that read, 0 for this one.
        rank: The number of this node, from 0.
        world: How many nodes there are; each gets its own part of an epoch.
        buffer: How many samples are shuffled at a time.

    Returns:
        A loader whose batches are `a`, `a_prime`, `b`, `b_prime` as uint8 tensors B x 3 x H x W,
        and a list `records`.

    Raises:
        InputError: There is no such split, or no answers (a public view).
    """
    opened = open_dataset(dataset)
    opened.split(split)
    if opened.public:
        raise InputError(f"{dataset} is a public view, which has no answers to train on.")
    if batch_size < 1 or start < 0 or start % batch_size:
        raise InputError(
            f"A start at sample {start} is in the middle of a batch of {batch_size}; "
            "give a multiple of it."
        )
    if not 0 <= rank < world:
        raise InputError(f"There is no rank {rank} in a world of {world}.")
    stream = BatchStream(
        str(dataset), Order(split, batch_size, seed, buffer), start // batch_size, rank, world
    )
    loader = TrainingLoader(stream, batch_size=None, num_workers=workers)
    loader.stream = stream
    loader.identity = {
        "dataset": opened.manifest.targets_fingerprint or opened.fingerprint,
        "split": split,
        "batch_size": batch_size,
        "seed": seed,
        "buffer": buffer,
        "workers": workers,
        "rank": rank,
        "world": world,
    }
    return loader
