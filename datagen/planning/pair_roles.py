"""The pairs of a recipe: what each task has, what is held out, and which role a photograph has."""

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datagen.making.build_notes import LeftOut, Note
from datagen.planning.seeding import draw
from datagen.planning.source_roles import pair_role
from datagen.recipe.schema import Recipe
from datagen.sources.image_files import slugs
from datagen.sources.pair_reader import read_pairs
from datagen.sources.source import Pair
from lorweb_bench.errors import InputError, did_you_mean

REVERSED = "-reversed"


@dataclass(frozen=True)
class CollectedPairs:
    """The pairs of a recipe, and who plays which role.

    Attributes:
        tasks: The pairs by task.
        held: The tasks that are held out of training.
        roles: The role of every photograph.
        notes: What was left out, and what else there is to say.
        parameters: By task, what the manifest says of how it was made.
        fixed: Whether they are quadruplets: of every two pairs the first is (a, a_prime) and the
            second (b, b_prime).
    """

    tasks: Mapping[str, Sequence[Pair]]
    held: Collection[str]
    roles: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fixed: bool = False

    @property
    def names(self) -> dict[str, list[str]]:
        """The photographs by role."""
        by_role: dict[str, list[str]] = {role: [] for role in ("train", "dev", "a", "b")}
        for name, role in sorted(self.roles.items()):
            by_role.setdefault(role, []).append(name)
        return {role: by_role[role] for role in ("train", "dev", "a", "b")}

    @property
    def pixels(self) -> dict[str, str]:
        """The pixel hashes of the pairs by name."""
        pairs = itertools.chain.from_iterable(self.tasks.values())
        return {pair.name: pair.pixels for pair in pairs}


def collect_pairs(recipe: Recipe, workers: int = 1) -> CollectedPairs:
    """Read the pairs of a recipe and give each photograph a role; see `pair_role`.

    Args:
        recipe: A recipe whose source is of pairs.
        workers: Processes that decode the images.

    Raises:
        InputError: A held-out task is not there (the error gives the nearest name), or no task has
            two pairs.
    """
    read = read_pairs(recipe, workers)
    pairs = list(read.pairs)
    forward = list(dict.fromkeys(pair.task for pair in pairs))
    if recipe.source.directions == "both":
        _refuse_reversed_names(recipe, forward)
        pairs += [_reverse(pair) for pair in pairs]
    tasks: dict[str, list[Pair]] = {}
    for pair in pairs:
        tasks.setdefault(pair.task, []).append(pair)
    if max(map(len, tasks.values()), default=0) < 2:
        left_out = [note for note in read.notes if isinstance(note, LeftOut)]
        why = f" ({len(left_out)} were left out, the first: {left_out[0]})" if left_out else ""
        raise InputError(
            f"{recipe.source.path}: no task has two pairs{why}, and an analogy is made of two; "
            "put pairs of one edit into one folder."
        )
    notes = (*read.notes, *_lonely(recipe, tasks))
    answering = sum(not pair.as_b for pair in read.pairs)
    if recipe.is_suite and answering:
        sentence = (
            f"{answering} pairs start or end where another edit ends or starts: "
            "as a b they would show an answer"
        )
        notes = (*notes, sentence)
    held = held_out(recipe, forward)
    held |= {name + REVERSED for name in held if name + REVERSED in tasks}
    trained = {pair.photograph for pair in pairs if pair.task not in held}
    names = sorted({pair.photograph for pair in pairs})
    roles = {name: pair_role(recipe, name, name in trained) for name in names}
    fixed = recipe.source.kind == "quadruplets"
    return CollectedPairs(tasks, held, roles, notes, read.parameters, fixed)


def _lonely(recipe: Recipe, tasks: Mapping[str, Sequence[Pair]]) -> list[LeftOut]:
    """The tasks that have one pair: they make no analogy."""
    reversed_too = recipe.source.directions == "both"
    return [
        LeftOut(name, "the task has one pair, and an analogy is made of two", "pairs_per_task")
        for name, group in tasks.items()
        if len(group) == 1 and not (reversed_too and name.endswith(REVERSED))
    ]


def _refuse_reversed_names(recipe: Recipe, tasks: Sequence[str]) -> None:
    """InputError when a task is called as another one used backwards would be."""
    for name in tasks:
        if name + REVERSED in tasks:
            raise InputError(
                f"{recipe.source.path} has the task {name + REVERSED!r}, as {name!r} used "
                "backwards would be called; rename its folder, or leave source.directions at "
                "forward."
            )


def held_out(recipe: Recipe, tasks: Sequence[str]) -> set[str]:
    """The tasks that `tiers.new_task` holds out: by name, all, or as many as it says by the seed.

    Case, spaces, signs and a number before a name do not matter.

    Raises:
        InputError: A task is not there; the error gives the nearest name.
    """
    new_tasks = recipe.tiers.new_task
    if new_tasks == "all":
        return set(tasks)
    if isinstance(new_tasks, int):
        if not 0 <= new_tasks < len(tasks):
            raise InputError(
                f"tiers.new_task: {new_tasks} tasks cannot be held out, {recipe.source.path} has "
                f"{len(tasks)}."
            )
        return set(sorted(tasks, key=lambda name: draw(recipe.seed, "new_task", name))[:new_tasks])
    by_letters = _by_letters(tasks)
    for name in new_tasks:
        if _letters(name) not in by_letters:
            there = f"there are {', '.join(tasks)}."
            hint = did_you_mean(_letters(name), by_letters, there, shown=by_letters)
            raise InputError(f"There is no task for tiers.new_task: {name!r}; {hint}")
    return {by_letters[_letters(name)] for name in new_tasks}


def _by_letters(tasks: Sequence[str]) -> dict[str, str]:
    """Tasks by the letters of their names.

    The number before a name can be left out where that leaves one task alone.
    """
    bare = [_letters(name).lstrip("0123456789") for name in tasks]
    by_letters = {}
    for short, name in zip(bare, tasks, strict=True):
        if short and bare.count(short) == 1:
            by_letters[short] = name
    return {**by_letters, **{_letters(name): name for name in tasks}}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", slugs([name])[0])


def _reverse(pair: Pair) -> Pair:
    instruction = f"undo this edit: {pair.instruction}" if pair.instruction else ""
    assert pair.after is not None
    return replace(
        pair,
        task=pair.task + REVERSED,
        name=pair.name + REVERSED,
        before=pair.after,
        after=pair.before,
        instruction=instruction,
    )
