"""Reading a submission's zip that a stranger made.

Every byte accounted for, nothing trusted, nothing written to disk.
"""

import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lorweb_bench.errors import InputError

LOCAL, CENTRAL, END = (
    struct.Struct("<4s5H3I2H"),
    struct.Struct("<4s6H3I5H2I"),
    struct.Struct("<4s4H2IH"),
)
END_64, LOCATOR_64 = (
    struct.Struct("<4sQ2H2I4Q"),
    struct.Struct("<4sIQI"),
)  # where an archive is larger than 2 GiB
OFFSET_64 = struct.Struct("<2HQ")
NO_16, NO_32 = 2**16 - 1, 2**32 - 1  # "see the larger field"
STORED, DEFLATED = 0, 8
UTF8_NAMES = 1 << 11
HIGHEST_RATIO = 100
SPARE_ENTRIES = 1000  # so many entries too many are still listed, to name the first that is wrong


@dataclass(frozen=True)
class Entry:
    """A file in the archive.

    Where its data lies, how it is stored, and the largest size it may have in bytes.
    """

    name: str
    start: int
    stored: int
    size: int
    crc: int
    method: int


class Archive:
    """A checked archive: `names`, and `read(name)`.

    The file is opened again for each read, so it can be sent to a process.
    """

    def __init__(self, path: Path, entries: Mapping[str, Entry]) -> None:
        self.path = path
        self._entries = entries

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the entries, in the order of the archive."""
        return tuple(self._entries)

    def read(self, name: str) -> bytes:
        """The bytes of an entry, never more than its header said.

        InputError when they are fewer, more or damaged.
        """
        entry = self._entries[name]
        try:
            with self.path.open("rb") as f:
                f.seek(entry.start)
                stored = f.read(entry.stored)
        except OSError as e:
            raise InputError(f"{self.path} cannot be read ({e.strerror}).") from None
        data = stored if entry.method == STORED else _inflate(stored, entry)
        if len(data) != entry.size or zlib.crc32(data) != entry.crc:
            raise InputError(f"{name} is damaged: its size or checksum is not the archive's.")
        return data


def _inflate(stored: bytes, entry: Entry) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(stored, entry.size + 1)
    except zlib.error:
        raise InputError(f"{entry.name} is damaged: it does not decompress.") from None
    if not stream.eof or stream.unused_data:
        raise InputError(f"{entry.name} is damaged: its data is not as long as its header says.")
    return data


def open_archive(path: Path | str, limits: Mapping[str, int]) -> Archive:
    """Open a submission whose entries must be exactly the names in `limits`, each of at most that
    many bytes.

    Nothing is decompressed here. The archive has to start with the first entry and end with its
    directory, entries follow one another without gaps, and the two headers of each agree; so no
    byte is there that no entry accounts for. InputError says what is wrong, naming the entry.
    """
    path = Path(path)
    with _open(path) as f:
        total = os.fstat(f.fileno()).st_size
        most = sum(limits.values()) + 1000 * (
            len(limits) + SPARE_ENTRIES
        )  # a name has up to 200 letters and stands there twice
        if total > most:
            raise InputError(
                f"{path.name} has {total} bytes; a submission to this suite has at most {most}."
            )
        entries = _entries(f, total, limits)
    return Archive(path, entries)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        descriptor = os.open(
            path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
        )  # a named pipe would wait for its writer
    except OSError as e:
        raise InputError(f"{path} cannot be read ({e.strerror}).") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(
            f"{path} is not a file; a submission is the zip that `leaderboard pack` writes."
        )
    with os.fdopen(descriptor, "rb") as f:
        yield f


def _entries(f: BinaryIO, total: int, limits: Mapping[str, int]) -> dict[str, Entry]:
    count, start, stop = _end(f, total)
    if count > len(limits) + SPARE_ENTRIES:
        raise InputError(
            f"The archive has {count} entries; a submission to this suite has {len(limits)}."
        )
    f.seek(start)
    directory = f.read(stop - start)
    entries: dict[str, Entry] = {}
    position = expected = 0
    for _ in range(count):
        entry, offset, position = _central(directory, position, limits)
        if entry.name in entries:
            raise InputError(f"The archive has two entries named {entry.name}.")
        if offset != expected:
            raise InputError(f"The archive has bytes before {entry.name} that belong to no entry.")
        entry = _local(f, entry, offset)
        entries[entry.name] = entry
        expected = entry.start + entry.stored
    if position != len(directory) or expected != start:
        raise InputError("The archive has bytes that belong to no entry.")
    if missing := [name for name in limits if name not in entries]:
        raise InputError(
            f"The archive lacks {len(missing)} of {len(limits)} files, the first is {missing[0]}."
        )
    return entries


def _end(f: BinaryIO, total: int) -> tuple[int, int, int]:
    """The number of entries and where the directory starts and stops, from the record that has to
    end the file.
    """
    f.seek(max(total - END_64.size - LOCATOR_64.size - END.size, 0))
    data = f.read()
    if len(data) < END.size or not data[-END.size :].startswith(b"PK\x05\x06"):
        raise InputError("The file is no zip archive, is cut, or has something behind the archive.")
    _, disk, first_disk, here, count, size, start, comment = END.unpack(data[-END.size :])
    if disk or first_disk or here != count or comment:
        raise InputError(
            "The archive is split over several files or has a comment; `leaderboard pack` writes "
            "a plain one."
        )
    stop = total - END.size
    if data.startswith(b"PK\x06\x06") and data[END_64.size :].startswith(b"PK\x06\x07"):
        stop -= END_64.size + LOCATOR_64.size
        count, size, start = _end_64(data, stop, (count, size, start))
    if start + size != stop:
        raise InputError("The archive has something before it or inside it that is no entry.")
    return count, start, stop


def _end_64(data: bytes, stop: int, short: tuple[int, int, int]) -> tuple[int, int, int]:
    _, length, _, _, disk, first_disk, here, count, size, start = END_64.unpack_from(data)
    _, last_disk, offset, disks = LOCATOR_64.unpack_from(data, END_64.size)
    plain = (
        length == END_64.size - 12
        and (disk, first_disk, last_disk, disks) == (0, 0, 0, 1)
        and here == count
        and offset == stop
    )
    if not plain or short != (min(count, NO_16), min(size, NO_32), min(start, NO_32)):
        raise InputError("The archive has two end records that do not agree.")
    return count, size, start


def _central(directory: bytes, position: int, limits: Mapping[str, int]) -> tuple[Entry, int, int]:
    """The entry that the directory lists at `position`, the offset of its data's header, and where
    the next one starts.
    """
    end = position + CENTRAL.size
    if end > len(directory):
        raise InputError("The archive's directory is cut.")
    fields = CENTRAL.unpack_from(directory, position)
    (
        magic,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        stored,
        size,
        name_length,
        extra,
        comment,
        disk,
        _,
        attributes,
        offset,
    ) = fields
    name = _name(directory[end : end + name_length], limits)
    end += name_length
    if offset == NO_32 and extra == OFFSET_64.size == len(directory[end : end + extra]):
        kind, length, offset = OFFSET_64.unpack_from(directory, end)
        end, extra = end + extra, (kind, length) != (1, 8)
    if magic != b"PK\x01\x02" or extra or comment or disk or flags & ~UTF8_NAMES:
        hidden = (
            "is encrypted"
            if flags & 1
            else "has fields that a plain entry has not; `leaderboard pack` writes plain ones"
        )
        raise InputError(f"{name} {hidden}.")
    if stat.S_IFMT(attributes >> 16) not in (0, stat.S_IFREG) or attributes & 0x10:
        raise InputError(f"{name} is a link, a folder or a device; only plain files are taken.")
    if method not in (STORED, DEFLATED):
        raise InputError(f"{name} is compressed by a method other than deflate.")
    _check_sizes(name, method, stored, size, limits[name])
    return Entry(name, 0, stored, size, crc, method), offset, end


def _check_sizes(name: str, method: int, stored: int, size: int, most: int) -> None:
    """Refuse an entry that is larger than `most`, or compressed as no honest one is."""
    if size > most:
        raise InputError(f"{name} has {size} bytes; it may have {most}.")
    if (
        stored > size + size // 1000 + 64
        or (method == STORED and stored != size)
        or size > HIGHEST_RATIO * max(stored, 1)
    ):
        raise InputError(f"{name} has {size} bytes stored in {stored}, which no honest entry has.")


def _name(raw: bytes, limits: Mapping[str, int]) -> str:
    """The name of an entry, one of the expected ones byte by byte.

    All others are refused, whatever they try.
    """
    text = raw[:200].decode("latin-1")
    if text in limits and len(raw) == len(text):
        return text
    printable = ascii(raw[:80].decode("utf-8", "replace"))
    if text.startswith("/") or ".." in text or "\\" in text or ":" in text:
        raise InputError(
            f"The archive has an entry {printable}, a name that leads out of its folder."
        )
    if not text.isascii() or not text.isprintable():
        raise InputError(
            f"The archive has an entry {printable}, "
            "a name with letters that are not those of a key."
        )
    if Path(text).name.lower() in (
        "report.json",
        "scores.json",
        "results.json",
        "per_sample.parquet",
    ):
        raise InputError(
            f"The archive has an entry {printable}: "
            "no result is taken from a submission, the board computes them from the images."
        )
    raise InputError(
        f"The archive has an entry {printable}, which no submission to this suite has."
    )


def _local(f: BinaryIO, entry: Entry, offset: int) -> Entry:
    """The entry with the place of its data, once the header in front of the data says the same as
    the directory.
    """
    f.seek(offset)
    header = f.read(LOCAL.size)
    if len(header) != LOCAL.size:
        raise InputError(f"{entry.name} is cut.")
    magic, _, flags, method, _, _, crc, stored, size, name_length, extra = LOCAL.unpack(header)
    name = f.read(min(name_length, 1000))
    same = (method, crc, stored, size) == (entry.method, entry.crc, entry.stored, entry.size)
    if (
        magic != b"PK\x03\x04"
        or not same
        or flags & ~UTF8_NAMES
        or extra
        or name != entry.name.encode()
    ):
        raise InputError(f"{entry.name} has two headers that do not agree.")
    return Entry(
        entry.name,
        offset + LOCAL.size + name_length,
        entry.stored,
        entry.size,
        entry.crc,
        entry.method,
    )


def deadline(seconds: float, what: str) -> Callable[[], None]:
    """A function to call now and then: InputError once `seconds` have passed since this call."""
    started = time.monotonic()

    def check() -> None:
        """Raise InputError once the time is over."""
        if time.monotonic() - started > seconds:
            raise InputError(f"{what} took longer than {seconds:g} seconds.")

    return check
