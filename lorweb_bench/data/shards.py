"""WebDataset shards: written whole with a sidecar, read strictly, never half a sample. Plain tar; no torch, no webdataset."""

import hashlib
import io
import json
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lorweb_bench.data import images
from lorweb_bench.data.samples import Record
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import EXTENSIONS, KEY, PUBLIC_ROLES, ROLES
from lorweb_bench.runtime.files import (
    atomic_path,
    canonical_json,
    read_json,
    sha256_file,
    write_json,
)

T = TypeVar("T")
HEADER = 512  # bytes of a header in a tar, and of the blocks that its contents are filled up to
SIZE = r"^[1-9][0-9]{0,8}x[1-9][0-9]{0,8}$"  # a panel's width and height
SEEN = 10_000  # images whose digests are kept
_SEEN: dict[bytes, tuple[tuple[int, int], str]] = {}


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in a shard: encoded images by role, and the record's JSON as a dict."""

    key: str
    images: dict[str, bytes]
    ext: str
    record: dict[str, Any]


class Item(BaseModel):
    """What a sidecar keeps of a sample: pixel hashes by role, and the digest of its labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    pixels: dict[str, str]
    labels: str


class Sidecar(BaseModel):
    """`000000.json` beside `000000.tar`: the mark that the shard is whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    samples: int
    bytes: int
    keys: str  # sha256 over the keys in the order of the shard, one a line
    extension: str | None
    credits: tuple[tuple[str, str], ...] = ()  # each licence with its attribution, once
    sources: tuple[str, ...] | None = None  # photographs and scenes behind a and b, each once
    starts: tuple[
        int, ...
    ] = ()  # where each sample begins in the tar, and where the last one ends, in bytes
    sizes: dict[Annotated[str, Field(pattern=SIZE)], int] = Field(
        default_factory=dict
    )  # samples by the size of their panels, as "64x48"
    dropped: dict[str, int] = Field(
        default_factory=dict
    )  # items that were planned and not written, by filter
    items: tuple[Item, ...]


def item_of(sample: Sample, name: str) -> Item:
    """Decode a sample's images and take its digests; InputError when they or the record do not hold together."""
    record = check_record(sample.record, name)
    pixels: dict[str, str] = {}
    for role in ROLES:
        if role in sample.images:
            (width, height), pixels[role] = _seen(sample.images[role], f"{name} {role}")
            if (width, height) != (record.width, record.height):
                raise InputError(
                    f"{name} {role} is {width}x{height}, its record says {record.width}x{record.height}."
                )
    return Item(
        key=sample.key,
        pixels=pixels,
        labels=hashlib.sha256(canonical_json(sample.record).encode()).hexdigest(),
    )


def _seen(data: bytes, name: str) -> tuple[tuple[int, int], str]:
    """An image's (width, height) and pixel hash; decoded once where the same bytes come again, as those of a pair do."""
    digest = hashlib.sha256(data).digest()
    found = _SEEN.get(digest)
    if found is None:
        image = images.decode_array(data, name)
        found = _SEEN[digest] = ((image.shape[1], image.shape[0]), images.pixel_hash(image))
        if len(_SEEN) > SEEN:
            del _SEEN[next(iter(_SEEN))]
    return found


def check_record(record: Mapping[str, Any], name: str) -> Record:
    """The record as a type; InputError naming the first field that is wrong."""
    try:
        return Record.model_validate(record)
    except ValidationError as e:
        raise InputError(f"{name}: its record is wrong: {first_error(e)}.") from None


def shard_path(folder: Path | str, split: str, index: int) -> Path:
    """`<folder>/<split>/<index, six digits>.tar`."""
    return Path(folder) / split / f"{index:06d}.tar"


def read_sidecar(shard: Path) -> Sidecar:
    """The sidecar of a shard; InputError when it is missing or malformed."""
    path = shard.with_suffix(".json")
    try:
        return Sidecar.model_validate(read_json(path))
    except ValidationError as e:
        raise InputError(f"{path} is no sidecar of a shard ({first_error(e)}).") from None


def shard_done(folder: Path | str, split: str, index: int) -> bool:
    """Whether that shard was written whole (a resumed build skips it)."""
    shard = shard_path(folder, split, index)
    if not shard.with_suffix(".json").is_file():
        return False
    sidecar = read_sidecar(shard)
    return sidecar.samples == 0 or (shard.is_file() and shard.stat().st_size == sidecar.bytes)


