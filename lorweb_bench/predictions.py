"""Predictions on disk: one image per key, a manifest written last, and nothing of another suite or another setting mixed in."""

import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.files import MARKER, canonical_json, claim_output, finish_output, read_json, write_json
from lorweb_bench.images import decode, encode, to_image
from lorweb_bench.protocol import EXTENSIONS, PREDICTIONS_FORMAT
from lorweb_bench.shards import read_sidecar

MANIFEST = "predictions.json"
COSTS = ".cost"  # a folder of what each run took so far; it goes when the predictions are whole
OTHER_IMAGES = (".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".npy")


class SuiteName(BaseModel):
    """Which suite: name, version and fingerprint."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: str
    fingerprint: str


class MethodName(BaseModel):
    """Which method: its name and version, and whatever else it says of itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1, max_length=100)
    version: str | None = None


class Cost(BaseModel):
    """What the predictions took. Seconds are those spent in the method; memory is of the GPU where it ran on one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds_per_image: float | None = None
    peak_memory_bytes: int | None = None
    sampling_steps: int | None = None
    device: str | None = None


class PredictionsManifest(BaseModel):
    """`predictions.json`. `partial` marks a run with a limit or over a part of the items; it is never ranked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["lorweb-bench/predictions"] = "lorweb-bench/predictions"
    format_version: Literal[1] = 1
    suite: SuiteName
    method: MethodName
    track: Literal["closed", "open"] = "open"
    prompt_mode: Literal["none", "task", "instruction"] = "none"
    pairs: Literal["true", "shuffled"] = "true"
    seed: int | None = None
    samples: int = Field(ge=0)
    partial: bool = False
    cost: Cost = Cost()


def suite_name(suite: Dataset) -> SuiteName:
    """How predictions and reports name a suite."""
    return SuiteName(name=suite.name, version=suite.version, fingerprint=suite.fingerprint)


def suite_keys(suite: Dataset, split: str) -> list[list[str]]:
    """The keys of a split, per shard, in order; no shard is read. InputError when a sidecar's number is not the manifest's."""
    found = []
    for entry in suite.split(split).shards:
        keys = [item.key for item in read_sidecar(suite.path / entry.path).items]
        if len(set(keys)) != entry.samples:
            raise InputError(
                f"{suite.path / entry.path}: its sidecar names {len(set(keys))} keys, the manifest says {entry.samples} samples."
            )
        found.append(keys)
    return found


