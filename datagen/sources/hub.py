"""Instruction-editing datasets on the hub: read as a stream, kept as files, grouped into tasks.

Rows with one instruction, or with one value of a column `task`, are one task.
"""

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from datagen.making.build_notes import LeftOut, Note
from datagen.recipe.sources import HubSection
from datagen.sources.edit_chains import join_chains
from datagen.sources.image_files import (
    BYTES_PER_PIXEL,
    Checked,
    ImageFile,
    check_files,
    folders,
    is_too_small,
    metadata_notes,
    slugs,
    too_small,
)
from datagen.sources.image_sets import refuse_broken
from datagen.sources.source import Pair
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import (
    atomic_path,
    canonical_json,
    contents_of,
    read_json,
    write_atomic,
    write_json,
)
from lorweb_bench.runtime.progress import track

SHOWN = 20  # columns that a note names
WHOLE = "whole.json"  # written when all rows are read
PART = 64  # rows of which one file keeps the list: what a stopped reading repeats at most
SIGNS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}
SIDES = ("before", "after")
TEXTS = ("instruction", "task", "photograph", "licence", "attribution")
Row = dict[str, Any]


def hub(
    path: str,
    section: HubSection,
    keep: Path | None,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    licence: str = "unknown",
    attribution: str = "",
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    workers: int = 1,
    recheck: bool = False,
) -> tuple[list[Pair], list[Note]]:
    """Read the pairs of a dataset, in the order of its rows.

    Rows are read as a stream into a folder, where the images stay as they came; a reading that was
    stopped goes on there. Of a list of instructions the first one counts. Tasks of fewer than
    `pairs_per_task` pairs are left out.

    Args:
        path: A dataset's name on the hub, a folder that `datasets` reads, or parquet files (also a
            pattern).
        section: Which rows and columns are read.
        keep: The folder to read into; in the cache without one.
        on_bad: `fail` raises at the first row that has no two images.
        licence: Recorded where a row gives none.
        attribution: Recorded where a row gives none; the dataset's name without it.
        min_side: Pairs whose before has a shorter side than this, in pixels, are left out.
        max_pixels: Larger images are left out.
        workers: Processes that decode the files.
        recheck: Whether files are decoded that an earlier build has checked.

    Returns:
        The pairs, and the rows that were left out.

    Raises:
        InputError: The dataset cannot be reached (the error says what to download), a column is
            not there or holds no images, no task has enough pairs, or `on_bad` is `fail` and a row
            is broken.
    """
    folder = _claim_folder(path, section, keep)
    rows, unused_columns = _read_rows(path, section, folder, max_pixels)
    left_out = [LeftOut(_row_name(row), row["problem"]) for row in rows if row["problem"]]
    rows = [row for row in rows if not row["problem"]]
    files = [folder / row[side] for row in rows for side in SIDES]
    checks = list(check_files(files, max_pixels, workers, recheck))
    usable, unusable = _usable_rows(rows, checks, min_side)
    left_out += unusable
    refuse_broken(path, left_out, on_bad)
    usable, rare = _group_tasks(usable, section)
    left_out += rare
    if not usable:
        raise _no_task(path, section, left_out)
    pairs = _pairs(path, folder, usable, licence, attribution, max_pixels)
    notes = metadata_notes([file.name for file in files], checks)
    if unused_columns:
        named = ", ".join(unused_columns[:SHOWN])
        more = f" and {len(unused_columns) - SHOWN} more" if len(unused_columns) > SHOWN else ""
        columns = "column was" if len(unused_columns) == 1 else "columns were"
        notes.append(f"{len(unused_columns)} {columns} not used: {named}{more}")
    return join_chains(pairs, [row["pixels"] for row in usable]), [*left_out, *notes]


def _usable_rows(
    rows: Sequence[Row], checks: Sequence[Checked], min_side: int
) -> tuple[list[Row], list[LeftOut]]:
    """The rows whose images can be used, with what the checks say of them, and the others."""
    usable: list[Row] = []
    left_out: list[LeftOut] = []
    for row, before, after in zip(rows, checks[::2], checks[1::2], strict=True):
        row["pixels"], row["digest"] = (before.digest, after.digest), before.source
        row["sizes"] = ((before.height, before.width), (after.height, after.width))
        if (note := _why_left_out(_row_name(row), before, after, min_side)) is not None:
            left_out.append(note)
        else:
            usable.append(row)
    return usable, left_out


