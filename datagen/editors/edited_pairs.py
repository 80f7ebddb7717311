"""Pairs that an image editor makes of photographs: the plan, and the folder that keeps them.

A run that was stopped goes on where it was.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from datagen.editors.diffusers_pipeline import Editor, lora_file, lora_identity
from datagen.making.build_notes import Note
from datagen.planning.seeding import draw
from datagen.planning.source_roles import pair_role, read_photographs
from datagen.recipe.schema import Recipe
from datagen.recipe.sources import EditorTask
from datagen.sources.crops import Panel
from datagen.sources.image_files import ImageFile, image_files, is_too_small, too_small
from datagen.sources.near_duplicates import Look, look_at_all
from datagen.sources.source import Pair, Source
from lorweb_bench.data import images
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import (
    canonical_json,
    contents_of,
    read_json,
    write_atomic,
    write_json,
)
from lorweb_bench.runtime.progress import track

Parameters = dict[str, dict[str, Any]]
CLAIMED = ("model", "revision", "arguments", "long_edge")  # what edits in one folder share


@dataclass(frozen=True)
class Edit:
    """One photograph to be edited for one task.

    Attributes:
        name: The task's name, with the category where there are several.
        task: The task.
        photograph: The photograph.
        size: Width and height of the edited image, in pixels.
        seed: The seed of the edit.
    """

    name: str
    task: EditorTask
    photograph: Source
    size: tuple[int, int]
    seed: int

    def file(self, folder: Path, side: str) -> Path:
        """Where the image `before` or `after` the edit is kept, as the source `pairs` reads it."""
        return folder / self.name / f"{self.photograph.name}.{side}.png"


def edited_pairs(
    recipe: Recipe, workers: int = 1
) -> tuple[list[Pair], tuple[Note, ...], Parameters]:
    """Make the pairs of a recipe whose source is an image editor.

    Each is made once and kept, in the recipe's `keep` or in the cache. When all are there, no
    pipeline is loaded.

    Args:
        recipe: The recipe.
        workers: Processes that decode the photographs.

    Returns:
        The pairs, what was left out, and by task how it was made.

    Raises:
        InputError: There are too few photographs, the folder holds another editor's work, or the
            pipeline cannot do what it is asked for.
    """
    photographs, notes = read_photographs(recipe, workers)
    looks = look_at_all([source.load for source in photographs], workers)
    least = max(recipe.panel.square or 16, recipe.filters.minimum_side)
    edits: list[Edit] = []
    for edit in plan_edits(recipe, photographs, looks):
        if is_too_small(*edit.size, least):
            name = f"{edit.name} of {edit.photograph.name}"
            notes = (*notes, too_small(name, *edit.size, least))
        else:
            edits.append(edit)
    folder = _edits_folder(recipe)
    missing = [edit for edit in edits if not edit.file(folder, "after").is_file()]
    identity = _check_identity(recipe, folder, missing)
    parameters = _parameters(folder, edits, missing, identity)
    _check_tasks(folder, parameters)
    _make_missing(recipe, folder, edits, missing, identity)
    _write_list(folder, edits)
    return [_pair(edit, folder) for edit in edits], notes, parameters


def _parameters(
    folder: Path, edits: Sequence[Edit], missing: Sequence[Edit], identity: Mapping[str, Any]
) -> Parameters:
    """By task, what the manifest says of how it was made."""
    needed = {edit.name for edit in missing}
    tasks = {edit.name: edit.task for edit in edits}
    return {
        name: {
            "editor": identity,
            "instruction": task.instruction,
            "lora": _lora(folder, task, name, name in needed),
            "seeds": "sha256(seed:edit:task:photograph)",
        }
        for name, task in tasks.items()
    }


def _lora(folder: Path, task: EditorTask, name: str, needed: bool) -> dict[str, Any] | None:
    """The identity of a task's LoRA: of the file where it is needed, else as the folder has it."""
    marker = folder / name / "task.json"
    if not needed and marker.is_file():
        held: dict[str, Any] | None = read_json(marker)["lora"]
        return held
    return lora_identity(task, lora_file(task))


def _write_list(folder: Path, edits: Sequence[Edit]) -> None:
    rows = []
    for edit in edits:
        width, height = edit.size
        row = {"task": edit.name, "photograph": edit.photograph.name, "seed": edit.seed}
        rows.append(canonical_json({**row, "width": width, "height": height}) + "\n")
    write_atomic(folder / "edits.jsonl", "".join(rows))


