"""Publishing a suite: its public view, which gives nothing away."""

import hashlib
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset import Dataset, open_dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.manifest import MANIFEST, fingerprint_of
from lorweb_bench.data.shard_format import Item, item_of, read_sidecar, shard_done
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import (
    DATASET_FORMAT,
    FURTHER_PAIRS,
    PUBLIC_ROLES,
    PUBLIC_SPLIT,
    PUBLISH_SALT,
)
from lorweb_bench.runtime.files import canonical_json, claim_output
from lorweb_bench.runtime.progress import track
from lorweb_bench.suites.verify import suite_problems

SHARD_SAMPLES = 1000
PUBLISHED = ("id", "width", "height", "instruction")  # the last as a prompt, where it is given
PUBLIC_PROMPTS = ("none", "instruction")


def publish(suite: Path | str, out: Path | str, prompt: str = "none") -> Dataset:
    """Write the public view of a suite and open it; its fingerprint is the suite's.

    The images are copied byte for byte, in an order by a hash of the key. Started again, it leaves
    shards that are whole as they are.

    Args:
        suite: The folder of a suite in its full view.
        out: The folder to write.
        prompt: "none", or "instruction" for a `prompt` that gives the transformation away.

    Raises:
        InputError: `suite` is no full view, an answer occurs among the images shown, or an a is a
            b elsewhere.
    """
    if prompt not in PUBLIC_PROMPTS:
        raise InputError(
            f"There is no prompt {prompt!r} to publish; there are {' and '.join(PUBLIC_PROMPTS)}."
        )
    dataset = open_suite(suite)
    if dataset.public:
        raise InputError(f"{suite} is a public view already; publish is for the full view.")
    public_records, items = _survey(dataset)
    if problems := suite_problems(dataset, items, set()):
        raise InputError(
            f"{problems[0].rstrip('.')}; a suite cannot be published so ({len(problems)} such)."
        )
    if fingerprint_of(items) != dataset.fingerprint:
        raise InputError(
            f"{suite} is not what its manifest says: the fingerprint differs; "
            "`lorweb-bench verify` tells more."
        )
    _claim(dataset, Path(out), prompt)
    order = sorted(
        public_records, key=lambda key: hashlib.sha256(f"{PUBLISH_SALT} {key}".encode()).digest()
    )
    shards = [order[start : start + SHARD_SAMPLES] for start in range(0, len(order), SHARD_SAMPLES)]
    for index, keys in enumerate(track(shards, len(shards), "writing shards")):
        if not shard_done(out, PUBLIC_SPLIT, index):
            _write(dataset, public_records, keys, Path(out), index, prompt)
    manifest = dataset.manifest
    fields: dict[str, Any] = {"name": manifest.name, "version": manifest.version, "view": "public"}
    if manifest.supersedes is not None:
        fields["supersedes"] = manifest.supersedes
    credits: set[tuple[str, str]] = set()
    for shard in {path for path, _ in public_records.values()}:
        credits.update(read_sidecar(shard).credits)
    return finish_dataset(out, fields, credits)


def _claim(dataset: Dataset, out: Path, prompt: str) -> None:
    if (out / MANIFEST).is_file():
        held = open_dataset(out)
        first = next(held.records(PUBLIC_SPLIT), None) if held.public else None
        prompted = first is not None and first.prompt is not None
        ours = (dataset.name, dataset.version, dataset.fingerprint, prompt == "instruction")
        if first is None or (held.name, held.version, held.fingerprint, prompted) != ours:
            raise InputError(
                f"{out} holds another dataset; choose an empty or a new folder with -o."
            )
    claimed = {
        "fingerprint": dataset.fingerprint,
        "prompt": prompt,
        "name": dataset.name,
        "version": dataset.version,
    }
    claim_output(out, DATASET_FORMAT, hashlib.sha256(canonical_json(claimed).encode()).hexdigest())


def _survey(dataset: Dataset) -> tuple[dict[str, tuple[Path, dict[str, Any]]], list[Item]]:
    """Where each key's sample lies, with its public record; and every sample's digests."""
    public_records: dict[str, tuple[Path, dict[str, Any]]] = {}
    items = []
    entries = [
        (split, index, entry)
        for split in dataset.scored_splits
        for index, entry in enumerate(dataset.split(split).shards)
    ]

    def samples() -> Iterator[Any]:
        for split, index, entry in entries:
            for sample in dataset.samples(split, [index]):
                yield dataset.path / entry.path, sample

    total = sum(entry.samples for _, _, entry in entries)
    for path, sample in track(samples(), total, "checking samples"):
        items.append(item_of(sample, f"{path}: sample {sample.key!r}"))
        record = {name: sample.record[name] for name in PUBLISHED if name in sample.record}
        public_records[sample.key] = (path, record)
    return public_records, items


def _write(
    dataset: Dataset,
    public_records: dict[str, tuple[Path, dict[str, Any]]],
    keys: list[str],
    out: Path,
    index: int,
    prompt: str,
) -> None:
    with ExitStack() as stack, ShardWriter(out, PUBLIC_SPLIT, index) as shard:
        tars: dict[Path, tarfile.TarFile] = {}
        names: dict[Path, dict[str, tarfile.TarInfo]] = {}
        for path in {public_records[key][0] for key in keys}:
            tars[path] = stack.enter_context(tarfile.open(path, "r:"))
            members = tars[path].getmembers()
            names[path] = {member.name.rpartition(".")[0]: member for member in members}
        further = FURTHER_PAIRS[: dataset.manifest.exemplars - 1]
        roles = [*PUBLIC_ROLES, *chain.from_iterable(further)]
        for key in keys:
            path, record = public_records[key]
            encoded = {}
            for role in roles:
                member = names[path][f"{key}.{role}"]
                file = tars[path].extractfile(member)
                assert file is not None  # a regular file: the survey read it
                encoded[role] = (file.read(), member.name.rpartition(".")[2])
            public = {name: record[name] for name in ("id", "width", "height")}
            if prompt == "instruction":
                public["prompt"] = record["instruction"]
            shard.add(key, encoded, public)
