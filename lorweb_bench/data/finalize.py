"""The end of a build: `dataset.json` and the card, derived from the sidecars of the shards.

Sidecars are read one at a time and their samples are sorted on disk, so memory does not grow with
the number of samples.
"""

import hashlib
import heapq
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from lorweb_bench.data.benchmark_tasks import EVAL_FILE, eval_yaml
from lorweb_bench.data.croissant import CROISSANT, croissant
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.dataset_card import MAX_CREDITS, card
from lorweb_bench.data.manifest import (
    MANIFEST,
    Manifest,
    public_line,
    target_line,
    transformations_line,
)
from lorweb_bench.data.parquet_view import has_view, name_view
from lorweb_bench.data.shard_format import Sidecar, read_sidecar
from lorweb_bench.errors import InputError, first_error
from lorweb_bench.protocol import (
    CANARY,
    DATASET_FORMAT,
    FORMAT_VERSION,
    PUBLIC_SPLIT,
    SPLITS,
    SUITE_SPLITS,
)
from lorweb_bench.runtime.files import finish_output, is_temporary, write_atomic, write_json
from lorweb_bench.runtime.progress import track

SORTED_IN_MEMORY = 50_000  # lines


def finish_dataset(
    folder: Path | str, fields: Mapping[str, Any], credits: Iterable[tuple[str, str]] = ()
) -> Dataset:
    """Derive `dataset.json` and the card from the sidecars under a folder, and open the dataset.

    Args:
        folder: The folder that the shards were written to.
        fields: The manifest's own fields: name, version, view, recipe, transformations,
            transformation_library, tiers_relative_to, base, and left_out, to which the sidecars'
            counts are added.
        credits: Pairs of licence and attribution besides those of the records.

    Raises:
        InputError: A shard is not whole, a key occurs twice, image extensions differ, or there is
            no sample.
    """
    totals = _read_sidecars(Path(folder))
    totals.add_credits(credits)
    left_out = Counter(fields.get("left_out", {})) + totals.dropped
    draft = {
        "format": DATASET_FORMAT,
        "format_version": FORMAT_VERSION,
        **fields,
        "splits": totals.splits,
        "fingerprint": totals.public.hexdigest(),
    }
    if totals.exemplars != {1}:
        draft["exemplars"] = totals.exemplars.pop()
    if {*SUITE_SPLITS, PUBLIC_SPLIT} & set(totals.splits):
        draft["canary"] = CANARY
    if left_out:
        draft["left_out"] = dict(sorted(left_out.items()))
    path = totals.folder / MANIFEST
    try:
        manifest = Manifest.model_validate(draft)
    except ValidationError as e:
        raise InputError(f"{path}: {first_error(e)}.") from None
    if manifest.view == "full":
        totals.targets.update(transformations_line(manifest))
        manifest = manifest.model_copy(update={"targets_fingerprint": totals.targets.hexdigest()})
    write_atomic(totals.folder / "README.md", card(manifest, totals.credits))
    write_json(totals.folder / CROISSANT, croissant(manifest, totals.credits))
    if (benchmark := eval_yaml(manifest)) is not None:
        write_atomic(totals.folder / EVAL_FILE, benchmark)
    content = manifest.model_dump(mode="json", exclude_unset=manifest.view == "public")
    if manifest.canary is None:
        content.pop("canary", None)
    write_json(path, content)
    finish_output(totals.folder)
    dataset = Dataset(totals.folder, manifest)
    if has_view(dataset):
        name_view(dataset)
    return dataset