def _pair(edit: Edit, folder: Path) -> Pair:
    before, after = (
        ImageFile(str(edit.file(folder, side).resolve())) for side in ("before", "after")
    )
    source = edit.photograph
    return Pair(
        task=edit.name,
        name=f"{edit.name}-{source.name}",
        before=before,
        after=after,
        instruction=edit.task.instruction,
        licence=source.licence,
        attribution=source.attribution,
        photograph=source.name,
        pixels=source.pixels,
        digest=source.digest,
    )


def plan_edits(
    recipe: Recipe, photographs: Sequence[Source], looks: Sequence[Look]
) -> Iterator[Edit]:
    """Plan every edit: of each task, and category, so many photographs of each role.

    The seed chooses them. Of a suite the bs are chosen, as far as they are there, so that each a
    has some of its own aspect ratio (`filters.aspect_tolerance`).

    Args:
        recipe: The recipe; `editor.photographs` says how many.
        photographs: The photographs to choose from.
        looks: What each photograph looks like, in the same order.

    Raises:
        InputError: There are too few photographs; the error names task and role.
    """
    section = recipe.source.editor
    by_name = {source.name: look for source, look in zip(photographs, looks, strict=True)}
    categories = _categories(recipe, photographs)
    panel = Panel(long_edge=section.long_edge)
    for task in section.tasks:
        for category in task.categories or ("",):
            name = f"{task.name}-{category}" if len(task.categories) > 1 else task.name
            ordered = sorted(
                (s for s in photographs if not category or categories[s.name] == category),
                key=lambda source: _draw(recipe, name, source).hex(),
            )
            for source in _choose(recipe, name, ordered, by_name):
                look = by_name[source.name]
                seed = int.from_bytes(_draw(recipe, name, source)[:4])
                yield Edit(name, task, source, panel.size(look.height, look.width), seed)


def _draw(recipe: Recipe, name: str, source: Source) -> bytes:
    return draw(recipe.seed, "edit", name, source.name)


def _categories(recipe: Recipe, photographs: Sequence[Source]) -> dict[str, str]:
    """The first subfolder of each photograph, empty where there is none."""
    if recipe.source.path == "bundled":
        return {source.name: "" for source in photographs}
    root = image_files(str(recipe.source.path))[0].absolute()
    categories = {}
    for source in photographs:
        if isinstance(source.load, ImageFile):
            parts = Path(source.load.path).relative_to(root).parts
            categories[source.name] = parts[0] if len(parts) > 1 else ""
    there = set(categories.values())
    for task in recipe.source.editor.tasks:
        if missing := [category for category in task.categories if category not in there]:
            raise InputError(
                f"{recipe.source.path} has no photographs in the folder {missing[0]!r}, which the "
                f"task {task.name!r} names."
            )
    return categories


def _choose(
    recipe: Recipe, name: str, ordered: Sequence[Source], looks: Mapping[str, Look]
) -> list[Source]:
    """As many photographs of each role as a task edits, in the given order."""
    roles = ["a", "b"]
    if not recipe.is_suite:
        roles = [split for split in ("train", "dev") if split in recipe.splits]
    counts: Mapping[str, int] = recipe.source.editor.photographs  # type: ignore[assignment]
    chosen: list[Source] = []
    for role in roles:
        count = counts.get(role, 0)
        there = [source for source in ordered if pair_role(recipe, source.name, True) == role]
        if len(there) < count:
            raise InputError(
                f"The task {name!r} needs {count} photographs with the role {role!r}, and there "
                f"are {len(there)}; add some, give the role a greater share in source.shares, or "
                "ask for fewer in source.editor.photographs."
            )
        if role == "b":
            there = _by_aspect(recipe, chosen, there, count, looks)
        chosen += there[:count]
    return chosen


def _by_aspect(
    recipe: Recipe,
    firsts: Sequence[Source],
    there: Sequence[Source],
    count: int,
    looks: Mapping[str, Look],
) -> list[Source]:
    """`there` with matches first: for each of `firsts` in turn the next one of its aspect ratio."""
    tolerance = recipe.filters.aspect_tolerance
    if tolerance is None or not firsts:
        return list(there)
    rest, matches = list(there), []
    for i in range(count):
        aspect = looks[firsts[i % len(firsts)].name].aspect
        for source in rest:
            if abs(aspect / looks[source.name].aspect - 1) <= tolerance:
                rest.remove(source)
                matches.append(source)
                break
    return [*matches, *rest]


def _edits_folder(recipe: Recipe) -> Path:
    if recipe.source.keep:
        return Path(recipe.source.keep).expanduser()
    root = cache_folder()
    if root is None:
        raise InputError(
            "Edited images are kept on disk while a dataset is built: "
            "name a folder, source.keep=FOLDER."
        )
    section = recipe.source.editor
    claim = [
        section.model,
        section.revision,
        section.arguments,
        section.long_edge,
        section.dtype,
        recipe.seed,
    ]
    return root / "edits" / hashlib.sha256(canonical_json(claim).encode()).hexdigest()[:24]


