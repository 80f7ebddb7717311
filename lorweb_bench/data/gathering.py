"""What a folder of finished shards amounts to, read from their sidecars one at a time: memory does not grow with the samples."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset_card import MAX_CREDITS
from lorweb_bench.data.manifest import public_line, target_line
from lorweb_bench.data.shards import Sidecar, read_sidecar
from lorweb_bench.data.sorting import sorted_lines
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SPLITS
from lorweb_bench.runtime.files import is_temporary
from lorweb_bench.runtime.progress import track


@dataclass
class Gathered:
    """The shards by split as the manifest lists them, counts of what was dropped, credits, and the digests of all samples."""

    folder: Path
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    credits: set[tuple[str, str]] = field(default_factory=set)
    extensions: dict[str | None, Path] = field(default_factory=dict)  # with the first shard of each
    public: Any = field(default_factory=hashlib.sha256)
    targets: Any = field(default_factory=hashlib.sha256)

    def credit(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add pairs of licence and attribution; beyond as many as a card lists, of each licence one is enough."""
        for licence, by in pairs:
            if len(self.credits) <= MAX_CREDITS or licence not in {
                known for known, _ in self.credits
            }:
                self.credits.add((licence, by))


def gather(folder: Path) -> Gathered:
    """Read all sidecars under a folder, and clear away what killed processes left beside them.

    InputError when a shard is not whole, a key occurs twice, image extensions differ, or there is no sample.
    """
    found, before = Gathered(folder), ""
    for line in sorted_lines(_lines(found)):
        public, target, shard = line.split("\t")
        key = public.partition(" ")[0]
        if key == before:
            raise InputError(
                f"{folder / shard}: the key {key!r} occurs twice in {folder}; keys are unique across splits."
            )
        before = key
        found.public.update(public.encode() + b"\n")
        found.targets.update(target.encode() + b"\n")
    if not before:
        why = ", ".join(
            f"{count} items did not pass {name}" for name, count in sorted(found.dropped.items())
        )
        raise InputError(
            f"{folder} would be an empty dataset: no sample was written{f' ({why})' if why else ''}."
        )
    if len(found.extensions) > 1:
        mixed = ", ".join(f"{ext} in {shard}" for ext, shard in found.extensions.items())
        raise InputError(f"{folder} mixes image extensions: {mixed}.")
    return found


def _lines(found: Gathered) -> Iterator[str]:
    """A line for every sample; the rest of the sidecars goes into `found`."""
    for split in SPLITS:
        for stale in filter(is_temporary, (found.folder / split).glob(".*")):
            stale.unlink(missing_ok=True)  # every shard is whole now
        sidecars = sorted((found.folder / split).glob("[0-9]*.json"))
        for path in track(sidecars, len(sidecars), f"reading sidecars of {split}"):
            sidecar, shard = _whole(path.with_suffix(".tar")), f"{split}/{path.stem}.tar"
            found.dropped.update(sidecar.dropped)
            if not sidecar.samples:
                continue
            entry = found.splits.setdefault(split, {"samples": 0, "shards": []})
            entry["samples"] += sidecar.samples
            entry["shards"].append(
                {
                    "path": shard,
                    "sha256": sidecar.sha256,
                    "samples": sidecar.samples,
                    "bytes": sidecar.bytes,
                }
            )
            found.credit(sidecar.credits)
            found.extensions.setdefault(sidecar.extension, found.folder / shard)
            yield from (
                f"{public_line(item)}\t{target_line(item)}\t{shard}" for item in sidecar.items
            )


def _whole(shard: Path) -> Sidecar:
    sidecar = read_sidecar(shard)
    if sidecar.samples and (not shard.is_file() or shard.stat().st_size != sidecar.bytes):
        raise InputError(f"{shard} is not what its sidecar says; delete both and build again.")
    return sidecar
