"""Building a dataset from a recipe: plan, make shard by shard in any number of processes, finish. Resumes by itself."""

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datagen.making.build_notes import Dropped, Note, left_out, told
from datagen.making.filters import chosen_with
from datagen.making.pair_items import Collected, PairWork, collect, plan_pairs
from datagen.making.photograph_items import Made, Work, plan_items
from datagen.planning import tiers
from datagen.planning.calibration import calibrate, own_images
from datagen.planning.compositions import Described
from datagen.planning.item_table import Items, Piece, Pieces
from datagen.planning.source_roles import Roles, share_out
from datagen.recipe.library import library_name, library_of
from datagen.recipe.schema import Recipe
from datagen.transformations import KIND_MODULES
from lorweb_bench.data.dataset import Dataset, finish_dataset, open_dataset
from lorweb_bench.data.manifest import MANIFEST, read_manifest
from lorweb_bench.data.shards import ShardWriter, shard_done
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import DATASET_FORMAT
from lorweb_bench.runtime.environment import COMPUTING, versions
from lorweb_bench.runtime.files import (
    canonical_json,
    claim_output,
    finish_output,
    only_run,
    read_json,
    write_json,
)
from lorweb_bench.runtime.workers import run_pieces, warm_up
from lorweb_bench.suites.pins import drift

SHARD = 512  # items of a shard, of panels up to 128 x 128 pixels
LEAST = 32  # and of panels however large
BUILDING = ".building.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
IMPORTED = (
    "datagen.build",
    *(f"datagen.transformations.{kind}" for kind in KIND_MODULES),
)  # by every worker


