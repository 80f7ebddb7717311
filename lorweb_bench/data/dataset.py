"""Datasets and suites: opening, reading that hands out nothing unchecked, and finishing what was written."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from lorweb_bench.data import images
from lorweb_bench.data.dataset_card import card
from lorweb_bench.data.gathering import gather
from lorweb_bench.data.manifest import (
    MANIFEST,
    Manifest,
    ShardEntry,
    SplitInfo,
    described,
    read_manifest,
)
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.data.shards import (
    Places,
    Sample,
    check_record,
    find_places,
    listed_places,
    read_place,
    read_shard,
    read_sidecar,
)
from lorweb_bench.data.transformation_library import TransformationLibrary, load_library
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import DATASET_FORMAT, FORMAT_VERSION, PUBLIC_SPLIT, SPLITS, SUITE_SPLITS
from lorweb_bench.runtime.files import finish_output, sha256_file, write_atomic, write_json


class Dataset:
    """An open dataset. Reading checks each shard against the manifest once, before its first sample is handed out."""

    def __init__(self, path: Path, manifest: Manifest, check: bool = True) -> None:
        self.path = path
        self.manifest = manifest
        self._check = check
        self._checked: set[str] = set()
        self._places: dict[str, Places] = {}

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {self.manifest.name} {self.manifest.version}, {self.manifest.view})"

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
        """The sha256 over keys and decoded pixels of what the public view holds: equal for both views of a suite."""
        return self.manifest.fingerprint

    @property
    def public(self) -> bool:
        """Whether this is a public view: no answers, no labels."""
        return self.manifest.view == "public"

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
        """The library that runs this dataset's transformations; InputError when it is not installed."""
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
                f"{path} has {path.stat().st_size} bytes, the manifest says {entry.bytes}; fetch or build it again."
            )
        if self._check and entry.path not in self._checked:
            if sha256_file(path) != entry.sha256:
                raise InputError(
                    f"{path} is damaged: its sha256 is not the manifest's; fetch or build it again."
                )
            self._checked.add(entry.path)

    def samples(self, split: str, shards: Collection[int] | None = None) -> Iterator[Sample]:
        """The samples of a split as encoded bytes, in order; of the shards with these indices alone where given."""
        for index, entry in enumerate(self.split(split).shards):
            if shards is not None and index not in shards:
                continue
            self.check_shard(entry)
            path, count = self.path / entry.path, 0
            for sample in read_shard(path):
                if ("b_prime" in sample.images) == self.public:
                    raise InputError(
                        f"{path}: sample {sample.key!r} does not suit a {self.manifest.view} view."
                    )
                count += 1
                yield sample
            if count != entry.samples:
                raise InputError(
                    f"{path} holds {count} samples, the manifest says {entry.samples}; fetch or build it again."
                )

    def places(self, split: str, shard: int) -> Places:
        """Where the samples of a shard lie, once its sum has been compared; `sample_at` reads one of them."""
        entry = self.split(split).shards[shard]
        if entry.path not in self._places:
            path = self.path / entry.path
            self.check_shard(entry)
            listed = (
                listed_places(read_sidecar(path)) if path.with_suffix(".json").is_file() else None
            )
            places = listed or find_places(path)
            if len(places.sizes) != entry.samples:
                raise InputError(
                    f"{path} holds {len(places.sizes)} samples, the manifest says {entry.samples}; fetch or build it again."
                )
            self._places[entry.path] = places
        return self._places[entry.path]

    def sample_at(self, split: str, shard: int, number: int) -> Sample:
        """The sample of that number in a shard, as encoded bytes."""
        return read_place(
            self.path / self.split(split).shards[shard].path, self.places(split, shard), number
        )

    def records(self, split: str, shards: Collection[int] | None = None) -> Iterator[Record]:
        """The records of a split, in order; no image is decoded."""
        for sample in self.samples(split, shards):
            yield check_record(sample.record, f"{self.path}: sample {sample.key!r}")

    def sources(self, split: str) -> set[str]:
        """The photographs and scenes behind the a and b of a split: as the sidecars have them, else from the records."""
        found: set[str] = set()
        for index, entry in enumerate(self.split(split).shards):
            path = self.path / entry.path
            listed = read_sidecar(path).sources if path.with_suffix(".json").is_file() else None
            if listed is None:
                listed = tuple(
                    name
                    for record in self.records(split, [index])
                    for name in (record.a_source, record.b_source)
                    if name
                )
            found.update(listed)
        return found

    def quadruplets(
        self, split: str, shards: Collection[int] | None = None, keys: Collection[str] | None = None
    ) -> Iterator[Quadruplet]:
        """The quadruplets of a split, decoded, in order; of these shards or keys alone where given."""
        for sample in self.samples(split, shards):
            if keys is None or sample.key in keys:
                yield self.decode(sample)

    def decode(self, sample: Sample) -> Quadruplet:
        """Decode a sample; InputError when an image is damaged or not of the record's size."""
        record, panels = self.panels(sample)
        decoded = {role: images.to_image(panel) for role, panel in panels.items()}
        return Quadruplet(
            sample.key,
            decoded["a"],
            decoded["a_prime"],
            decoded["b"],
            decoded.get("b_prime"),
            record,
        )

    def panels(self, sample: Sample) -> tuple[Record, dict[str, np.ndarray]]:
        """A sample's record, and its images by role as uint8 H x W x 3 arrays; InputError as `decode`."""
        name = f"{self.path}: sample {sample.key!r}"
        record = check_record(sample.record, name)
        panels: dict[str, np.ndarray] = {}
        for role, data in sample.images.items():
            panels[role] = images.decode_array(data, f"{name} {role}")
            if panels[role].shape[:2] != (record.height, record.width):
                raise InputError(
                    f"{name}: {role} is not {record.width}x{record.height} pixels, as its record says."
                )
        return record, panels


