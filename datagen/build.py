"""Building a dataset from a recipe: plan it, make its shards in any number of processes, finish it.

A build that was stopped goes on where it was.
"""

import contextlib
import errno
import functools
import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datagen.build_claim import (
    json_digest,
    open_finished,
    release_folder,
    remove_marks,
    take_folder,
)
from datagen.making.build_notes import Dropped, LeftOut, Note, left_out, sentences
from datagen.making.filters import chosen_with
from datagen.making.pair_items import PairItems
from datagen.making.photograph_items import Made, PhotographItems, plan_items
from datagen.planning import tiers
from datagen.planning.calibration import calibrate, own_images
from datagen.planning.compositions import Described
from datagen.planning.item_table import ItemTable, ShardPlan, ShardPlans
from datagen.planning.pair_analogies import plan_pairs
from datagen.planning.pair_roles import CollectedPairs, collect_pairs
from datagen.planning.source_roles import Roles, share_out
from datagen.recipe.library import library_name, library_of
from datagen.recipe.schema import Recipe
from datagen.transformations import KIND_MODULES
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.declared_base import DeclaredBase, read_base
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.manifest import MANIFEST
from lorweb_bench.data.shard_format import read_sidecar, shard_done, shard_path
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.environment import COMPUTING, versions
from lorweb_bench.runtime.files import (
    only_run,
)
from lorweb_bench.runtime.workers import run_pieces, warm_up
from lorweb_bench.suites.pins import drift

SHARD = 512  # items of a shard, of panels up to 128 x 128 pixels
LEAST = 32  # items of a shard, of panels however large
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IMPORTED = (  # by every worker
    "datagen.build",
    *(f"datagen.transformations.{kind}" for kind in KIND_MODULES),
)


