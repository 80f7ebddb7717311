"""Tables on disk: what is written comes back, other programs read it, and no damage goes unseen."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.parquet import read_columns, write_columns

COLUMNS = {
    "key": np.array([f"k{i}" for i in range(60)]),
    "tier": np.array([f"t{i % 4}" for i in range(60)]),
    "mse": np.random.default_rng(0).random(60),
    "missing": np.arange(60) % 7 == 0,
    "width": np.arange(60),
    "vote": np.array([None if i % 3 else 0.5 for i in range(60)], dtype=object),
}


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return list(first) == list(second) and all(
        first[name].tolist() == second[name].tolist() for name in first
    )


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_columns(tmp_path / "t.parquet", COLUMNS)
    assert same(read_columns(tmp_path / "t.parquet"), COLUMNS)
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    write_columns(tmp_path / "again.parquet", COLUMNS)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "t.parquet").read_bytes()


def test_pyarrow_reads_it_and_is_read(tmp_path: Path) -> None:
    write_columns(tmp_path / "t.parquet", COLUMNS)
    table = pyarrow.parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pydict() == {name: column.tolist() for name, column in COLUMNS.items()}
    assert [str(field.type) for field in table.schema] == [
        "string",
        "string",
        "double",
        "bool",
        "int64",
        "double",
    ]
    pyarrow.parquet.write_table(table, tmp_path / "theirs.parquet")
    assert same(read_columns(tmp_path / "theirs.parquet"), COLUMNS)


@settings(max_examples=400)
@given(
    place=st.integers(0, 100_000),
    bit=st.integers(0, 7),
    how=st.sampled_from(["flip", "cut", "insert"]),
)
def test_no_damage_to_a_value_goes_unseen(place: int, bit: int, how: str) -> None:
    content = bytearray(damaged_source())
    place %= len(content)
    if how == "flip":
        content[place] ^= 1 << bit
    elif how == "cut":
        del content[place:]
    else:
        content[place:place] = b"\x00"
    path = SCRATCH / "damaged.parquet"
    path.write_bytes(content)
    try:
        assert same(read_columns(path), COLUMNS)  # the damage is beside the table
    except InputError as error:
        assert "damaged.parquet" in str(error)


SCRATCH = Path()


def damaged_source() -> bytes:
    return (SCRATCH / "whole.parquet").read_bytes()


@pytest.fixture(autouse=True, scope="module")
def _scratch(tmp_path_factory: pytest.TempPathFactory) -> None:
    global SCRATCH
    SCRATCH = tmp_path_factory.mktemp("parquet")
    write_columns(SCRATCH / "whole.parquet", COLUMNS)


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(InputError, match="cannot be read"):
        read_columns(path)
    for content in (b"", b"PAR1", b"PAR1PAR1PAR1", b"x" * 100, b"PAR1" + b"\xff" * 40 + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not readable Parquet"):
            read_columns(path)


def test_columns_of_two_lengths_are_a_fault_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="length"):
        write_columns(tmp_path / "t.parquet", {"a": np.arange(3), "b": np.arange(4)})
    assert list(tmp_path.iterdir()) == []
