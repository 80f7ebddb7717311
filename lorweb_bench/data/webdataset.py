"""Reading shards with `webdataset`'s own pipelines, as strictly as with this package's reader.

`decode` refuses a sample that is not whole. `read_shards`, in place of webdataset's own reader,
also notices a shard that lacks whole samples, because it compares its sum.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from lorweb_bench.data.images import decode_array
from lorweb_bench.data.shard_format import Sidecar, check_record
from lorweb_bench.data.shard_reader import read_stream, sample_of_members
from lorweb_bench.errors import InputError, first_error


def read_shards(sources: Iterable[Mapping[str, Any] | str]) -> Iterator[dict[str, Any]]:
    """Read shards as a stage of a `webdataset` pipeline, and compare each with its sidecar.

    Shards are opened by `webdataset`, so an address may be a path, `http:`, or `pipe:` with a
    command. The sidecar is looked for beside the shard. Samples are handed on as they come; the sum
    of a shard is known at its end.

    Args:
        sources: Addresses of shards, as webdataset's lists of shards give them.

    Raises:
        InputError: A sample is not whole; or, at its end, a shard's sha256 is not its sidecar's.

    Example:
        ```python
        pipeline = wds.DataPipeline(
            wds.SimpleShardList("https://example.org/photos/train/{000000..000009}.tar"),
            wds.split_by_node,
            wds.split_by_worker,
            lb.read_shards,
            wds.map(lb.decode),
        )
        ```
    """
    from webdataset.gopen import gopen

    for source in sources:
        url = str(source["url"]) if isinstance(source, Mapping) else source
        with gopen(_sidecar_url(url)) as file:
            sidecar = _parse_sidecar(file.read(), url)
        with gopen(url) as file:
            stream = _Summed(file)
            for sample in read_stream(stream, url):  # type: ignore[arg-type]
                members = {f"{role}.{sample.ext}": data for role, data in sample.images.items()}
                record = json.dumps(sample.record).encode()
                yield {"__key__": sample.key, "__url__": url, **members, "json": record}
            stream.read_to_end()
        if stream.digest.hexdigest() != sidecar.sha256:
            raise InputError(
                f"{url} is cut or damaged: its sha256 is not its sidecar's; fetch it again."
            )


class _Summed:
    """A file that is read once, and the digest of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, and add them to the digest."""
        data = self.file.read(size)
        self.digest.update(data)
        return data

    def read_to_end(self) -> None:
        """Read what remains, so that the digest is of the whole file."""
        while self.read(1 << 20):
            pass


def _sidecar_url(url: str) -> str:
    """The address of a shard's sidecar.

    >>> _sidecar_url("pipe:curl -s https://example.org/train/000000.tar")
    'pipe:curl -s https://example.org/train/000000.json'
    """
    before, dot, after = url.rpartition(".tar")
    if not dot:
        raise InputError(f"{url} is no address of a shard: it has no .tar in it.")
    return f"{before}.json{after}"


def _parse_sidecar(data: bytes, url: str) -> Sidecar:
    try:
        return Sidecar.model_validate_json(data)
    except ValidationError as e:
        raise InputError(f"The sidecar of {url} is none ({first_error(e)}).") from None


def decode(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Decode a raw sample of a `webdataset` pipeline, and refuse one that is not whole.

    Args:
        sample: What `webdataset` reads from a shard before any decoding: `__key__`, and the bytes
            of each member by what follows the key in its name.

    Returns:
        `__key__`; `a`, `a_prime`, `b` and, but for a public view, `b_prime` as uint8 arrays
        H x W x 3; and `record`, the labels as a `Record`.

    Raises:
        InputError: A member is missing or is too much, an image is damaged, or its size is not the
            record's. Without a handler of your own `webdataset` hands the error on, so that a
            training stops at the first half sample.

    Example:
        ```python
        import webdataset as wds
        import lorweb_bench as lb

        samples = wds.WebDataset("photos-train/train/{000000..000009}.tar").map(lb.decode)
        ```
    """
    key = str(sample.get("__key__", ""))
    shard = Path(str(sample.get("__url__", "a shard")))
    members = {name: data for name, data in sample.items() if not name.startswith("__")}
    if decoded := [name for name, data in members.items() if not isinstance(data, bytes)]:
        raise InputError(
            f"{shard}: {decoded[0]!r} of sample {key!r} was decoded already; "
            "map lorweb_bench.decode right after WebDataset(...), before any decode()."
        )
    whole = sample_of_members(shard, key, members)
    name = f"{shard}: sample {key!r}"
    record = check_record(whole.record, name)
    if ("b_prime" in whole.images) != bool(record.transformation):  # a public view has neither
        raise InputError(f"{name} is not whole: it has an answer or a label without the other.")
    result: dict[str, Any] = {"__key__": key, "record": record}
    for role, data in whole.images.items():
        result[role] = decode_array(data, f"{name} {role}")
        if result[role].shape[:2] != (record.height, record.width):
            size = f"{record.width}x{record.height}"
            raise InputError(f"{name}: {role} is not {size} pixels, as its record says.")
    return result
