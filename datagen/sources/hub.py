"""Instruction-editing datasets on the hub: read once as a stream, kept as files, grouped into tasks by their instruction."""

import glob
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from datagen.making.build_notes import Note
from datagen.recipe.sources import HubSection
from datagen.sources import Pair, Skipped
from datagen.sources.edit_chains import chained
from datagen.sources.image_files import (
    BYTES_PER_PIXEL,
    ImageFile,
    check_files,
    folders,
    slugs,
    too_small,
)
from datagen.sources.image_sets import refuse_bad
from lorweb_bench.data.images import MAX_PIXELS
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import (
    atomic_path,
    canonical_json,
    read_json,
    write_atomic,
    write_json,
)
from lorweb_bench.runtime.progress import track

PART = 64  # rows of which one file keeps the list: what a stopped reading repeats at most
SIGNS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}


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
) -> tuple[list[Pair], list[Skipped]]:
    """The pairs of a dataset by the rows' order, and the rows that were left out.

    `path` is a dataset's name on the hub, a folder that `datasets` reads, or parquet files (also a glob). Rows are read as a
    stream into `keep` (in the cache without one), where the images stay as they came; a reading that was stopped goes on
    there. Pairs whose instruction (or column `task`) is the same are one task; of a list of instructions the first one counts.
    Tasks of fewer than `pairs_per_task` are left out, and pairs whose before has a short side under `min_side` pixels. `attribution`
    falls back on the dataset's name. InputError when the dataset cannot be reached, with what to download, for a column that is not
    there or holds no images, and with on_bad="fail" at the first row that has no two images.
    """
    folder = _folder(path, section, keep)
    rows = _rows(path, section, folder, max_pixels)
    skipped = [Skipped(_name(row), row["problem"]) for row in rows if row["problem"]]
    rows = [row for row in rows if not row["problem"]]
    files = [folder / row[side] for row in rows for side in ("before", "after")]
    checks = check_files(files, max_pixels, workers)
    kept = []
    for row in rows:
        before, after = next(checks), next(checks)
        row["pixels"] = (before.digest, after.digest)
        if (
            problem := before.problem
            or after.problem
            or too_small(before.width, before.height, min_side)
        ):
            skipped.append(Skipped(_name(row), problem))
        else:
            kept.append(row)
    refuse_bad(path, skipped, on_bad)
    kept, few = _tasks(kept, section)
    skipped += few
    if not kept:
        why = (
            f"; the first row left out: {skipped[0].file} ({skipped[0].reason})" if skipped else ""
        )
        raise InputError(
            f"{path}: no {section.pairs_per_task} rows that can be used have one task{why}; see source.hub.columns."
        )
    pairs = _pairs(path, folder, kept, licence, attribution, max_pixels)
    return chained(pairs, [row["pixels"] for row in kept]), skipped


def _name(row: Mapping[str, Any]) -> str:
    return f"row {row['row']}"


def _folder(path: str, section: HubSection, keep: Path | None) -> Path:
    """The folder to read into; InputError when it holds another reading."""
    claim = {
        "path": path,
        **section.model_dump(mode="json", exclude={"pairs_per_task"}),
        "content": _state(path),
    }
    if keep is None:
        root = cache_folder()
        if root is None:
            raise InputError(
                "A dataset from the hub is kept on disk while it is built: name a folder, source.keep=FOLDER."
            )
        keep = root / "hub" / hashlib.sha256(canonical_json(claim).encode()).hexdigest()[:24]
    marker = keep / "hub.json"
    if marker.is_file():
        if (held := read_json(marker)) != claim and any(
            keep.glob("rows/*")
        ):  # nothing is lost of what was never read
            differs = next((key for key in claim if held.get(key) != claim[key]), "path")
            raise InputError(
                f"{keep} holds rows that were read with another {differs}; name another folder, source.keep=FOLDER."
            )
    elif keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise InputError(
            f"{keep} holds something else than rows of a hub dataset; name an empty or a new folder, source.keep=FOLDER."
        )
    write_json(marker, claim)
    return keep


def _state(path: str) -> str | None:
    """A digest of names, sizes and times of the files that a path on this machine stands for; None for a dataset on the hub."""
    given = Path(path).expanduser()
    if given.is_dir():
        files = [folder / name for folder, names in folders(given) for name in names]
    else:
        files = [Path(file) for file in sorted(glob.glob(str(given)))]  # noqa: PTH207, a pattern in any part
    stats = [
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in files
        if file.is_file()
    ]
    return (
        hashlib.sha256(canonical_json(stats).encode(errors="surrogatepass")).hexdigest()
        if stats
        else None
    )


def _rows(path: str, section: HubSection, folder: Path, max_pixels: int) -> list[dict[str, Any]]:
    """All rows as they are kept; what is not there yet is read."""
    parts = sorted(folder.glob("rows/*.jsonl"))
    done = sum(len(part.read_text("utf-8").splitlines()) for part in parts)
    if not (folder / "whole.json").is_file():
        pending: list[dict[str, Any]] = []
        total = section.rows
        try:
            for row in track(
                _stream(path, section, done), total - done if total else None, f"reading {path}"
            ):
                pending.append(_kept(row, done + len(pending), path, section, folder, max_pixels))
                if len(pending) == PART:
                    _write_part(folder, len(parts), pending)
                    parts, done, pending = [*parts, folder], done + PART, []
        except InputError:
            raise
        except (
            Exception
        ) as e:  # the network, the hub and the file formats raise all sorts of errors
            raise InputError(
                f"Reading {path} stopped after row {done + len(pending)} ({_short(e)}); started again, it goes on from row {done}."
            ) from e
        if pending:
            _write_part(folder, len(parts), pending)
        write_json(folder / "whole.json", {"rows": done + len(pending)})
    return [
        json.loads(line)
        for part in sorted(folder.glob("rows/*.jsonl"))
        for line in part.read_text("utf-8").splitlines()
    ]