def open_dataset(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset folder. With `check`, each shard's sha256 is compared with the manifest before it is read."""
    return Dataset(Path(path), read_manifest(path), check)


def open_suite(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset that methods are scored on: one with the split unseen, and seen where it was trained on, or a public view."""
    dataset = open_dataset(path, check)
    wanted = {PUBLIC_SPLIT} if dataset.public else {SUITE_SPLITS[-1]}
    if not wanted <= set(dataset.splits):
        raise InputError(
            f"{path} is no suite: it has the splits {', '.join(dataset.splits)}, a suite has {' and '.join(sorted(wanted))}."
        )
    return dataset


def finish_dataset(
    folder: Path | str, fields: Mapping[str, Any], credits: Iterable[tuple[str, str]] = ()
) -> Dataset:
    """Derive `dataset.json` and the card from the sidecars under `folder`, and give the dataset back.

    `fields` are the manifest's own: name, version, view, recipe, transformations, transformation_library, tiers_relative_to,
    left_out, to which the sidecars' counts are added.
    `credits` adds pairs of licence and attribution to those of the records. InputError when a shard is not whole, a key occurs
    twice, or image extensions differ.
    """
    found = gather(Path(folder))
    found.credit(credits)
    dropped = Counter(fields.get("left_out", {})) + found.dropped
    draft = {
        "format": DATASET_FORMAT,
        "format_version": FORMAT_VERSION,
        **fields,
        "splits": found.splits,
        **({"left_out": dict(sorted(dropped.items()))} if dropped else {}),
        "fingerprint": found.public.hexdigest(),
    }
    try:
        manifest = Manifest.model_validate(draft)
    except ValidationError as e:
        raise InputError(f"{found.folder / MANIFEST}: {first_error(e)}.") from None
    if manifest.view == "full":
        found.targets.update(described(manifest))
        manifest = manifest.model_copy(update={"targets_fingerprint": found.targets.hexdigest()})
    write_atomic(found.folder / "README.md", card(manifest, found.credits))
    write_json(
        found.folder / MANIFEST,
        manifest.model_dump(mode="json", exclude_unset=manifest.view == "public"),
    )
    finish_output(found.folder)
    return Dataset(found.folder, manifest)
