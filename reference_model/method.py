"""The reference model as a method.

Checkpoints, and the base told the true transformation (`ceiling`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize, to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.files import read_json
from reference_model.bases.base import Base
from reference_model.bases.registry import base_folder, base_kind, load_base
from reference_model.checkpoints.checkpoint import (
    checkpoint_folder,
    load_checkpoint,
    read_config,
)
from reference_model.checkpoints.known_pairs import read_known_pairs
from reference_model.checkpoints.merging import can_merge
from reference_model.config import FitConfig, TrainConfig, read_fit
from reference_model.fitting.adaptation import Adaptation, Pairs, routed
from reference_model.fitting.drawing import draw_answers
from reference_model.fitting.fit import fit as fit_pairs
from reference_model.fitting.known_mixes import check_mix, known_mix
from reference_model.fitting.spaces import chosen_space, space_for
from reference_model.instructed import edit_in_turns
from reference_model.model.adapter import Adapter
from reference_model.model.working_size import WorkingSize, working_size

BATCH_OF_FULL_SIZE = 4  # items at a time: beside 12 billion weights there is room for few
SMALLEST_CHANGE = 1.0  # RMSE in levels of 255 under which two pictures are one, re-encoded

# From exemplar pairs, b, prompts and seeds to b'; images are uint8 (batch, 3, height, width).
Predictor = Callable[[Pairs, Tensor, Sequence[str], Sequence[int]], Tensor]
# From a checkpoint, exemplar pairs and b to what adapts the base.
Start = Callable[[Adapter, Pairs, Tensor], Adaptation]


def by_size(
    triplets: Sequence[Triplet],
    sizes: WorkingSize,
    complete: Callable[[Sequence[Triplet], tuple[int, int]], Iterable[np.ndarray]],
) -> list[Image.Image]:
    """One b' per triplet, of the size of its b.

    `sizes` says at which size panels are worked on. `complete` gives the answers to triplets that
    have one panel size and one number of pairs, uint8 height x width x 3.
    """
    shapes = [(sizes.panel(t.a, t.b), len(t.pairs)) for t in triplets]
    answers: dict[int, Image.Image] = {}
    for shape in dict.fromkeys(shapes):
        chosen = [i for i, s in enumerate(shapes) if s == shape]
        size = shape[0]
        with torch.no_grad():  # not inference mode: a fit needs gradients inside
            panels = complete([triplets[i] for i in chosen], size)
        for i, pixels in zip(chosen, panels, strict=True):
            answers[i] = to_image(resize(pixels, triplets[i].b.size))
    return [answers[i] for i in range(len(triplets))]


class Method:
    """Predicts batches of triplets with one function.

    The function maps exemplar pairs, b, prompts and seeds to b', all images being uint8 (batch, 3,
    height, width).
    """

    version = "1"

    def __init__(
        self,
        name: str,
        predict_panels: Predictor,
        sizes: WorkingSize,
        device: torch.device,
        sampling_steps: int,
        about: dict[str, Any],
        track: str = "closed",
        batch_size: int = 32,
    ) -> None:
        self.track, self.batch_size = track, batch_size
        self.name, self.sizes, self.device, self.sampling_steps, self.about = (
            name,
            sizes,
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
        return by_size(triplets, self.sizes, self.complete)

    def complete(self, triplets: Sequence[Triplet], size: tuple[int, int]) -> np.ndarray:
        """b' of triplets whose panels are worked on at `size` (width, height).

        Uint8 (batch, height, width, 3).
        """
        exemplars = zip(*(t.pairs for t in triplets), strict=True)
        pairs = [self._pair(pair, size) for pair in exemplars]
        b = self.sizes.tensor([t.b for t in triplets], size, self.device)
        predicted = self.predict_panels(
            pairs, b, [t.prompt or "" for t in triplets], [t.seed for t in triplets]
        )
        pixels: np.ndarray = predicted.permute(0, 2, 3, 1).cpu().numpy()
        return pixels

    def _pair(
        self, pair: Sequence[tuple[Image.Image, Image.Image]], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The k-th pairs of a batch as two tensors."""
        before, after = zip(*pair, strict=True)
        first, second = (self.sizes.tensor(x, size, self.device) for x in (before, after))
        return first, second


