"""Datasets and suites: the manifest, the fingerprints, and reading that hands out nothing unchecked."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lorweb_bench import images
from lorweb_bench.errors import InputError
from lorweb_bench.files import canonical_json, read_json, sha256_file, write_json
from lorweb_bench.library import TransformationLibrary, load_library
from lorweb_bench.protocol import DATASET_FORMAT, FORMAT_VERSION, PUBLIC_ROLES, PUBLIC_SPLIT, SPLITS, SUITE_SPLITS, TIERS
from lorweb_bench.quadruplet import Quadruplet, Record
from lorweb_bench.shards import Item, Sample, check_record, read_shard, read_sidecar

MANIFEST = "dataset.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TransformationInfo(_Strict):
    """What the manifest says of a transformation; `tier` is None where it is only a retrieval candidate."""

    family: str = ""
    kind: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    instruction: str = ""
    tier: str | None = None
    deterministic: bool = True
    trained: bool | None = None

    @field_validator("tier")
    @classmethod
    def _known_tier(cls, tier: str | None) -> str | None:
        if tier is not None and tier not in TIERS:
            raise ValueError(f"tier {tier!r} is none of {', '.join(TIERS)}")
        return tier

    @property
    def spec(self) -> dict[str, Any]:
        """What a transformation library's `apply` takes: family and parameters."""
        return {"family": self.family, "parameters": self.parameters}


class ShardEntry(_Strict):
    """A shard as the manifest lists it; `path` is relative to the dataset's folder, `bytes` is the file's size."""

    path: str = Field(pattern=r"^[a-z]+/[0-9]{6,9}\.tar$")  # never leads out of the folder
    sha256: str
    samples: int = Field(ge=1)
    bytes: int = Field(ge=1)


class SplitInfo(_Strict):
    """The shards of a split, and how many samples they hold together."""

    samples: int = Field(ge=0)
    shards: tuple[ShardEntry, ...]


class Manifest(_Strict):
    """`dataset.json`."""

    format: Literal["lorweb-bench/dataset"]
    format_version: Literal[1]
    name: str
    version: str
    view: Literal["full", "public"]
    recipe: dict[str, Any] | None = None
    splits: dict[str, SplitInfo]
    transformations: dict[str, TransformationInfo] = Field(default_factory=dict)
    transformation_library: str | None = None
    tiers_relative_to: str | None = None
    fingerprint: str
    targets_fingerprint: str | None = None

    @field_validator("splits")
    @classmethod
    def _known_splits(cls, splits: dict[str, SplitInfo]) -> dict[str, SplitInfo]:
        if unknown := set(splits) - set(SPLITS):
            raise ValueError(f"splits {', '.join(sorted(unknown))} are none of {', '.join(SPLITS)}")
        return splits


class Dataset:
    """An open dataset. Reading checks each shard against the manifest once, before its first sample is handed out."""

    def __init__(self, path: Path, manifest: Manifest, check: bool = True) -> None:
        self.path = path
        self.manifest = manifest
        self._check = check
        self._checked: set[str] = set()

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
        return (PUBLIC_SPLIT,) if self.public else tuple(s for s in SUITE_SPLITS if s in self.manifest.splits)

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
            raise InputError(f"{path} has {path.stat().st_size} bytes, the manifest says {entry.bytes}; fetch or build it again.")
        if self._check and entry.path not in self._checked:
            if sha256_file(path) != entry.sha256:
                raise InputError(f"{path} is damaged: its sha256 is not the manifest's; fetch or build it again.")
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
                    raise InputError(f"{path}: sample {sample.key!r} does not suit a {self.manifest.view} view.")
                count += 1
                yield sample
            if count != entry.samples:
                raise InputError(f"{path} holds {count} samples, the manifest says {entry.samples}; fetch or build it again.")

    def records(self, split: str, shards: Collection[int] | None = None) -> Iterator[Record]:
        """The records of a split, in order; no image is decoded."""
        for sample in self.samples(split, shards):
            yield check_record(sample.record, f"{self.path}: sample {sample.key!r}")

    def quadruplets(self, split: str, shards: Collection[int] | None = None, keys: Collection[str] | None = None) -> Iterator[Quadruplet]:
        """The quadruplets of a split, decoded, in order; of these shards or keys alone where given."""
        for sample in self.samples(split, shards):
            if keys is None or sample.key in keys:
                yield self.decode(sample)

    def decode(self, sample: Sample) -> Quadruplet:
        """Decode a sample; InputError when an image is damaged or not of the record's size."""
        name = f"{self.path}: sample {sample.key!r}"
        record = check_record(sample.record, name)
        decoded: dict[str, Image.Image] = {}
        for role, data in sample.images.items():
            decoded[role] = images.decode(data, f"{name} {role}")
            if decoded[role].size != (record.width, record.height):
                raise InputError(f"{name}: {role} is not {record.width}x{record.height} pixels, as its record says.")
        return Quadruplet(sample.key, decoded["a"], decoded["a_prime"], decoded["b"], decoded.get("b_prime"), record)


