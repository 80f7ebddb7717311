"""A dataset's samples as Parquet beside its shards, for the hub's viewer and for queries.

Each shard has one file, with the images as they are encoded and the labels as columns. The view is
made from the shards and can be made again; nothing of this package reads from it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from lorweb_bench.data.croissant import CROISSANT, with_rows
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.dataset_card import with_view
from lorweb_bench.data.manifest import ShardEntry
from lorweb_bench.data.shard_format import Sample
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import FURTHER_PAIRS, PUBLIC_ROLES, ROLES
from lorweb_bench.runtime.files import atomic_path, read_json, write_atomic, write_json
from lorweb_bench.runtime.parquet import read_batches
from lorweb_bench.runtime.progress import track

FOLDER = "parquet"
PATTERN = f"{FOLDER}/*/*.parquet"
ROW_GROUP_BYTES = 32 * 2**20  # of images, about: what a reader holds at a time
MAX_ROWS = 1000  # in a row group
BATCH = 16  # rows that are compared at a time
SHARD_SUM = "lorweb-bench.shard_sha256"  # in a file's metadata: the shard that it was made from
PUBLIC_LABELS = {"width": "int64", "height": "int64", "prompt": "string"}
LABELS = {
    **dict.fromkeys(("transformation", "family", "kind", "tier", "instruction"), "string"),
    **dict.fromkeys(("a_source", "b_source", "licence", "attribution"), "string"),
    "width": "int64",
    "height": "int64",
    "hard": "bool",
}


def write_view(dataset: Dataset) -> list[Path]:
    """Write a dataset's Parquet files, and name them in its card.

    Images keep their bytes. Files that were made from the shards that are there stay as they are,
    so that a run that was stopped goes on.

    Args:
        dataset: The dataset, in either view.

    Returns:
        The files `parquet/<split>/<shard>.parquet`, in order.

    Raises:
        InputError: A shard is missing or damaged.
    """
    shards = list(_shards(dataset))
    written = []
    for split, number, entry in track(shards, len(shards), "writing Parquet"):
        path = view_path(dataset, entry)
        if not _made_from(path, entry):
            _write(path, dataset, dataset.samples(split, [number]), entry)
        written.append(path)
    name_view(dataset)
    return written


def name_view(dataset: Dataset) -> None:
    """Name the Parquet files in a dataset's card, and their rows in its `croissant.json`."""
    described = dataset.path / CROISSANT
    if described.is_file():
        write_json(described, with_rows(read_json(described), PATTERN, columns(dataset)))
    readme = dataset.path / "README.md"
    text = with_view(readme.read_text("utf-8"), dataset.manifest, columns(dataset))
    write_atomic(readme, text)


def has_view(dataset: Dataset) -> bool:
    """Whether the folder of a dataset holds a Parquet view, whole or in part."""
    return (dataset.path / FOLDER).is_dir()


def view_path(dataset: Dataset, entry: ShardEntry) -> Path:
    """The Parquet file of a shard."""
    return dataset.path / FOLDER / Path(entry.path).with_suffix(".parquet")


def columns(dataset: Dataset) -> dict[str, str]:
    """The columns of a dataset's view with their types, as the hub's `dataset_info` names them."""
    roles = ROLES if dataset.has_answers else PUBLIC_ROLES
    further = FURTHER_PAIRS[: dataset.manifest.exemplars - 1]
    images = [*roles, *(role for pair in further for role in pair)]
    labels = PUBLIC_LABELS if dataset.public else LABELS
    return {"key": "string", **dict.fromkeys(images, "image"), **labels}


def check_view(dataset: Dataset) -> int:
    """Compare a dataset's view with its shards, row by row; returns how many rows there are.

    Raises:
        InputError: A file is missing or unreadable, or the first row that differs.
    """
    rows = 0
    shards = list(_shards(dataset))
    expected = columns(dataset)
    for split, number, entry in track(shards, len(shards), "comparing Parquet"):
        path = view_path(dataset, entry)
        samples = dataset.samples(split, [number])
        for row, sample in zip_longest(_rows(path), samples):
            if row is None or sample is None or row != _row(sample, expected):
                raise InputError(
                    f"{path}: row {rows} is not the sample of {entry.path}; delete the folder "
                    f"{dataset.path / FOLDER} and write it again."
                )
            rows += 1
    return rows


