"""Pairs from photographs by an image editor: which are edited, in which order, and the folder that keeps them. Resumes by itself."""

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
from datagen.sources import Pair, Panel, Skipped, Source
from datagen.sources.image_files import ImageFile, image_files, too_small
from datagen.sources.near_duplicates import Look, looks
from lorweb_bench.data import images
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import canonical_json, read_json, write_atomic, write_json
from lorweb_bench.runtime.progress import track

Parameters = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Edit:
    """One photograph to be edited for one task; `name` is the task's, with the category where there are several."""

    name: str
    task: EditorTask
    photograph: Source
    size: tuple[int, int]  # width, height of the edited image, in pixels
    seed: int

    def file(self, folder: Path, side: str) -> Path:
        """Where the image `before` or `after` the edit is kept: a layout that the source `pairs` reads too."""
        return folder / self.name / f"{self.photograph.name}.{side}.png"


def edited_pairs(
    recipe: Recipe, workers: int = 1
) -> tuple[list[Pair], tuple[Note, ...], Parameters]:
    """The pairs that the recipe's editor makes, what was left out, and by task how it was made.

    Each is made once and kept, in the recipe's `keep` or in the cache; when all are there no pipeline is loaded. InputError for
    too few photographs, for a folder that holds another editor's work, and for whatever the pipeline cannot do.
    """
    photographs, notes = read_photographs(recipe, workers)
    edits = list(
        plan_edits(recipe, photographs, looks([source.load for source in photographs], workers))
    )
    least = max(recipe.panel.square or 16, recipe.filters.minimum_side)
    small = [
        Skipped(f"{edit.name} of {edit.photograph.name}", reason)
        for edit in edits
        if (reason := too_small(*edit.size, least))
    ]
    edits = [edit for edit in edits if min(edit.size) >= least]
    folder = _folder(recipe)
    missing = [edit for edit in edits if not edit.file(folder, "after").is_file()]
    loras = {
        edit.name: _lora(
            folder, edit.task, edit.name, any(one.name == edit.name for one in missing)
        )
        for edit in edits
    }
    identity = _identity(recipe, folder, missing)
    parameters = {
        edit.name: {
            "editor": identity,
            "instruction": edit.task.instruction,
            "lora": loras[edit.name],
            "seeds": "sha256(seed:edit:task:photograph)",
        }
        for edit in edits
    }
    _check_tasks(folder, parameters)
    _make(recipe, folder, edits, missing, identity)
    rows = [
        {
            "task": e.name,
            "photograph": e.photograph.name,
            "seed": e.seed,
            "width": e.size[0],
            "height": e.size[1],
        }
        for e in edits
    ]
    write_atomic(folder / "edits.jsonl", "".join(canonical_json(row) + "\n" for row in rows))
    return (
        [_pair(edit, folder) for edit in edits],
        (*notes, *(one.note for one in small)),
        parameters,
    )


def _lora(folder: Path, task: EditorTask, name: str, needed: bool) -> dict[str, Any] | None:
    """The identity of a task's LoRA: that of the file where it is needed, else what the folder keeps of it."""
    marker = folder / name / "task.json"
    if not needed and marker.is_file():
        held: dict[str, Any] | None = read_json(marker)["lora"]
        return held
    return lora_identity(task, lora_file(task))


def _pair(edit: Edit, folder: Path) -> Pair:
    before, after = (
        ImageFile(str(edit.file(folder, side).resolve())) for side in ("before", "after")
    )
    source = edit.photograph
    name = f"{edit.name}-{source.name}"
    return Pair(
        edit.name,
        name,
        before,
        after,
        edit.task.instruction,
        source.licence,
        source.attribution,
        source.name,
        pixels=source.pixels,
    )


def plan_edits(
    recipe: Recipe, photographs: Sequence[Source], seen: Sequence[Look]
) -> Iterator[Edit]:
    """Every edit: of each task, and category, as many photographs of each role as `editor.photographs` says, chosen by the seed.

    Of a suite the bs are chosen, as far as they are there, so that each a has some of its own form (`filters.aspect_tolerance`).
    InputError, naming task and role, when there are too few.
    """
    section = recipe.source.editor
    by_name = {source.name: look for source, look in zip(photographs, seen, strict=True)}
    categories = _categories(recipe, photographs)
    panel = Panel(long_edge=section.long_edge)
    for task in section.tasks:
        for category in task.categories or ("",):
            name = f"{task.name}-{category}" if len(task.categories) > 1 else task.name
            own = [
                source
                for source in photographs
                if not category or categories[source.name] == category
            ]
            order = sorted(own, key=lambda source: _draw(recipe, name, source).hex())
            for source in _chosen(recipe, name, order, by_name):
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
    places = {
        source.name: Path(source.load.path).relative_to(root)
        for source in photographs
        if isinstance(source.load, ImageFile)
    }
    found = {name: place.parts[0] if len(place.parts) > 1 else "" for name, place in places.items()}
    for task in recipe.source.editor.tasks:
        if missing := [category for category in task.categories if category not in found.values()]:
            raise InputError(
                f"{recipe.source.path} has no photographs in the folder {missing[0]!r}, which the task {task.name!r} names."
            )
    return found


def _chosen(
    recipe: Recipe, name: str, order: Sequence[Source], seen: Mapping[str, Look]
) -> list[Source]:
    roles = (
        ("a", "b")
        if recipe.is_suite
        else tuple(split for split in ("train", "dev") if split in recipe.splits)
    )
    counts = recipe.source.editor.photographs
    chosen: list[Source] = []
    for role in roles:
        there = [source for source in order if pair_role(recipe, source.name, True) == role]
        if len(there) < counts.get(role, 0):  # type: ignore[call-overload]
            raise InputError(
                f"The task {name!r} needs {counts[role]} photographs with the role {role!r}, and there are {len(there)}; "  # type: ignore[index]
                "add some, give the role a greater share in source.shares, or ask for fewer in source.editor.photographs."
            )
        wanted = counts.get(role, 0)  # type: ignore[call-overload]
        chosen += (
            _like_in_form(recipe, chosen, there, wanted, seen) if role == "b" else there[:wanted]
        )
    return chosen