@dataclass(frozen=True)
class Place:
    """Where the bytes of an image lie: a file, or a stretch of a shard."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """The bytes."""
        with self.path.open("rb") as f:
            f.seek(self.offset)
            return f.read(self.size)


@dataclass(frozen=True)
class Predictions(Mapping[str, Image.Image]):
    """Predictions by key; an image is decoded when it is asked for. `manifest` says whose they are."""

    manifest: PredictionsManifest
    images: Mapping[str, Any]  # key -> Place, or the image itself

    def __getitem__(self, key: str) -> Image.Image:
        """The image, RGB; InputError when it is damaged."""
        found = self.images[key]
        if isinstance(found, Place):
            return decode(found.read(), f"{found.path} ({key})" if found.offset else str(found.path))
        try:
            return to_image(found)
        except (ValueError, AttributeError) as e:
            raise InputError(f"The prediction for {key!r} is no RGB image ({e}).") from None

    def __contains__(self, key: object) -> bool:
        return key in self.images  # without decoding it

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def part(self, keys: Iterator[str] | list[str]) -> "Predictions":
        """The predictions of these keys alone, for a worker."""
        return Predictions(self.manifest, {key: self.images[key] for key in keys if key in self.images})


def open_predictions(source: str | Path | Mapping[str, Any], suite: Dataset, name: str | None = None) -> Predictions:
    """Open a predictions folder, a bare folder of `<key>.png|jpg|webp` (then `name` is the method's), or images by key.

    InputError when they were made for another suite or are unfinished, when there are none, and for keys that the suite does
    not have or that occur twice. Images that are missing are no error here.
    """
    if isinstance(source, Predictions):
        opened = source
    elif isinstance(source, Mapping):
        opened = Predictions(_nameless(suite, name or "in-memory", len(source)), source)
    else:
        opened = _open_folder(Path(source).resolve(), suite, name)
    place = "The mapping" if isinstance(source, Mapping) else str(source)
    if not opened.images:
        raise InputError(f"{place} holds no predictions by key; one image per key is needed, <key>.png, .jpg or .webp.")
    known = {key for split in suite.scored_splits for keys in suite_keys(suite, split) for key in keys}
    if extra := sorted(set(opened.images) - known):
        raise InputError(
            f"{place} has {len(extra)} images whose keys {suite.name} does not have, the first is {extra[0]!r}; take them out."
        )
    return opened


def _nameless(suite: Dataset, name: str, samples: int) -> PredictionsManifest:
    return PredictionsManifest(suite=suite_name(suite), method=MethodName(name=name), samples=samples)


def _open_folder(folder: Path, suite: Dataset, name: str | None) -> Predictions:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; predictions are a folder with one image per key.")
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        if name is not None and name != manifest.method.name:
            raise InputError(f"{folder} says that its method is {manifest.method.name!r}; --name is for bare folders of images.")
        check_suite(folder, manifest, suite)
    elif (folder / MARKER).is_file():
        raise InputError(f"{folder} holds unfinished predictions; run the same `lorweb-bench predict` again to finish them.")
    elif name is None:
        raise InputError(f"{folder} has no {MANIFEST}, so say whose predictions they are with --name.")
    else:
        manifest = _nameless(suite, name, 0)
    images = dict(_places(folder))
    return Predictions(manifest, images)


def read_manifest(folder: Path) -> PredictionsManifest:
    """Read `predictions.json`; InputError naming the first field that is wrong."""
    path = folder / MANIFEST
    try:
        return PredictionsManifest.model_validate(read_json(path))
    except ValidationError as e:
        first = e.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def check_suite(folder: Path, manifest: PredictionsManifest, suite: Dataset) -> None:
    """InputError when the predictions were made for another suite, or another version of it."""
    made = manifest.suite
    if made.fingerprint != suite.fingerprint:
        raise InputError(
            f"{folder} holds predictions for {made.name} {made.version} ({made.fingerprint[:12]}), "
            f"not for {suite.name} {suite.version} ({suite.fingerprint[:12]}); predict again on this suite."
        )


def _places(folder: Path) -> Iterator[tuple[str, Place]]:
    """Each key's image in a folder: plain files, and the members of its shards. InputError for a key that occurs twice."""
    seen: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".tar":
            found = list(_members(path))
        elif path.suffix[1:] in EXTENSIONS:
            found = [(path.name, Place(path))]
        elif path.suffix.lower() in OTHER_IMAGES or path.suffix.lower()[1:] in EXTENSIONS:
            raise InputError(f"{path} cannot be scored; predictions are <key>.png, <key>.jpg or <key>.webp.")
        else:
            continue
        for name, place in found:
            key = name.rpartition(".")[0]
            if key in seen:
                raise InputError(f"{folder} has two predictions for {key!r}, {seen[key]} and {name}; take one out.")
            seen[key] = name
            yield key, place


def _members(path: Path) -> Iterator[tuple[str, Place]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or member.name.rpartition(".")[2] not in EXTENSIONS:
                    raise InputError(f"{path}: {member.name!r} is not <key>.png, <key>.jpg or <key>.webp.")
                yield member.name, Place(path, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as e:
        raise InputError(f"{path} is cut or damaged ({e}); write it again.") from None


@dataclass
class PredictionsWriter:
    """Writes predictions one by one, so that whatever is stopped resumes where it was.

    `settings` is the manifest but for samples, partial and cost; predictions of other settings are never mixed in. Each image
    is a file `<key>.png`, there when it is whole; `finish` writes the manifest, which marks the folder as done. A writer can
    be sent to other processes: they write different keys.
    """

    folder: Path
    settings: PredictionsManifest

    def done(self) -> set[str]:
        """The keys that are written."""
        return {path.stem for path in self.folder.glob("*.png")}

    def finished(self) -> PredictionsManifest | None:
        """The manifest where the folder has one. InputError naming what differs when its settings, or a stopped run's, are other."""
        marker = self.folder / MARKER
        if (self.folder / MANIFEST).is_file():
            manifest = read_manifest(self.folder)
            self._refuse_other(_identity(manifest))
            return manifest
        if marker.is_file():
            claim = read_json(marker)
            if isinstance(claim, dict) and claim.get("format") == PREDICTIONS_FORMAT:
                self._refuse_other(str(claim.get("identity")))
        return None

    def begin(self) -> None:
        """Claim the folder, keeping what is there of the same settings. InputError when it holds something else."""
        manifest = self.finished()
        claim_output(self.folder, PREDICTIONS_FORMAT, _identity(self.settings))
        for path in self.folder.glob("*.png"):
            if not _whole(path):
                path.unlink()  # what a power cut leaves is predicted again
        if manifest is not None:  # a partial run that goes on: what it took still counts
            cost = manifest.cost.model_dump(exclude={"seconds_per_image"})
            self.add_cost("earlier", (manifest.cost.seconds_per_image or 0.0) * manifest.samples, manifest.samples, cost)
            (self.folder / MANIFEST).unlink()

    def add(self, key: str, image: Image.Image) -> None:
        """Write one prediction: whole or not there. `finish` flushes them to the disk all at once."""
        temporary = self.folder / f".{key}.{os.getpid()}.tmp"
        temporary.write_bytes(encode(image, "png"))
        temporary.replace(self.folder / f"{key}.png")

    def add_cost(self, part: str, seconds: float, images: int, cost: Mapping[str, Any]) -> None:
        """Keep what a part of the work took, under a name of its own; `cost` has the other fields of Cost."""
        write_json(self.folder / COSTS / f"{part}.json", {"seconds": seconds, "images": images, **cost})

    def finish(self, samples: int) -> PredictionsManifest:
        """Write the manifest; `samples` is how many the suite has. The predictions of every run in the folder count."""
        done = len(self.done())
        os.sync()  # the manifest must not reach the disk before the images do
        manifest = self.settings.model_copy(update={"samples": done, "partial": done < samples, "cost": self._cost()})
        write_json(self.folder / MANIFEST, manifest.model_dump(mode="json"))
        shutil.rmtree(self.folder / COSTS, ignore_errors=True)
        for stale in self.folder.glob(".*.tmp"):
            stale.unlink()  # left by a run that was killed
        finish_output(self.folder)
        return manifest

    def _cost(self) -> Cost:
        parts = [read_json(path) for path in sorted((self.folder / COSTS).glob("*.json"))]
        images = sum(part["images"] for part in parts)
        if not images:
            return Cost()
        peaks = [part["peak_memory_bytes"] for part in parts if part["peak_memory_bytes"] is not None]
        return Cost(
            seconds_per_image=sum(part["seconds"] for part in parts) / images,
            peak_memory_bytes=max(peaks, default=None),
            sampling_steps=parts[-1]["sampling_steps"],
            device=parts[-1]["device"],
        )

    def _refuse_other(self, there: str) -> None:
        try:
            before = _flat(json.loads(there))
        except ValueError:
            before = {}
        wanted = _flat(json.loads(_identity(self.settings)))
        different = [
            f"{k} {before.get(k)!r} instead of {wanted.get(k)!r}" for k in sorted(before | wanted) if before.get(k) != wanted.get(k)
        ]
        if different:
            raise InputError(f"{self.folder} holds predictions with {' and '.join(different[:3])}; choose another folder with -o.")


def _whole(path: Path) -> bool:
    try:
        decode(path.read_bytes(), str(path))
    except InputError:
        return False
    return True


def _identity(manifest: PredictionsManifest) -> str:
    return canonical_json(manifest.model_dump(mode="json", exclude={"samples", "partial", "cost"}))


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}" if name else key).items()}
