"""Files that are whole or not there: atomic writes, checksums, claims on output folders.

What a killed process leaves follows one rule. It leaves temporary files of `atomic_path`, whose
names begin with a dot and end in `.tmp`, and the marker of `claim_output`. `contents_of` does not
count the temporary files, so every command that takes a folder can be started again; and
`remove_leftovers` deletes those that no process is writing any more.
"""

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
TEMPORARY = ".tmp"


def fsync_folder(folder: Path) -> None:
    """Flush a folder's list of names to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: Path | str, flush: bool = True) -> Iterator[Path]:
    """A temporary path to write to, which gets the name `path` when the block ends well.

    When the block raises, nothing is left. A process that is killed within the block leaves the
    temporary file; see `remove_leftovers`.

    Args:
        path: The file to write. Folders on the way to it are made.
        flush: Whether the file is flushed to disk before it gets its name, and the folder after.
            Without it a power cut may leave the file cut, which is for thousands of files that can
            be made again.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = _temporary_file(path)
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
        os.close(descriptor)


def _temporary_file(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, and a descriptor that holds its lock while this process lives."""
    while True:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY
        )
        if not _lock(descriptor, wait=True) or Path(name).exists():
            return descriptor, Path(name)
        os.close(descriptor)  # another process removed it before it was locked


def is_temporary(path: Path) -> bool:
    """Whether a file is one that `atomic_path` writes to, by a process at work or a killed one."""
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)


def contents_of(folder: Path | str) -> list[Path]:
    """What a folder holds, sorted, without temporary files; nothing where there is no folder."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_temporary(path))


def remove_leftovers(folder: Path | str) -> None:
    """Delete the temporary files in a folder that no process is writing any more.

    A writer holds a lock on its temporary file, and the lock ends with the process. On a file
    system without locks nothing is deleted.
    """
    for path in Path(folder).glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDWR)
            try:
                if _lock(descriptor, wait=False):
                    path.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int, wait: bool, shared: bool = False) -> bool:
    """Lock a file for this process; False where the file system or the platform has no locks.

    BlockingIOError where another process holds the lock and this one does not `wait`.
    """
    try:
        import fcntl
    except ImportError:
        return False
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def write_atomic(path: Path | str, data: bytes | str, flush: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that `path` holds all of it or what it held before.

    `flush` is as of `atomic_path`.
    """
    with atomic_path(path, flush) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def canonical_json(value: Any) -> str:
    """One JSON text per value: sorted keys, no spaces, no NaN. What digests are taken of."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as indented JSON, atomically; NaN and infinity raise ValueError."""
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


def check_output(path: Path | str, folder: bool = False) -> None:
    """Make sure that an output can be written, before the hours of work that it is for.

    Nothing is left behind: the folders on the way to it are made when it is written.

    Args:
        path: The file, or the folder, that will be written.
        folder: Whether it is a folder.

    Raises:
        InputError: It cannot be made there.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise InputError(f"{path} is a folder, and the output is a file; give it a name with -o.")
    if path.exists() and not path.is_dir() and folder:
        raise InputError(
            f"{path} is a file, and the output is a folder; choose another name with -o."
        )
    place = path if folder and path.exists() else path.absolute().parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"{path} cannot be made: {place} is a file; choose another name with -o.")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as e:
        raise InputError(
            f"{path} cannot be written: {place} takes no new file ({e.strerror}); "
            "choose another place with -o."
        ) from None


def claim_output(folder: Path | str, format: str, identity: str | None = None) -> Path:
    """Create an output folder, or take one up that is empty or already holds this format.

    Until `finish_output` is called a marker holds the format and the identity. Unfinished work is
    taken up for the same identity only, so that no folder mixes two settings. Whether finished work
    is of the same settings is for the caller to tell, by its manifest.

    Args:
        folder: The folder.
        format: A name such as "lorweb-bench/dataset", whose manifest is then `dataset.json`.
        identity: A digest of everything that changes the result.

    Raises:
        InputError: The folder holds something else.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"{folder} is a file, and the output is a folder; choose another name with -o."
        )
    marker = folder / MARKER
    claim = {"format": format, "identity": identity}
    if marker.is_file():
        _check_claim(folder, read_json(marker), claim)
        remove_leftovers(folder)
        return folder
    if contents_of(folder) and _manifest_format(folder, format) != format:
        if marker.is_file():  # a run that began at the same moment was quicker
            return claim_output(folder, format, identity)
        raise InputError(
            f"{folder} holds something else than a {format}; "
            "choose an empty or a new folder with -o."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError):
        file = next((parent for parent in folder.parents if parent.exists()), folder.parent)
        raise InputError(
            f"{folder} cannot be made: {file} is a file; choose another name with -o."
        ) from None
    remove_leftovers(folder)
    write_json(marker, claim)
    return folder


def _check_claim(folder: Path, held: Any, claim: dict[str, str | None]) -> None:
    """InputError where the marker in a folder is that of other work."""
    if not isinstance(held, dict) or held.get("format") != claim["format"]:
        raise InputError(
            f"{folder} holds unfinished work of another sort; choose another folder with -o."
        )
    if held != claim:
        raise InputError(
            f"{folder} holds unfinished work with other settings; "
            "choose another folder with -o, or delete it."
        )


def finish_output(folder: Path | str) -> None:
    """Take the marker of `claim_output` away, and leftovers with it: the output is whole."""
    remove_leftovers(folder)
    (Path(folder) / MARKER).unlink(missing_ok=True)


@contextlib.contextmanager
def only_run(folder: Path | str, shared: bool = False) -> Iterator[None]:
    """Hold an output folder until the block, or the process, ends.

    On a file system without locks nothing is held.

    Args:
        folder: The folder.
        shared: Whether other runs may hold it too, if they share it as well.

    Raises:
        InputError: Another run holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            _lock(descriptor, wait=False, shared=shared)
        except BlockingIOError:
            raise InputError(
                f"Another run is at work in {folder}; "
                "wait for its end, or choose another folder with -o."
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
