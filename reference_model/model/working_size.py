"""The sizes that a model works at: ours, and that of LoRWeB's authors.

Ours (`panel`): panels as they are, at most so many pixels on the long edge. Theirs (`megapixel`):
the grid is made at the size of a, predicted at about one megapixel, and shown at the nearest of the
sizes that FLUX.1-Kontext was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.pipelines.flux import pipeline_flux_kontext
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize
from reference_model.config import TrainConfig
from reference_model.training.quadruplets import SIDE_MULTIPLE

MEGAPIXEL = 1024 * 1024  # pixels of a predicted grid, the default of diffusers' pipeline


def panel_size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height that the model works at.

    At most `longest` on the long edge, sides in multiples of 16.
    """
    scale = min(1.0, longest / max(width, height))
    sides = (
        min(round(side * scale / SIDE_MULTIPLE), longest // SIDE_MULTIPLE)
        for side in (width, height)
    )
    return tuple(SIDE_MULTIPLE * max(1, side) for side in sides)  # type: ignore[return-value]


def to_tensor(images: Sequence[Image.Image], size: tuple[int, int], device: torch.device) -> Tensor:
    """uint8 (batch, 3, height, width) of images, resized to `size` (width, height)."""
    return _stacked([resize(np.asarray(image.convert("RGB")), size) for image in images], device)


def _stacked(pictures: Sequence[np.ndarray | Image.Image], device: torch.device) -> Tensor:
    arrays = [np.asarray(picture) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(device)


@dataclass(frozen=True)
class WorkingSize:
    """How the pictures of an analogy are brought to one size.

    Attributes:
        longest: of ours, the long edge of a panel in pixels, at most.
        megapixel: whether it is the authors' way.
    """

    longest: int
    megapixel: bool = False

    def __str__(self) -> str:
        return "one megapixel a grid" if self.megapixel else f"up to {self.longest} px"

    def panel(self, a: Image.Image, b: Image.Image) -> tuple[int, int]:
        """Width and height of the panels of an analogy: those of a, or b's within `longest`."""
        return a.size if self.megapixel else panel_size(*b.size, self.longest)

    def tensor(
        self, images: Sequence[Image.Image], size: tuple[int, int], device: torch.device
    ) -> Tensor:
        """uint8 (batch, 3, height, width) of images, resized to `size` (width, height)."""
        if not self.megapixel:
            return to_tensor(images, size, device)
        resized = [image.convert("RGB").resize(size, Image.Resampling.BICUBIC) for image in images]
        return _stacked(resized, device)


def working_size(config: TrainConfig) -> WorkingSize:
    """The working size of a checkpoint's config."""
    return WorkingSize(config.panel, config.working_size == "megapixel")


def predicted_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height at which a grid of some size is predicted: its aspect, one megapixel.

    Sides are multiples of `multiple`, as diffusers' `FluxKontextPipeline` makes them.

    >>> predicted_size(448, 448, 16), predicted_size(1500, 1000, 16), predicted_size(1920, 1080, 16)
    ((1024, 1024), (1248, 832), (1360, 768))
    """
    aspect = width / height
    sides = round((MEGAPIXEL * aspect) ** 0.5), round((MEGAPIXEL / aspect) ** 0.5)
    return sides[0] // multiple * multiple, sides[1] // multiple * multiple


def shown_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height at which a grid is shown: of those that Kontext prefers, the nearest aspect.

    >>> shown_size(1500, 1000, 16), shown_size(1920, 1080, 16)
    ((1248, 832), (1392, 752))
    """
    sizes = pipeline_flux_kontext.PREFERRED_KONTEXT_RESOLUTIONS
    nearest = min(sizes, key=lambda size: (abs(width / height - size[0] / size[1]), size))
    return nearest[0] // multiple * multiple, nearest[1] // multiple * multiple


def resized_grids(grids: Tensor, size: tuple[int, int]) -> Tensor:
    """Grids, uint8 (batch, 3, height, width), at `size` (width, height), by Pillow's Lanczos."""
    pictures = [Image.fromarray(grid.permute(1, 2, 0).cpu().numpy()) for grid in grids]
    resized = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    return _stacked(resized, grids.device)