def _no_task(path: str, section: HubSection, left_out: Sequence[LeftOut]) -> InputError:
    """The error where no task has enough pairs, with the first row that was left out."""
    why = ""
    if left_out:
        why = f"; the first row left out: {left_out[0].name} ({left_out[0].reason})"
    return InputError(
        f"{path}: no {section.pairs_per_task} rows that can be used have one task{why}; "
        "see source.hub.columns."
    )


def _why_left_out(name: str, before: Checked, after: Checked, min_side: int) -> LeftOut | None:
    if before.problem or after.problem:
        return LeftOut(name, before.problem or after.problem)
    if is_too_small(before.width, before.height, min_side):
        return too_small(name, before.width, before.height, min_side)
    return None


def _row_name(row: Mapping[str, Any]) -> str:
    return f"row {row['row']}"


def _claim_folder(path: str, section: HubSection, keep: Path | None) -> Path:
    """The folder to read into; InputError when it holds another reading."""
    unset = {"task"} if section.task is None else set()
    claim = {
        "path": path,
        **section.model_dump(mode="json", exclude={"pairs_per_task", *unset}),
        "content": _content_digest(path),
    }
    if keep is None:
        root = cache_folder()
        if root is None:
            raise InputError(
                "A dataset from the hub is kept on disk while it is built: "
                "name a folder, source.keep=FOLDER."
            )
        digest = hashlib.sha256(canonical_json(claim).encode()).hexdigest()
        keep = root / "hub" / digest[:24]
    marker = keep / "hub.json"
    if marker.is_file():
        held = read_json(marker)
        if held != claim and any(keep.glob("rows/*")):  # nothing is lost of what was never read
            differs = next((key for key in claim if held.get(key) != claim[key]), "path")
            raise InputError(
                f"{keep} holds rows that were read with another {differs}; "
                "name another folder, source.keep=FOLDER."
            )
    elif keep.exists() and (not keep.is_dir() or contents_of(keep)):
        raise InputError(
            f"{keep} holds something else than rows of a hub dataset; "
            "name an empty or a new folder, source.keep=FOLDER."
        )
    write_json(marker, claim)
    return keep


def _content_digest(path: str) -> str | None:
    """A digest of the names, sizes and times of local files; None for a dataset on the hub."""
    root = Path(path).expanduser()
    files: list[Path] = []
    if root.is_dir():
        for folder, names in folders(root):
            files += [folder / name for name in names]
    else:
        matching = glob.glob(str(root))  # noqa: PTH207, a pattern in any part
        files = [Path(file) for file in sorted(matching)]
    stats = []
    for file in files:
        if file.is_file():
            stat = file.stat()
            stats.append((str(file), stat.st_size, stat.st_mtime_ns))
    if not stats:
        return None
    return hashlib.sha256(canonical_json(stats).encode(errors="surrogatepass")).hexdigest()


def _read_rows(
    path: str, section: HubSection, folder: Path, max_pixels: int
) -> tuple[list[Row], list[str]]:
    """All rows as the folder keeps them, and the columns that were not read.

    What is not there yet is read.
    """
    marker = folder / WHOLE
    if not marker.is_file():
        _read_missing_rows(path, section, folder, max_pixels)
    rows: list[Row] = []
    for part in sorted(folder.glob("rows/*.jsonl")):
        rows += map(json.loads, part.read_text("utf-8").splitlines())
    whole: Any = read_json(marker)
    return rows, whole.get("unused_columns", [])  # a folder of an earlier version does not say


def _read_missing_rows(path: str, section: HubSection, folder: Path, max_pixels: int) -> None:
    parts = sorted(folder.glob("rows/*.jsonl"))
    count = len(parts)
    done = sum(len(part.read_text("utf-8").splitlines()) for part in parts)
    pending: list[Row] = []
    total = section.rows - done if section.rows else None
    try:
        dataset, unused_columns = _open_columns(path, section)
        for row in track(_stream(dataset, section, done), total, f"reading {path}"):
            number = done + len(pending)
            pending.append(_store_row(row, number, path, section, folder, max_pixels))
            if len(pending) == PART:
                _write_part(folder, count, pending)
                count, done, pending = count + 1, done + PART, []
    except InputError:
        raise
    except Exception as e:  # the network, the hub and the file formats raise all sorts of errors
        raise InputError(
            f"Reading {path} stopped after row {done + len(pending)} ({_short(e)}); "
            f"started again, it goes on from row {done}."
        ) from e
    if pending:
        _write_part(folder, count, pending)
    whole = {"rows": done + len(pending), "unused_columns": unused_columns}
    write_json(folder / WHOLE, whole)