def _like_in_form(
    recipe: Recipe,
    firsts: Sequence[Source],
    there: Sequence[Source],
    count: int,
    seen: Mapping[str, Look],
) -> list[Source]:
    """`count` of `there`: for each of `firsts` in turn the next one of its form, then whatever comes next."""
    tolerance = recipe.filters.aspect_tolerance
    left, chosen = list(there), []
    for i in range(count if tolerance is not None and firsts else 0):
        form = _form(seen[firsts[i % len(firsts)].name])
        match = next(
            (
                source
                for source in left
                if abs(form / _form(seen[source.name]) - 1) <= float(tolerance or 0)
            ),
            None,
        )
        if match is not None:
            left.remove(match)
            chosen.append(match)
    return [*chosen, *left][:count]


def _form(look: Look) -> float:
    return look.width / look.height


def _folder(recipe: Recipe) -> Path:
    if recipe.source.keep:
        return Path(recipe.source.keep).expanduser()
    root = cache_folder()
    if root is None:
        raise InputError(
            "Edited images are kept on disk while a dataset is built: name a folder, source.keep=FOLDER."
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


def _claim(recipe: Recipe) -> dict[str, Any]:
    section = recipe.source.editor
    return section.model_dump(
        mode="json", include={"model", "revision", "arguments", "long_edge"}
    ) | {"seed": recipe.seed}


_EDITORS: dict[
    str, Editor
] = {}  # the one that was loaded last: a process builds several splits with it


def _editor(recipe: Recipe) -> Editor:
    section = recipe.source.editor
    name = canonical_json([section.model, section.revision, section.dtype, section.arguments])
    if name not in _EDITORS:
        _EDITORS.clear()
        _EDITORS[name] = Editor(section)
    return _EDITORS[name]


def _identity(recipe: Recipe, folder: Path, missing: Sequence[Edit]) -> dict[str, Any]:
    """The editor's identity: as the folder keeps it, or of the pipeline, which must be the same one. InputError when they differ."""
    marker, claim = folder / "editor.json", _claim(recipe)
    if marker.is_file():
        held = read_json(marker)
        if differs := [key for key in claim if held["claim"].get(key) != claim[key]]:
            raise InputError(
                f"{folder} holds edits that were made with another {differs[0]}; name another folder, source.keep=FOLDER."
            )
        if missing and (
            differs := [
                k for k, value in _editor(recipe).identity.items() if held["editor"].get(k) != value
            ]
        ):
            raise InputError(
                f"{folder} holds edits whose {differs[0]} was {held['editor'].get(differs[0])}; name another, source.keep=FOLDER."
            )
        return dict(held["editor"])
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder} holds something else than edits; name an empty or a new folder, source.keep=FOLDER."
        )
    identity = _editor(recipe).identity
    write_json(marker, {"claim": claim, "editor": identity})
    return identity


def _check_tasks(folder: Path, parameters: Parameters) -> None:
    """InputError when edits of a task were made with other words or another LoRA; the words stand in the task's folder."""
    for name, made in parameters.items():
        marker, own = (
            folder / name / "task.json",
            {key: made[key] for key in ("instruction", "lora")},
        )
        if marker.is_file() and (held := read_json(marker)) != own:
            differs = next(key for key in own if held.get(key) != own[key])
            raise InputError(
                f"{folder / name} holds edits with the {differs} {held.get(differs)!r}; delete the folder or rename the task."
            )
        if not marker.is_file():
            write_json(marker, own)
            write_atomic(folder / name / "instruction.txt", own["instruction"] + "\n")


def _pieces(edits: Sequence[Edit], batch: int) -> list[list[Edit]]:
    """The edits that are made at once: one LoRA after the other, images of one size together."""
    groups: dict[tuple[str, tuple[int, int]], list[Edit]] = {}
    for edit in edits:
        groups.setdefault((edit.name, edit.size), []).append(edit)
    return [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]


def _make(
    recipe: Recipe,
    folder: Path,
    edits: Sequence[Edit],
    missing: Sequence[Edit],
    identity: Mapping[str, Any],
) -> None:
    """Make the edits that are `missing`, each kept as soon as it is made.

    A batch of which some are there is made whole again: an edit may depend on the size of its batch by rounding, and by more.
    """
    absent = {edit.file(folder, "after") for edit in missing}
    pieces = [
        piece
        for piece in _pieces(edits, recipe.source.editor.batch)
        if any(e.file(folder, "after") in absent for e in piece)
    ]
    worn: str | None = ""
    for piece in track(pieces, len(pieces), f"editing with {identity['model']}"):
        editor, task = _editor(recipe), piece[0].task
        if worn != task.name and not (worn is None and task.lora is None):
            file = lora_file(task)
            editor.use((file, task.lora_scale) if file else None)
            worn = task.name if task.lora else None
        befores = [
            Image.fromarray(images.resize(edit.photograph.load(), edit.size)) for edit in piece
        ]
        afters = editor.edit(befores, task.instruction, [edit.seed for edit in piece])
        for edit, before, after in zip(piece, befores, afters, strict=True):
            if edit.file(folder, "after") not in absent:
                continue
            write_atomic(edit.file(folder, "before"), images.encode(before))
            write_atomic(edit.file(folder, "after"), images.encode(after))
