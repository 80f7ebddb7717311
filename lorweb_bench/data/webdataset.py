"""Reading shards with `webdataset`'s own pipelines, as strictly as with this package's reader.

`shard_urls` lists the addresses of a dataset's shards, wherever they lie. `decode` refuses a sample
that is not whole. `read_shards`, in place of webdataset's own reader, also notices a shard that
lacks whole samples, because it compares its sum.
"""

import contextlib
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from lorweb_bench.data.images import decode_array
from lorweb_bench.data.manifest import MANIFEST, Manifest, read_manifest
from lorweb_bench.data.shard_format import Sidecar, check_record
from lorweb_bench.data.shard_reader import read_stream, sample_of_members
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.runtime.hub import fetch_file, is_hub_name, parse_name

TIMEOUT = 60.0  # seconds that a server may take to begin an answer
WEB = ("http://", "https://")


def shard_urls(dataset: Path | str, split: str = "train") -> list[str]:
    """The addresses of a split's shards, in order, for `webdataset` to read where they lie.

    Args:
        dataset: A dataset's folder; its address, `https://example.org/photos`; or its name on the
            hub, `hub:owner/name@revision`.
        split: The name of the split.

    Returns:
        Paths or addresses that `webdataset` opens. On the hub they name the commit that the
        revision stands for now, so that all nodes read the same files; `hf:` addresses, which
        `webdataset` opens with the token, where there is one.

    Raises:
        InputError: There is no dataset, or it has no such split.
    """
    manifest, place, end = _find_manifest(str(dataset))
    if split not in manifest.splits:
        raise InputError(f"{dataset} has no split {split!r}; it has {', '.join(manifest.splits)}.")
    return [f"{place}/{entry.path}{end}" for entry in manifest.splits[split].shards]


def _find_manifest(dataset: str) -> tuple[Manifest, str, str]:
    """A dataset's manifest, and what stands before and after a shard's path in its address."""
    if is_hub_name(dataset):
        repository = parse_name(dataset)
        file, commit = fetch_file(repository, "dataset", MANIFEST)
        from huggingface_hub import constants, get_token

        if get_token():
            place = f"hf://datasets/{repository.name}@{commit}"
        else:
            place = f"{constants.ENDPOINT}/datasets/{repository.name}/resolve/{commit}"
        return read_manifest(file.parent), place, ""
    if not dataset.startswith(WEB):
        return read_manifest(dataset), dataset, ""
    place, mark, query = dataset.partition("?")  # a signed address keeps what signs it
    place, end = place.rstrip("/"), mark + query
    try:
        with urllib.request.urlopen(f"{place}/{MANIFEST}{end}", timeout=TIMEOUT) as answer:
            manifest = Manifest.model_validate_json(answer.read())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{place}/{MANIFEST} is no manifest that can be read "
            f"({_reason(error)}); give the address of a dataset's folder."
        ) from None
    return manifest, place, end


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_error(error)
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


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
            wds.SimpleShardList(lb.shard_urls("https://example.org/photos", "train")),
            wds.split_by_node,
            wds.split_by_worker,
            lb.read_shards,
            wds.map(lb.decode),
        )
        ```
    """
    for source in sources:
        url = str(source["url"]) if isinstance(source, Mapping) else source
        with _opened(_sidecar_url(url)) as file:
            sidecar = _parse_sidecar(file.read(), url)
        with _opened(url) as file:
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


@contextlib.contextmanager
def _opened(url: str) -> Iterator[IO[bytes]]:
    """What `webdataset` opens at an address; InputError where it cannot, or stops early."""
    from webdataset.gopen import gopen

    try:
        with gopen(url) as file:
            yield file
    except (OSError, EOFError) as error:
        raise InputError(
            f"{url} cannot be read ({_reason(error)}); look at the address, and try again."
        ) from None


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