class ItemMaker(Protocol):
    """Makes the items of one split: `PhotographItems` or `PairItems`."""

    def make_all(self, items: Iterable[Any]) -> Iterator[tuple[Any, Made | Dropped]]:
        """Make items in their order; each comes with what was made, or the filter it failed."""
        ...


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first item is made.

    Attributes:
        makers: What makes the items, by split.
        items: The items by split.
        transformations: By id, as the manifest lists them.
        notes: What was left out, and what else there is to say.
    """

    makers: Mapping[str, ItemMaker]
    items: Mapping[str, ItemTable[Any]]
    transformations: Mapping[str, Described]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class RelativeTo:
    """What the tiers of a dataset are relative to.

    Attributes:
        training: The training dataset, of a suite.
        base: The declared base, where the recipe names one.
    """

    training: Dataset | None
    base: DeclaredBase | None

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """What a build depends on; the base is only there where one is declared."""
        base = {"base": self.base.fingerprint} if self.base else {}
        return {"relative_to": self.training.fingerprint if self.training else None, **base}


@dataclass(frozen=True)
class Built:
    """A finished build.

    Attributes:
        dataset: The dataset.
        dropped: How many items of each split could not be made.
        notes: What was left out, and what else there is to say.
    """

    dataset: Dataset
    dropped: Mapping[str, int]
    notes: tuple[Note, ...]


def build(
    recipe: Recipe,
    folder: Path | str,
    workers: int = 1,
    engine: str = "local",
    part: tuple[int, int] = (1, 1),
) -> Built | None:
    """Build a recipe's dataset.

    The result does not depend on workers, engine, parts, or how often the build was begun. Shards
    that are whole are kept, and a finished dataset of the same recipe is left as it is.

    Args:
        recipe: What is asked for.
        folder: Where the dataset goes.
        workers: How many processes make it.
        engine: `local` or `ray`.
        part: (i, n), counted from 1: makes every n-th shard alone. Parts may run at once on
            machines that share the folder; the run that finds all shards there writes the manifest.

    Returns:
        The finished build; None where other parts have shards to make.

    Raises:
        InputError: The folder holds something else or another recipe's work (the error names what
            differs), there is no space left, or the recipe cannot be built from its sources.
    """
    library_of.cache_clear()  # a file of families may be another one since the last build
    folder, training = Path(folder), _open_training(recipe)
    if not 1 <= part[0] <= part[1]:
        raise InputError(f"There is no part {part[0]} of {part[1]}; parts are counted from 1.")
    relative = RelativeTo(training, _declared_base(recipe))
    if (folder / MANIFEST).is_file():
        wanted = {"recipe": recipe.model_dump(mode="json"), **relative.fingerprints}
        return Built(open_finished(folder, wanted), {}, ())
    with _full_disk_as_input_error(folder):
        return _build(recipe, folder, relative, workers, engine, part)


def _build(
    recipe: Recipe,
    folder: Path,
    relative: RelativeTo,
    workers: int,
    engine: str,
    part: tuple[int, int],
) -> Built | None:
    training = relative.training
    if workers > 1:
        warm_up(*IMPORTED)
    sources: Roles | CollectedPairs
    if recipe.from_pairs:
        sources = collect_pairs(recipe, workers)
    else:
        section = recipe.transformations
        library = library_of(section.library, section.lengths)
        tiers.check_transformations(recipe, library, relative=training is not None)
        sources = share_out(recipe, workers)
    _refuse_shared_sources(sources.names, training)
    resumed = take_folder(folder, _claim(recipe, sources, relative))
    alone = part[1] == 1
    with only_run(folder, shared=not alone):
        if alone:
            _remove_temporary_files(folder)
        planners = workers if engine == "local" else min(workers, os.cpu_count() or 1)
        try:
            plan = make_plan(recipe, sources, training, planners)
        except InputError:
            if not resumed:  # nothing was made: a corrected recipe finds the folder as it was
                release_folder(folder)
            raise
        missing, failures = _make_shards(recipe, folder, plan, workers, engine, part)
        if missing is None:
            built = _finish(recipe, folder, plan, relative, alone)
            return replace(built, notes=(*built.notes, *failures))
        if alone:
            raise InputError(
                f"{folder}: the shard {missing} is gone again; another run is at work there. "
                "Start again when it has ended."
            )
        return None


def _remove_temporary_files(folder: Path) -> None:
    """Remove what killed runs left, which may be just what a full disk lacks."""
    for stale in folder.rglob(".*.tmp"):
        stale.unlink(missing_ok=True)


def _make_shards(
    recipe: Recipe, folder: Path, plan: Plan, workers: int, engine: str, part: tuple[int, int]
) -> tuple[str | None, list[LeftOut]]:
    """Make this part's shards that are not whole yet.

    Returns:
        A shard of any part that is still missing then, or None where all are there; and the items
        that errors cost.
    """
    size = shard_size(recipe)
    shards: list[tuple[str, int]] = []
    for split, items in plan.items.items():
        shards += [(split, index) for index in range(-(-len(items) // size))]
    part_shards = shards[part[0] - 1 :: part[1]]
    waiting = [shard for shard in part_shards if not shard_done(folder, *shard)]
    failures: list[LeftOut] = []
    for failed in run_pieces(
        functools.partial(build_shard, str(folder), plan.makers, recipe.filters.on_error),
        ShardPlans(waiting, plan.items, size),
        workers,
        engine,
        f"building {recipe.name}",
    ):
        failures += failed
    missing = (shard for shard in shards if not shard_done(folder, *shard))
    return next((f"{split}/{index:06d}" for split, index in missing), None), failures


def _finish(recipe: Recipe, folder: Path, plan: Plan, relative: RelativeTo, alone: bool) -> Built:
    """Write the manifest of a folder that has all shards.

    A folder of which every item was dropped is left as it was found.
    """
    try:
        _refuse_empty_splits(folder, plan, shard_size(recipe))
        dataset = finish_dataset(folder, _manifest_fields(recipe, plan, relative))
    except InputError:
        if alone and not any(folder.rglob("*.tar")):
            release_folder(folder, recipe.splits)
        raise
    remove_marks(folder)
    dropped = {split: len(items) - _samples(dataset, split) for split, items in plan.items.items()}
    return Built(dataset, {split: count for split, count in dropped.items() if count}, plan.notes)


def _refuse_empty_splits(folder: Path, plan: Plan, size: int) -> None:
    """Raise InputError where no item of a split could be made."""
    for split, items in plan.items.items():
        sidecars = [read_sidecar(shard_path(folder, split, 0))]
        for index in range(1, -(-len(items) // size)):
            if sidecars[-1].samples:
                break
            sidecars.append(read_sidecar(shard_path(folder, split, index)))
        if not sidecars[-1].samples:
            dropped = sum((Counter(sidecar.dropped) for sidecar in sidecars), Counter[str]())
            ends = {name: f"did not pass {name}" for name in dropped} | {"failed": "failed"}
            reasons = ", ".join(f"{dropped[name]} items {ends[name]}" for name in sorted(dropped))
            raise InputError(
                f"{folder}: none of the {len(items)} items of {split} could be made ({reasons}); "
                "see filters, or add photographs."
            )


def shard_size(recipe: Recipe) -> int:
    """How many items a shard has.

    It has fewer of large panels, so that workers have something to share and little is made again.
    """
    edge = recipe.panel.square or recipe.panel.long_edge or 1
    return min(SHARD, max(LEAST, SHARD * 128 * 128 // (edge * edge)))


@contextlib.contextmanager
def _full_disk_as_input_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno not in NO_SPACE:
            raise
        raise InputError(
            f"{folder}: there is no space left to write to ({e.strerror}); make room and start the "
            "same command again, it goes on from the last whole shard."
        ) from e


def make_plan(
    recipe: Recipe, sources: Roles | CollectedPairs, training: Dataset | None, workers: int = 1
) -> Plan:
    """Decide on transformations, tiers, hardness and items.

    Args:
        recipe: What is asked for.
        sources: The recipe's sources, with their roles.
        training: The dataset that a suite is relative to.
        workers: Processes; the plan does not depend on their number.
    """
    described: dict[str, Described] | None = None
    if training is not None:
        listed = training.manifest.transformations
        described = {name: info.model_dump(mode="json") for name, info in listed.items()}
    if isinstance(sources, CollectedPairs):
        tasks, analogies = plan_pairs(recipe, sources, described)
        makers = {split: PairItems(recipe, tasks) for split in analogies}
        return Plan(makers, analogies, tasks, sources.notes)
    return _plan_photographs(recipe, sources, described, workers)


def _plan_photographs(
    recipe: Recipe, sources: Roles, known: Mapping[str, Described] | None, workers: int
) -> Plan:
    library = library_of(recipe.transformations.library, recipe.transformations.lengths)
    calibration = calibrate(recipe, sources, workers)
    if known is None:
        selection = tiers.trained(recipe, library, calibration)
    else:
        source_calibration = own_images(recipe, sources, workers)
        selection = tiers.suite_tiers(recipe, library, calibration, source_calibration, known)
    names = list(selection.transformations)
    items = {split: plan_items(recipe, split, selection.used, names) for split in recipe.splits}
    numbers = [np.unique(table.rows["transformation"]) for table in items.values()]
    used = {names[i] for i in np.unique(np.concatenate(numbers))}
    listed = selection.transformations
    if known is None:
        listed = {name: info for name, info in listed.items() if name in used}
    hard: Mapping[str, bool] = {}
    rivals: Mapping[str, Sequence[str]] = {}
    if recipe.is_suite:
        specs = {name: listed[name] for name in sorted(used)}
        hard = calibration.hard(specs, recipe.filters.minimum_change)
        rivals = calibration.nearest(sorted(used), listed)
    makers = {}
    for split in recipe.splits:
        a_role, b_role = ("a", "b") if recipe.is_suite else (split, split)
        a, b = sources.needed(a_role), sources.needed(b_role)
        makers[split] = PhotographItems(recipe, listed, a, b, hard, rivals)
    return Plan(makers, items, listed, (*sources.notes, *selection.notes))


def build_shard(
    folder: str, makers: Mapping[str, ItemMaker], on_error: str, plan: ShardPlan
) -> list[LeftOut]:
    """Make and write one shard: a pure function of the plan.

    Returns:
        The items that errors cost.

    Raises:
        InputError: `on_error` is `fail`, and an error would cost an item.
    """
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    with ShardWriter(folder, plan.split, plan.index) as shard:
        failures = []
        for item, sample in makers[plan.split].make_all(plan.items):
            if not isinstance(sample, Dropped):
                shard.add(item.key, sample.images, sample.record)
                shard.note_sources(sample.source_digests)
                continue
            shard.drop(sample.filter)
            if sample.reason and on_error == "fail":
                raise InputError(
                    f"{sample.reason}; mend it, take it out of the recipe, or let such items be "
                    "dropped: filters.on_error=drop."
                )
            if sample.reason:
                name = f"item {item.key} of {plan.split}"
                failures.append(LeftOut(name, sample.reason, "failed"))
    return failures


def _open_training(recipe: Recipe) -> Dataset | None:
    """The training dataset that a suite is relative to; None for training data itself."""
    path = recipe.tiers.relative_to
    if not recipe.is_suite:
        if path is not None:
            raise InputError(
                "tiers.relative_to is for suites (splits seen and unseen); leave it out of "
                "training data's recipe."
            )
        return None
    if path is None and recipe.tiers.new_task == "all":
        return None
    if path is None:
        raise InputError(
            "A suite's tiers are relative to a training dataset; name its folder: "
            "--set tiers.relative_to=FOLDER."
        )
    try:
        training = open_dataset(Path(path).expanduser())
    except InputError as e:
        raise InputError(f"tiers.relative_to: {e}") from None
    if "train" not in training.splits:
        raise InputError(
            f"tiers.relative_to: {path} is no training dataset; it has the splits "
            f"{', '.join(training.splits)} and no train."
        )
    return training


def _declared_base(recipe: Recipe) -> DeclaredBase | None:
    """The base that the recipe declares; it knows nothing of what is new to it."""
    if recipe.tiers.base is None:
        return None
    try:
        base = read_base(recipe.tiers.base)
    except InputError as e:
        raise InputError(f"tiers.base: {e}") from None
    if known := [family for family in recipe.tiers.new_to_base if base.knows(family)]:
        raise InputError(
            f"tiers.new_to_base: {known[0]!r} is known to the declared base {base.name}; take it "
            "out, or declare a base that has not seen it."
        )
    return base


def _refuse_shared_sources(names: Mapping[str, list[str]], training: Dataset | None) -> None:
    if training is None:
        return
    used = set(itertools.chain.from_iterable(map(training.sources, training.splits)))
    for role in ("a", "b", "calibration"):
        if both := sorted(used & set(names.get(role, ()))):
            raise InputError(
                f"The training dataset {training.path} uses {len(both)} sources that the suite's "
                f"role {role!r} has, {both[0]} for one; build both with the same seed and the same "
                "source section."
            )


def _claim(recipe: Recipe, sources: Roles | CollectedPairs, relative: RelativeTo) -> dict[str, Any]:
    """What a build depends on: two builds with one claim have one result."""
    counted = {
        role: {"count": len(names), "names": json_digest(names)}
        for role, names in sources.names.items()
    }
    return {
        "recipe": recipe.model_dump(mode="json"),
        "sources": counted,
        "source_pixels": json_digest(sources.pixels),
        **relative.fingerprints,
        "library": library_name(recipe.transformations.library),
        "chosen_with": chosen_with(recipe.filters),
        "libraries": versions(("lorweb-bench", *COMPUTING)),
    }


def _manifest_fields(recipe: Recipe, plan: Plan, relative: RelativeTo) -> dict[str, Any]:
    library = None if recipe.from_pairs else library_name(recipe.transformations.library)
    training, base = relative.training, relative.base
    fields = {
        "name": recipe.name,
        "version": recipe.version,
        "supersedes": recipe.supersedes,
        "view": "full",
        "recipe": recipe.model_dump(mode="json"),
        "transformations": base.marked(plan.transformations) if base else plan.transformations,
        "transformation_library": library,
        "left_out": left_out(plan.notes),
        "chosen_with": chosen_with(recipe.filters),
        "answers": False if recipe.answerless else None,
        "tiers_relative_to": training.fingerprint if training else None,
    }
    if base:
        fields["base"] = {"name": base.name, "fingerprint": base.fingerprint}
    return fields


def _samples(dataset: Dataset, split: str) -> int:
    return dataset.manifest.splits[split].samples if split in dataset.manifest.splits else 0


def report(built: Built) -> None:
    """Print on stderr what was left out and dropped, and where a pinned suite left its pin."""
    for note in sentences(built.notes):
        print(f"note: {note}", file=sys.stderr)
    if differs := drift(built.dataset):
        print(f"note: {differs}", file=sys.stderr)
    for split, count in built.dropped.items():
        print(
            f"note: {count} items of {split} were dropped: nothing that was tried passes the "
            "filters, or an error cost them",
            file=sys.stderr,
        )
