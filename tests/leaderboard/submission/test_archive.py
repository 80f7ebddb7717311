"""Archives that anyone could send.

Each trick is refused by its own reason, and nothing is ever written.
"""

import io
import os
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderboard.submission.archive import open_archive
from lorweb_bench.errors import InputError

FILES = {
    "predictions.json": b'{"a": 1}' * 20,
    "card.json": b"{}",
    "images/k-1.png": bytes(range(256)),
    "images/k-2.png": b"two",
}
LIMITS = dict.fromkeys(FILES, 5000)


def zipped(
    files: dict[str, bytes] | list[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
    **attributes: int,
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            for attribute, value in attributes.items():
                setattr(entry, attribute, value)
            archive.writestr(entry, data)
    return buffer.getvalue()


def with_entry(name: str, data: bytes = b"x") -> bytes:
    return zipped([*FILES.items(), (name, data)])


def patched(data: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    assert old in data
    return data.replace(old, new, count)


def renamed(raw: bytes, count: int = -1) -> bytes:
    """The name of an entry replaced, in both headers or in the first alone, by raw bytes of the
    same length.
    """
    return patched(zipped(FILES), b"images/k-1.png", raw, count)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_archive_reads_as_it_was_written(tmp_path: Path, method: int) -> None:
    path = tmp_path / "good.zip"
    path.write_bytes(zipped(FILES, method))
    archive = open_archive(path, LIMITS)
    assert archive.names == tuple(FILES)
    assert {name: archive.read(name) for name in archive.names} == FILES


def larger_than_2_gib(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What zipfile writes beyond 2 GiB: the last offsets and the directory in 64-bit fields."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 450)
    data = zipped(FILES)
    assert b"PK\x06\x06" in data and b"\xff\xff\xff\xff\x01\x00\x08\x00" not in data
    assert b"\x01\x00\x08\x00" in data
    return data


def test_large_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = larger_than_2_gib(monkeypatch)
    (tmp_path / "good.zip").write_bytes(data)
    archive = open_archive(tmp_path / "good.zip", LIMITS)
    assert {name: archive.read(name) for name in archive.names} == FILES
    record = data.index(b"PK\x06\x06")
    for at in range(
        record, len(data)
    ):  # no byte of the end records may say something else; versions alone say nothing
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        (tmp_path / "bad.zip").write_bytes(changed)
        if at - record not in range(12, 16):
            with pytest.raises(InputError):
                open_archive(tmp_path / "bad.zip", LIMITS)


def symlink() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in FILES.items():
            entry = zipfile.ZipInfo(name)
            if name == "images/k-1.png":
                entry.external_attr, data = (stat.S_IFLNK | 0o777) << 16, b"/etc/passwd"
            archive.writestr(entry, data)
    return buffer.getvalue()


def lying_size() -> bytes:
    """A bomb that calls itself small.

    Both headers say 3 bytes, the data inflates to ten million.
    """
    data = zipped(FILES | {"images/k-2.png": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    return data.replace(struct.pack("<I", 10**7), struct.pack("<I", 300))


def overlapping() -> bytes:
    """Two directory entries that share the data of one, as zip bombs without nesting do."""
    data = zipped(FILES)
    offset = data.rindex(b"PK\x01\x02") + 42
    return data[:offset] + struct.pack("<I", 0) + data[offset + 4 :]


def streamed() -> bytes:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[arg-type]
        for name, data in FILES.items():
            archive.writestr(name, data)
    return pipe.data


GOOD = zipped(FILES)
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty file": (lambda: b"", "no zip archive"),
    "no zip": (lambda: b"hello" * 100, "no zip archive"),
    "tar": (lambda: b"\0" * 1024, "no zip archive"),
    "traversal": (lambda: with_entry("../../evil.png"), "leads out"),
    "absolute": (lambda: with_entry("/tmp/evil.png"), "leads out"),
    "backslashes": (lambda: renamed(b"images\\k-1.png"), "leads out"),
    "drive": (lambda: with_entry("c:evil.png"), "leads out"),
    "folder": (lambda: with_entry("images/"), "no submission to this suite has"),
    "unexpected": (lambda: with_entry("images/k-3.png"), "no submission to this suite has"),
    "nested archive": (lambda: with_entry("inner.zip", GOOD), "no submission to this suite has"),
    "own scores": (lambda: with_entry("report.json", b"{}"), "the board computes them"),
    "upper case": (lambda: with_entry("images/K-1.png"), "no submission to this suite has"),
    "Cyrillic": (lambda: with_entry("images/\u043a-1.png"), "letters that are not those of a key"),
    "full width": (
        lambda: with_entry("images/\uff4b-1.png"),
        "letters that are not those of a key",
    ),
    "invisible": (
        lambda: with_entry("images/k-1\u200b.png"),
        "letters that are not those of a key",
    ),
    "turned direction": (
        lambda: with_entry("images/\u202egnp.1-k"),
        "letters that are not those of a key",
    ),
    "terminal escape": (lambda: with_entry("\x1b[2Jx"), "letters that are not those of a key"),
    "null byte": (lambda: renamed(b"images/k-1\0png"), "letters that are not those of a key"),
    "long name": (
        lambda: with_entry("images/k-1.png" + "x" * 500),
        "no submission to this suite has",
    ),
    "missing": (
        lambda: zipped({n: d for n, d in FILES.items() if n != "images/k-2.png"}),
        "lacks 1 of 4 files, the first is images/k-2.png",
    ),
    "nothing": (lambda: zipped({}), "lacks 4 of 4"),
    "twice": (
        lambda: zipped([*FILES.items(), ("images/k-2.png", b"other")]),
        "two entries named images/k-2.png",
    ),
    "too many": (
        lambda: zipped([*FILES.items(), *((f"x{i}", b"") for i in range(1100))]),
        "has 1104 entries",
    ),
    "too large": (
        lambda: zipped(FILES | {"images/k-1.png": bytes(2 * 10**6)}),
        "a submission to this suite has at most",
    ),
    "entry too large": (
        lambda: zipped(FILES | {"images/k-1.png": bytes(5001)}),
        "images/k-1.png has 5001 bytes; it may have 5000",
    ),
    "bomb": (
        lambda: zipped(FILES | {"images/k-1.png": bytes(10**7)}, zipfile.ZIP_DEFLATED),
        "it may have 5000",
    ),
    "ratio": (
        lambda: zipped(FILES | {"images/k-1.png": bytes(5000)}, zipfile.ZIP_DEFLATED),
        "no honest entry",
    ),
    "lying size": (lying_size, "no honest entry"),
    "symlink": (symlink, "is a link"),
    "other compression": (lambda: zipped(FILES, zipfile.ZIP_LZMA), "plain"),
    "encrypted": (
        lambda: patched(
            GOOD, b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
        ),
        "encrypted",
    ),
    "prepended": (lambda: b"#!/bin/sh\n" + GOOD, "before it"),
    "prepended, offsets kept": (lambda: b"GIF89a" + GOOD, "before it"),
    "appended": (lambda: GOOD + b"<script>", "behind the archive"),
    "comment": (lambda: GOOD[:-2] + b"\x05\0hello", "no zip archive"),
    "comment that ends as an archive": (lambda: GOOD[:-2] + b"\x16\0" + GOOD[-22:], "before it"),
    "gap": (lambda: (lambda d: d[:-22])(GOOD) + b"gap!" + GOOD[-22:], "before it"),
    "two archives": (lambda: GOOD + GOOD, "before it"),
    "overlapping": (overlapping, "belong to no entry"),
    "streamed": (streamed, "plain"),
    "extra field": (lambda: zipped(FILES, extra=b"\x99\x99\x04\x00abcd"), "plain"),
    "entry comment": (lambda: zipped(FILES, comment=b"hello"), "plain"),
    "two headers": (lambda: renamed(b"images/k-9.png", 1), "do not agree"),
    "damaged": (lambda: patched(GOOD, bytes(range(256)), bytes(256)), "checksum"),
    "cut": (lambda: GOOD[: len(GOOD) // 2], "is cut"),
    "folder attribute": (lambda: zipped(FILES, external_attr=0x10), "a link, a folder or a device"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    make, reason = HOSTILE[name]
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "bad.zip").write_bytes(make())
    with pytest.raises(InputError) as refused:
        archive = open_archive(folder / "bad.zip", LIMITS)
        for entry in archive.names:
            archive.read(entry)
    assert reason in str(refused.value)
    assert str(refused.value).isprintable(), "nothing that a terminal would obey"
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "bad.zip"]


def test_a_lying_size_is_not_believed(tmp_path: Path) -> None:
    """Both headers within every limit, but the data is longer.

    Reading stops at what the header said.
    """
    data = zipped(FILES | {"images/k-2.png": os.urandom(2000)}, zipfile.ZIP_DEFLATED)
    data = data.replace(struct.pack("<I", 2000), struct.pack("<I", 1999))
    (tmp_path / "bad.zip").write_bytes(data)
    archive = open_archive(tmp_path / "bad.zip", LIMITS)
    with pytest.raises(InputError, match="is damaged"):
        archive.read("images/k-2.png")


def test_things_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "folder.zip").mkdir()
    for name in ("pipe.zip", "folder.zip", "absent.zip"):
        with pytest.raises(InputError, match=name):
            open_archive(tmp_path / name, LIMITS)


def test_a_huge_directory_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "bad.zip").write_bytes(zipped([(f"x{i}", b"") for i in range(20_000)]))
    started = time.process_time()
    with pytest.raises(InputError, match="a submission to this suite has at most"):
        open_archive(tmp_path / "bad.zip", LIMITS)
    assert time.process_time() - started < 0.2