def best_device() -> torch.device:
    """The accelerator when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def adapter_predictor(
    adapter: Adapter,
    config: TrainConfig,
    merge: bool = False,
    fit: FitConfig | None = None,
    start: Start = routed,
) -> Predictor:
    """The adapter as a function from exemplar pairs, b, prompts and seeds to b'.

    What adapts the base is found once for a batch, not once per step.

    Args:
        adapter: a checkpoint on its base.
        config: its config.
        merge: merge the mix into the weights while a batch of one is sampled, where these are not
            quantised.
        fit: search for the adaptation on the items' own pairs; without it the router decides.
        start: what adapts the base where nothing is fitted, and where a fit begins.
    """
    merge = merge and can_merge(adapter.basis)

    def predict_panels(
        pairs: Pairs, b: Tensor, prompts: Sequence[str], seeds: Sequence[int]
    ) -> Tensor:
        adaptation = adapt(adapter, config, fit, pairs, b, prompts, start)
        panels = adaptation.shown(pairs[0], b)
        return draw_answers(adapter, config, adaptation, panels, prompts, seeds, merge)

    return predict_panels


def adapt(
    adapter: Adapter,
    config: TrainConfig,
    settings: FitConfig | None,
    pairs: Pairs,
    b: Tensor,
    prompts: Sequence[str],
    start: Start = routed,
) -> Adaptation:
    """What adapts the base to a batch of analogies: as the router says, or fitted from there on."""
    first = start(adapter, pairs, b)
    if settings is None:
        return first
    space = space_for(adapter, config, settings, first, len(b))
    return fit_pairs(adapter, config, settings, space, pairs, prompts).adaptation


def from_checkpoint(
    folder: str | Path,
    merge: bool = False,
    fit: Mapping[str, Any] | None = None,
    quantize: str = "no",
    mix: str = "router",
) -> Method:
    """The method in a checkpoint folder.

    Args:
        folder: a checkpoint, or `lorweb` for the one that ships.
        merge: suits one triplet at a time, see `adapter_predictor`.
        fit: settings of a fit to each item's own pairs, such as `{"steps": 20}`; the method is then
            called `<name>-fit`, or `<name>-fit-<mix>` where it starts at another mix.
        quantize: `8bit` or `4bit` holds the base's blocks in so many, to save memory.
        mix: whose mix an item gets: the `router`'s own for it; the `mean` over all trained
            transformations; that of the `nearest` trained one. With the latter two the method is
            called `<name>-<mix>`.

    Raises:
        InputError: the folder holds no whole checkpoint, or a setting is wrong.
    """
    folder = checkpoint_folder(folder)
    settings = read_fit(fit)
    if quantize not in ("no", "8bit", "4bit"):
        raise unknown_name("way to quantize", quantize, ("no", "8bit", "4bit"))
    adapter, config = load_checkpoint(folder, quantize)
    if settings is not None:
        chosen_space(config, settings)
    device = best_device()
    recorded = read_json(folder / "config.json")
    about = _about(adapter, config, recorded, settings, quantize)
    track = "open" if "imported_from" in recorded else "closed"
    start = start_of(folder, adapter, mix)
    name = config.name if settings is None else fit_name(config)
    if mix != "router":
        about["mix"], name = mix, f"{name}-{mix}"
    predict = adapter_predictor(adapter.to(device), config, merge, settings, start)
    batch_size = BATCH_OF_FULL_SIZE if adapter.base.full_size else 32
    return Method(
        name,
        predict,
        working_size(config),
        device,
        adapter.base.sampling_steps,
        about,
        track,
        batch_size,
    )


def start_of(folder: Path, adapter: Adapter, mix: str) -> Start:
    """What a checkpoint adapts the base with, by whose mix an item gets."""
    known = None if mix == "router" else read_known_pairs(folder)
    check_mix(mix, adapter, known, str(folder))
    if known is None:
        return routed
    return lambda adapter, pairs, b: known_mix(adapter, known, mix, pairs, b)


def _about(
    adapter: Adapter,
    config: TrainConfig,
    recorded: Mapping[str, Any],
    settings: FitConfig | None,
    quantize: str,
) -> dict[str, Any]:
    """What predictions say of the checkpoint and of how it is run."""
    about: dict[str, Any] = {
        "base": config.base,
        "kind": config.adapter.kind,
        "trainable_parameters": adapter.trainable_parameters,
    }
    if "training_dataset" in recorded:
        about["training_dataset"] = recorded["training_dataset"]
    for name, usual in (("encoder_view", "stretched"), ("working_size", "panel")):
        if getattr(config, name) != usual:
            about[name] = getattr(config, name)
    if settings is not None:
        about["fit"] = settings.model_dump(exclude_none=True)
    if quantize != "no":
        about["quantize"] = quantize
    return about


def check_pair(a: Image.Image, a_prime: Image.Image, names: str) -> None:
    """Refuse a pair that nothing can be fitted to.

    Raises:
        InputError: the two pictures have different sizes, or show no change.
    """
    if a.size != a_prime.size:
        sizes = " and ".join(f"{image.width}x{image.height}" for image in (a, a_prime))
        raise InputError(
            f"{names} are of two sizes, {sizes}; a fit compares them pixel by pixel, so crop or "
            "resize one to the other's size"
        )
    before, after = (np.asarray(image.convert("RGB"), np.float32) for image in (a, a_prime))
    change = float(np.sqrt(np.square(before - after).mean()))
    if change < SMALLEST_CHANGE:
        raise InputError(
            f"{names} show no change (they differ by {change:.1f} of 255 levels), so there is "
            "nothing to fit; leave the fit out, or name another pair"
        )


def fit_name(config: TrainConfig) -> str:
    """The name of a fitted method: `lorweb-fit`, `token-fit` and `lora-fit` for our three kinds."""
    short = {"token-control": "token", "single-lora": "lora"}
    return f"{short.get(config.name, config.name)}-fit"


def shipped(fit: Mapping[str, Any] | None = None) -> Method:
    """LoRWeB as it ships with the package, trained on the tiny base; `fit` as `from_checkpoint`."""
    return from_checkpoint("lorweb", fit=fit)


def shipped_fit(fit: Mapping[str, Any] | None = None) -> Method:
    """LoRWeB as it ships, fitted to each item's own pairs."""
    return from_checkpoint("lorweb", fit=fit or {})


