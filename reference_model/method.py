"""The reference model as a method.

Checkpoints, and the base told the true transformation (`ceiling`).
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize, to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint
from reference_model.checkpoints.merging import can_merge, merged
from reference_model.config import TrainConfig
from reference_model.model.adapter import Adapter
from reference_model.model.base import Base, load_base
from reference_model.model.base_models import is_stock, sample_stock
from reference_model.model.flux import VaeCodec
from reference_model.model.grid_layout import (
    CONTEXT,
    Picture,
    TokenSequence,
    context_sequence,
    picture_pixels,
    token_sequence,
)
from reference_model.sampling import sample
from reference_model.training.quadruplets import SIDE_MULTIPLE


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
    arrays = [np.asarray(resize(np.asarray(image.convert("RGB")), size)) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).to(device)


def by_size(
    triplets: Sequence[Triplet],
    longest: int,
    complete: Callable[[Sequence[Triplet], tuple[int, int]], Iterable[np.ndarray]],
) -> list[Image.Image]:
    """One b' per triplet, of the size of its b.

    `complete` gives those of triplets that have one panel size, uint8 height x width x 3.
    """
    sizes = [panel_size(*t.b.size, longest) for t in triplets]
    answers: dict[int, Image.Image] = {}
    for size in dict.fromkeys(sizes):
        chosen = [i for i, s in enumerate(sizes) if s == size]
        with torch.inference_mode():
            found = complete([triplets[i] for i in chosen], size)
        for i, pixels in zip(chosen, found, strict=True):
            answers[i] = to_image(resize(pixels, triplets[i].b.size))
    return [answers[i] for i in range(len(triplets))]


class Method:
    """Predicts batches of triplets with one function from (a, a', b, prompts, seeds) to b', all
    uint8 (batch, 3, height, width).
    """

    version = "1"

    def __init__(
        self,
        name: str,
        predict_panels: Callable[..., Tensor],
        longest: int,
        device: torch.device,
        sampling_steps: int,
        about: dict[str, Any],
        track: str = "closed",
        batch_size: int = 32,
    ) -> None:
        self.track, self.batch_size = track, batch_size
        self.name, self.longest, self.device, self.sampling_steps, self.about = (
            name,
            longest,
            device,
            sampling_steps,
            about,
        )
        self.predict_panels = predict_panels

    def describe(self) -> dict[str, Any]:
        """What predictions.json records of the method."""
        return self.about

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """One b' per triplet, of the size of its b; triplets of one panel size run as one batch."""
        return by_size(triplets, self.longest, self.complete)

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> np.ndarray:
        """b' of triplets whose panels are worked on at `size` (width, height).

        Uint8 (batch, height, width, 3).
        """
        panels = [
            to_tensor([getattr(t, role) for t in triplets], size, self.device)
            for role in ("a", "a_prime", "b")
        ]
        found = self.predict_panels(
            *panels, [t.prompt or "" for t in triplets], [t.seed for t in triplets]
        )
        pixels: np.ndarray = found.permute(0, 2, 3, 1).cpu().numpy()
        return pixels


def best_device() -> torch.device:
    """The accelerator when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def adapter_predictor(
    adapter: Adapter, config: TrainConfig, merge: bool = False
) -> Callable[..., Tensor]:
    """The adapter as a function from (a, a', b, prompts, seeds) to b'.

    The mix is computed once for the batch, not once per step.

    With `merge`, it is merged into the weights while a batch of one is sampled, where these are not
    quantised.
    """
    base = adapter.base
    merge = merge and can_merge(adapter.basis)
    draw = sample_stock if is_stock(base, config.layout) else sample

    def predict_panels(
        a: Tensor, a_prime: Tensor, b: Tensor, prompts: list[str], seeds: list[int]
    ) -> Tensor:
        features = adapter.features(a, a_prime, b)
        adapter.gate(features)
        sequenced = encode_context(base, config, {"a": a, "a_prime": a_prime, "b": b})
        with merged(adapter.basis) if merge and len(b) == 1 else nullcontext():
            tokens = draw(
                base, sequenced, adapter.prompt(prompts, features), seeds, base.sampling_steps
            )
        return decode_answer(base, config.layout, tokens, sequenced)

    return predict_panels


def encode_context(base: Base, config: TrainConfig, panels: dict[str, Tensor]) -> TokenSequence:
    """The clean context of panels, uint8 (batch, 3, height, width) by role.

    A grid is encode_context as the one picture that it is.
    """
    shrinks: dict[Picture, int] = {("a",): config.pair_shrink, ("a_prime",): config.pair_shrink}
    pictures = [
        base.codec.encode(picture_pixels(picture, panels), shrinks.get(picture, 1))
        for picture in CONTEXT[config.layout]
    ]
    return token_sequence(config.layout, pictures)


def decode_answer(base: Base, layout: str, tokens: Tensor, sequenced: TokenSequence) -> Tensor:
    """b', uint8 (batch, 3, height, width), of predicted target tokens.

    Of a grid its bottom right quarter, in pixels.
    """
    if layout != "paper":
        return base.codec.decode(tokens.unflatten(1, (sequenced.rows, sequenced.columns)))
    grid = base.codec.decode(tokens.unflatten(1, (2 * sequenced.rows, 2 * sequenced.columns)))
    return grid[..., grid.shape[2] // 2 :, grid.shape[3] // 2 :]


def from_checkpoint(folder: str | Path, merge: bool = False) -> Method:
    """The method in a checkpoint folder.

    `merge` suits one triplet at a time, see `adapter_predictor`.
    """
    folder = checkpoint_folder(folder)
    adapter, config = load_checkpoint(folder)
    device = best_device()
    about = {
        "base": config.base,
        "kind": config.adapter.kind,
        "trainable_parameters": adapter.trainable_parameters,
    }
    track = "open" if "imported_from" in read_json(folder / "config.json") else "closed"
    predict = adapter_predictor(adapter.to(device), config, merge)
    batch_size = (
        4 if isinstance(adapter.base.codec, VaeCodec) else 32
    )  # beside 12 billion weights there is room for few
    return Method(
        config.name,
        predict,
        config.panel,
        device,
        adapter.base.sampling_steps,
        about,
        track,
        batch_size,
    )


def shipped() -> Method:
    """LoRWeB as it ships with the package, trained on the tiny base."""
    return from_checkpoint("lorweb")


def instruction_predictor(base: Base) -> Callable[..., Tensor]:
    """The bare base as an instruction editor: b' from b and the prompt alone."""

    def predict_panels(
        a: Tensor, a_prime: Tensor, b: Tensor, prompts: list[str], seeds: list[int]
    ) -> Tensor:
        if not all(prompts):
            raise InputError(
                "ceiling: the base must be told the transformation; add `--prompt instruction`"
            )
        sequenced = context_sequence("edit", None, None, base.codec.encode(b))
        tokens = sample(base, sequenced, base.text_encoder(prompts), seeds, base.sampling_steps)
        return decode_answer(base, "edit", tokens, sequenced)

    return predict_panels


def ceiling() -> Method:
    """The tiny base told the true transformation: what an adapter on it could reach at best."""
    device = best_device()
    base = load_base("tiny").to(device)
    return Method(
        "ceiling",
        instruction_predictor(base),
        64,
        device,
        base.sampling_steps,
        {"base": "tiny", "trainable_parameters": 0},
    )
