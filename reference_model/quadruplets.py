"""Training quadruplets in memory and the batches of each step, a pure function of seed and step."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError

ROLES = ("a", "a_prime", "b", "b_prime")
SIDE_MULTIPLE = 16  # of pixels, so that every codec and the pair encoder can cut the panel


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


def check_panels(dataset: Dataset, split: str, images: list[np.ndarray]) -> tuple[int, int]:
    """Height and width of all panels of a split; InputError when they are of several sizes, or cannot be cut into patches."""
    shapes = {image.shape[:2] for image in images}
    if len(shapes) != 1:
        raise InputError(f"{dataset.path}: split `{split}` holds {len(shapes)} sizes of panels; build it with `panel.square`")
    height, width = shapes.pop()
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise InputError(
            f"{dataset.path}: its panels are {width} x {height}; build it with sides that are multiples of {SIDE_MULTIPLE} (`panel.square`)"
        )
    return height, width


def read_quadruplets(dataset: Dataset, split: str, panel: int) -> Quadruplets:
    """All quadruplets of a split; InputError when there are none, or when their sizes differ, exceed `panel` or cannot be cut."""
    if split not in dataset.manifest.splits:
        raise InputError(f"{dataset.path}: no split `{split}`, only {', '.join(dataset.manifest.splits)}; name a training dataset")
    stacks: list[list[np.ndarray]] = []
    keys = []
    for q in dataset.quadruplets(split):
        stacks.append([np.asarray(getattr(q, role)) for role in ROLES])
        keys.append(q.key)
    height, width = check_panels(dataset, split, [four[0] for four in stacks])  # the four are of one size
    if max(height, width) > panel:
        raise InputError(f"{dataset.path}: its panels are larger than `panel: {panel}` of the config; build it smaller or raise `panel`")
    return Quadruplets(torch.from_numpy(np.stack(stacks)).permute(1, 0, 4, 2, 3).contiguous(), keys)
