"""The nodes: an analogy as a patched model and the grid to show it, and b' cut out of the result.

Pictures are ComfyUI's: floats from 0 to 1, (batch, height, width, 3); the first of a batch counts.
"""

from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize
from lorweb_bench.errors import InputError
from reference_model.analysis.space import Space, lora_tensors, open_space
from reference_model.bases.registry import base_kind
from reference_model.model.composing import mixed_lora

CATEGORY = "LoRWeB"
BASE = "flux-kontext"  # the kind of base whose names ComfyUI's loader knows
SIDE_MULTIPLE = 16

Inputs = dict[str, dict[str, Any]]


def to_picture(image: Tensor) -> Image.Image:
    """The first picture of a batch (batch, height, width, 3), floats from 0 to 1."""
    levels = (image[0, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.cpu().numpy())


def to_batch(picture: np.ndarray) -> Tensor:
    """A batch (1, height, width, 3), floats from 0 to 1, of a uint8 picture."""
    return torch.from_numpy(picture.astype(np.float32) / 255)[None]


def analogy_grid(a: Image.Image, a_prime: Image.Image, b: Image.Image, panel: int) -> np.ndarray:
    """The clean grid [a, a'; b, b] as uint8 (height, width, 3), each panel of b's aspect.

    Args:
        a: the picture before.
        a_prime: the picture after.
        b: the picture to change.
        panel: the long edge of a panel in pixels.
    """
    scale = panel / max(b.size)
    sides = [max(1, round(side * scale / SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in b.size]
    size = (sides[0], sides[1])
    panels = [np.asarray(resize(image, size)) for image in (a, a_prime, b, b)]
    rows = np.concatenate(panels[:2], 1), np.concatenate(panels[2:], 1)
    return np.concatenate(rows, 0)


def loadable_space(checkpoint: str) -> Space:
    """The space of a checkpoint that ComfyUI can run.

    Raises:
        InputError: there is none, or it is for another base or layout.
    """
    space = open_space(checkpoint)
    config = space.config
    if base_kind(config.base).kind != BASE or config.layout != "paper":
        raise InputError(
            f"{checkpoint}: is for the base {config.base} in the layout {config.layout}, and "
            f"ComfyUI runs {BASE} in the layout paper; name a checkpoint of these"
        )
    return space


class LorwebAnalogy:
    """A checkpoint and three pictures to a patched model, and the grid that it is shown."""

    CATEGORY: ClassVar[str] = CATEGORY
    FUNCTION: ClassVar[str] = "patch"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("MODEL", "IMAGE")
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("model", "grid")
    DESCRIPTION: ClassVar[str] = (
        "Mixes the basis of a LoRWeB checkpoint for one analogy and patches FLUX.1-Kontext with "
        "it. Encode the grid, and give it to ReferenceLatent and, as its size, to the sampler."
    )

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What the node takes."""
        return {
            "required": {
                "model": ("MODEL",),
                "checkpoint": ("STRING", {"default": "", "tooltip": "folder of the checkpoint"}),
                "a": ("IMAGE",),
                "a_prime": ("IMAGE",),
                "b": ("IMAGE",),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3.0, "step": 0.05}),
                "panel": ("INT", {"default": 512, "min": 64, "max": 1024, "step": 16}),
            },
            "optional": {
                "second_a": ("IMAGE",),
                "second_a_prime": ("IMAGE",),
                "walk": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}),
            },
        }

    def patch(
        self,
        model: Any,
        checkpoint: str,
        a: Tensor,
        a_prime: Tensor,
        b: Tensor,
        strength: float = 1.0,
        panel: int = 512,
        second_a: Tensor | None = None,
        second_a_prime: Tensor | None = None,
        walk: float = 0.5,
    ) -> tuple[Any, Tensor]:
        """The model patched for this analogy, or for a point on the way to a second one."""
        from comfy.sd import load_lora_for_models

        space = loadable_space(checkpoint.strip())
        pairs = [(to_picture(a), to_picture(a_prime))]
        if (second_a is None) != (second_a_prime is None):
            raise InputError("a second pair has two pictures; connect both, or neither")
        if second_a is not None and second_a_prime is not None:
            pairs.append((to_picture(second_a), to_picture(second_a_prime)))
        picture_b = to_picture(b)
        lora = lora_tensors(mixed_lora(space, pairs, picture_b, walk))
        patched, _ = load_lora_for_models(model, None, lora, strength, 0.0)
        return patched, to_batch(analogy_grid(*pairs[0], picture_b, panel))


class LorwebAnswer:
    """b' cut out of a finished grid: its lower right quarter."""

    CATEGORY: ClassVar[str] = CATEGORY
    FUNCTION: ClassVar[str] = "cut"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ("IMAGE",)
    RETURN_NAMES: ClassVar[tuple[str, ...]] = ("b_prime",)
    DESCRIPTION: ClassVar[str] = "Cuts b' out of the grid that was sampled."

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What the node takes."""
        return {"required": {"grid": ("IMAGE",)}}

    def cut(self, grid: Tensor) -> tuple[Tensor]:
        """The lower right quarter of grids (batch, height, width, 3)."""
        return (grid[:, grid.shape[1] // 2 :, grid.shape[2] // 2 :],)


NODE_CLASS_MAPPINGS = {"LorwebAnalogy": LorwebAnalogy, "LorwebAnswer": LorwebAnswer}
NODE_DISPLAY_NAME_MAPPINGS = {"LorwebAnalogy": "LoRWeB analogy", "LorwebAnswer": "LoRWeB answer"}
