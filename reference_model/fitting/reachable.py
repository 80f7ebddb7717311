"""What is reachable for one transformation.

An adaptation fitted on other images that it was run on.

Unlike a fit to an item's own pair, which is a method, this is a bound: it is given many examples of
the transformation, and asks how well one mix, one set of tokens or one LoRA can do it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reference_model.config import TrainConfig
from reference_model.fitting.adaptation import Adaptation
from reference_model.fitting.fit import CHECKS, Task, item_losses
from reference_model.fitting.spaces import FreshLora, Hull, Space
from reference_model.model.adapter import Adapter
from reference_model.model.grid_layout import context_sequence, flatten_tokens
from reference_model.model.panels import encode_context, encode_target, encode_words
from reference_model.seeding import seeded
from reference_model.training.flow import draw

HELD_OUT = 16  # analogies that choose the step
RATES: dict[type[Space], float] = {Hull: 0.5, FreshLora: 0.03}  # first steps; elsewhere 0.3


@dataclass(frozen=True)
class Examples:
    """Images before and after one transformation, uint8 (examples, 3, height, width) each."""

    before: Tensor
    after: Tensor

    def __len__(self) -> int:
        return len(self.before)


@dataclass(frozen=True)
class Bound:
    """How a bound is searched for.

    Attributes:
        steps: steps of Adam.
        batch: analogies in each of them.
        seed: seed of the analogies that are drawn and of their noise.
    """

    steps: int
    batch: int
    seed: int

    def step_size(self, space: Space) -> float:
        """The first step of Adam: many examples bear longer steps than a single pair."""
        return next((rate for kind, rate in RATES.items() if isinstance(space, kind)), 0.3)


TaskMaker = Callable[[Sequence[int], Sequence[int]], Task]


def analogies(adapter: Adapter, config: TrainConfig, examples: Examples) -> TaskMaker:
    """Tasks in the checkpoint's own layout: example i is the pair, example j is b with its b'."""

    def make(pairs: Sequence[int], queries: Sequence[int]) -> Task:
        i, j = list(pairs), list(queries)
        panels = {
            "a": examples.before[i],
            "a_prime": examples.after[i],
            "b": examples.before[j],
            "b_prime": examples.after[j],
        }
        with torch.no_grad():
            context = encode_context(adapter.base, config, panels)
            clean = encode_target(adapter.base, config, panels)
            prompt = encode_words(adapter.base, config.layout, [""], panels)
        return Task(context, clean, prompt)

    return make


def edits(adapter: Adapter, examples: Examples) -> TaskMaker:
    """Tasks of the bare base: b' of b alone, no pair shown; the pairs are not looked at."""

    def make(pairs: Sequence[int], queries: Sequence[int]) -> Task:
        j = list(queries)
        with torch.no_grad():
            context = context_sequence(
                "edit", None, None, adapter.base.codec.encode(examples.before[j])
            )
            clean = flatten_tokens(adapter.base.codec.encode(examples.after[j]))
            prompt = encode_words(adapter.base, "edit", [""], {"b": examples.before[j]})
        return Task(context, clean, prompt)

    return make


def reach(
    adapter: Adapter, config: TrainConfig, bound: Bound, space: Space, make: TaskMaker, count: int
) -> Adaptation:
    """Fit one point of a space to a transformation.

    Args:
        adapter: a checkpoint on its base.
        config: its config; `layout` is that of the tasks.
        bound: steps, batch and seed.
        space: a space for a batch of one, where the search starts.
        make: tasks from the numbers of examples.
        count: how many examples there are; of eight or more, the last choose the step.

    Returns:
        The adaptation, a batch of one.
    """
    if adapter.base.full_size:
        adapter.base.transformer.enable_gradient_checkpointing()
    generator = seeded(bound.seed)
    held = min(HELD_OUT, count // 4)
    held = held if held > 1 else 0  # a single one would be its own pair, which shows the answer
    first = count - held if held else 0
    check = make(*_drawn_pairs(held or count, held or count, generator, first))
    with torch.inference_mode(False), torch.enable_grad():
        return _descend(adapter, config, bound, space, make, (check, count - held), generator)


def _descend(
    adapter: Adapter,
    config: TrainConfig,
    bound: Bound,
    space: Space,
    make: TaskMaker,
    checked: tuple[Task, int],
    generator: torch.Generator,
) -> Adaptation:
    check, count = checked
    values = [zeros.requires_grad_() for zeros in space.zeros()]
    optimizer = torch.optim.Adam(values, betas=(0.9, 0.99))
    noise = draw(config.training.times, check.clean.shape, generator)
    best = [x.detach().clone() for x in values]
    lowest = _loss(adapter, config, check, space.at(best), noise)
    for step in range(bound.steps):
        rate = bound.step_size(space) * 0.5 * (1 + math.cos(math.pi * step / bound.steps))
        optimizer.param_groups[0]["lr"] = rate
        task = make(*_drawn_pairs(bound.batch, count, generator))
        drawn = draw(config.training.times, task.clean.shape, generator)
        adaptation = space.at(values).repeated(len(task.clean))
        optimizer.zero_grad()
        with adaptation.on(adapter):
            item_losses(adapter, config, task, adaptation, drawn).mean().backward()
        optimizer.step()
        if (step + 1) % -(-bound.steps // CHECKS) == 0 or step + 1 == bound.steps:
            now = [x.detach().clone() for x in values]
            loss = _loss(adapter, config, check, space.at(now), noise)
            if loss < lowest:
                lowest, best = loss, now
    return space.at(best)


def _drawn_pairs(
    number: int, count: int, generator: torch.Generator, first: int = 0
) -> tuple[list[int], list[int]]:
    """`number` pairs of two different examples of `count`, counted from `first` on."""
    queries = torch.randint(count, (number,), generator=generator)
    steps = torch.randint(1, max(2, count), (number,), generator=generator)
    pairs = (queries + steps) % count
    return (pairs + first).tolist(), (queries + first).tolist()


@torch.no_grad()
def _loss(
    adapter: Adapter,
    config: TrainConfig,
    task: Task,
    adaptation: Adaptation,
    drawn: tuple[Tensor, Tensor],
) -> float:
    many = adaptation.repeated(len(task.clean))
    with many.on(adapter):
        return float(item_losses(adapter, config, task, many, drawn).mean())