def token_fit(model: str | Path | None = None, fit: Mapping[str, Any] | None = None) -> Method:
    """A token control fitted to each item's own pairs: its tokens are searched for."""
    return _fitted("token-fit", "token-control", model, fit)


def lora_fit(model: str | Path | None = None, fit: Mapping[str, Any] | None = None) -> Method:
    """A single LoRA fitted to each item's own pairs: a fresh LoRA beside it is searched for."""
    return _fitted("lora-fit", "single-lora", model, fit)


def _fitted(
    name: str, kind: str, model: str | Path | None, fit: Mapping[str, Any] | None
) -> Method:
    """A checkpoint of some kind with a fit; InputError where none is named or it is another."""
    if model is None:
        raise InputError(f"{name}: name a checkpoint of kind {kind} with --set model=FOLDER")
    config = read_config(checkpoint_folder(model), with_base=False)
    if config.adapter.kind != kind:
        raise InputError(
            f"{name}: {model} is a checkpoint of kind {config.adapter.kind}, and it takes one of "
            f"kind {kind}"
        )
    return from_checkpoint(model, fit=fit or {})


def instruction_predictor(base: Base) -> Predictor:
    """The bare base as an instruction editor: b' from b and the prompt alone, step by step."""

    def predict_panels(
        pairs: Pairs, b: Tensor, prompts: Sequence[str], seeds: Sequence[int]
    ) -> Tensor:
        if not all(prompts):
            raise InputError(
                "ceiling: the base must be told the transformation; add `--prompt instruction`"
            )
        return edit_in_turns(base, b, prompts, seeds)

    return predict_panels


def ceiling(base: str = "tiny") -> Method:
    """A tiny base told the true transformation: what an adapter on it could reach at best.

    Nothing of it was trained on a dataset: what the base knows, the suite that declares it says.

    Args:
        base: `tiny`, or a folder that `lorweb-bench pretrain-tiny` wrote.

    Raises:
        InputError: there is no such base, or it is none of the tiny ones.
    """
    device = best_device()
    if base_kind(base).full_size:
        raise InputError(f"ceiling: base={base} is no tiny base; name `tiny` or a folder of one")
    told = load_base(base).to(device)
    panel = read_json(base_folder(base) / "config.json")["panel"]
    about: dict[str, Any] = {"base": base, "trainable_parameters": 0, "training_dataset": []}
    return Method(
        "ceiling",
        instruction_predictor(told),
        WorkingSize(panel),
        device,
        told.sampling_steps,
        about,
    )