def read_manifest(folder: Path | str) -> Manifest:
    """Read `dataset.json`; InputError when it is missing, of another format, or malformed."""
    path = Path(folder) / MANIFEST
    if not Path(folder).is_dir():
        raise InputError(f"{folder} is not a folder; a dataset is a folder with {MANIFEST}.")
    if not path.is_file():
        raise InputError(f"{folder} is not a dataset, or not a finished one: it has no {MANIFEST}.")
    content = read_json(path)
    try:
        return Manifest.model_validate(content)
    except ValidationError as e:
        first = e.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def open_dataset(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset folder. With `check`, each shard's sha256 is compared with the manifest before it is read."""
    return Dataset(Path(path), read_manifest(path), check)


def open_suite(path: Path | str, check: bool = True) -> Dataset:
    """Open a dataset that methods are scored on: one with seen and unseen splits, or a public view."""
    dataset = open_dataset(path, check)
    wanted = {PUBLIC_SPLIT} if dataset.public else set(SUITE_SPLITS)
    if not wanted <= set(dataset.splits):
        raise InputError(f"{path} is no suite: it has the splits {', '.join(dataset.splits)}, a suite has {' and '.join(sorted(wanted))}.")
    return dataset


def fingerprint_of(items: Iterable[Item]) -> str:
    """The sha256 over keys and the pixels of a, a_prime and b, by key: shards, splits and order do not matter."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.key):
        digest.update(" ".join([item.key, *(item.pixels[role] for role in PUBLIC_ROLES)]).encode() + b"\n")
    return digest.hexdigest()


def targets_fingerprint_of(items: Iterable[Item], transformations: Mapping[str, Any], library: str | None) -> str:
    """The sha256 over keys, the pixels of b_prime, the records, and what the manifest says of the transformations."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda item: item.key):
        digest.update(f"{item.key} {item.pixels['b_prime']} {item.labels}\n".encode())
    digest.update(canonical_json([transformations, library]).encode())
    return digest.hexdigest()


def finish_dataset(folder: Path | str, fields: Mapping[str, Any]) -> Dataset:
    """Derive `dataset.json` from the sidecars under `folder`, and give the dataset back.

    `fields` are the manifest's own: name, version, view, recipe, transformations, transformation_library, tiers_relative_to.
    InputError when a shard is not whole, a key occurs twice, or image extensions differ.
    """
    folder = Path(folder)
    splits: dict[str, Any] = {}
    items: dict[str, Item] = {}
    extensions: dict[str, str] = {}
    for split in SPLITS:
        entries = []
        for path in sorted((folder / split).glob("[0-9]*.json")):
            shard, sidecar = path.with_suffix(".tar"), read_sidecar(path.with_suffix(".tar"))
            if not sidecar.samples:
                continue
            if not shard.is_file() or shard.stat().st_size != sidecar.bytes:
                raise InputError(f"{shard} is not what its sidecar says; delete both and build again.")
            for item in sidecar.items:
                if item.key in items:
                    raise InputError(f"{shard}: the key {item.key!r} occurs twice in {folder}; keys are unique across splits.")
                items[item.key] = item
            extensions[str(sidecar.extension)] = str(shard)
            entries.append({"path": f"{split}/{shard.name}", **sidecar.model_dump(include={"sha256", "samples", "bytes"})})
        if entries:
            splits[split] = {"samples": sum(entry["samples"] for entry in entries), "shards": entries}
    if not items:
        raise InputError(f"{folder} would be an empty dataset: no sample was written.")
    if len(extensions) > 1:
        raise InputError(f"{folder} mixes image extensions: {extensions}.")
    content = {"format": DATASET_FORMAT, "format_version": FORMAT_VERSION, **fields, "splits": splits}
    content["fingerprint"] = fingerprint_of(items.values())
    draft = Manifest.model_validate(content)
    if draft.view == "full":
        described = {name: info.model_dump(mode="json") for name, info in draft.transformations.items()}
        draft = draft.model_copy(
            update={"targets_fingerprint": targets_fingerprint_of(items.values(), described, draft.transformation_library)}
        )
    write_json(folder / MANIFEST, draft.model_dump(mode="json", exclude_unset=draft.view == "public"))
    return Dataset(folder, draft)
