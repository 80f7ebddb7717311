"""Sets of images that belong together, each in a role: what pairs and quadruplets share.

They are read from folders, by the names of files, or from lists in JSON lines.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datagen.making.build_notes import LeftOut, Note
from datagen.sources.image_files import (
    Checked,
    check_files,
    image_files,
    is_too_small,
    metadata_notes,
    too_small,
)
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

TEXTS = ("task", "instruction", "licence", "attribution")


@dataclass
class ImageSet:
    """The files of one set by role, and what is known of it.

    Attributes:
        name: Unique among the sets.
        task: Empty where nobody gave one.
        files: A file for each role.
        instruction: The edit in words, or empty.
        licence: Empty where nobody gave one.
        attribution: Empty where nobody gave one.
        left_out: Why the set is not used; None where it is.
        digests: Pixel hashes in the order of the roles, once the files are decoded.
        sources: What the images are compared by (`SourceDigest` as text), in the same order.
    """

    name: str
    task: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    instruction: str = ""
    licence: str = ""
    attribution: str = ""
    left_out: LeftOut | None = None
    digests: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def refuse(self, reason: str) -> None:
        """Leave the set out as broken, for its first reason."""
        self.left_out = self.left_out or LeftOut(self.name, reason)


def read_image_sets(
    path: str | Path,
    roles: Sequence[str],
    endings: Mapping[str, str],
    *,
    on_bad: Literal["skip", "fail"] = "skip",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[ImageSet], list[Note]]:
    """Read the whole sets in a folder or in a .jsonl file.

    In a folder a file has the role that its name ends with (`cat.before.jpg`), that it is named
    after (`cat/before.jpg`) or that its folder is named after (`before/cat.jpg`). Lines of JSON
    give a path for each role, relative to the .jsonl file, and optionally `task`, `instruction`,
    `name`, `licence`, `attribution`.

    Args:
        path: A folder, a pattern, or a .jsonl file.
        roles: The roles of a set, each image before an edit followed by the one after it.
        endings: Role by the ending of a file's name, such as `.before`; tried in this order.
        on_bad: `fail` raises at the first set that is broken.
        min_side: Sets whose image before an edit has a shorter side than this are left out.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The sets in the order of their names or lines; and those that were left out, with a sentence
        about metadata that is broken.

    Raises:
        InputError: There is no whole set, or `on_bad` is `fail` and one is broken.
    """
    given = Path(path).expanduser()
    if given.is_file() and not is_list(given):
        raise InputError(
            f"{path} is neither a folder nor a .jsonl file; "
            "give a folder of images, a pattern, or a file of JSON lines"
        )
    if is_list(given):
        sets = list(_sets_in_lines(given, roles))
    else:
        sets = _sets_in_folder(given, roles, endings)
    for image_set in sets:
        missing = [role for role in roles if role not in image_set.files]
        if missing:
            image_set.refuse(f"no image for {', '.join(missing)}")
    whole = [image_set for image_set in sets if image_set.left_out is None]
    notes = _check_images(whole, roles, min_side, max_pixels, workers, recheck)
    left_out = [image_set.left_out for image_set in sets if image_set.left_out is not None]
    refuse_broken(path, left_out, on_bad)
    whole = [image_set for image_set in sets if image_set.left_out is None]
    if not whole:
        example = " and ".join(f"x.{role}.png" for role in roles)
        why = f"files are called {example}, for instance"
        if left_out:
            why = f"the first left out: {left_out[0].name} ({left_out[0].reason})"
        raise InputError(f"{path} holds no complete set of {', '.join(roles)}; {why}")
    return whole, [*left_out, *notes]


def _check_images(
    sets: Sequence[ImageSet],
    roles: Sequence[str],
    min_side: int,
    max_pixels: int,
    workers: int,
    recheck: bool,
) -> list[Note]:
    """Decode every image of the sets once; leave out those that are broken or too small.

    Returns:
        What there is to say of broken metadata.
    """
    files = [image_set.files[role] for image_set in sets for role in roles]
    checks = list(check_files(files, max_pixels, workers, recheck))
    for number, image_set in enumerate(sets):
        checked = checks[number * len(roles) : (number + 1) * len(roles)]
        image_set.digests = tuple(image.digest for image in checked)
        image_set.sources = tuple(image.source for image in checked)
        image_set.left_out = _why_left_out(image_set.name, checked, min_side)
    return metadata_notes([file.name for file in files], checks)


def _why_left_out(name: str, checked: Sequence[Checked], min_side: int) -> LeftOut | None:
    for image in checked:
        if image.problem:
            return LeftOut(name, image.problem)
    for image in checked[::2]:  # what an edit made is fitted to its before
        if is_too_small(image.width, image.height, min_side):
            return too_small(name, image.width, image.height, min_side)
    return None


def is_list(path: Path) -> bool:
    """Whether a path is that of a file of JSON lines."""
    return path.suffix.lower() == ".jsonl"


def refuse_broken(path: str | Path, left_out: Sequence[LeftOut], on_bad: str) -> None:
    """Raise InputError at the first thing that is broken where `on_bad` is `fail`.

    What a filter left out is not broken.
    """
    broken = next((note for note in left_out if note.filter == "unreadable"), None)
    if broken is not None and on_bad == "fail":
        raise InputError(f"{path}: {broken}")


def _sets_in_folder(path: Path, roles: Sequence[str], endings: Mapping[str, str]) -> list[ImageSet]:
    root, files = image_files(path)
    sets: dict[str, ImageSet] = {}
    for file in files:
        parsed = _parse_name(file.relative_to(root), roles, endings)
        if parsed is None:
            continue
        task, name, role = parsed
        full_name = (task / name).as_posix()
        task_name = "" if task == Path() else task.as_posix()
        image_set = sets.setdefault(full_name, ImageSet(full_name, task_name))
        if role in image_set.files:
            first = image_set.files[role].name
            image_set.refuse(f"two images for {role}: {first} and {file.name}")
        image_set.files[role] = file
    for image_set in sets.values():
        note = root / image_set.task / "instruction.txt"
        if note.is_file():
            words = note.read_text("utf-8-sig", errors="replace").split()
            image_set.instruction = " ".join(words)
    return [sets[name] for name in sorted(sets)]


def _parse_name(
    file: Path, roles: Sequence[str], endings: Mapping[str, str]
) -> tuple[Path, str, str] | None:
    """The (folder of the task, name of the set, role) of a file; None where it names no role."""
    for ending, role in endings.items():
        if file.stem.lower().endswith(ending) and len(file.stem) > len(ending):
            return file.parent, file.stem[: -len(ending)], role
    if file.parent.name.lower() in roles:
        return file.parent.parent, file.stem, file.parent.name.lower()
    if file.stem.lower() in roles and file.parent != Path():
        return file.parent.parent, file.parent.name, file.stem.lower()
    return None


def _sets_in_lines(path: Path, roles: Sequence[str]) -> Iterator[ImageSet]:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a .jsonl file or a folder")
    names: set[str] = set()
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(data.split(b"\n"), 1):  # no other sign ends a line
        if not line.strip():
            continue
        image_set = _set_in_line(path, line, number, roles)
        if image_set.left_out is None:
            if image_set.name in names:
                image_set.name = f"{image_set.name} {number}"
            names.add(image_set.name)
        yield image_set


def _set_in_line(path: Path, line: bytes, number: int, roles: Sequence[str]) -> ImageSet:
    broken = ImageSet(f"line {number}")
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError) as error:  # a wrong sign, no UTF-8, endless brackets
        broken.refuse(f"no JSON object in one line of UTF-8 ({error})")
        return broken
    if wrong := _wrong_field(row, roles):
        broken.refuse(wrong)
        return broken
    first = Path(row[roles[0]])
    name = str(row.get("name") or "").strip() or str(first.parent / first.stem)
    files = {role: path.parent / row[role] for role in roles}
    task, instruction, licence, attribution = (
        " ".join((row.get(key) or "").split()) for key in TEXTS
    )
    return ImageSet(name, task, files, instruction, licence, attribution)


def _wrong_field(row: Any, roles: Sequence[str]) -> str:
    """What is wrong with a line's first wrong field; empty where all is well."""
    if not isinstance(row, dict):
        return "not a JSON object"
    for key in (*roles, *TEXTS, "name"):
        value = row.get(key)
        if key in roles and (value is None or value == ""):
            return f"no {key}"
        if value is not None and not isinstance(value, str):
            return f"{key} is {value!r}, not text"
        if value is not None and not _encodable(value):
            return f"{key} is {ascii(value)}, which holds half a character"
    return ""


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
