"""Reading predictions: one image per key, by whoever made them, and nothing of another suite."""

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import decode, resize, to_image
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import (
    MANIFEST,
    MethodId,
    PredictionsManifest,
    read_manifest,
    suite_id,
    suite_keys,
)
from lorweb_bench.protocol import EXTENSIONS
from lorweb_bench.runtime.files import MARKER

OTHER_IMAGES = (".jpeg", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".npy")


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
            name = f"{found.path} ({key})" if found.offset else str(found.path)
            return decode(found.read(), name, transparent=False)
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
        return Predictions(
            self.manifest, {key: self.images[key] for key in keys if key in self.images}
        )


def fitted(
    image: Image.Image, key: str, size: tuple[int, int], may_resize: bool
) -> tuple[Image.Image, bool]:
    """A prediction at b's size (width, height), and whether it was resized for that. InputError where it has another and may not be."""
    if image.size == size:
        return image, False
    if not may_resize:
        raise InputError(
            f"The prediction for {key!r} is {image.width}x{image.height}, b is {size[0]}x{size[1]}; "
            "predict at b's size, or score with --resize, which is marked in the report."
        )
    return resize(image, size), True


def open_predictions(
    source: str | Path | Mapping[str, Any], suite: Dataset, name: str | None = None
) -> Predictions:
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
        raise InputError(
            f"{place} holds no predictions by key; one image per key is needed, <key>.png, .jpg or .webp."
        )
    known = {
        key for split in suite.scored_splits for keys in suite_keys(suite, split) for key in keys
    }
    if extra := sorted(set(opened.images) - known):
        raise InputError(
            f"{place} has {len(extra)} images whose keys {suite.name} does not have, the first is {extra[0]!r}; take them out."
        )
    return opened


def _nameless(suite: Dataset, name: str, samples: int) -> PredictionsManifest:
    return PredictionsManifest(suite=suite_id(suite), method=MethodId(name=name), samples=samples)


def _open_folder(folder: Path, suite: Dataset, name: str | None) -> Predictions:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; predictions are a folder with one image per key."
        )
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        if name is not None and name != manifest.method.name:
            raise InputError(
                f"{folder} says that its method is {manifest.method.name!r}; --name is for bare folders of images."
            )
        check_suite(folder, manifest, suite)
    elif (folder / MARKER).is_file():
        raise InputError(
            f"{folder} holds unfinished predictions; run the same `lorweb-bench predict` again to finish them."
        )
    elif name is None:
        raise InputError(
            f"{folder} has no {MANIFEST}, so say whose predictions they are with --name."
        )
    else:
        manifest = _nameless(suite, name, 0)
    images = dict(_places(folder))
    return Predictions(manifest, images)


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
            raise InputError(
                f"{path} cannot be scored; predictions are <key>.png, <key>.jpg or <key>.webp."
            )
        else:
            continue
        for name, place in found:
            key = name.rpartition(".")[0]
            if key in seen:
                raise InputError(
                    f"{folder} has two predictions for {key!r}, {seen[key]} and {name}; take one out."
                )
            seen[key] = name
            yield key, place


def _members(path: Path) -> Iterator[tuple[str, Place]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or member.name.rpartition(".")[2] not in EXTENSIONS:
                    raise InputError(
                        f"{path}: {member.name!r} is not <key>.png, <key>.jpg or <key>.webp."
                    )
                yield member.name, Place(path, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as e:
        raise InputError(f"{path} is cut or damaged ({e}); write it again.") from None
