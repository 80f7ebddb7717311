"""Datasets and suites: opening them, and reading that hands out nothing unchecked."""

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from lorweb_bench.data import images
from lorweb_bench.data.manifest import Manifest, ShardEntry, SplitInfo, read_manifest
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.data.shard_format import Sample, check_record, read_sidecar
from lorweb_bench.data.shard_reader import (
    ShardIndex,
    index_of,
    read_sample,
    read_shard,
    scan_index,
)
from lorweb_bench.data.transformation_library import TransformationLibrary, load_library
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import FURTHER_PAIRS, PUBLIC_SPLIT, SPLITS, SUITE_SPLITS
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.hub import local_folder


class Dataset:
    """An open dataset.

    Each shard is checked against the manifest once, before its first sample is handed out.

    Attributes:
        path: The dataset's folder.
        manifest: Its `dataset.json`.
    """

    def __init__(self, path: Path, manifest: Manifest, check: bool = True) -> None:
        self.path = path
        self.manifest = manifest
        self._check = check
        self._checked: set[str] = set()
        self._indices: dict[str, ShardIndex] = {}

    def __repr__(self) -> str:
        about = f"{self.manifest.name} {self.manifest.version}, {self.manifest.view}"
        return f"Dataset({str(self.path)!r}, {about})"

    @property
    def name(self) -> str:
        """The name in the manifest."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version in the manifest."""
        return self.manifest.version

    @property
    def fingerprint(self) -> str:
        """The sha256 over keys and decoded pixels of what the public view holds.

        It is the same for both views of a suite.
        """
        return self.manifest.fingerprint

    @property
    def public(self) -> bool:
        """Whether this is a public view: no answers, no labels."""
        return self.manifest.view == "public"

    @property
    def has_answers(self) -> bool:
        """Whether its samples have a b_prime: not in a public view, nor where nobody has one."""
        return not self.public and self.manifest.answers is not False

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the protocol's order."""
        return tuple(s for s in SPLITS if s in self.manifest.splits)

    @property
    def scored_splits(self) -> tuple[str, ...]:
        """The splits that a method is run on: seen and unseen, or a public view's test."""
        return (
            (PUBLIC_SPLIT,)
            if self.public
            else tuple(s for s in SUITE_SPLITS if s in self.manifest.splits)
        )

    def library(self) -> TransformationLibrary:
        """The library that runs its transformations; InputError where it is not installed."""
        return load_library(self.manifest.transformation_library)

    def split(self, name: str) -> SplitInfo:
        """A split's entry in the manifest; InputError when there is none of that name."""
        if name not in self.manifest.splits:
            raise InputError(f"{self.path} has no split {name!r}; it has {', '.join(self.splits)}.")
        return self.manifest.splits[name]

    def check_shard(self, entry: ShardEntry) -> None:
        """InputError naming the shard when its size or sha256 is not the manifest's."""
        path = self.path / entry.path
        if not path.is_file():
            raise InputError(f"{path} is missing; fetch or build it again.")
        if path.stat().st_size != entry.bytes:
            raise InputError(
                f"{path} has {path.stat().st_size} bytes, the manifest says {entry.bytes}; "
                "fetch or build it again."
            )
        if self._check and entry.path not in self._checked:
            if sha256_file(path) != entry.sha256:
                raise InputError(
                    f"{path} is damaged: its sha256 is not the manifest's; fetch or build it again."
                )
            self._checked.add(entry.path)

    def samples(self, split: str, shards: Collection[int] | None = None) -> Iterator[Sample]:
        """The samples of a split as encoded bytes, in order.

        Args:
            split: The name of the split.
            shards: The numbers of the shards to read; all of them where none are given.
        """
        for index, entry in enumerate(self.split(split).shards):
            if shards is not None and index not in shards:
                continue
            self.check_shard(entry)
            path, count = self.path / entry.path, 0
            for sample in read_shard(path):
                if ("b_prime" in sample.images) != self.has_answers:
                    view = self.manifest.view
                    raise InputError(f"{path}: sample {sample.key!r} does not suit a {view} view.")
                if (len(sample.images) - 1) // 2 != self.manifest.exemplars:
                    raise InputError(
                        f"{path}: sample {sample.key!r} does not show {self.manifest.exemplars} "
                        "exemplar pairs, as the manifest says."
                    )
                count += 1
                yield sample
            if count != entry.samples:
                raise _miscounted(path, count, entry)

    def index(self, split: str, shard: int) -> ShardIndex:
        """Where the samples of a shard lie, once its sha256 has been compared."""
        entry = self.split(split).shards[shard]
        if entry.path not in self._indices:
            path = self.path / entry.path
            self.check_shard(entry)
            has_sidecar = path.with_suffix(".json").is_file()
            stated = index_of(read_sidecar(path)) if has_sidecar else None
            index = stated or scan_index(path)
            if len(index.sizes) != entry.samples:
                raise _miscounted(path, len(index.sizes), entry)
            self._indices[entry.path] = index
        return self._indices[entry.path]

    def sample_at(self, split: str, shard: int, number: int) -> Sample:
        """The sample of that number in a shard, as encoded bytes."""
        path = self.path / self.split(split).shards[shard].path
        return read_sample(path, self.index(split, shard), number)

    def records(self, split: str, shards: Collection[int] | None = None) -> Iterator[Record]:
        """The records of a split, in order; no image is decoded."""
        for sample in self.samples(split, shards):
            yield check_record(sample.record, f"{self.path}: sample {sample.key!r}")

    def sources(self, split: str) -> set[str]:
        """The photographs and scenes behind the a and b of a split.

        They are taken from the sidecars, or from the records where a sidecar does not state them.
        """
        names: set[str] = set()
        for number, entry in enumerate(self.split(split).shards):
            path = self.path / entry.path
            stated = read_sidecar(path).sources if path.with_suffix(".json").is_file() else None
            if stated is not None:
                names.update(stated)
                continue
            for record in self.records(split, [number]):
                names |= record.sources - {""}
        return names

    def source_digests(self, split: str) -> dict[str, str]:
        """What the photographs of a split are compared by, as far as its sidecars say."""
        digests: dict[str, str] = {}
        for entry in self.split(split).shards:
            path = self.path / entry.path
            if path.with_suffix(".json").is_file():
                digests |= read_sidecar(path).source_digests
        return digests

    def quadruplets(
        self, split: str, shards: Collection[int] | None = None, keys: Collection[str] | None = None
    ) -> Iterator[Quadruplet]:
        """The quadruplets of a split, decoded, in order.

        Args:
            split: The name of the split.
            shards: The numbers of the shards to read; all of them where none are given.
            keys: The keys of the quadruplets to decode; all of them where none are given.
        """
        for sample in self.samples(split, shards):
            if keys is None or sample.key in keys:
                yield self.decode(sample)

    def decode(self, sample: Sample) -> Quadruplet:
        """Decode a sample; InputError when an image is damaged or not of the record's size."""
        record, panels = self.panels(sample)
        decoded = {role: images.to_image(panel) for role, panel in panels.items()}
        pairs = FURTHER_PAIRS[: self.manifest.exemplars - 1]
        further = tuple((decoded[before], decoded[after]) for before, after in pairs)
        return Quadruplet(
            sample.key,
            decoded["a"],
            decoded["a_prime"],
            decoded["b"],
            decoded.get("b_prime"),
            record,
            further,
        )

    def panels(self, sample: Sample) -> tuple[Record, dict[str, np.ndarray]]:
        """A sample's record, and its images by role as uint8 H x W x 3 arrays.

        Raises:
            InputError: As of `decode`.
        """
        name = f"{self.path}: sample {sample.key!r}"
        record = check_record(sample.record, name)
        panels: dict[str, np.ndarray] = {}
        for role, data in sample.images.items():
            panels[role] = images.decode_array(data, f"{name} {role}")
            if panels[role].shape[:2] != (record.height, record.width):
                size = f"{record.width}x{record.height}"
                raise InputError(f"{name}: {role} is not {size} pixels, as its record says.")
        return record, panels


def _miscounted(path: Path, samples: int, entry: ShardEntry) -> InputError:
    return InputError(
        f"{path} holds {samples} samples, the manifest says {entry.samples}; "
        "fetch or build it again."
    )


def open_dataset(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset folder.

    Args:
        path: The folder, or `hub:owner/name@revision`.
        check: Whether each shard's sha256 is compared with the manifest before it is read.

    Raises:
        InputError: The folder has no `dataset.json`, or one of another format.
    """
    folder = local_folder(path, "dataset")
    return Dataset(folder, read_manifest(folder), check)


def open_suite(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset that methods are scored on.

    Args:
        path: The folder of a suite or of a suite's public view, or `hub:owner/name@revision`.
        check: Whether each shard's sha256 is compared with the manifest before it is read.

    Raises:
        InputError: There is no dataset, or it has no split `unseen` (a public view: `test`).
    """
    dataset = open_dataset(path, check)
    needed = PUBLIC_SPLIT if dataset.public else SUITE_SPLITS[-1]
    if needed not in dataset.splits:
        raise InputError(
            f"{path} is no suite: it has the splits {', '.join(dataset.splits)}, "
            f"a suite has {needed}."
        )
    return dataset