@dataclass
class _Totals:
    """What the sidecars of a folder amount to.

    Attributes:
        folder: The dataset's folder.
        splits: The shards by split, as the manifest lists them.
        dropped: Items that were planned and not written, by filter.
        credits: Pairs of licence and attribution.
        extensions: The first shard of each image extension.
        exemplars: How many pairs a sample shows; one number, or the samples differ.
        public: The digest of what a public view holds.
        targets: The digest of the answers and labels.
    """

    folder: Path
    splits: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    credits: set[tuple[str, str]] = field(default_factory=set)
    extensions: dict[str | None, Path] = field(default_factory=dict)
    exemplars: set[int] = field(default_factory=set)
    public: Any = field(default_factory=hashlib.sha256)
    targets: Any = field(default_factory=hashlib.sha256)

    def add_credits(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add credits; beyond as many as a card lists, one of each licence is enough."""
        for licence, attribution in pairs:
            licences = {other for other, _ in self.credits}
            if len(self.credits) <= MAX_CREDITS or licence not in licences:
                self.credits.add((licence, attribution))


def _read_sidecars(folder: Path) -> _Totals:
    """Read all sidecars under a folder, and clear away what killed processes left beside them."""
    totals, before = _Totals(folder), ""
    for line in sorted_lines(_lines(totals)):
        public, target, shard = line.split("\t")
        key, *pixels = public.split(" ")
        totals.exemplars.add(len(pixels) // 2)
        if key == before:
            raise InputError(
                f"{folder / shard}: the key {key!r} occurs twice in {folder}; "
                "keys are unique across splits."
            )
        before = key
        totals.public.update(public.encode() + b"\n")
        totals.targets.update(target.encode() + b"\n")
    if not before:
        dropped = sorted(totals.dropped.items())
        why = ", ".join(f"{count} items did not pass {name}" for name, count in dropped)
        raise InputError(
            f"{folder} would be an empty dataset: "
            f"no sample was written{f' ({why})' if why else ''}."
        )
    if len(totals.exemplars) > 1:
        numbers = ", ".join(map(str, sorted(totals.exemplars)))
        raise InputError(f"{folder} mixes samples of {numbers} exemplar pairs; all show as many.")
    if len(totals.extensions) > 1:
        mixed = ", ".join(f"{ext} in {shard}" for ext, shard in totals.extensions.items())
        raise InputError(f"{folder} mixes image extensions: {mixed}.")
    return totals


def _lines(totals: _Totals) -> Iterator[str]:
    """A line for every sample; what else the sidecars say goes into `totals`."""
    for split in SPLITS:
        folder = totals.folder / split
        for stale in filter(is_temporary, folder.glob(".*")):
            stale.unlink(missing_ok=True)  # every shard is whole now
        sidecars = sorted(folder.glob("[0-9]*.json"))
        for path in track(sidecars, len(sidecars), f"reading sidecars of {split}"):
            sidecar = _whole_sidecar(path.with_suffix(".tar"))
            totals.dropped.update(sidecar.dropped)
            if sidecar.samples:
                shard = f"{split}/{path.stem}.tar"
                _list_shard(totals, split, shard, sidecar)
                for item in sidecar.items:
                    yield f"{public_line(item)}\t{target_line(item)}\t{shard}"


def _list_shard(totals: _Totals, split: str, shard: str, sidecar: Sidecar) -> None:
    entry = {
        "path": shard,
        "sha256": sidecar.sha256,
        "samples": sidecar.samples,
        "bytes": sidecar.bytes,
    }
    listed = totals.splits.setdefault(split, {"samples": 0, "shards": []})
    listed["samples"] += sidecar.samples
    listed["shards"].append(entry)
    totals.add_credits(sidecar.credits)
    totals.extensions.setdefault(sidecar.extension, totals.folder / shard)


def _whole_sidecar(shard: Path) -> Sidecar:
    sidecar = read_sidecar(shard)
    if sidecar.samples and (not shard.is_file() or shard.stat().st_size != sidecar.bytes):
        raise InputError(f"{shard} is not what its sidecar says; delete both and build again.")
    return sidecar


def sorted_lines(lines: Iterable[str], in_memory: int = SORTED_IN_MEMORY) -> Iterator[str]:
    """Sort more lines than fit into memory: sorted runs in temporary files, merged.

    Args:
        lines: Lines without line breaks.
        in_memory: How many are sorted in memory at a time.

    >>> list(sorted_lines(["b", "a", "c"], in_memory=2))
    ['a', 'b', 'c']
    """
    with ExitStack() as stack:
        runs: list[Iterable[str]] = []
        held: list[str] = []
        for line in lines:
            held.append(line)
            if len(held) == in_memory:
                file = stack.enter_context(
                    tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")
                )
                runs.append(_sorted_run(file, held))
                held.clear()
        yield from heapq.merge(*runs, sorted(held))


def _sorted_run(file: IO[str], lines: Iterable[str]) -> Iterator[str]:
    """Write lines sorted to a file, and give them back from there one at a time."""
    file.writelines(f"{line}\n" for line in sorted(lines))
    file.seek(0)
    return (line[:-1] for line in file)
