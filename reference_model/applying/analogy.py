"""A checkpoint that completes one analogy at a time, walks between two, and says what it makes of
them: what `apply`, the page in the browser and the ComfyUI node share.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorweb_bench.data.images import resize, to_image
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from lorweb_bench.runtime.progress import track
from reference_model.applying.full_size import at_own_size, remembered_edits
from reference_model.bases.base import Prompt
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint
from reference_model.checkpoints.known_pairs import KnownPairs, read_known_pairs
from reference_model.checkpoints.merging import can_merge, merged
from reference_model.config import FitConfig, read_fit
from reference_model.fitting.adaptation import Adaptation
from reference_model.fitting.drawing import draw_answers
from reference_model.fitting.spaces import chosen_space
from reference_model.method import (
    adapt,
    best_device,
    check_pair,
    fit_name,
)
from reference_model.model.panels import (
    decode_answer,
    encode_context,
    encode_negative,
    encode_words,
)
from reference_model.model.working_size import WorkingSize, working_size
from reference_model.sampling import predict_velocity, sample

Pair = tuple[Image.Image, Image.Image]
Panels = dict[str, Tensor]
NEAREST = 3  # trained transformations that are named
CHUNK = 64  # mixes of trained transformations that are compared at once


@dataclass(frozen=True)
class Analogy:
    """What is asked.

    Attributes:
        pairs: one pair (a, a'), or two to walk between.
        b: the picture to edit.
        prompt: what the base is told beside the pair; empty for nothing.
        seed: of the noise.
        strength: what the update of the weights is multiplied by: 0 is the bare base, 1 as
            trained, more exaggerates.
        fit: settings of a fit to each pair, such as `{"steps": 20}`; None leaves the mix to the
            router.
        names: what errors call the pairs.
    """

    pairs: tuple[Pair, ...]
    b: Image.Image
    prompt: str = ""
    seed: int = 0
    strength: float = 1.0
    fit: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ("the pair", "the second pair")


@dataclass(frozen=True)
class Neighbour:
    """A trained transformation in words, and how far the analogy is from it."""

    words: str
    distance: float


@dataclass(frozen=True)
class Look:
    """What a checkpoint makes of one pair.

    Attributes:
        nearest: the trained transformations that are mixed most alike, the nearest first; empty
            where the checkpoint does not say what it was trained on.
        distance: of the pair's features to the nearest trained transformation's; None as before.
        threshold: the distance beyond which an analogy is unlike the training data; None where it
            was not calibrated.
        elements: the mean size over layers of each element's coefficient; None without a router.
    """

    nearest: tuple[Neighbour, ...] = ()
    distance: float | None = None
    threshold: float | None = None
    elements: tuple[float, ...] | None = None

    @property
    def is_unlike(self) -> bool:
        """Whether the analogy is unlike anything that the checkpoint was trained on."""
        if self.distance is None or self.threshold is None:
            return False
        return self.distance > self.threshold

    def warning(self) -> str | None:
        """The word on an analogy that is unlike the training data; None where there is none."""
        if not self.is_unlike:
            return None
        near = f"; the nearest is “{self.nearest[0].words}”" if self.nearest else ""
        return (
            "this analogy is unlike anything that the checkpoint was trained on (distance "
            f"{self.distance:.2f}; 95 % of its dev split are within {self.threshold:.2f})"
            f"{near}"
        )


class AnalogyModel:
    """An open checkpoint. Its calls wait for one another, because the basis holds one mix.

    Attributes:
        folder: the checkpoint's.
        about: its `config.json`.
        adapter, config: the checkpoint on its base.
        known: what it was trained on, as its encoder sees it; None where it does not say.
        device: where it runs.

    Raises:
        InputError: the folder holds no whole checkpoint.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = checkpoint_folder(folder)
        self.adapter, self.config = load_checkpoint(self.folder)
        self.about: dict[str, Any] = read_json(self.folder / "config.json")
        self.known: KnownPairs | None = read_known_pairs(self.folder)
        self.device = best_device()
        self.adapter.to(self.device)
        self._lock = threading.RLock()

    def name(self, fitted: bool = False) -> str:
        """The method's name in reports."""
        return fit_name(self.config) if fitted else self.config.name

    @property
    def sizes(self) -> WorkingSize:
        """The size that it works at."""
        return working_size(self.config)

    def apply(self, analogy: Analogy) -> Image.Image:
        """b' for the first pair, of b's size."""
        return self.draw(analogy, self.adapted(analogy)[:1])

    def walk(self, analogy: Analogy, weights: Sequence[float]) -> Iterator[Image.Image]:
        """b' at each weight on the way from the first pair's analogy to the second's.

        Coefficients and tokens are averaged. In between, the velocities that the base gives when
        it is shown one pair and the other are averaged too, so that both ends are what `apply`
        makes of each.

        Raises:
            InputError: there is one pair only, or the checkpoint adapts the base to no analogy.
        """
        if len(analogy.pairs) < 2:
            raise InputError("a walk needs a second pair; name one")
        if self.config.adapter.kind == "single-lora" and analogy.fit is None:
            raise InputError(
                "a single LoRA is the same for every analogy, so there is nothing to walk between; "
                "leave the second pair out, or fit to the pairs (`fit.steps=20`)"
            )
        ends = self.adapted(analogy)
        for weight in track(weights, len(weights), "walking"):
            yield self.draw(analogy, ends, weight)

    def look(self, pair: Pair, b: Image.Image, adaptation: Adaptation | None = None) -> Look:
        """What the checkpoint makes of a pair with b.

        Args:
            pair: (a, a').
            b: the picture to edit.
            adaptation: a mix that was fitted; without it, the router's own is looked at.
        """
        with self._lock, torch.no_grad():
            a, a_prime, shown_b = self._panels(pair, b)
            features = self.adapter.features(a, a_prime, shown_b)
            if features is None:
                return Look()
            gates = None
            if adaptation is not None:
                gates = adaptation.gates
            elif self.adapter.router is not None:
                gates = self.adapter.router(features).transpose(0, 1)
            elements = None
            if gates is not None:
                elements = tuple(gates[0].abs().mean(0).tolist())
            if self.known is None:
                return Look(elements=elements)
            distances = self.known.distances(features)[0]
            by_mix = distances if gates is None else self._mix_distances(gates[0])
            order = by_mix.argsort()[:NEAREST].tolist()
            nearest = [Neighbour(self.known.in_words(i), float(by_mix[i])) for i in order]
            distance = float(distances.min())
            return Look(tuple(nearest), distance, self.known.threshold, elements)

    def adapted(self, analogy: Analogy) -> list[Adaptation]:
        """What adapts the base to each pair, at full strength; a fit searches for it.

        Raises:
            InputError: a setting of the fit is wrong, or nothing can be fitted to a pair.
        """
        settings = self._fit_settings(analogy)
        adaptations = []
        with self._lock, torch.no_grad():
            for (a, a_prime), name in zip(analogy.pairs, analogy.names, strict=False):
                if settings is not None:
                    check_pair(a, a_prime, name)
                panel_a, panel_a_prime, panel_b = self._panels((a, a_prime), analogy.b)
                shown = [(panel_a, panel_a_prime)]
                prompt = [analogy.prompt]
                adaptations.append(
                    adapt(self.adapter, self.config, settings, shown, panel_b, prompt)
                )
        return adaptations

    def draw(
        self, analogy: Analogy, adaptations: Sequence[Adaptation], weight: float = 0.0
    ) -> Image.Image:
        """b' at a weight, with adaptations that `adapted` gave."""
        with self._lock:
            scaled = [x.scaled(analogy.strength, self.adapter) for x in adaptations]
            return self._frame(analogy, scaled, weight)

    def _fit_settings(self, analogy: Analogy) -> FitConfig | None:
        settings = read_fit(analogy.fit)
        if settings is not None:
            chosen_space(self.config, settings)
        return settings

    def _panels(
        self, pair: Pair, b: Image.Image, size: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = size or self.sizes.panel(pair[0], b)
        a, a_prime, shown = (self.sizes.tensor([x], size, self.device) for x in (*pair, b))
        return a, a_prime, shown

    def _frame(self, analogy: Analogy, ends: Sequence[Adaptation], weight: float) -> Image.Image:
        """b' at a weight between one or two adapted ends, of b's size."""
        shown = []
        size = self.sizes.panel(analogy.pairs[0][0], analogy.b)  # of a walk, one for both ends
        for pair, end in zip(analogy.pairs, ends, strict=False):
            a, a_prime, b = self._panels(pair, analogy.b, size)
            shown.append(end.shown((a, a_prime), b))
        at_end = weight in (0.0, 1.0) or len(ends) == 1
        chosen_end = int(weight) if len(ends) > 1 else 0
        merge = can_merge(self.adapter.basis)
        prompts, seeds = [analogy.prompt], [analogy.seed]
        base = self.adapter.base
        with torch.no_grad(), remembered_edits(base) as edits:
            if at_end:
                chosen = (ends[chosen_end], shown[chosen_end], prompts, seeds, merge)
                drawn = draw_answers(self.adapter, self.config, *chosen)
            else:
                drawn = self._between(ends, shown, weight, prompts, seeds, merge)
        if edits and analogy.b.size != size:
            shares = [1.0] if at_end else [1 - weight, weight]
            last = edits[-len(shares) :]
            return to_image(at_own_size(base, last, shares, analogy.b))
        pixels: np.ndarray = drawn[0].permute(1, 2, 0).cpu().numpy()
        return to_image(resize(pixels, analogy.b.size))

    def _between(
        self,
        ends: Sequence[Adaptation],
        shown: Sequence[Panels],
        weight: float,
        prompts: list[str],
        seeds: list[int],
        merge: bool,
    ) -> Tensor:
        """b' (1, 3, height, width) between two ends, from the mean of both contexts' velocities."""
        base, layout = self.adapter.base, self.config.layout
        adaptation = ends[0].towards(ends[1], weight)
        contexts = [encode_context(base, self.config, panels) for panels in shown]
        words = [adaptation.extend(encode_words(base, layout, prompts, panels)) for panels in shown]
        away = [encode_negative(base, layout, panels) for panels in shown]
        negatives = [adaptation.extend(negative) for negative in away if negative is not None]

        def velocity_at(noisy: Tensor, time: Tensor, told: Prompt) -> Tensor:
            first, second = (
                predict_velocity(base, noisy, context, time, prompt, base.guidance)
                for context, prompt in zip(
                    contexts, words if told is words[0] else negatives, strict=True
                )
            )
            return torch.lerp(first, second, weight)

        mixed = merged(self.adapter.basis) if merge else nullcontext()
        with adaptation.on(self.adapter), mixed:
            tokens = sample(
                base,
                contexts[0],
                words[0],
                seeds,
                base.sampling_steps,
                velocity_at,
                negatives[0] if negatives else None,
            )
        return decode_answer(base, layout, tokens, contexts[0])

    def _mix_distances(self, gates: Tensor) -> Tensor:
        """Distances (transformations) of a mix (layers, elements) to those of the trained ones."""
        assert self.known is not None and self.adapter.router is not None
        distances = []
        for centroids in self.known.centroids.split(CHUNK):
            mixes = self.adapter.router(centroids.to(self.device)).transpose(0, 1)
            distances.append((mixes - gates).flatten(1).norm(dim=1).cpu())
        return torch.cat(distances)
