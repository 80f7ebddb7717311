"""Files that are whole or not there, and claims on output folders."""

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboard.store.store import Store
from lorweb_bench.cli import demo
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import (
    atomic_path,
    canonical_json,
    claim_output,
    contents_of,
    finish_output,
    is_temporary,
    only_run,
    read_json,
    remove_leftovers,
    sha256_file,
    write_atomic,
    write_json,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "before")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_written_file_has_the_usual_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "ours", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


@given(value=JSON)
@settings(deadline=None)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    assert json.loads(canonical_json(value)) == value


def test_canonical_json_does_not_depend_on_the_order_of_keys() -> None:
    assert (
        canonical_json({"b": 1, "a": [2.5, None]})
        == canonical_json({"a": [2.5, None], "b": 1})
        == '{"a":[2.5,null],"b":1}'
    )


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"psnr": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_the_sum_of_a_file_is_the_known_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        sha256_file(tmp_path / "abc")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_new_and_empty_folders_can_be_claimed_and_taken_up_again(tmp_path: Path) -> None:
    claim_output(tmp_path / "new", "lorweb-bench/dataset", "1")
    claim_output(tmp_path / "new", "lorweb-bench/dataset", "1")
    (tmp_path / "empty").mkdir()
    claim_output(tmp_path / "empty", "lorweb-bench/dataset")
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match=r"note\.txt is a file; choose another name"):
        claim_output(tmp_path / "note.txt" / "deep" / "out", "lorweb-bench/dataset")


def test_unfinished_work_is_not_mixed_with_other_settings(tmp_path: Path) -> None:
    claim_output(tmp_path / "out", "lorweb-bench/dataset", "1")
    with pytest.raises(InputError, match="other settings"):
        claim_output(tmp_path / "out", "lorweb-bench/dataset", "2")
    with pytest.raises(InputError, match="another sort"):
        claim_output(tmp_path / "out", "lorweb-bench/predictions", "1")


def test_finished_work_is_known_by_its_manifest(tmp_path: Path) -> None:
    claim_output(tmp_path, "lorweb-bench/dataset", "1")
    write_json(tmp_path / "dataset.json", {"format": "lorweb-bench/dataset"})
    finish_output(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["dataset.json"]
    claim_output(tmp_path, "lorweb-bench/dataset")
    finish_output(tmp_path)
    with pytest.raises(InputError, match="something else"):
        claim_output(tmp_path, "lorweb-bench/predictions")


def test_foreign_folders_and_files_are_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "out"):
        with pytest.raises(InputError):
            claim_output(target, "lorweb-bench/dataset")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_is_held_alone_or_shared(tmp_path: Path) -> None:
    with (
        only_run(tmp_path),
        pytest.raises(InputError, match="Another run is at work"),
        only_run(tmp_path, shared=True),
    ):
        pass
    with only_run(tmp_path, shared=True), only_run(tmp_path, shared=True):
        pass
    with only_run(tmp_path):  # what ended holds nothing
        pass


WRITES = """
import sys, time
from pathlib import Path
from lorweb_bench.runtime.files import atomic_path
with atomic_path(Path(sys.argv[1]) / "sheet.png") as temporary:
    temporary.write_bytes(b"half a picture")
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(folder: Path) -> subprocess.Popen[str]:
    """A process that is in the middle of writing `sheet.png`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def killed(folder: Path) -> Path:
    """The file that a process leaves that is killed while it writes `sheet.png`."""
    folder.mkdir(exist_ok=True)
    process = writer(folder)
    process.kill()
    process.wait()
    (left,) = folder.iterdir()
    assert is_temporary(left)
    return left


def test_what_a_killed_process_leaves_does_not_count_and_is_removed(tmp_path: Path) -> None:
    left = killed(tmp_path / "out")
    assert contents_of(tmp_path / "out") == []
    claim_output(tmp_path / "out", "lorweb-bench/dataset", "1")
    assert not left.exists()
    assert [path.name for path in contents_of(tmp_path / "out")] == [".building"]


def test_what_a_killed_process_left_goes_when_the_work_is_taken_up_and_when_it_ends(
    tmp_path: Path,
) -> None:
    claim_output(tmp_path, "lorweb-bench/dataset", "1")
    for step in (lambda: claim_output(tmp_path, "lorweb-bench/dataset", "1"), finish_of(tmp_path)):
        process = writer(tmp_path)
        process.kill()
        process.wait()
        assert list(tmp_path.glob(".sheet.png.*"))
        step()
        assert not list(tmp_path.glob(".sheet.png.*"))


def finish_of(folder: Path) -> Callable[[], object]:
    return lambda: finish_output(folder)


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    process = writer(tmp_path)
    try:
        remove_leftovers(tmp_path)
        (temporary,) = tmp_path.iterdir()
        assert temporary.read_bytes() == b"half a picture"
    finally:
        process.kill()
        process.wait()
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_of_somebody_else_is_never_a_leftover(tmp_path: Path) -> None:
    for name in ("notes.tmp", ".hidden", "x.png"):
        (tmp_path / name).write_text("mine")
    remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(contents_of(tmp_path)) == 3
    assert contents_of(tmp_path / "nowhere") == []


@pytest.mark.parametrize("command", ["demo", "store", "checkpoint"])
def test_commands_take_a_folder_that_a_kill_left_something_in(tmp_path: Path, command: str) -> None:
    """Each of them refuses a folder that holds something else, and what a kill left is nothing."""
    folder = tmp_path / "out"
    killed(folder)
    if command == "demo":
        demo.claim(folder)
        assert not list(folder.iterdir())
    elif command == "store":
        Store(folder)
        assert (folder / "board.sqlite").is_file()
    else:
        checkpoint = pytest.importorskip("reference_model.checkpoints.checkpoint")
        assert checkpoint.is_finished(folder, "identity") is False
    (folder / "thesis.tex").write_text("mine")
    if command == "demo":
        with pytest.raises(InputError, match=r"thesis\.tex"):
            demo.claim(folder)
