"""Training quadruplets in memory and the batches of each step, a pure function of seed and step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError

ROLES = ("a", "a_prime", "b", "b_prime")


@dataclass(frozen=True)
class Quadruplets:
    """All quadruplets of one split: uint8 (4, n, 3, height, width) in the order of `ROLES`, and their keys."""

    images: Tensor
    keys: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def batch(self, seed: int, step: int, size: int, exchange: float, reverse: float) -> Tensor:
        """The batch (4, size, 3, height, width) of a step: every epoch is a seeded order of all samples.

        `exchange` is the share of samples whose two pairs trade places, `reverse` the share whose pairs both run backwards.
        """
        first = step * size
        epochs = range(first // len(self), (first + size - 1) // len(self) + 1)
        order = np.concatenate([np.random.default_rng((seed, 3, epoch)).permutation(len(self)) for epoch in epochs])
        start = first - epochs[0] * len(self)
        chosen = self.images[:, torch.from_numpy(order[start : start + size])]
        random = np.random.default_rng((seed, 4, step))
        exchanged = torch.from_numpy(random.random(size) < exchange)[None, :, None, None, None]
        chosen = torch.where(exchanged, chosen[[2, 3, 0, 1]], chosen)
        reversed_ = torch.from_numpy(random.random(size) < reverse)[None, :, None, None, None]
        return torch.where(reversed_, chosen[[1, 0, 3, 2]], chosen)


def read_quadruplets(dataset: Dataset, split: str, panel: int) -> Quadruplets:
    """All quadruplets of a split; InputError when there are none, or when they differ in size or exceed the panel of the config."""
    if split not in dataset.manifest.splits:
        raise InputError(f"{dataset.path}: no split `{split}`, only {', '.join(dataset.manifest.splits)}; name a training dataset")
    stacks: list[list[np.ndarray]] = []
    keys = []
    for q in dataset.quadruplets(split):
        stacks.append([np.asarray(getattr(q, role)) for role in ROLES])
        keys.append(q.key)
    shapes = {image.shape for four in stacks for image in four}
    if len(shapes) != 1:
        raise InputError(f"{dataset.path}: split `{split}` holds {len(shapes)} sizes of panels; build it with `panel.square`")
    if max(shapes.pop()[:2]) > panel:
        raise InputError(f"{dataset.path}: its panels are larger than `panel: {panel}` of the config; build it smaller or raise `panel`")
    return Quadruplets(torch.from_numpy(np.stack(stacks)).permute(1, 0, 4, 2, 3).contiguous(), keys)