def _write_part(folder: Path, index: int, rows: Sequence[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomic(folder / "rows" / f"{index:06d}.jsonl", "".join(lines))


def _stream(dataset: Any, section: HubSection, skip: int) -> Iterator[Row]:
    """The rows from number `skip` on, to as many as the recipe says."""
    dataset = dataset.skip(skip)
    yield from dataset if section.rows is None else dataset.take(max(0, section.rows - skip))


def _open_columns(path: str, section: HubSection) -> tuple[Any, list[str]]:
    """The dataset as a stream of the columns that the recipe names, and the other columns' names.

    Its images come as the bytes that they are stored as.
    """
    try:
        import datasets  # noqa: F401
    except ImportError:
        raise InputError(
            "The source hub needs the package datasets: pip install 'lorweb-bench[model]'."
        ) from None
    try:
        dataset = _open(path, section)
    except Exception as e:  # datasets raises what its file systems and formats raise
        raise InputError(_unreachable(path, e)) from e
    columns = _named_columns(section)
    there = dataset.column_names or []
    whole = {key: _column_of(name, there) for key, name in columns.items()}
    for key, column in whole.items():
        if column not in there:
            raise unknown_name(f"column for source.hub.columns.{key} of {path}:", column, there)
    dataset = dataset.select_columns(list(dict.fromkeys(whole.values())))
    unused_columns = [column for column in there if column not in whole.values()]
    return _with_stored_images(path, dataset, columns, whole), unused_columns


def _with_stored_images(
    path: str, dataset: Any, columns: Mapping[str, str], whole: Mapping[str, str]
) -> Any:
    """The stream with the images of both sides as they are stored.

    Args:
        path: What errors call the dataset.
        dataset: The stream.
        columns: The recipe's names by what they hold; a name may lead into a column.
        whole: The columns that they lead into.

    Raises:
        InputError: A column holds no images, or lists of them and the name does not say which.
    """
    import datasets

    for key in SIDES:
        column = whole[key]
        feature = (dataset.features or {}).get(column)
        listed = isinstance(getattr(feature, "feature", None), datasets.Image)
        if listed and columns[key] == column:
            raise InputError(
                f"{path}: the column {column!r}, source.hub.columns.{key}, holds lists of images; "
                f"say which one of each list, for instance {column}.0."
            )
        if listed:
            list_of: Any = type(feature)
            dataset = dataset.cast_column(column, list_of(datasets.Image(decode=False)))
            continue
        if columns[key] != column:
            continue
        if feature is not None and not _holds_images(feature):
            kind = getattr(feature, "dtype", type(feature).__name__)
            raise InputError(
                f"{path}: the column {column!r}, source.hub.columns.{key}, holds {kind} and no "
                "images; name another one."
            )
        dataset = dataset.cast_column(column, datasets.Image(decode=False))
    return dataset


def _named_columns(section: HubSection) -> dict[str, str]:
    """The names that the recipe gives, by what they hold.

    A dataset with one constant task needs no column of instructions.
    """
    named = {k: name for k, name in section.columns.model_dump().items() if name is not None}
    if section.task is not None and "instruction" not in section.columns.model_fields_set:
        del named["instruction"]
    return named


def _column_of(name: str, there: Sequence[str]) -> str:
    """The column that a name leads into: itself, or what stands before one of its dots."""
    parts = name.split(".")
    starts = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    return next((start for start in starts if start in there), name)


def _value(row: Mapping[str, Any], name: str) -> Any:
    """What a name of a column leads to in a row; None where it leads to nothing."""
    column = _column_of(name, list(row))
    value = row.get(column)
    for part in name[len(column) + 1 :].split(".") if name != column else ():
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return None
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def _unreachable(path: str, error: Exception) -> str:
    """What to do when a dataset cannot be opened: another path, or a download."""
    way = (
        f"with access to the hub, `hf download --repo-type dataset {path} --local-dir FOLDER` "
        "fetches it, then source.path=FOLDER."
    )
    local = Path(path).expanduser()
    if path.endswith(".parquet") or local.exists() or Path(path).is_absolute():
        way = (
            "give parquet files, a folder that `datasets` reads, "
            "or the name of a dataset on the hub."
        )
    return f"The dataset {path!r} cannot be reached ({_short(error)}); {way}"


def _holds_images(feature: Any) -> bool:
    """Whether a column can hold images: as such, as bytes, or as names of files."""
    import datasets

    if isinstance(feature, Mapping):
        return "bytes" in feature
    return isinstance(feature, datasets.Image) or getattr(feature, "dtype", "") in (
        "string",
        "large_string",
        "binary",
        "large_binary",
    )


def _open(path: str, section: HubSection) -> Any:
    import datasets

    # What goes wrong is told in one sentence, so the package itself says nothing.
    datasets.utils.logging.set_verbosity(logging.CRITICAL)
    if path.endswith(".parquet"):
        dataset = datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
    else:
        dataset = datasets.load_dataset(
            path, section.config, split=section.split, revision=section.revision, streaming=True
        )
    # Some formats tell their columns only with the first row.
    return dataset if dataset.column_names else dataset._resolve_features()


def _store_row(
    row: Mapping[str, Any],
    number: int,
    path: str,
    section: HubSection,
    folder: Path,
    max_pixels: int,
) -> Row:
    """Write a row's images as files; what the list keeps of it."""
    columns = _named_columns(section)
    entry: Row = {"row": number, "problem": ""}
    for key in TEXTS:
        entry[key] = _text(_value(row, columns[key])) if key in columns else ""
    entry["task"] = entry["task"] or section.task or ""
    if not entry["task"] and not entry["instruction"]:
        entry["problem"] = "no instruction and no task"
    for side in SIDES:
        data = _image_bytes(_value(row, columns[side]), path)
        if not data:
            entry["problem"] = entry["problem"] or f"no image {side}"
            continue
        if len(data) > BYTES_PER_PIXEL * max_pixels:
            large = f"the image {side} has {len(data)} bytes, too many"
            entry["problem"] = entry["problem"] or large
            continue
        ending = next((ending for sign, ending in SIGNS.items() if data.startswith(sign)), "image")
        entry[side] = f"images/{number:08d}.{side}.{ending}"
        with atomic_path(folder / entry[side]) as temporary:
            temporary.write_bytes(data)
    return entry


def _text(value: Any) -> str:
    """A value in one line of text; of a list the first entry that says something."""
    if isinstance(value, (list, tuple)):
        return next((text for text in map(_text, value) if text), "")
    return "" if value is None else " ".join(str(value).split())


def _image_bytes(value: Any, path: str) -> bytes:
    """The bytes of an image: its own, or those of the file that it names.

    A dataset reads no file outside its own folder.
    """
    if not isinstance(value, Mapping):
        return b""
    if value.get("bytes"):
        return bytes(value["bytes"])
    dataset_path = Path(path).expanduser()
    home = (dataset_path if dataset_path.is_dir() else dataset_path.parent).resolve()
    file = (home / (value.get("path") or "")).resolve()
    if dataset_path.exists() and file.is_relative_to(home) and file.is_file():
        return file.read_bytes()
    return b""


def _group_tasks(rows: Sequence[Row], section: HubSection) -> tuple[list[Row], list[LeftOut]]:
    """The rows with their task named, and those whose task has too few pairs."""
    for row in rows:
        row["task"] = (row["task"] or row["instruction"]).casefold().rstrip(" .!")
    counts = Counter(row["task"] for row in rows)
    reason = f"fewer than {section.pairs_per_task} pairs have its task"
    usable, rare = [], []
    for row in rows:
        if counts[row["task"]] >= section.pairs_per_task:
            usable.append(row)
        else:
            rare.append(LeftOut(_row_name(row), reason, "pairs_per_task"))
    return usable, rare


def _pairs(
    path: str,
    folder: Path,
    rows: Sequence[Row],
    licence: str,
    attribution: str,
    max_pixels: int,
) -> list[Pair]:
    names = list(dict.fromkeys(row["task"] for row in rows))
    tasks = dict(zip(names, slugs(names), strict=True))
    named = list(dict.fromkeys(row["photograph"] for row in rows if row["photograph"]))
    photographs = dict(zip(named, slugs(named), strict=True))
    return [
        Pair(
            task=tasks[row["task"]],
            name=f"row-{row['row']:08d}",
            before=ImageFile(str((folder / row["before"]).resolve()), max_pixels),
            after=ImageFile(str((folder / row["after"]).resolve()), max_pixels),
            instruction=row["instruction"],
            licence=row["licence"] or licence,
            attribution=row["attribution"] or attribution or path,
            photograph=photographs.get(row["photograph"], f"pixels-{row['pixels'][0][:16]}"),
            pixels=" ".join(row["pixels"]),
            digest=row["digest"],
            sizes=row["sizes"],
        )
        for row in rows
    ]


def _short(error: Exception) -> str:
    """The kind of an error and the first line of what it says."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no reason given'}"
