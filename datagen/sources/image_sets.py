"""Sets of images that belong together, each in a role: what pairs and quadruplets share.

They are read from folders, by the names of files, or from lists in JSON lines.
"""

import codecs
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from datagen.making.build_notes import SHOWN, LeftOut, Note, printable
from datagen.sources.file_names import find_file, folded
from datagen.sources.image_files import (
    Checked,
    check_files,
    folders,
    image_files,
    is_too_small,
    metadata_notes,
    too_small,
)
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError

TEXTS = ("task", "instruction", "licence", "attribution")
UNUSED_IMAGES = (
    "image was not used, its name tells no role",
    "images were not used, their names tell no role",
)
UNUSED_TEXTS = (
    "text was not used, it is no instruction of a set",
    "texts were not used, they are no instructions of a set",
)
UNUSED_FIELDS = ("field of the lines was not used", "fields of the lines were not used")
PROMPTS = "prompt.json"  # of InstructPix2Pix: the edit in words, for all images of its folder


@dataclass(frozen=True)
class NamedRoles:
    """How names of files and folders tell roles.

    Attributes:
        endings: Role by the ending of a file's name, such as `.before`; tried in this order.
        folders: Role by the name of a folder, in lower case, such as `traina`; its last letter is
            what tells the role.
        prompts: Further endings in folders that hold a prompt.json.
    """

    endings: Mapping[str, str]
    folders: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)


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
        sizes: Their heights and widths in pixels, in the same order.
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
    sizes: tuple[tuple[int, int], ...] = ()

    def refuse(self, reason: str) -> None:
        """Leave the set out as broken, for its first reason."""
        self.left_out = self.left_out or LeftOut(self.name, reason)


