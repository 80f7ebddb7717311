"""Sets of images that belong together, each in a role, as folders and JSON lines hold them: what pairs and quadruplets share."""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datagen.sources import Skipped
from datagen.sources.image_files import check_files, image_files, too_small
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

TEXTS = ("task", "instruction", "licence", "attribution")


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
    digests: tuple[str, ...] = ()  # of the pixels, in the order of the roles


def role_sets(
    path: str | Path,
    roles: Sequence[str],
    endings: Mapping[str, str],
    *,
    on_bad: Literal["skip", "fail"] = "skip",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
) -> tuple[list[RoleSet], list[Skipped]]:
    """The complete and readable sets at `path`, a folder or a .jsonl file, in the order of their names, and what was left out.

    In a folder a file has the role that its name ends with (`endings`: ending -> role, as `.before`), that it is named after
    (`cat/before.jpg`) or that its folder is named after (`before/cat.jpg`). Lines of JSON give a path, relative to the .jsonl
    file, for each role and optionally `task`, `instruction`, `name`, `licence`, `attribution`. Sets whose image before an edit (every
    other role) has a short side under `min_side` pixels are left out too. With on_bad="fail" the first thing wrong raises InputError;
    so does a path without any set.
    """
    given = Path(path).expanduser()
    if given.is_file() and not is_list(given):
        raise InputError(
            f"{path} is neither a folder nor a .jsonl file; give a folder of images, a pattern, or a file of JSON lines"
        )
    sets = (
        list(_from_lines(given, roles)) if is_list(given) else _from_folder(given, roles, endings)
    )
    for one in sets:
        missing = [role for role in roles if role not in one.files]
        if missing and not one.problem:
            one.problem = f"no image for {', '.join(missing)}"
    whole = [one for one in sets if not one.problem]
    checks = check_files([one.files[role] for one in whole for role in roles], max_pixels, workers)
    for one in whole:
        found = [next(checks) for _ in roles]
        one.digests = tuple(image.digest for image in found)
        small = [
            too_small(image.width, image.height, min_side) for image in found[::2]
        ]  # what an edit made is fitted to them
        one.problem = next(
            (problem for problem in [*(image.problem for image in found), *small] if problem), ""
        )
    skipped = [Skipped(one.name, one.problem) for one in sets if one.problem]
    refuse_bad(path, skipped, on_bad)
    kept = [one for one in sets if not one.problem]
    if not kept:
        example = " and ".join(f"x.{role}.png" for role in roles)
        why = (
            f"the first left out: {skipped[0].file} ({skipped[0].reason})"
            if skipped
            else f"files are called {example}, for instance"
        )
        raise InputError(f"{path} holds no complete set of {', '.join(roles)}; {why}")
    return kept, skipped


def is_list(path: Path) -> bool:
    """Whether a path is that of a file of JSON lines."""
    return path.suffix.lower() == ".jsonl"


def refuse_bad(path: str | Path, skipped: Sequence[Skipped], on_bad: str) -> None:
    """With on_bad="fail" InputError at the first one that is bad: what a filter left out is not."""
    bad = next((one for one in skipped if one.note.filter == "unreadable"), None)
    if bad is not None and on_bad == "fail":
        raise InputError(f"{path}: {bad.note}")


def _from_folder(path: Path, roles: Sequence[str], endings: Mapping[str, str]) -> list[RoleSet]:
    root, files = image_files(path)
    sets: dict[str, RoleSet] = {}
    for file in files:
        place = _place(file.relative_to(root), roles, endings)
        if place is None:
            continue
        task, name, role = place
        one = sets.setdefault(
            (task / name).as_posix(),
            RoleSet((task / name).as_posix(), "" if task == Path() else task.as_posix()),
        )
        if role in one.files:
            one.problem = f"two images for {role}: {one.files[role].name} and {file.name}"
        one.files[role] = file
    for one in sets.values():
        note = root / one.task / "instruction.txt"
        if note.is_file():
            one.instruction = " ".join(note.read_text("utf-8-sig", errors="replace").split())
    return [sets[name] for name in sorted(sets)]


def _place(
    file: Path, roles: Sequence[str], endings: Mapping[str, str]
) -> tuple[Path, str, str] | None:
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
    for number, line in enumerate(
        path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), 1
    ):  # no other sign ends a line
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            row = json.loads(line.decode())
        except (
            ValueError,
            RecursionError,
        ) as error:  # a wrong sign, no UTF-8, brackets without end
            yield RoleSet(place, problem=f"no JSON object in one line of UTF-8 ({error})")
            continue
        wrong = _wrong(row, roles)
        if wrong:
            yield RoleSet(place, problem=wrong)
            continue
        name = str(row.get("name") or "").strip() or str(
            Path(row[roles[0]]).parent / Path(row[roles[0]]).stem
        )
        if name in names:
            name = f"{name} {number}"
        names.add(name)
        task, instruction, licence, attribution = (
            " ".join((row.get(key) or "").split()) for key in TEXTS
        )
        yield RoleSet(
            name,
            task,
            {role: path.parent / row[role] for role in roles},
            instruction,
            licence,
            attribution,
        )


def _wrong(row: Any, roles: Sequence[str]) -> str:
    if not isinstance(row, dict):
        return "not a JSON object"
    for key in (*roles, *TEXTS, "name"):
        value = row.get(key)
        if key in roles and (value is None or value == ""):
            return f"no {key}"
        if value is not None and not isinstance(value, str):
            return f"{key} is {value!r}, not text"
        if value is not None and not _unicode(value):
            return f"{key} is {ascii(value)}, which holds half a character"
    return ""


def _unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