def _write_part(folder: Path, index: int, rows: list[dict[str, Any]]) -> None:
    write_atomic(
        folder / "rows" / f"{index:06d}.jsonl",
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    )


def _stream(path: str, section: HubSection, skip: int) -> Iterator[dict[str, Any]]:
    """The rows from number `skip` on, images as the bytes that they are stored as."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "The source hub needs the package datasets: pip install 'lorweb-bench[model]'."
        ) from None
    try:
        found = _open(path, section)
    except (
        Exception
    ) as e:  # datasets raises what its file system, the hub's client and its formats raise
        way = f"with access to the hub, `hf download --repo-type dataset {path} --local-dir FOLDER` fetches it, then source.path=FOLDER."
        if (
            path.endswith(".parquet")
            or Path(path).expanduser().exists()
            or Path(path).is_absolute()
        ):
            way = "give parquet files, a folder that `datasets` reads, or the name of a dataset on the hub."
        raise InputError(f"The dataset {path!r} cannot be reached ({_short(e)}); {way}") from e
    columns = section.columns
    known = found.column_names or []
    for key, column in columns.model_dump().items():
        if column is not None and column not in known:
            raise unknown_name(f"column for source.hub.columns.{key} of {path}:", column, known)
    wanted = [column for column in columns.model_dump().values() if column is not None]
    found = found.select_columns(list(dict.fromkeys(wanted)))
    for key in ("before", "after"):
        column = getattr(columns, key)
        feature = (found.features or {}).get(column)
        if feature is not None and not _holds_images(feature):
            kind = getattr(feature, "dtype", type(feature).__name__)
            raise InputError(
                f"{path}: the column {column!r}, source.hub.columns.{key}, holds {kind} and no images; name another one."
            )
        found = found.cast_column(column, datasets.Image(decode=False))
    found = found.skip(skip)
    yield from found if section.rows is None else found.take(max(0, section.rows - skip))


def _holds_images(feature: Any) -> bool:
    """Whether a column can hold images: as such, as bytes, as names of files, or as bytes with a name."""
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

    datasets.utils.logging.set_verbosity(
        logging.CRITICAL
    )  # what goes wrong is told in one sentence
    if path.endswith(".parquet"):
        found = datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
    else:
        found = datasets.load_dataset(
            path, section.config, split=section.split, revision=section.revision, streaming=True
        )
    return (
        found if found.column_names else found._resolve_features()
    )  # some formats tell their columns only with the first row


def _kept(
    row: Mapping[str, Any],
    number: int,
    path: str,
    section: HubSection,
    folder: Path,
    max_pixels: int,
) -> dict[str, Any]:
    """A row's images written as files, and what the list keeps of it."""
    columns = section.columns
    entry: dict[str, Any] = {"row": number, "problem": ""}
    for key in ("instruction", "task", "photograph", "licence", "attribution"):
        column = getattr(columns, key)
        entry[key] = "" if column is None else _text(row[column])
    if not entry["task"] and not entry["instruction"]:
        entry["problem"] = "no instruction and no task"
    for side in ("before", "after"):
        data = _bytes(row[getattr(columns, side)], path)
        if not data:
            entry["problem"] = entry["problem"] or f"no image {side}"
            continue
        if len(data) > BYTES_PER_PIXEL * max_pixels:
            entry["problem"] = (
                entry["problem"] or f"the image {side} has {len(data)} bytes, too many"
            )
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


def _bytes(value: Any, path: str) -> bytes:
    """The bytes of an image: its own, or of the file that it names in the dataset's own folder. A dataset reads no other file."""
    if not isinstance(value, Mapping):
        return b""
    if value.get("bytes"):
        return bytes(value["bytes"])
    given = Path(path).expanduser()
    home = (given if given.is_dir() else given.parent).resolve()
    file = (home / (value.get("path") or "")).resolve()
    return (
        file.read_bytes()
        if given.exists() and file.is_relative_to(home) and file.is_file()
        else b""
    )


def _tasks(
    rows: list[dict[str, Any]], section: HubSection
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """The rows with their task named, and those whose task has too few pairs."""
    for row in rows:
        row["task"] = (row["task"] or row["instruction"]).casefold().rstrip(" .!")
    counts = Counter(row["task"] for row in rows)
    few = [row for row in rows if counts[row["task"]] < section.pairs_per_task]
    reason = Note(f"fewer than {section.pairs_per_task} pairs have its task", "pairs_per_task")
    return [row for row in rows if counts[row["task"]] >= section.pairs_per_task], [
        Skipped(_name(row), reason) for row in few
    ]


def _pairs(
    path: str,
    folder: Path,
    rows: list[dict[str, Any]],
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
        )
        for row in rows
    ]


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else 'no reason given'}"
