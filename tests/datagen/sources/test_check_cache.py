"""What was checked of a file is kept until the file changes, and the cache never costs a result."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datagen.sources import image_files
from datagen.sources.check_cache import CheckCache, FileState
from datagen.sources.image_files import check_files, file_sha256
from datagen.sources.photographs import folder
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, in which files count as settled at once."""
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datagen.sources.check_cache.FRESH", -1.0)
    return tmp_path / "cache" / "checked.sqlite"


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "photos" / f"p{i}.png" for i in range(6)]
    files[0].parent.mkdir()
    for i, file in enumerate(files):
        file.write_bytes(encode(scene(i, 24, 32)))
    return files


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files as they are decoded."""
    names: list[str] = []
    decode = image_files._decode_noting

    def noting(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
        names.append(path.name)
        return decode(path, max_pixels)

    monkeypatch.setattr(image_files, "_decode_noting", noting)
    return names


def test_a_second_check_decodes_nothing_and_finds_the_same(
    photos: list[Path], decoded: list[str]
) -> None:
    first = list(check_files(photos))
    assert len(decoded) == 6
    assert list(check_files(photos)) == first
    assert len(decoded) == 6
    assert list(check_files(photos, recheck=True)) == first
    assert len(decoded) == 12


def test_a_changed_file_is_noticed_though_its_size_is_the_same(
    photos: list[Path], decoded: list[str]
) -> None:
    before = list(check_files(photos))
    photos[1].write_bytes(encode(scene(1, 24, 32)[:, :, ::-1].copy()))
    decoded.clear()
    after = list(check_files(photos))
    assert decoded == ["p1.png"]
    assert [a != b for a, b in zip(after, before, strict=True)] == [i == 1 for i in range(6)]


def test_a_changed_file_of_the_same_size_and_time_is_noticed_by_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times can be set back; here the time of the change, which the system sets, is passed over."""
    file = tmp_path / "p.ppm"
    head = b"P6 8 8 255\n"
    file.write_bytes(head + bytes(192))
    plain = FileState.of
    monkeypatch.setattr(FileState, "of", lambda path: without_change_time(plain(path)))
    os.utime(file, (LONG_AGO, LONG_AGO))
    (black,) = check_files([file])
    file.write_bytes(head + bytes([255]) * 192)
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert list(check_files([file])) == [black]
    (white,) = check_files([file], recheck=True)
    assert white.digest != black.digest
    assert list(check_files([file])) == [white]


def without_change_time(state: FileState) -> FileState:
    size, written, _, number = state.state.split()
    return FileState(state.path, f"{size} {written} {number}", True)


def test_a_file_that_was_just_written_is_not_kept(
    photos: list[Path], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.sources.check_cache.FRESH", 60.0)
    for _ in range(2):
        list(check_files(photos))
    assert len(decoded) == 12


def test_broken_files_are_tried_again(tmp_path: Path, decoded: list[str]) -> None:
    file = tmp_path / "p.png"
    file.write_bytes(b"\x89PNG and no more")
    for _ in range(2):
        assert next(check_files([file])).problem
    assert len(decoded) == 2


def test_pins_are_compared_with_what_is_there(photos: list[Path]) -> None:
    pins = {file.name: file_sha256(file) for file in photos}
    assert len(folder(photos[0].parent, sha256=pins)[0]) == 6
    photos[2].write_bytes(encode(scene(99, 24, 32)))
    with pytest.raises(InputError, match="p2.png has the sha256"):
        folder(photos[0].parent, sha256=pins)


@pytest.mark.parametrize("wrong", [b"", b"no database at all" * 500, None])
def test_a_broken_cache_costs_time_and_no_result(
    photos: list[Path], cache: Path, decoded: list[str], wrong: bytes | None
) -> None:
    first = list(check_files(photos))
    if wrong is None:
        with sqlite3.connect(cache) as table:
            table.execute("UPDATE checked SET value = '{}'")
    else:
        cache.write_bytes(wrong)
    assert list(check_files(photos)) == first


def test_without_a_cache_all_is_checked(
    photos: list[Path], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    for _ in range(2):
        list(check_files(photos))
    assert len(decoded) == 12


def test_the_oldest_entries_go_first(
    photos: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.sources.check_cache.MOST", 4)
    list(check_files(photos))
    with CheckCache("other") as other:
        other.put(FileState.of(photos[0]), "x")
    with sqlite3.connect(cache) as table:
        kinds = [kind for (kind,) in table.execute("SELECT kind FROM checked ORDER BY rowid")]
    assert len(kinds) == 4 and kinds[-1] == "other"


KILLED = """
import sys
from pathlib import Path
from datagen.sources import check_cache
from datagen.sources.image_files import check_files
check_cache.FRESH, check_cache.BATCH = -1.0, 1
files = sorted(Path(sys.argv[1]).glob("*.png"))
print("ready", flush=True)
while True:
    for _ in check_files(files, recheck=True):
        pass
"""


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=pytest.mark.slow)], ids=["a few", "twenty"]
)
def test_killed_runs_leave_a_cache_that_tells_the_truth(photos: list[Path], kills: int) -> None:
    chance = random.Random(kills)
    for _ in range(kills):
        command = [sys.executable, "-c", KILLED, str(photos[0].parent)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = list(check_files(photos))
    assert kept == list(check_files(photos, recheck=True))
