"""Reading a shard strictly, never half a sample; without torch and without webdataset."""

import json
import tarfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from lorweb_bench.data.shard_format import Sample, Sidecar, check_record, roles_of
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import EXTENSIONS, KEY

T = TypeVar("T")
BLOCK = 512  # bytes of a header in a tar, and of the blocks that contents are filled up to


@dataclass(frozen=True)
class ShardIndex:
    """Where the samples of a shard lie, and how large their panels are.

    Attributes:
        starts: The byte at which each sample begins, and the byte at which the last one ends.
        sizes: Each sample's (width, height) in pixels.
    """

    starts: Sequence[int]
    sizes: Sequence[tuple[int, int]]


def read_shard(path: Path | str) -> Iterator[Sample]:
    """Read a shard's samples in order.

    A sample is handed out only when all of its members were read and stand together: its images
    and the record.

    Raises:
        InputError: It names the shard and the first thing that is not whole and well named.
    """
    yield from _samples(Path(path), None)


def read_stream(file: IO[bytes], name: str) -> Iterator[Sample]:
    """Read a shard's samples in order from a file that cannot seek, such as an answer over http.

    Args:
        file: The tar, from its beginning.
        name: What errors call it.

    Raises:
        InputError: As `read_shard`.
    """
    yield from _samples(Path(name), file)


def _samples(path: Path, file: IO[bytes] | None) -> Iterator[Sample]:
    members = ((member.name, _content(path, tar, member)) for tar, member in _members(path, file))
    for key, contents in _by_sample(path, members):
        yield sample_of_members(path, key, contents)


def index_of(sidecar: Sidecar) -> ShardIndex | None:
    """The index that a sidecar states; None where it has none, or panels of several sizes."""
    if len(sidecar.starts) != sidecar.samples + 1 or len(sidecar.sizes) != 1:
        return None
    width, _, height = next(iter(sidecar.sizes)).partition("x")
    return ShardIndex(array("q", sidecar.starts), ((int(width), int(height)),) * sidecar.samples)


def scan_index(path: Path | str) -> ShardIndex:
    """The index of a shard, from its headers and records; no image is read.

    Raises:
        InputError: As `read_shard`, as far as headers and records show it.
    """
    path = Path(path)
    starts: list[int] = []
    sizes: list[tuple[int, int]] = []
    end = 0
    shared: dict[tuple[int, int], tuple[int, int]] = {}  # of millions of sizes, one tuple each
    for key, members in _by_sample(path, _headers(path)):
        if "json" not in members:
            raise _not_whole(path, key, members)
        record = check_record(_record(path, key, members["json"][1]), f"{path}: sample {key!r}")
        size = (record.width, record.height)
        sizes.append(shared.setdefault(size, size))
        starts.append(min(member.offset for member, _ in members.values()))
        end = max(member.offset_data + _filled(member.size) for member, _ in members.values())
    return ShardIndex(array("q", [*starts, end]) if starts else (), tuple(sizes))


def read_sample(path: Path | str, index: ShardIndex, number: int) -> Sample:
    """Read one sample of a shard, by its number; InputError as `read_shard`."""
    path = Path(path)
    start, end = index.starts[number : number + 2]
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
    except OSError as e:
        raise InputError(f"{path} cannot be read ({e}); fetch or build it again.") from None
    members = _members_in(path, data)
    samples = [
        sample_of_members(path, key, contents) for key, contents in _by_sample(path, members)
    ]
    if len(samples) != 1:
        raise InputError(
            f"{path}: no one sample stands from byte {start} to {end}; "
            "its sidecar is that of another shard."
        )
    return samples[0]


def _members_in(path: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    """The members of a part of a shard in memory, by name.

    The headers are those that `ShardWriter` writes, and the shard's sum was compared before;
    `tarfile` takes four times as long.
    """
    at = 0
    while at < len(data):
        header = data[at : at + BLOCK]
        try:
            name, size = header[:100].rstrip(b"\0").decode(), int(header[124:135], 8)
        except ValueError:
            raise InputError(
                f"{path} has no member of a sample at byte {at} of one; fetch or build it again."
            ) from None
        content = data[at + BLOCK : at + BLOCK + size]
        if header[156:157] != tarfile.REGTYPE or len(content) != size:
            raise InputError(f"{path} is cut within {name!r}; fetch or build it again.")
        yield name, content
        at += BLOCK + _filled(size)


def _filled(size: int) -> int:
    """The bytes that a content of `size` bytes takes in a tar."""
    return -(-size // BLOCK) * BLOCK


def _by_sample(path: Path, members: Iterable[tuple[str, T]]) -> Iterator[tuple[str, dict[str, T]]]:
    """The members of one sample after the other, by what follows its key in their names."""
    keys: set[str] = set()
    key: str | None = None
    of_key: dict[str, T] = {}
    for name, content in members:
        stem, _, rest = name.partition(".")
        if stem != key:
            if key is not None:
                yield key, of_key
            if stem in keys:
                raise InputError(f"{path}: the members of {stem!r} do not stand together.")
            if not KEY.fullmatch(stem):
                raise InputError(f"{path}: {name!r} has no key of a-z, 0-9, _ and - (at most 80).")
            keys.add(stem)
            key, of_key = stem, {}
        if rest in of_key:
            raise InputError(f"{path}: {name!r} occurs twice.")
        of_key[rest] = content
    if key is not None:
        yield key, of_key


def _headers(path: Path) -> Iterator[tuple[str, tuple[tarfile.TarInfo, bytes]]]:
    """Each member's name and header, and the content of records alone."""
    for tar, member in _members(path):
        record = member.name.endswith(".json")
        yield member.name, (member, _content(path, tar, member) if record else b"")


def _opened(path: Path, file: IO[bytes] | None) -> tarfile.TarFile:
    if file is None:
        return tarfile.open(path, "r:")
    return tarfile.open(None, "r|", file)


def _members(
    path: Path, file: IO[bytes] | None = None
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The members of a shard: of the file at a path, or of one that is open and cannot seek."""
    try:
        with _opened(path, file) as tar:
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


def sample_of_members(path: Path, key: str, members: dict[str, bytes]) -> Sample:
    """The sample that some members make: three or four images of one extension, and the record.

    Args:
        path: The shard, for errors.
        key: The sample's key.
        members: The bytes of each member by what follows the key in its name.

    Raises:
        InputError: A member is missing or is too much, or the record is not that of the key.
    """
    by_role: dict[str, bytes] = {}
    extensions: set[str] = set()
    for rest, data in members.items():
        role, _, ext = rest.partition(".")
        if rest != "json":
            by_role[role] = data
            extensions.add(ext)
    if (
        not roles_of(by_role)
        or "json" not in members
        or len(by_role) != len(members) - 1
        or len(extensions) != 1
        or not extensions <= set(EXTENSIONS)
    ):
        raise _not_whole(path, key, members)
    return Sample(key, by_role, extensions.pop(), _record(path, key, members["json"]))


def _not_whole(path: Path, key: str, members: Iterable[str]) -> InputError:
    return InputError(f"{path}: sample {key!r} is not whole, it has {', '.join(sorted(members))}.")


def _record(path: Path, key: str, data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise InputError(f"{path}: the record of {key!r} is no JSON ({e}).") from None
    if not isinstance(record, dict) or record.get("id") != key:
        raise InputError(f"{path}: the record of {key!r} does not have that id.")
    return record
