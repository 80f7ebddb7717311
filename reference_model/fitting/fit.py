"""Fit what adapts the base to an item's own pairs, at inference (our own method, see
docs/method.md).

Of an analogy a : a' :: b : b' the pair is known whole. So b := a is edited and a' is the target,
with the pair's panels hidden, or a' could be copied. The numbers that adapt the base (coefficients,
tokens, a LoRA) take a few steps of Adam on the flow-matching loss of that edit.

Every item of a batch is searched for by itself, and noise that the search never saw chooses its
step. A fit is kept where it explains the pair better and makes a' of a; other items keep what the
router says, with the pair shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.runtime.progress import track
from reference_model.config import FitConfig, TrainConfig
from reference_model.fitting.adaptation import Adaptation, Pairs
from reference_model.fitting.drawing import draw_answers
from reference_model.fitting.spaces import Space
from reference_model.model.adapter import Adapter
from reference_model.model.grid_layout import TokenSequence
from reference_model.model.panels import (
    answer_mask,
    encode_context,
    encode_target,
    encode_words,
    hide_pair,
)
from reference_model.sampling import predict_velocity
from reference_model.seeding import seeded
from reference_model.training.flow import draw, weighed

CHECKS = 4  # how often a search is looked at with held-out noise
HELD_OUT_SEED = 1_000_003


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit.

    Attributes:
        adaptation: what adapts the base to each item.
        before: (batch,) loss of the pair at the start, on noise that was held out.
        after: (batch,) the same at the end; never more than `before`.
        kept: bool (batch,), where the fit is kept; elsewhere the start is.
    """

    adaptation: Adaptation
    before: Tensor
    after: Tensor
    kept: Tensor


@dataclass(frozen=True)
class Task:
    """An edit that is known whole: its context, its clean target tokens and its prompt."""

    context: TokenSequence
    clean: Tensor
    prompt: tuple[Tensor, Tensor]

    def repeated(self, times: int) -> "Task":
        """The task of the batch put `times` times after itself."""
        context = replace(self.context, context=self.context.context.repeat(times, 1, 1))
        tokens, pooled = self.prompt
        prompt = (tokens.repeat(times, 1, 1), pooled.repeat(times, 1))
        return Task(context, self.clean.repeat(times, 1, 1), prompt)


def pair_task(
    adapter: Adapter, config: TrainConfig, pair: tuple[Tensor, Tensor], prompts: Sequence[str]
) -> Task:
    """The task of making a' of a: the pair's own panels are hidden, and a stands where b does."""
    a, a_prime = pair
    panels = hide_pair({"a": a, "a_prime": a_prime, "b": a, "b_prime": a_prime})
    with torch.no_grad():
        context = encode_context(adapter.base, config, panels)
        clean = encode_target(adapter.base, config, panels)
        prompt = encode_words(adapter.base, config.layout, prompts, panels)
    return Task(context, clean, prompt)


def item_losses(
    adapter: Adapter,
    config: TrainConfig,
    task: Task,
    adaptation: Adaptation,
    drawn: tuple[Tensor, Tensor],
) -> Tensor:
    """The flow-matching loss (batch,) of each item's b', weighted by time as in training.

    Training may also divide by the size of an item's change (`times.relative`); here it is not.

    The caller has set the adapter to `adaptation`.
    """
    time, noise = (x.to(task.clean) for x in drawn)
    t = time.view(-1, 1, 1)
    noisy = (1 - t) * task.clean + t * noise
    velocity = predict_velocity(
        adapter.base,
        noisy,
        task.context,
        time,
        adaptation.extend(task.prompt),
        config.training.guidance,
    )
    error = weighed((velocity - (noise - task.clean)).square(), t, config.training.times)
    mask = answer_mask(config.layout, task.context).to(error.device)
    return error[:, mask].mean((1, 2))


def fit(
    adapter: Adapter,
    config: TrainConfig,
    settings: FitConfig,
    space: Space,
    pairs: Pairs,
    prompts: Sequence[str],
) -> Fitted:
    """Search a space for what explains each item's pairs best.

    Args:
        adapter: a checkpoint on its frozen base.
        config: the checkpoint's config: layout, distribution of times, weights of the loss.
        settings: steps, step size, noise draws, seed.
        space: what is searched, for a batch of items.
        pairs: one or more pairs (a, a') of the items, uint8 (batch, 3, height, width) each; all of
            them are fitted.
        prompts: one for each item.

    Returns:
        What adapts the base to each item, and how well it explains the pairs before and after.
    """
    if adapter.base.full_size:
        adapter.base.transformer.enable_gradient_checkpointing()
    tasks = [pair_task(adapter, config, pair, prompts) for pair in pairs]
    with torch.inference_mode(False), torch.enable_grad():
        best, before, after = _search(adapter, config, settings, space, tasks)
    kept = torch.ones_like(before, dtype=torch.bool)
    if settings.steps:
        kept = after < (1 - settings.least_gain) * before
    if settings.steps and kept.any() and settings.least_recovery > -1:  # it takes a sampling
        recovered = pair_recovery(adapter, config, space.at(best), pairs, prompts, settings.seed)
        kept &= recovered >= settings.least_recovery
    best = [_chosen(kept, x, torch.zeros_like(x)) for x in best]
    adaptation = replace(space.at(best), pair_hidden=kept if settings.hide_pair else None)
    return Fitted(adaptation, before, torch.where(kept, after, before), kept)


