"""Writing a shard whole or not at all, with bytes that depend on its samples alone."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lorweb_bench.data.shard_format import (
    Item,
    Sample,
    Sidecar,
    item_of,
    keys_digest,
    roles_of,
    shard_path,
)
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import EXTENSIONS, KEY, ROLES
from lorweb_bench.runtime.files import atomic_path, sha256_file, write_json


@dataclass
class ShardWriter:
    """Write one shard.

    The tar gets its name only when the block ends well, and then the sidecar follows. When the
    block raises, neither is there. A shard without samples leaves only a sidecar, which marks it
    as done.

    Args:
        folder: The dataset's folder.
        split: The split that the shard is of.
        index: The number of the shard in the split, from 0.

    Example:
        ```python
        with ShardWriter(folder, "train", 0) as shard:
            shard.add(key, {"a": (png, "png"), ...}, record)
        ```
    """

    folder: Path | str
    split: str
    index: int
    _items: list[Item] = field(default_factory=list, init=False)
    _keys: set[str] = field(default_factory=set, init=False)
    _credits: set[tuple[str, str]] = field(default_factory=set, init=False)
    _sources: set[str] = field(default_factory=set, init=False)
    _source_digests: dict[str, str] = field(default_factory=dict, init=False)
    _starts: list[int] = field(default_factory=lambda: [0], init=False)
    _sizes: Counter[str] = field(default_factory=Counter, init=False)
    _dropped: Counter[str] = field(default_factory=Counter, init=False)
    _extension: str | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.path = shard_path(self.folder, self.split, self.index)
        # From here on the shard is not whole.
        self.path.with_suffix(".json").unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self._atomic = atomic_path(self.path)
        self._temporary = self._atomic.__enter__()
        self._tar = tarfile.open(self._temporary, "w", format=tarfile.USTAR_FORMAT)
        return self

    def add(
        self, key: str, images: Mapping[str, tuple[bytes, str]], record: Mapping[str, Any]
    ) -> None:
        """Add one sample, of which every image is decoded.

        Args:
            key: A new key of `[a-z0-9_-]`.
            images: Encoded images by role, each with its extension. The roles are a, a_prime, b,
                but for a public view b_prime, and of further exemplars a_2, a_2_prime, a_3, …
            record: A JSON-able mapping with `id` = key.

        Raises:
            InputError: The key is not new or not well formed, an image does not decode, a size is
                not the record's, or extensions differ.
        """
        name = f"{self.path}: sample {key!r}"
        ext = self._check(name, key, images, record)
        encoded = {role: images[role][0] for role in roles_of(images)}
        sample = Sample(key, encoded, ext, dict(record))
        item = item_of(sample, name)
        for role, data in encoded.items():
            self._write(f"{key}.{role}.{ext}", data)
        text = json.dumps(sample.record, ensure_ascii=False, allow_nan=False)
        self._write(f"{key}.json", text.encode())
        self._note(item, record, ext)

    def note_sources(self, digests: Mapping[str, str]) -> None:
        """Note what photographs are compared by: the text of a `SourceDigest`, by name."""
        self._source_digests.update(digests)

    def drop(self, filter: str) -> None:
        """Count an item that was planned and did not pass `filter`."""
        self._dropped[filter] += 1

    def _check(
        self,
        name: str,
        key: str,
        images: Mapping[str, tuple[bytes, str]],
        record: Mapping[str, Any],
    ) -> str:
        """The extension of a sample's images; InputError where the sample is not well formed."""
        if not KEY.fullmatch(key) or key in self._keys or record.get("id") != key:
            raise InputError(
                f"{name}: a key is new, equals the record's id, "
                "and has only a-z, 0-9, _ and - (at most 80)."
            )
        if not roles_of(images):
            raise InputError(
                f"{name} has the images {', '.join(images)}; it needs {', '.join(ROLES)}, "
                "and further pairs as a_2, a_2_prime to a_8, a_8_prime."
            )
        extensions = {ext for _, ext in images.values()}
        extensions |= {self._extension} if self._extension else set()
        if len(extensions) != 1 or not extensions <= set(EXTENSIONS):
            raise InputError(
                f"{name} mixes image extensions or has one that is not {', '.join(EXTENSIONS)}: "
                f"{sorted(extensions)}."
            )
        return extensions.pop()

    def _note(self, item: Item, record: Mapping[str, Any], ext: str) -> None:
        """What the sidecar will say of a sample that was written."""
        self._items.append(item)
        self._keys.add(item.key)
        credit = (record.get("licence", ""), record.get("attribution", ""))
        self._credits |= {credit} - {("", "")}
        sources = {record.get("a_source", ""), record.get("b_source", "")}
        self._sources |= (sources | set(record.get("further_sources") or ())) - {""}
        self._extension = ext
        self._starts.append(self._tar.offset)
        self._sizes[f"{record['width']}x{record['height']}"] += 1

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
            sidecar = self._sidecar(digest, size)
            write_json(self.path.with_suffix(".json"), sidecar.model_dump(mode="json"))

    def _sidecar(self, digest: str, size: int) -> Sidecar:
        return Sidecar(
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
            source_digests=dict(sorted(self._source_digests.items())),
            items=tuple(self._items),
        )
