"""Training quadruplets in memory, and what is asked of their sizes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError

ROLES = ("a", "a_prime", "b", "b_prime")
SIDE_MULTIPLE = 16  # of pixels, so that every codec and the pair encoder can cut the panel


@dataclass(frozen=True)
class Quadruplets:
    """All quadruplets of one split.

    Uint8 (4, n, 3, height, width) in the order of `ROLES`, and their keys.
    """

    images: Tensor
    keys: list[str]

    def __len__(self) -> int:
        return len(self.keys)


def check_panels(dataset: Dataset, split: str, images: list[np.ndarray]) -> tuple[int, int]:
    """Height and width of all panels of a split.

    InputError when they are of several sizes, or cannot be cut into patches.
    """
    return check_sizes(dataset, split, {image.shape[:2] for image in images})


def check_sizes(
    dataset: Dataset, split: str, shapes: set[tuple[int, int]], panel: int | None = None
) -> tuple[int, int]:
    """The one height and width of a split's panels.

    InputError when there are several, or they cannot be cut or exceed `panel`.
    """
    if len(shapes) != 1:
        raise InputError(
            f"{dataset.path}: split `{split}` holds {len(shapes)} sizes of panels; build it with "
            "`panel.square`"
        )
    height, width = shapes.pop()
    if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
        raise InputError(
            f"{dataset.path}: its panels are {width} x {height}; build it with sides that are "
            f"multiples of {SIDE_MULTIPLE} (`panel.square`)"
        )
    if panel is not None and max(height, width) > panel:
        raise InputError(
            f"{dataset.path}: its panels are larger than `panel: {panel}` of the config; build it "
            "smaller or raise `panel`"
        )
    return height, width


def read_quadruplets(dataset: Dataset, split: str, panel: int) -> Quadruplets:
    """All quadruplets of a split.

    InputError when there are none, or when their sizes differ, exceed `panel` or cannot be cut.
    """
    if split not in dataset.manifest.splits:
        raise InputError(
            f"{dataset.path}: no split `{split}`, only {', '.join(dataset.manifest.splits)}; name "
            "a training dataset"
        )
    stacks: list[list[np.ndarray]] = []
    keys = []
    for q in dataset.quadruplets(split):
        stacks.append([np.asarray(getattr(q, role)) for role in ROLES])
        keys.append(q.key)
    check_sizes(
        dataset, split, {four[0].shape[:2] for four in stacks}, panel
    )  # the four are of one size
    return Quadruplets(torch.from_numpy(np.stack(stacks)).permute(1, 0, 4, 2, 3).contiguous(), keys)