class Worker(Protocol):
    """Makes the items of one split: `Work` from photographs, `PairWork` from pairs."""

    def make(self, item: Any) -> Made | Dropped:
        """The item, or which of the recipe's filters it failed."""
        ...


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first item is made."""

    work: Mapping[str, Worker]
    items: Mapping[str, Items[Any]]
    transformations: Mapping[str, Described]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Built:
    """A finished build: the dataset, how many items of each split were dropped, and what was left out and why."""

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
    """Build the recipe's dataset in `folder`. The result does not depend on workers, engine, parts, or how often it was begun.

    Shards that are whole are kept. A finished dataset of the same recipe is left as it is. `part` (i, n), counted from 1, makes
    every n-th shard alone; parts may run at once on machines that share the folder. The run that finds all shards there writes
    the manifest, any other gives None. InputError when the folder holds something else or another recipe's work, naming what
    differs, when there is no space left, and for whatever the recipe cannot be built from.
    """
    library_of.cache_clear()  # a file of families may be another one since the last build
    folder, training = Path(folder), _training(recipe)
    if not 1 <= part[0] <= part[1]:
        raise InputError(f"There is no part {part[0]} of {part[1]}; parts are counted from 1.")
    if (folder / MANIFEST).is_file():
        return Built(_finished(folder, recipe, training), {}, ())
    with _space_told(folder):
        return _build(recipe, folder, training, workers, engine, part)


def _build(
    recipe: Recipe,
    folder: Path,
    training: Dataset | None,
    workers: int,
    engine: str,
    part: tuple[int, int],
) -> Built | None:
    if workers > 1:
        warm_up(*IMPORTED)
    sources: Roles | Collected = (
        collect(recipe, workers) if recipe.from_pairs else share_out(recipe, workers)
    )
    _refuse_shared_sources(sources.names, training)
    resumed = _take(folder, _claim(recipe, sources, training))
    alone = part[1] == 1
    with only_run(folder, shared=not alone):
        for stale in folder.rglob(".*.tmp") if alone else ():
            stale.unlink(
                missing_ok=True
            )  # what killed runs left may be just what a full disk lacks
        try:
            plan = make_plan(
                recipe,
                sources,
                training,
                workers if engine == "local" else min(workers, os.cpu_count() or 1),
            )
        except InputError:
            if (
                not resumed
            ):  # nothing was made: the corrected recipe shall find the folder as it was
                _release(folder)
            raise
        if (missing := _make_shards(recipe, folder, plan, workers, engine, part)) is None:
            return _finish(recipe, folder, plan, training, alone)
        if alone:
            raise InputError(
                f"{folder}: the shard {missing} is gone again; another run is at work there. Start again when it has ended."
            )
        return None


def _make_shards(
    recipe: Recipe, folder: Path, plan: Plan, workers: int, engine: str, part: tuple[int, int]
) -> str | None:
    """Make this part's shards that are not whole yet; a shard of any part that is still missing then, None where all are there."""
    size = shard_size(recipe)
    places = [
        (split, index)
        for split, items in plan.items.items()
        for index in range(-(-len(items) // size))
    ]
    waiting = Pieces(
        [place for place in places[part[0] - 1 :: part[1]] if not shard_done(folder, *place)],
        plan.items,
        size,
    )
    for _ in run_pieces(
        functools.partial(build_shard, str(folder), plan.work),
        waiting,
        workers,
        engine,
        f"building {recipe.name}",
    ):
        pass
    return next(
        (f"{split}/{index:06d}" for split, index in places if not shard_done(folder, split, index)),
        None,
    )


def _finish(
    recipe: Recipe, folder: Path, plan: Plan, training: Dataset | None, alone: bool
) -> Built:
    """Write the manifest of a folder that has all shards; a folder of which every item was dropped is left as it was found."""
    try:
        dataset = finish_dataset(folder, _fields(recipe, plan, training))
    except InputError:
        if alone and not any(folder.rglob("*.tar")):
            _release(folder, recipe.splits)
        raise
    _tidy(folder)
    dropped = {split: len(items) - _samples(dataset, split) for split, items in plan.items.items()}
    return Built(dataset, {split: count for split, count in dropped.items() if count}, plan.notes)


def shard_size(recipe: Recipe) -> int:
    """How many items a shard has: fewer of large panels, so that workers have something to share and little is made again."""
    edge = recipe.panel.square or recipe.panel.long_edge or 1
    return min(SHARD, max(LEAST, SHARD * 128 * 128 // (edge * edge)))


@contextlib.contextmanager
def _space_told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno not in NO_SPACE:
            raise
        raise InputError(
            f"{folder}: there is no space left to write to ({e.strerror}); make room and start the same command again, it goes on "
            "from the last whole shard."
        ) from e


def make_plan(
    recipe: Recipe, sources: Roles | Collected, training: Dataset | None, workers: int = 1
) -> Plan:
    """Decide on transformations, tiers, hardness and items, in `workers` processes; the plan does not depend on their number."""
    known = (
        {
            name: info.model_dump(mode="json")
            for name, info in training.manifest.transformations.items()
        }
        if training
        else None
    )
    if isinstance(sources, Collected):
        tasks, pairs = plan_pairs(recipe, sources, known)
        return Plan(
            {split: PairWork(recipe, tasks) for split in pairs}, pairs, tasks, sources.notes
        )
    library, calibration = (
        library_of(recipe.transformations.library),
        calibrate(recipe, sources, workers),
    )
    if known is None:
        chosen = tiers.trained(recipe, library, calibration)
    else:
        chosen = tiers.suite_tiers(
            recipe, library, calibration, own_images(recipe, sources, workers), known
        )
    names = list(chosen.transformations)
    items = {split: plan_items(recipe, split, chosen.used, names) for split in recipe.splits}
    used = {names[i] for group in items.values() for i in np.unique(group.rows["transformation"])}
    listed = {
        name: info
        for name, info in chosen.transformations.items()
        if known is not None or name in used
    }
    hard: Mapping[str, bool] = {}
    rivals: Mapping[str, Sequence[str]] = {}
    if recipe.is_suite:
        hard = calibration.hard(
            {name: listed[name] for name in sorted(used)}, recipe.filters.minimum_change
        )
        rivals = calibration.nearest(sorted(used), listed)
    work = {}
    for split in recipe.splits:
        a_role, b_role = ("a", "b") if recipe.is_suite else (split, split)
        work[split] = Work(
            recipe, listed, sources.needed(a_role), sources.needed(b_role), hard, rivals
        )
    return Plan(work, items, listed, (*sources.notes, *chosen.notes))


def build_shard(folder: str, work: Mapping[str, Worker], piece: Piece) -> int:
    """Make and write one shard; how many of its items could be made. A pure function of the plan and the piece."""
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    with ShardWriter(folder, piece.split, piece.index) as shard:
        made = 0
        for item in piece.items:
            sample = work[piece.split].make(item)
            if isinstance(sample, Dropped):
                shard.drop(sample.filter)
            else:
                shard.add(item.key, sample.images, sample.record)
                made += 1
    return made


def _training(recipe: Recipe) -> Dataset | None:
    """The training dataset that a suite is relative to; None for training data itself."""
    path = recipe.tiers.relative_to
    if not recipe.is_suite:
        if path is not None:
            raise InputError(
                "tiers.relative_to is for suites (splits seen and unseen); leave it out of training data's recipe."
            )
        return None
    if path is None and recipe.tiers.new_task == "all":
        return None
    if path is None:
        raise InputError(
            "A suite's tiers are relative to a training dataset; name its folder: --set tiers.relative_to=FOLDER."
        )
    try:
        training = open_dataset(Path(path).expanduser())
    except InputError as e:
        raise InputError(f"tiers.relative_to: {e}") from None
    if "train" not in training.splits:
        raise InputError(
            f"tiers.relative_to: {path} is no training dataset; it has the splits {', '.join(training.splits)} and no train."
        )
    return training


def _refuse_shared_sources(names: Mapping[str, list[str]], training: Dataset | None) -> None:
    if training is None:
        return
    used = {name for split in training.splits for name in training.sources(split)}
    for role in ("a", "b", "calibration"):
        if both := sorted(used & set(names.get(role, ()))):
            raise InputError(
                f"The training dataset {training.path} uses {len(both)} sources that the suite's role {role!r} has, {both[0]} for one; "
                "build both with the same seed and the same source section."
            )


def _claim(recipe: Recipe, sources: Roles | Collected, training: Dataset | None) -> dict[str, Any]:
    """What a build depends on: two builds with one claim have one result."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "sources": {
            role: {
                "count": len(group),
                "names": hashlib.sha256(canonical_json(group).encode()).hexdigest(),
            }
            for role, group in sources.names.items()
        },
        "source_pixels": hashlib.sha256(canonical_json(sources.pixels).encode()).hexdigest(),
        "relative_to": training.fingerprint if training else None,
        "library": library_name(recipe.transformations.library),
        "chosen_with": chosen_with(recipe.filters),
        "libraries": versions(("lorweb-bench", *COMPUTING)),
    }


def _take(folder: Path, claim: dict[str, Any]) -> bool:
    """Claim the output folder, and whether it was begun before; InputError naming what differs when other work was begun there."""
    identity = hashlib.sha256(canonical_json(claim).encode()).hexdigest()
    marker = folder / BUILDING
    resumed = marker.is_file()
    if resumed and (differs := _differences(read_json(marker), claim)):
        raise InputError(
            f"{folder} holds a build that was begun with {differs}; choose another folder with -o, or delete it."
        )
    claim_output(folder, DATASET_FORMAT, identity)
    write_json(marker, claim)
    return resumed


def _release(folder: Path, splits: Iterable[str] = ()) -> None:
    """Undo `_take`, and take away the folders of splits that no shard came into."""
    for split in splits:
        shutil.rmtree(folder / split, ignore_errors=True)
    _tidy(folder)
    with contextlib.suppress(
        OSError
    ):  # it holds something, or a part that ran at the same time was quicker
        folder.rmdir()


def _tidy(folder: Path) -> None:
    """Take away the marks of a build in progress."""
    (folder / BUILDING).unlink(missing_ok=True)
    finish_output(folder)


def _finished(folder: Path, recipe: Recipe, training: Dataset | None) -> Dataset:
    manifest = read_manifest(folder)
    if manifest.recipe is None:
        raise InputError(
            f"{folder} holds a dataset that was not built from a recipe; choose another folder with -o."
        )
    old = {"recipe": manifest.recipe, "relative_to": manifest.tiers_relative_to}
    new = {
        "recipe": recipe.model_dump(mode="json"),
        "relative_to": training.fingerprint if training else None,
    }
    if differs := _differences(old, new):
        raise InputError(
            f"{folder} holds a dataset that was built with {differs}; choose another folder with -o, or delete it."
        )
    _tidy(folder)  # of a build that was killed between its manifest and its end
    return open_dataset(folder)


def _differences(old: Any, new: Any, name: str = "") -> str:
    """What differs, in words: the first three keys with the old value and the new one. Empty when nothing does."""
    found = [
        f"{key} {_short(before)} and not {_short(after)}"
        for key, before, after in _unequal(old, new, name)
    ]
    return ", ".join(found[:3]) + (f", and {len(found) - 3} more" if len(found) > 3 else "")


def _unequal(old: Any, new: Any, name: str) -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(k for k in new if k not in old)]
        return [
            one
            for k in keys
            for one in _unequal(old.get(k), new.get(k), f"{name}.{k}" if name else str(k))
        ]
    return (
        []
        if canonical_json(old) == canonical_json(new)
        else [(name.removeprefix("recipe."), old, new)]
    )


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields(recipe: Recipe, plan: Plan, training: Dataset | None) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "version": recipe.version,
        "supersedes": recipe.supersedes,
        "view": "full",
        "recipe": recipe.model_dump(mode="json"),
        "transformations": dict(plan.transformations),
        "transformation_library": None
        if recipe.from_pairs
        else library_name(recipe.transformations.library),
        "left_out": left_out(plan.notes),
        "chosen_with": chosen_with(recipe.filters),
        "tiers_relative_to": training.fingerprint if training else None,
    }


def _samples(dataset: Dataset, split: str) -> int:
    return dataset.manifest.splits[split].samples if split in dataset.manifest.splits else 0


def report(built: Built) -> None:
    """Print on stderr what was left out, how many items were dropped, and how a pinned suite differs from its pin."""
    for note in told(built.notes):
        print(f"note: {note}", file=sys.stderr)
    if differs := drift(built.dataset):
        print(f"note: {differs}", file=sys.stderr)
    for split, count in built.dropped.items():
        print(
            f"note: {count} items of {split} were dropped: nothing that was tried passes the filters",
            file=sys.stderr,
        )
