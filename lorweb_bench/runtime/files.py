"""Files that are either whole or not there: atomic writes, checksums, and the claim on an output folder."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorweb_bench.errors import InputError

MARKER = ".building"


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path | str, flush: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and move it to `path` when the block ends well.

    The file is flushed to disk before it gets its name, and the folder after; without `flush` a power cut may leave it cut,
    which is for thousands of files that can be made again. When the block raises, nothing is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if flush:
            with temporary.open("rb") as f:
                os.fsync(f.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner reads
        temporary.replace(path)
        if flush:
            fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `atomic_path` writes to: another process is at it, or was killed."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def write_atomic(path: Path | str, data: bytes | str, flush: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds either all of it or what it held before; `flush` as of `atomic_path`."""
    with atomic_path(path, flush) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def canonical_json(value: Any) -> str:
    """One JSON text per value: sorted keys, no spaces, no NaN. What digests are taken of."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, atomically. NaN and infinity raise ValueError: they are no JSON."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; InputError when it is missing, unreadable or no JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (OSError, ValueError, RecursionError) as e:
        raise InputError(f"{path} is not readable JSON ({e}).") from None


def sha256_file(path: Path | str) -> str:
    """The sha256 of a file's bytes, in hex."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def claim_output(folder: Path | str, format: str, identity: str | None = None) -> Path:
    """Create an output folder, or take one up that is empty or already holds this format.

    `format` is a name such as "lorweb-bench/dataset"; its manifest is then `dataset.json`. Until `finish_output` is called a
    marker keeps the format and `identity`, a digest of everything that changes the result: unfinished work is taken up only for
    the same identity, so that no folder mixes two settings. Whether finished work is of the same settings is for the caller to
    tell, by its manifest. InputError when the folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file, and the output is a folder; choose another name with -o."
        )
    marker = folder / MARKER
    claim = {"format": format, "identity": identity}
    if marker.is_file():
        held = read_json(marker)
        if not isinstance(held, dict) or held.get("format") != format:
            raise InputError(
                f"{folder} holds unfinished work of another sort; choose another folder with -o."
            )
        if held != claim:
            raise InputError(
                f"{folder} holds unfinished work with other settings; choose another folder with -o, or delete it."
            )
        return folder
    if (
        folder.exists()
        and not all(map(is_temporary, folder.iterdir()))
        and _manifest_format(folder, format) != format
    ):
        if marker.is_file():  # a run that began at the same moment was quicker
            return claim_output(folder, format, identity)
        raise InputError(
            f"{folder} holds something else than a {format}; choose an empty or a new folder with -o."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError):
        around = next((place for place in folder.parents if place.exists()), folder.parent)
        raise InputError(
            f"{folder} cannot be made: {around} is a file; choose another name with -o."
        ) from None
    write_json(marker, claim)
    return folder


def finish_output(folder: Path | str) -> None:
    """Take the marker of `claim_output` away: the output is whole."""
    (Path(folder) / MARKER).unlink(missing_ok=True)


@contextlib.contextmanager
def only_run(folder: Path | str, shared: bool = False) -> Iterator[None]:
    """Hold an output folder until the block ends, or the process: alone, or `shared` with others that share it.

    InputError when another run holds it. On a file system that knows no locks nothing is held.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            try:
                fcntl.flock(
                    descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
                )
            except BlockingIOError:
                raise InputError(
                    f"Another run is at work in {folder}; wait for its end, or choose another folder with -o."
                ) from None
        yield
    finally:
        os.close(descriptor)


def _manifest_format(folder: Path, format: str) -> str | None:
    path = folder / f"{format.rpartition('/')[2]}.json"
    if not path.is_file():
        return None
    content = read_json(path)
    return content.get("format") if isinstance(content, dict) else None