_loaded_editors: dict[str, Editor] = {}  # the last one: a process builds several splits with it


def _load_editor(recipe: Recipe) -> Editor:
    section = recipe.source.editor
    name = canonical_json([section.model, section.revision, section.dtype, section.arguments])
    if name not in _loaded_editors:
        _loaded_editors.clear()
        _loaded_editors[name] = Editor(section)
    return _loaded_editors[name]


def _check_identity(recipe: Recipe, folder: Path, missing: Sequence[Edit]) -> dict[str, Any]:
    """The editor's identity, as the folder keeps it, or of the pipeline where the folder is new.

    Raises:
        InputError: The folder holds something else, or the pipeline is another one than made the
            edits there.
    """
    section = recipe.source.editor
    claim = {**section.model_dump(mode="json", include=set(CLAIMED)), "seed": recipe.seed}
    marker = folder / "editor.json"
    other = "name another folder, source.keep=FOLDER."
    if marker.is_file():
        held = read_json(marker)
        if differs := [key for key in claim if held["claim"].get(key) != claim[key]]:
            raise InputError(
                f"{folder} holds edits that were made with another {differs[0]}; {other}"
            )
        for key, value in _load_editor(recipe).identity.items() if missing else ():
            if held["editor"].get(key) != value:
                raise InputError(
                    f"{folder} holds edits whose {key} was {held['editor'].get(key)}; {other}"
                )
        return dict(held["editor"])
    if contents_of(folder):
        raise InputError(
            f"{folder} holds something else than edits; "
            "name an empty or a new folder, source.keep=FOLDER."
        )
    identity = _load_editor(recipe).identity
    write_json(marker, {"claim": claim, "editor": identity})
    return identity


def _check_tasks(folder: Path, parameters: Parameters) -> None:
    """Write each task's words into its folder.

    Raises:
        InputError: Edits of a task were made with other words or another LoRA.
    """
    for name, made_by in parameters.items():
        marker = folder / name / "task.json"
        task = {key: made_by[key] for key in ("instruction", "lora")}
        if not marker.is_file():
            write_json(marker, task)
            write_atomic(folder / name / "instruction.txt", task["instruction"] + "\n")
            continue
        held = read_json(marker)
        for key, value in task.items():
            if held.get(key) != value:
                raise InputError(
                    f"{folder / name} holds edits with the {key} {held.get(key)!r}; "
                    "delete the folder or rename the task."
                )


def _batches(edits: Sequence[Edit], size: int) -> list[list[Edit]]:
    """The edits that are made at once: one LoRA after the other, images of one size together."""
    groups: dict[tuple[str, tuple[int, int]], list[Edit]] = {}
    for edit in edits:
        groups.setdefault((edit.name, edit.size), []).append(edit)
    batches: list[list[Edit]] = []
    for group in groups.values():
        batches += [group[i : i + size] for i in range(0, len(group), size)]
    return batches


def _make_missing(
    recipe: Recipe,
    folder: Path,
    edits: Sequence[Edit],
    missing: Sequence[Edit],
    identity: Mapping[str, Any],
) -> None:
    """Make the edits that are missing; each is kept as soon as it is made.

    A batch of which some are there is made whole again: an edit may depend on the size of its batch
    by rounding, and by more.
    """
    absent = {edit.file(folder, "after") for edit in missing}
    batches = []
    for batch in _batches(edits, recipe.source.editor.batch):
        if not absent.isdisjoint(edit.file(folder, "after") for edit in batch):
            batches.append(batch)
    current: str | None = ""  # the task whose LoRA is on; None: no LoRA
    for batch in track(batches, len(batches), f"editing with {identity['model']}"):
        editor, task = _load_editor(recipe), batch[0].task
        if current != task.name and not (current is None and task.lora is None):
            file = lora_file(task)
            editor.use((file, task.lora_scale) if file else None)
            current = task.name if task.lora else None
        befores = [
            Image.fromarray(images.resize(edit.photograph.load(), edit.size)) for edit in batch
        ]
        afters = editor.edit(befores, task.instruction, [edit.seed for edit in batch])
        for edit, before, after in zip(batch, befores, afters, strict=True):
            if edit.file(folder, "after") in absent:
                write_atomic(edit.file(folder, "before"), images.encode(before))
                write_atomic(edit.file(folder, "after"), images.encode(after))