def _shards(dataset: Dataset) -> Iterator[tuple[str, int, ShardEntry]]:
    for split in dataset.splits:
        for number, entry in enumerate(dataset.split(split).shards):
            yield split, number, entry


def _made_from(path: Path, entry: ShardEntry) -> bool:
    """Whether a Parquet file is there and was made from this very shard."""
    if not path.is_file():
        return False
    try:
        stated = read_batches(path).schema.metadata_str.get(SHARD_SUM)
    except InputError:  # cut, or another program's: written again
        return False
    return bool(stated == entry.sha256)


def _write(path: Path, dataset: Dataset, samples: Iterable[Sample], entry: ShardEntry) -> None:
    from arro3.core import RecordBatchReader
    from arro3.io import write_parquet

    expected = columns(dataset)
    rows = max(1, min(MAX_ROWS, ROW_GROUP_BYTES * entry.samples // entry.bytes))
    schema = _schema(expected, {SHARD_SUM: entry.sha256})
    images = [name for name, kind in expected.items() if kind == "image"]
    with atomic_path(path) as temporary:
        write_parquet(
            RecordBatchReader.from_batches(schema, _batches(samples, schema, expected, rows)),
            temporary,
            compression="zstd(3)",
            column_compression={(name, "bytes"): "uncompressed" for name in images},
            column_dictionary_enabled={(name, "bytes"): False for name in images},
            max_row_group_size=rows,
        )


def _schema(expected: dict[str, str], metadata: dict[str, str]) -> Any:
    """The Arrow schema, with the features as the hub's libraries read them from its metadata."""
    from arro3.core import Field, Schema

    types = _types()
    features = {
        name: {"_type": "Image"} if kind == "image" else {"dtype": kind, "_type": "Value"}
        for name, kind in expected.items()
    }
    about = {"huggingface": json.dumps({"info": {"features": features}}), **metadata}
    return Schema([Field(name, types[kind]) for name, kind in expected.items()], metadata=about)


def _types() -> dict[str, Any]:
    from arro3.core import DataType, Field

    parts = [Field("bytes", DataType.binary()), Field("path", DataType.utf8())]
    return {
        "image": DataType.struct(parts),
        "binary": DataType.binary(),
        "string": DataType.utf8(),
        "int64": DataType.int64(),
        "bool": DataType.bool(),
    }


def _batches(
    samples: Iterable[Sample], schema: Any, expected: dict[str, str], rows: int
) -> Iterator[Any]:
    """Record batches of so many rows, made as they are asked for."""
    from arro3.core import RecordBatch

    remaining = iter(samples)
    while batch := [_row(sample, expected) for sample in islice(remaining, rows)]:
        arrays = [_array([row[name] for row in batch], kind) for name, kind in expected.items()]
        yield RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: list[Any], kind: str) -> Any:
    """The Arrow array of a column; an image is a struct of its bytes and its file name."""
    from arro3.core import Array, struct_array

    types = _types()
    if kind != "image":
        return Array(values, type=types[kind])
    parts = [
        Array([value[name] for value in values], type=types[part])
        for name, part in (("bytes", "binary"), ("path", "string"))
    ]
    return struct_array(parts, fields=types["image"].fields)


def _row(sample: Sample, expected: dict[str, str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, kind in expected.items():
        if kind == "image":
            path = f"{sample.key}.{name}.{sample.ext}"
            row[name] = {"bytes": sample.images[name], "path": path}
        else:
            row[name] = sample.key if name == "key" else sample.record.get(name)
    return row


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    reader = read_batches(path, BATCH)
    try:
        for batch in reader:
            yield from _as_rows(batch.column_names, batch.columns)
    except Exception as error:
        raise InputError(f"{path} is not readable Parquet ({error}); write it again.") from None


def _as_rows(names: Sequence[str], arrays: Sequence[Any]) -> Iterator[dict[str, Any]]:
    values = [array.to_pylist() for array in arrays]
    for row in zip(*values, strict=True):
        yield dict(zip(names, row, strict=True))