@torch.no_grad()
def pair_recovery(
    adapter: Adapter,
    config: TrainConfig,
    adaptation: Adaptation,
    pairs: Pairs,
    prompts: Sequence[str],
    seed: int = 0,
) -> Tensor:
    """How much of the change from a to a' is recovered when a' is made of a, the pair hidden.

    Args:
        adapter: a checkpoint on its frozen base.
        config: the checkpoint's config.
        adaptation: what adapts the base to each item.
        pairs: one or more pairs (a, a') of the items, uint8 (batch, 3, height, width) each.
        prompts: one for each item.
        seed: of the noise, the same for every item.

    Returns:
        `edit_recovery` (batch,), the mean over the pairs, in [-1, 1].
    """
    found = []
    for a, a_prime in pairs:
        panels = hide_pair({"a": a, "a_prime": a_prime, "b": a})
        seeds = [seed] * len(a)
        made = draw_answers(adapter, config, adaptation, panels, prompts, seeds)
        if made.shape != a.shape:  # a grid of one megapixel is drawn at a size of its own
            made = F.interpolate(made.float(), a.shape[2:], mode="bilinear", antialias=True)
            made = made.round().to(torch.uint8)
        pictures = (x.permute(0, 2, 3, 1).cpu().numpy() for x in (made, a, a_prime))
        found.append([edit_recovery(*item) for item in zip(*pictures, strict=True)])
    return torch.from_numpy(np.mean(found, 0)).to(pairs[0][0].device)


def _search(
    adapter: Adapter,
    config: TrainConfig,
    settings: FitConfig,
    space: Space,
    tasks: Sequence[Task],
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The free numbers that explain the pairs best, and their loss (batch,) before and after."""
    values = [zeros.requires_grad_() for zeros in space.zeros()]
    optimizer = torch.optim.Adam(values, betas=(0.9, 0.99))
    generator = seeded(settings.seed)
    held_out = _held_out(adapter, config, settings, tasks)
    rate = settings.rate or space.step_size
    best = [x.detach().clone() for x in values]
    before = lowest = held_out.losses(space.at(best))
    for step in track(range(settings.steps), settings.steps, "fitting"):
        optimizer.param_groups[0]["lr"] = (
            rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        )
        optimizer.zero_grad()
        for task in tasks:
            many = task.repeated(settings.draws)
            drawn = _same_noise(config, task, settings.draws, generator)
            adaptation = space.at(values).repeated(settings.draws)
            with adaptation.on(adapter):
                losses = item_losses(adapter, config, many, adaptation, drawn)
                # Adam is blind to the scale of a gradient, so a sum treats the items one by one.
                (losses.sum() / settings.draws).backward()
        optimizer.step()
        if (step + 1) % -(-settings.steps // CHECKS) == 0 or step + 1 == settings.steps:
            losses = held_out.losses(space.at([x.detach() for x in values]))
            better = losses < lowest
            lowest = torch.where(better, losses, lowest)
            best = [
                _chosen(better, x.detach(), previous)
                for x, previous in zip(values, best, strict=True)
            ]
    return best, before, lowest


def _same_noise(
    config: TrainConfig, task: Task, draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Times and noise of some draws, the same for each item, so that no item depends on others."""
    items, *shape = task.clean.shape
    time, noise = draw(config.training.times, (draws, *shape), generator)
    return time.repeat_interleave(items), noise.repeat_interleave(items, 0)


def _chosen(better: Tensor, new: Tensor, kept: Tensor) -> Tensor:
    return torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, kept)


@dataclass(frozen=True)
class _HeldOut:
    """Noise that chooses the step of a search and is never searched on."""

    adapter: Adapter
    config: TrainConfig
    tasks: Sequence[Task]
    drawn: Sequence[tuple[Tensor, Tensor]]
    draws: int

    @torch.no_grad()
    def losses(self, adaptation: Adaptation) -> Tensor:
        """The mean loss (batch,) over the pairs and the held-out draws."""
        many = adaptation.repeated(self.draws)
        sums = []
        with many.on(self.adapter):
            for task, drawn in zip(self.tasks, self.drawn, strict=True):
                losses = item_losses(self.adapter, self.config, task, many, drawn)
                sums.append(losses.view(self.draws, -1).mean(0))
        return torch.stack(sums).mean(0)


def _held_out(
    adapter: Adapter, config: TrainConfig, settings: FitConfig, tasks: Sequence[Task]
) -> _HeldOut:
    generator = seeded(settings.seed + HELD_OUT_SEED)
    repeated = [task.repeated(settings.held_out) for task in tasks]
    drawn = [_same_noise(config, task, settings.held_out, generator) for task in tasks]
    return _HeldOut(adapter, config, repeated, drawn, settings.held_out)
