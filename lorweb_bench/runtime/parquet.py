"""Tables of columns as Parquet files that know their own digest, so that no damage goes unseen.

The digest stands between the last page and the footer, where every Parquet reader passes over it.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import atomic_path

MAGIC = b"PAR1"
MARK = b"lorweb-bench sha256:"


def write_columns(path: Path | str, columns: dict[str, np.ndarray]) -> None:
    """Write columns of one length, atomically.

    Args:
        path: The file, which is replaced where it is there.
        columns: By name, one-dimensional arrays of text, numbers or booleans; None is a null.
    """
    from arro3.core import Table
    from arro3.io import write_parquet

    arrays = {name: _arrow(column.tolist()) for name, column in columns.items()}
    buffer = io.BytesIO()
    write_parquet(Table.from_pydict(arrays), buffer, compression="snappy")
    with atomic_path(path) as temporary:
        temporary.write_bytes(_with_digest(buffer.getvalue()))


def read_columns(path: Path | str) -> dict[str, np.ndarray]:
    """The columns of a Parquet file, in their order; nulls are None.

    Raises:
        InputError: When the file is missing, is no Parquet, or was changed since it was written.
    """
    from arro3.io import read_parquet

    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from None
    _check(path, content)
    try:
        table = read_parquet(io.BytesIO(content)).read_all()
    except BaseException as error:  # what a panic in the library raises is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise InputError(f"{path} is not readable Parquet ({type(error).__name__}).") from None
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


def read_batches(path: Path | str, rows: int = 1024) -> Any:
    """A reader of a Parquet file's record batches, which holds one of them at a time.

    Args:
        path: The file.
        rows: The most rows of a batch.

    Raises:
        InputError: The file is missing, or it is no whole Parquet as far as its ends show.
    """
    from arro3.io import read_parquet

    try:
        with Path(path).open("rb") as file:
            start = file.read(4)
            file.seek(-min(8, file.seek(0, 2)), 2)
            end = file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from None
    footer = int.from_bytes(end[:4], "little")
    whole = start == end[4:] == MAGIC and 0 < footer <= Path(path).stat().st_size - 12
    try:
        if whole:
            return read_parquet(str(path), batch_size=rows)
    except BaseException as error:  # what a panic in the library raises is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
    raise InputError(f"{path} is not readable Parquet; it is cut or was made by something else.")


def _arrow(values: list[Any]) -> Any:
    """An Arrow array of the type that holds all values."""
    from arro3.core import Array, DataType

    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present):
        return Array(values, DataType.bool())
    if all(isinstance(value, int) for value in present):
        return Array(values, DataType.int64())
    if all(isinstance(value, (int, float)) for value in present):
        numbers = [None if value is None else float(value) for value in values]
        return Array(numbers, DataType.float64())
    return Array([None if value is None else str(value) for value in values], DataType.utf8())


def _footer(content: bytes) -> int:
    """Where the footer begins; -1 where the file is no Parquet."""
    if len(content) < 12 or content[:4] != MAGIC or content[-4:] != MAGIC:
        return -1
    begin = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    return begin if begin >= 4 else -1


def _with_digest(content: bytes) -> bytes:
    footer = _footer(content)
    digest = hashlib.sha256(content).digest()
    return content[:footer] + MARK + digest + content[footer:]


def _check(path: Path | str, content: bytes) -> None:
    """InputError for a file that is no Parquet, or whose digest is not that of the rest."""
    footer = _footer(content)
    if footer < 0:
        raise InputError(
            f"{path} is not readable Parquet; it is cut or was made by something else."
        )
    start = footer - len(MARK) - 32
    if start < 4 or content[start : start + len(MARK)] != MARK:
        return  # written by another program, or before digests were
    rest = content[:start] + content[footer:]
    if hashlib.sha256(rest).digest() != content[footer - 32 : footer]:
        raise InputError(f"{path} was changed or damaged after it was written.")
