"""A shard on disk: a WebDataset tar of samples, and the sidecar that says that it is whole."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cachetools import LRUCache, cached
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorweb_bench.data import images
from lorweb_bench.data.samples import Record
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import FURTHER_PAIRS, PUBLIC_ROLES, ROLES
from lorweb_bench.runtime.files import canonical_json, read_json

SIZE = r"^[1-9][0-9]{0,8}x[1-9][0-9]{0,8}$"  # a panel's width and height
MEASURED = 10_000  # images whose size and pixel hash are remembered


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in a shard.

    Attributes:
        key: Its key.
        images: Encoded images by role.
        ext: The extension of all of its images.
        record: The record's JSON.
    """

    key: str
    images: dict[str, bytes]
    ext: str
    record: dict[str, Any]


class Item(BaseModel):
    """What a sidecar holds of a sample: pixel hashes by role, and the digest of its labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    pixels: dict[str, str]
    labels: str


class Sidecar(BaseModel):
    """`000000.json` beside `000000.tar`: the mark that the shard is whole.

    Attributes:
        sha256: The digest of the tar.
        samples: How many samples it holds.
        bytes: The size of the tar.
        keys: The sha256 over the keys in the order of the shard, one a line.
        extension: The extension of all images; None without samples.
        credits: Each licence with its attribution, once.
        sources: The photographs and scenes behind a and b, each once.
        starts: Where each sample begins in the tar, and where the last one ends, in bytes.
        sizes: Samples by the size of their panels, as "64x48".
        dropped: Items that were planned and not written, by filter.
        source_digests: By photograph, what it is compared by (`SourceDigest`); scenes have none.
        items: The samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    samples: int
    bytes: int
    keys: str
    extension: str | None
    credits: tuple[tuple[str, str], ...] = ()
    sources: tuple[str, ...] | None = None
    starts: tuple[int, ...] = ()
    sizes: dict[Annotated[str, Field(pattern=SIZE)], int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    source_digests: dict[str, str] = Field(default_factory=dict)
    items: tuple[Item, ...]


def shard_path(folder: Path | str, split: str, index: int) -> Path:
    """The path of a shard: `<folder>/<split>/<index, six digits>.tar`.

    >>> shard_path("photos", "train", 12).as_posix()
    'photos/train/000012.tar'
    """
    return Path(folder) / split / f"{index:06d}.tar"


def read_sidecar(shard: Path) -> Sidecar:
    """The sidecar of a shard; InputError when it is missing or malformed."""
    path = shard.with_suffix(".json")
    try:
        return Sidecar.model_validate(read_json(path))
    except ValidationError as e:
        raise InputError(f"{path} is no sidecar of a shard ({first_error(e)}).") from None


def shard_done(folder: Path | str, split: str, index: int) -> bool:
    """Whether that shard was written whole, so that a resumed build may skip it."""
    shard = shard_path(folder, split, index)
    if not shard.with_suffix(".json").is_file():
        return False
    sidecar = read_sidecar(shard)
    return sidecar.samples == 0 or (shard.is_file() and shard.stat().st_size == sidecar.bytes)


def check_record(record: Mapping[str, Any], name: str) -> Record:
    """The record as a type; InputError names the first field that is wrong."""
    try:
        return Record.model_validate(record)
    except ValidationError as e:
        raise InputError(f"{name}: its record is wrong: {first_error(e)}.") from None


def item_of(sample: Sample, name: str) -> Item:
    """Decode a sample's images and take its digests.

    Raises:
        InputError: An image does not decode, the record is wrong, or their sizes differ. `name` is
            what the error calls the sample.
    """
    record = check_record(sample.record, name)
    pixels: dict[str, str] = {}
    for role in roles_of(sample.images):
        (width, height), pixels[role] = _size_and_hash(sample.images[role], f"{name} {role}")
        if (width, height) != (record.width, record.height):
            raise InputError(
                f"{name} {role} is {width}x{height}, "
                f"its record says {record.width}x{record.height}."
            )
    labels = hashlib.sha256(canonical_json(sample.record).encode()).hexdigest()
    return Item(key=sample.key, pixels=pixels, labels=labels)


def roles_of(names: Collection[str]) -> tuple[str, ...]:
    """The roles of a sample's images, in the order of a shard.

    These are a, a_prime, b, b_prime (not in a public view), then further exemplars without a gap.
    Other names make it empty.

    >>> roles_of({"b", "a", "a_prime", "a_2_prime", "a_2"})
    ('a', 'a_prime', 'b', 'a_2', 'a_2_prime')
    >>> roles_of({"b", "a", "a_prime", "a_3", "a_3_prime"})
    ()
    """
    first = ROLES if ROLES[-1] in names else PUBLIC_ROLES
    further = [role for pair in FURTHER_PAIRS[: (len(names) - len(first)) // 2] for role in pair]
    roles = (*first, *further)
    return roles if set(roles) == set(names) else ()


def shown_roles(names: Collection[str]) -> tuple[str, ...]:
    """The roles of what a method may see: all but b_prime, in the order of a shard."""
    return tuple(role for role in roles_of(names) if role != ROLES[-1])


def keys_digest(keys: Iterable[str]) -> str:
    """The sha256 over keys, one a line."""
    return hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()


@cached(LRUCache(MEASURED), key=lambda data, name: hashlib.sha256(data).digest())
def _size_and_hash(data: bytes, name: str) -> tuple[tuple[int, int], str]:
    """An image's (width, height) and pixel hash.

    The same bytes are decoded once: many items share the images of one pair.
    """
    image = images.decode_array(data, name)
    return (image.shape[1], image.shape[0]), images.pixel_hash(image)
