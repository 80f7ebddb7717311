"""How well a base edits when it is told the transformation in words, by group of families."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lorweb_bench.data.composition import instruction_steps
from reference_model.bases.base import Base
from reference_model.instructed import edit_in_turns, edit_told
from reference_model.training.world import Spec, World, stack_panels

SEED = 99  # of the items
PRESETS = 2  # of each family
COMPOSITIONS = 60
ATTEMPTS = 8  # to find a panel that a transformation changes
SMALLEST_CHANGE = 8.0  # root mean square in levels; less is no item, as in a suite
BATCH = 20


class DevItem(NamedTuple):
    """A panel, its edit (side, side, 3) uint8, and what the edit is called and belongs to."""

    group: str
    id: str
    instruction: str
    before: np.ndarray
    after: np.ndarray


def draw_dev_items(world: World, groups: dict[str, list[str]]) -> list[DevItem]:
    """Items of each group of families, of the rest of the known ones, and of compositions.

    Args:
        world: Whose library runs the transformations, on panels of held-out photographs.
        groups: Families by the group's name. Known families in none are the group `other`.
    """
    random = np.random.default_rng(SEED)
    grouped = {name for families in groups.values() for name in families}
    rest = [name for name in world.families if name not in grouped]
    items = []
    for group, families in {**groups, "other": rest}.items():
        for family in families:
            presets = world.library.families[family].presets
            for number in random.permutation(len(presets))[:PRESETS]:
                spec = world.library.describe(family, presets[number])
                items += _item(world, group, spec, random)
    composed = world.config.composed
    for _ in range(COMPOSITIONS if len(composed) > 1 else 0):
        parts = [composed[i] for i in random.permutation(len(composed))[:2]]
        steps = [world.library.draw_preset(family, random) for family in parts]
        items += _item(world, "composition", world.library.compose(*steps), random)
    return items


def _item(world: World, group: str, spec: Spec, random: np.random.Generator) -> list[DevItem]:
    """An item, or none when the transformation hardly changes any panel that was tried."""
    for _ in range(ATTEMPTS):
        before = np.asarray(world.panels[int(random.integers(len(world.panels)))])
        after = world.library.apply(spec, before)
        change = after.astype(np.float32) - before
        if float(np.sqrt(np.square(change).mean())) >= SMALLEST_CHANGE:
            return [DevItem(group, spec["id"], spec["instruction"], before, after)]
    return []


def edit_recovery(item: DevItem, predicted: np.ndarray) -> float:
    """1 - MSE(prediction, truth) / MSE(before, truth), at least -1: as the metric of that name."""
    truth = item.after.astype(np.float64)
    error, change = (np.square(x - truth).mean() for x in (predicted, item.before))
    return max(-1.0, 1.0 - float(error / change))


def told_in_words(
    base: Base, items: Sequence[DevItem], steps: int | None = None
) -> dict[str, float]:
    """Mean `edit_recovery` of each group: of its transformations first, then over them.

    Compositions are told at once, and as the group `composition_in_turns` one step after another.
    """
    composed = [item for item in items if len(instruction_steps(item.instruction)) > 1]
    in_turns = _mean_recovery(base, composed, steps, edit_in_turns)
    return _mean_recovery(base, items, steps, edit_told) | {
        f"{group}_in_turns": figure for group, figure in in_turns.items()
    }


def _mean_recovery(
    base: Base, items: Sequence[DevItem], steps: int | None, edit: Callable[..., Tensor]
) -> dict[str, float]:
    by_group: dict[str, dict[str, list[float]]] = {}
    for start in range(0, len(items), BATCH):
        chosen = items[start : start + BATCH]
        with torch.inference_mode():
            predicted = edit(
                base,
                stack_panels([item.before for item in chosen]),
                [item.instruction for item in chosen],
                range(len(chosen)),
                steps,
            )
        pictures = predicted.permute(0, 2, 3, 1).numpy()
        for item, picture in zip(chosen, pictures, strict=True):
            of_group = by_group.setdefault(item.group, {})
            of_group.setdefault(item.id, []).append(edit_recovery(item, picture))
    figures = {}
    for group, values_of in by_group.items():
        means = [np.mean(values) for values in values_of.values()]
        figures[group] = round(float(np.mean(means)), 4)
    return figures
