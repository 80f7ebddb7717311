"""Sets of images that belong together, each in a role, as folders and JSON lines hold them: what pairs and quadruplets share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datagen.sources import Skipped
from datagen.sources.decoding import check_files, image_files
from lorweb_bench.errors import InputError
from lorweb_bench.images import MAX_PIXELS


@dataclass
class RoleSet:
    """The files of one set by role, and what is known of it. `name` is unique; `task` is empty where nobody gave one."""

    name: str
    task: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    instruction: str = ""
    licence: str = ""
    attribution: str = ""
    problem: str = ""


def role_sets(
    path: str | Path,
    roles: Sequence[str],
    endings: Mapping[str, str],
    *,
    on_bad: Literal["skip", "fail"] = "skip",
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> tuple[list[RoleSet], list[Skipped]]:
    """The complete and readable sets at `path`, a folder or a .jsonl file, in the order of their names, and what was left out.

    In a folder a file has the role that its name ends with (`endings`: ending -> role, as `.before`), that it is named after
    (`cat/before.jpg`) or that its folder is named after (`before/cat.jpg`). Lines of JSON give a path, relative to the .jsonl
    file, for each role and optionally `task`, `instruction`, `name`, `licence`, `attribution`. With on_bad="fail" the first thing
    wrong raises InputError; so does a path without any set.
    """
    given = Path(path).expanduser()
    sets = list(_from_lines(given, roles)) if given.suffix == ".jsonl" else _from_folder(given, roles, endings)
    for one in sets:
        missing = [role for role in roles if role not in one.files]
        if missing and not one.problem:
            one.problem = f"no image for {', '.join(missing)}"
    whole = [one for one in sets if not one.problem]
    checks = check_files([one.files[role] for one in whole for role in roles], max_pixels, workers)
    for one in whole:
        problems = [next(checks).problem for _ in roles]
        one.problem = next((problem for problem in problems if problem), "")
    skipped = [Skipped(one.name, one.problem) for one in sets if one.problem]
    if skipped and on_bad == "fail":
        raise InputError(f"{path}: {skipped[0].file}: {skipped[0].reason}")
    kept = [one for one in sets if not one.problem]
    if not kept:
        why = f"; the first left out: {skipped[0].file} ({skipped[0].reason})" if skipped else ""
        raise InputError(f"{path} holds no complete set of {', '.join(roles)}{why}")
    return kept, skipped


def _from_folder(path: Path, roles: Sequence[str], endings: Mapping[str, str]) -> list[RoleSet]:
    root, files = image_files(path)
    sets: dict[str, RoleSet] = {}
    for file in files:
        place = _place(file.relative_to(root), roles, endings)
        if place is None:
            continue
        task, name, role = place
        one = sets.setdefault((task / name).as_posix(), RoleSet((task / name).as_posix(), "" if task == Path() else task.as_posix()))
        if role in one.files:
            one.problem = f"two images for {role}: {one.files[role].name} and {file.name}"
        one.files[role] = file
    for one in sets.values():
        note = root / one.task / "instruction.txt"
        if note.is_file():
            one.instruction = note.read_text("utf-8", errors="replace").strip()
    return [sets[name] for name in sorted(sets)]


def _place(file: Path, roles: Sequence[str], endings: Mapping[str, str]) -> tuple[Path, str, str] | None:
    """The (folder of the task, name of the set, role) of a file, relative paths; None where the name tells no role."""
    for ending, role in endings.items():
        if file.stem.lower().endswith(ending) and len(file.stem) > len(ending):
            return file.parent, file.stem[: -len(ending)], role
    if file.parent.name.lower() in roles:
        return file.parent.parent, file.stem, file.parent.name.lower()
    if file.stem.lower() in roles and file.parent != Path():
        return file.parent.parent, file.parent.name, file.stem.lower()
    return None


def _from_lines(path: Path, roles: Sequence[str]) -> Iterator[RoleSet]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a .jsonl file or a folder")
    names: set[str] = set()
    for number, line in enumerate(path.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            yield RoleSet(place, problem=f"no JSON ({error})")
            continue
        wrong = _wrong(row, roles)
        if wrong:
            yield RoleSet(place, problem=wrong)
            continue
        name = row.get("name") or Path(row[roles[0]]).with_suffix("").as_posix()
        if name in names:
            name = f"{name} {number}"
        names.add(name)
        texts = {key: row.get(key) or "" for key in ("task", "instruction", "licence", "attribution")}
        yield RoleSet(name, files={role: path.parent / row[role] for role in roles}, **texts)


def _wrong(row: Any, roles: Sequence[str]) -> str:
    if not isinstance(row, dict):
        return "not a JSON object"
    for key in (*roles, "task", "instruction", "name", "licence", "attribution"):
        value = row.get(key)
        if value is None and key in roles:
            return f"no {key}"
        if value is not None and not isinstance(value, str):
            return f"{key} is {value!r}, not text"
    return ""
