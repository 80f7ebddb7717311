"""Files that are whole or not there, and claims on output folders."""

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import (
    atomic_path,
    canonical_json,
    claim_output,
    finish_output,
    only_run,
    read_json,
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