@dataclass
class ShardWriter:
    """Write one shard: `with ShardWriter(folder, "train", 0) as shard: shard.add(key, {"a": (png, "png"), …}, record)`.

    The tar gets its name only when the block ends well, then the sidecar follows; when it raises, neither is there. The bytes
    depend on what is added alone. A shard without samples leaves only a sidecar, which marks it as done.
    """

    folder: Path | str
    split: str
    index: int
    _items: list[Item] = field(default_factory=list, init=False)
    _keys: set[str] = field(default_factory=set, init=False)
    _credits: set[tuple[str, str]] = field(default_factory=set, init=False)
    _sources: set[str] = field(default_factory=set, init=False)
    _starts: list[int] = field(default_factory=lambda: [0], init=False)
    _sizes: Counter[str] = field(default_factory=Counter, init=False)
    _dropped: Counter[str] = field(default_factory=Counter, init=False)
    _extension: str | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.path = shard_path(self.folder, self.split, self.index)
        self.path.with_suffix(".json").unlink(
            missing_ok=True
        )  # from here on the shard is not whole
        self.path.unlink(missing_ok=True)
        self._atomic = atomic_path(self.path)
        self._temporary = self._atomic.__enter__()
        self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)
        return self

    def add(
        self, key: str, images: Mapping[str, tuple[bytes, str]], record: Mapping[str, Any]
    ) -> None:
        """Add one sample: encoded images by role, each (bytes, ext), and the record as a JSON-able dict with `id` = key.

        Roles are a, a_prime, b and, but for a public view, b_prime. Every image is decoded. InputError when the key is not
        new or not of `[a-z0-9_-]`, an image does not decode, sizes differ from the record's, or extensions differ.
        """
        name = f"{self.path}: sample {key!r}"
        if not KEY.fullmatch(key) or key in self._keys or record.get("id") != key:
            raise InputError(
                f"{name}: a key is new, equals the record's id, and has only a-z, 0-9, _ and - (at most 80)."
            )
        if set(images) not in (set(ROLES), set(PUBLIC_ROLES)):
            raise InputError(
                f"{name} has the images {', '.join(images)}; it needs {', '.join(ROLES)}."
            )
        extensions = {ext for _, ext in images.values()} | (
            {self._extension} if self._extension else set()
        )
        if len(extensions) != 1 or not extensions <= set(EXTENSIONS):
            raise InputError(
                f"{name} mixes image extensions or has one that is not {', '.join(EXTENSIONS)}: {sorted(extensions)}."
            )
        (ext,) = extensions
        sample = Sample(
            key, {role: images[role][0] for role in ROLES if role in images}, ext, dict(record)
        )
        item = item_of(sample, name)
        for role, data in sample.images.items():
            self._write(f"{key}.{role}.{ext}", data)
        self._write(
            f"{key}.json", json.dumps(sample.record, ensure_ascii=False, allow_nan=False).encode()
        )
        self._items.append(item)
        self._keys.add(key)
        self._credits.update(
            {(record.get("licence", ""), record.get("attribution", ""))} - {("", "")}
        )
        self._extension = ext
        self._sources.update({record.get("a_source", ""), record.get("b_source", "")} - {""})
        self._starts.append(self._tar.offset)
        self._sizes[f"{record['width']}x{record['height']}"] += 1

    def drop(self, filter: str) -> None:
        """Count an item that was planned and did not pass `filter`."""
        self._dropped[filter] += 1

    def _write(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # its defaults are mtime 0, uid and gid 0
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        digest, size = "", 0
        try:
            self._tar.close()
            if kind is None and self._items:
                digest, size = sha256_file(self._temporary), self._temporary.stat().st_size
                self._atomic.__exit__(None, None, None)
        finally:
            self._temporary.unlink(missing_ok=True)
        if kind is None:
            sidecar = Sidecar(
                sha256=digest,
                samples=len(self._items),
                bytes=size,
                keys=keys_digest(item.key for item in self._items),
                extension=self._extension,
                credits=tuple(sorted(self._credits)),
                sources=tuple(sorted(self._sources)),
                starts=tuple(self._starts) if self._items else (),
                sizes=dict(sorted(self._sizes.items())),
                dropped=dict(sorted(self._dropped.items())),
                items=tuple(self._items),
            )
            write_json(self.path.with_suffix(".json"), sidecar.model_dump(mode="json"))


def keys_digest(keys: Iterator[str]) -> str:
    """The sha256 over keys, one a line."""
    return hashlib.sha256("".join(f"{key}\n" for key in keys).encode()).hexdigest()


def read_shard(path: Path | str) -> Iterator[Sample]:
    """Read a shard's samples in order; InputError naming the shard at the first thing that is not whole and well named.

    A sample is handed out only when all of its members were read and stand together: three or four images and the record.
    """
    path = Path(path)
    for key, members in _grouped(
        path, ((member.name, _content(path, tar, member)) for tar, member in _members(path))
    ):
        yield _sample(path, key, members)


@dataclass(frozen=True)
class Places:
    """Where the samples of a shard begin, and where the last one ends, in bytes; and each one's (width, height)."""

    starts: Sequence[int]
    sizes: Sequence[tuple[int, int]]


def listed_places(sidecar: Sidecar) -> Places | None:
    """What a sidecar says of places; None where it does not, or where the panels of the shard have several sizes."""
    if len(sidecar.starts) != sidecar.samples + 1 or len(sidecar.sizes) != 1:
        return None
    width, _, height = next(iter(sidecar.sizes)).partition("x")
    return Places(array("q", sidecar.starts), ((int(width), int(height)),) * sidecar.samples)


def find_places(path: Path | str) -> Places:
    """Read a shard's headers and records, and no image. InputError as `read_shard`, as far as these show it."""
    path, starts, sizes, end = Path(path), [], [], 0
    same: dict[
        tuple[int, int], tuple[int, int]
    ] = {}  # one tuple for all equal ones: there can be millions
    read = (
        (member, _content(path, tar, member) if member.name.endswith(".json") else b"")
        for tar, member in _members(path)
    )
    for key, members in _grouped(path, ((member.name, (member, data)) for member, data in read)):
        if "json" not in members:
            raise InputError(
                f"{path}: sample {key!r} is not whole, it has {', '.join(sorted(members))}."
            )
        record = check_record(_record(path, key, members["json"][1]), f"{path}: sample {key!r}")
        starts.append(min(member.offset for member, _ in members.values()))
        size = (record.width, record.height)
        sizes.append(same.setdefault(size, size))
        end = max(
            member.offset_data + -(-member.size // 512) * 512 for member, _ in members.values()
        )
    return Places(array("q", [*starts, end]) if starts else (), tuple(sizes))


def read_place(path: Path | str, places: Places, number: int) -> Sample:
    """Read one sample of a shard; InputError as `read_shard`."""
    path, (start, end) = Path(path), places.starts[number : number + 2]
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
    except OSError as e:
        raise InputError(f"{path} cannot be read ({e}); fetch or build it again.") from None
    samples = [_sample(path, key, found) for key, found in _grouped(path, _members_in(path, data))]
    if len(samples) != 1:
        raise InputError(
            f"{path}: no one sample stands from byte {start} to {end}; its sidecar is that of another shard."
        )
    return samples[0]


def _members_in(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a part of a shard in memory, by name.

    The headers are those that `ShardWriter` writes, and the shard's sum was compared before; `tarfile` takes four times as long.
    """
    at = 0
    while at < len(data):
        header = data[at : at + HEADER]
        try:
            name, size = header[:100].rstrip(b"\0").decode(), int(header[124:135], 8)
        except ValueError:
            raise InputError(
                f"{path} has no member of a sample at byte {at} of one; fetch or build it again."
            ) from None
        content = data[at + HEADER : at + HEADER + size]
        if header[156:157] != tarfile.REGTYPE or len(content) != size:
            raise InputError(f"{path} is cut within {name!r}; fetch or build it again.")
        yield name, content
        at += HEADER + -(-size // HEADER) * HEADER


def _grouped(path: Path, members: Iterable[tuple[str, T]]) -> Iterator[tuple[str, dict[str, T]]]:
    """The members of one sample after the other, by what follows its key in their names."""
    seen: set[str] = set()
    key: str | None = None
    found: dict[str, T] = {}
    for name, content in members:
        stem, _, rest = name.partition(".")
        if stem != key:
            if key is not None:
                yield key, found
            if stem in seen:
                raise InputError(f"{path}: the members of {stem!r} do not stand together.")
            if not KEY.fullmatch(stem):
                raise InputError(f"{path}: {name!r} has no key of a-z, 0-9, _ and - (at most 80).")
            seen.add(stem)
            key, found = stem, {}
        if rest in found:
            raise InputError(f"{path}: {name!r} occurs twice.")
        found[rest] = content
    if key is not None:
        yield key, found


def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg():
                    raise InputError(f"{path}: {member.name!r} is not a plain file.")
                yield tar, member
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (tarfile.TarError, EOFError, OSError) as e:
        raise InputError(f"{path} is cut or damaged ({e}); fetch or build it again.") from None


def _content(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    try:
        file = tar.extractfile(member)
        data = file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError) as e:
        raise InputError(f"{path} is cut or damaged ({e}); fetch or build it again.") from None
    if len(data) != member.size:
        raise InputError(f"{path} is cut within {member.name!r}; fetch or build it again.")
    return data


def _sample(path: Path, key: str, members: dict[str, bytes]) -> Sample:
    found, extensions = {}, set()
    for rest, data in members.items():
        role, _, ext = rest.partition(".")
        if rest != "json":
            found[role] = data
            extensions.add(ext)
    complete = set(found) in (set(ROLES), set(PUBLIC_ROLES)) and len(found) == len(members) - 1
    if (
        not complete
        or "json" not in members
        or len(extensions) != 1
        or not extensions <= set(EXTENSIONS)
    ):
        raise InputError(
            f"{path}: sample {key!r} is not whole, it has {', '.join(sorted(members))}."
        )
    return Sample(key, found, extensions.pop(), _record(path, key, members["json"]))


def _record(path: Path, key: str, data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: the record of {key!r} is no JSON ({e}).") from None
    if not isinstance(record, dict) or record.get("id") != key:
        raise InputError(f"{path}: the record of {key!r} does not have that id.")
    return record
