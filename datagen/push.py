"""Putting a dataset on the hub: its manifest, card, shards and sidecars, once they are checked."""

from datetime import UTC, datetime
from pathlib import Path

from lorweb_bench.data.benchmark_tasks import EVAL_FILE
from lorweb_bench.data.croissant import CROISSANT, published
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import MANIFEST, ShardEntry
from lorweb_bench.data.parquet_view import check_view, has_view, view_path
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, write_json
from lorweb_bench.runtime.hub import Upload
from lorweb_bench.runtime.progress import track

CARD = "README.md"
PAGES = "https://huggingface.co/datasets"
EXTRAS = (EVAL_FILE, CROISSANT)  # datasets that were built before these had none


def collect_upload(path: Path | str) -> Upload:
    """List the files of a finished dataset, each shard compared with the manifest.

    A Parquet view goes too, once its rows are compared with the shards.

    Raises:
        InputError: A file is missing or damaged.
    """
    dataset = open_dataset(path)
    names = [MANIFEST, CARD, *(n for n in EXTRAS if (dataset.path / n).is_file())]
    shards: list[ShardEntry] = []
    for split in dataset.splits:
        shards += dataset.split(split).shards
    for entry in track(shards, len(shards), "checking shards"):
        dataset.check_shard(entry)
        names += [entry.path, str(Path(entry.path).with_suffix(".json"))]
    if has_view(dataset):
        check_view(dataset)
        names += [str(view_path(dataset, entry).relative_to(dataset.path)) for entry in shards]
    return Upload(dataset.path, tuple((name, _size(dataset, name)) for name in names))


def describe_published(upload: Upload, repo: str) -> None:
    """Write into a dataset's `croissant.json` where it is published, and that it is so today."""
    path = upload.folder / CROISSANT
    if path.is_file():
        today = datetime.now(UTC).date().isoformat()
        write_json(path, published(read_json(path), f"{PAGES}/{repo}", today))


def _size(dataset: Dataset, name: str) -> int:
    file = dataset.path / name
    if not file.is_file():
        raise InputError(
            f"{file} is missing; build the dataset again, or take the file from where the others "
            "came from."
        )
    return file.stat().st_size