def read_image_sets(
    path: str | Path,
    roles: Sequence[str],
    names: NamedRoles,
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
        names: How names tell roles.
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
    source = Path(path).expanduser()
    if source.is_file() and not is_list(source):
        raise InputError(
            f"{path} is neither a folder nor a .jsonl file; "
            "give a folder of images, a pattern, or a file of JSON lines"
        )
    unused: list[Note] = []
    if is_list(source):
        sets, unused = _sets_in_lines(source, roles)
    else:
        sets, unused = _sets_in_folder(source, roles, names)
    _refuse_incomplete(sets, roles)
    whole = [image_set for image_set in sets if image_set.left_out is None]
    notes = _check_images(whole, roles, min_side, max_pixels, workers, recheck)
    left_out = [image_set.left_out for image_set in sets if image_set.left_out is not None]
    refuse_broken(path, left_out, on_bad)
    whole = [image_set for image_set in sets if image_set.left_out is None]
    if not whole:
        raise _no_set(path, roles, left_out)
    return whole, [*left_out, *unused, *notes]


def _refuse_incomplete(sets: Sequence[ImageSet], roles: Sequence[str]) -> None:
    """Leave out the sets that have no image for a role."""
    for image_set in sets:
        missing = [role for role in roles if role not in image_set.files]
        if missing:
            image_set.refuse(f"no image for {', '.join(missing)}")


def _no_set(path: str | Path, roles: Sequence[str], left_out: Sequence[LeftOut]) -> InputError:
    """The error where no set is whole, with the first that was left out or with an example."""
    example = " and ".join(f"x.{role}.png" for role in roles)
    why = f"files are called {example}, for instance"
    if left_out:
        why = f"the first left out: {left_out[0].name} ({left_out[0].reason})"
    return InputError(f"{path} holds no complete set of {', '.join(roles)}; {why}")


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
        image_set.sizes = tuple((image.height, image.width) for image in checked)
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


def _sets_in_folder(
    path: Path, roles: Sequence[str], names: NamedRoles
) -> tuple[list[ImageSet], list[Note]]:
    """The sets in a folder; and what of it was not used.

    These are images whose names tell no role, and texts that are no instructions of a set.
    """
    root, files = image_files(path)
    sets: dict[str, ImageSet] = {}
    unused: list[str] = []
    for file in files:
        parsed = _parse_name(file.relative_to(root), roles, _names_in(file.parent, names))
        if parsed is None:
            unused.append(file.relative_to(root).as_posix())
            continue
        task, name, role = parsed
        full_name = unicodedata.normalize("NFC", (task / name).as_posix())
        task_name = "" if task == Path() else task.as_posix()
        image_set = sets.setdefault(full_name, ImageSet(full_name, task_name))
        if role in image_set.files:
            first = image_set.files[role].name
            image_set.refuse(f"two images for {role}: {first} and {file.name}")
        image_set.files[role] = file
    whole = _join_spellings(sets, roles)
    read: set[Path] = set()
    for image_set in whole:
        image_set.instruction, texts = _instruction(root, image_set)
        read.update(texts)
    notes = _unused_note(UNUSED_IMAGES, unused)
    if path.is_dir():
        other = [file.relative_to(root).as_posix() for file in _texts(root) if file not in read]
        notes += _unused_note(UNUSED_TEXTS, other)
    return whole, notes


def _texts(root: Path) -> Iterator[Path]:
    """The files in a folder and its subfolders in which instructions may stand."""
    for folder, names in folders(root):
        for name in names:
            if name == PROMPTS or Path(name).suffix.lower() == ".txt":
                yield folder / name


def _unused_note(what: tuple[str, str], unused: Sequence[str]) -> list[Note]:
    """One sentence that counts and names what was not used, or none.

    Args:
        what: The rest of the sentence for one thing, and for several.
        unused: Their names.
    """
    if not unused:
        return []
    more = f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else ""
    named = ", ".join(unused[:SHOWN])
    return [f"{len(unused)} {what[len(unused) > 1]}: {named}{more}"]


def _join_spellings(sets: Mapping[str, ImageSet], roles: Sequence[str]) -> list[ImageSet]:
    """The sets by name, those joined that only upper and lower case keep apart.

    They are joined where that is unambiguous: none of them is whole, and no role comes twice.
    """
    by_folded: dict[str, list[ImageSet]] = {}
    for name in sorted(sets):
        by_folded.setdefault(folded(name), []).append(sets[name])
    joined: list[ImageSet] = []
    for group in by_folded.values():
        files = [role for image_set in group for role in image_set.files]
        if len(group) > 1 and len(files) == len(set(files)):
            group[0].files = {role: s.files[role] for s in group for role in s.files}
            group = group[:1]
        joined += group
    return sorted(joined, key=lambda image_set: image_set.name)


def _names_in(folder: Path, names: NamedRoles) -> NamedRoles:
    """What names tell in a folder: beside a prompt.json they have InstructPix2Pix's endings."""
    if names.prompts and (folder / PROMPTS).is_file():
        return replace(names, endings={**names.prompts, **names.endings})
    return names


def _instruction(root: Path, image_set: ImageSet) -> tuple[str, list[Path]]:
    """The edit in words, and the files that say it or would, were there no nearer one.

    They are a text beside the image after the edit (`after/0.txt` beside `after/0.png`),
    InstructPix2Pix's prompt.json, and instruction.txt in the task's folder, the first of which
    counts.
    """
    last = list(image_set.files.values())[-1]
    captions = [file.with_suffix(".txt") for file in (image_set.files.get("after", last), last)]
    prompts = last.parent / PROMPTS
    candidates = [*captions, prompts, root / image_set.task / "instruction.txt"]
    texts = [file for file in dict.fromkeys(candidates) if file.is_file()]
    if not texts:
        return "", []
    return _prompt(prompts) if texts[0] == prompts else _words(texts[0]), texts


def _prompt(file: Path) -> str:
    """The edit that a prompt.json of InstructPix2Pix tells; empty where it tells none."""
    try:
        content = json.loads(file.read_text("utf-8-sig", errors="replace"))
        return " ".join(str(content["edit"]).split())
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _words(file: Path) -> str:
    return " ".join(file.read_text("utf-8-sig", errors="replace").split())


def _parse_name(
    file: Path, roles: Sequence[str], names: NamedRoles
) -> tuple[Path, str, str] | None:
    """The (folder of the task, name of the set, role) of a file; None where it names no role."""
    for ending, role in names.endings.items():
        if file.stem.lower().endswith(ending) and len(file.stem) > len(ending):
            return file.parent, file.stem[: -len(ending)], role
    folder = file.parent.name.lower()
    if folder in roles:
        return file.parent.parent, file.stem, folder
    if folder in names.folders:  # trainA: of train, the images before
        return file.parent.parent, f"{folder[:-1]}/{file.stem}", names.folders[folder]
    if file.stem.lower() in roles and file.parent != Path():
        return file.parent.parent, file.parent.name, file.stem.lower()
    return None


def _sets_in_lines(path: Path, roles: Sequence[str]) -> tuple[list[ImageSet], list[Note]]:
    """The sets in a file of JSON lines, and a sentence about the fields that were not used."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a .jsonl file or a folder")
    sets: list[ImageSet] = []
    names: set[str] = set()
    unused: dict[str, None] = {}
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    for number, line in enumerate(data.split(b"\n"), 1):  # no other sign ends a line
        if not line.strip():
            continue
        image_set = ImageSet(f"line {number}")
        try:
            row = json.loads(line.decode())
        except (ValueError, RecursionError) as error:  # a wrong sign, no UTF-8, endless brackets
            image_set.refuse(f"no JSON object in one line of UTF-8 ({error})")
        else:
            image_set = _set_in_line(path, row, number, roles)
        if image_set.left_out is None:
            if image_set.name in names:
                image_set.name = f"{image_set.name} {number}"
            names.add(image_set.name)
            unused |= dict.fromkeys(key for key in row if key not in (*roles, *TEXTS, "name"))
        sets.append(image_set)
    return sets, _unused_note(UNUSED_FIELDS, list(map(printable, unused)))


def _set_in_line(path: Path, row: Any, number: int, roles: Sequence[str]) -> ImageSet:
    broken = ImageSet(f"line {number}")
    if wrong := _wrong_field(row, roles):
        broken.refuse(wrong)
        return broken
    files = {role: find_file(path.parent, row[role]) for role in roles}
    first = Path(row[roles[0]].replace("\\", "/"))
    if files[roles[0]] == path.parent / row[roles[0]]:  # a name that is spelled as the file is
        first = Path(row[roles[0]])
    name = str(row.get("name") or "").strip() or str(first.parent / first.stem)
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
