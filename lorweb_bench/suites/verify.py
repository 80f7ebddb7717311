"""Verifying a dataset: each byte against the manifest, each image decoded, each label checked."""

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lorweb_bench.data import images
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import Manifest, ShardEntry, fingerprint_of, targets_fingerprint_of
from lorweb_bench.data.parquet_view import check_view, has_view
from lorweb_bench.data.samples import Record
from lorweb_bench.data.shard_format import (
    Item,
    Sample,
    check_record,
    item_of,
    keys_digest,
    read_sidecar,
    shown_roles,
)
from lorweb_bench.data.shard_reader import read_shard, scan_index
from lorweb_bench.data.transformation_library import TransformationLibrary, load_library
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import FURTHER_PAIRS, SEEN_TIERS, SUITE_SPLITS, TIERS_OF_SPLIT
from lorweb_bench.runtime.workers import run_pieces
from lorweb_bench.suites.base_check import check_base

UNPINNED_LEVELS = 2  # other vector instructions move OpenCV by a level or two


IN_TASK = ": "  # between a task and a photograph


@dataclass
class Checked:
    """What was found in one shard, or in a whole dataset.

    Attributes:
        problems: Sentences; where there is none, all of it holds.
        items: The digests of the samples.
        extensions: The extensions of the images.
        a_sources: The photographs and scenes behind the a; without answers, by task.
        b_sources: The photographs and scenes behind the b.
        credits: Pairs of a licence and an attribution.
        bytes: The size of the shards.
        rerun: Images compared with what the transformation library makes today.
        unpinned: How many of these differ, by no more than `UNPINNED_LEVELS`.
        not_rerun: Why no transformation was run again, as the end of a sentence, or empty.
        base: What the declared base was asked, in a sentence; empty where none is declared.
    """

    problems: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    extensions: set[str] = field(default_factory=set)
    a_sources: set[str] = field(default_factory=set)
    b_sources: set[str] = field(default_factory=set)
    credits: set[tuple[str, str]] = field(default_factory=set)
    bytes: int = 0
    rerun: int = 0
    unpinned: int = 0
    not_rerun: str = ""
    base: str = ""


def verify(path: Path | str, workers: int = 1, rerun: bool | None = None) -> Checked:
    """Check a dataset in full, and give every problem found.

    Args:
        path: The dataset's folder.
        workers: Processes that check shards.
        rerun: Whether deterministic transformations are run again on a and b and compared with
            a_prime and b_prime; by default for lossless suites whose library is installed.
            Differences of up to 2 levels of 255 count as an unpinned build, larger ones as
            problems.

    Raises:
        InputError: There is no dataset to check.
    """
    dataset = open_dataset(path)
    why_not = _why_not_rerun(dataset, rerun)
    rerun = not why_not
    pieces = [
        (split, index)
        for split in dataset.splits
        for index in range(len(dataset.split(split).shards))
    ]
    _opened.cache_clear()  # another dataset may have been there before
    result = Checked()
    function = functools.partial(_check_shard, str(path), rerun)
    for checked in run_pieces(function, pieces, workers, describe="verifying shards"):
        _merge(result, checked)
    _check_whole(dataset, result)
    result.not_rerun = why_not
    if rerun and not result.rerun:
        result.not_rerun = "none of its transformations gives the same on every run"
        if result.extensions == {"jpg"}:
            result.not_rerun = "jpg files do not hold the pixels that a transformation gave"
    return result


def _merge(result: Checked, part: Checked) -> None:
    for name, value in vars(part).items():
        if isinstance(value, list):
            getattr(result, name).extend(value)
        elif isinstance(value, set):
            getattr(result, name).update(value)
        else:
            setattr(result, name, getattr(result, name) + value)


def _why_not_rerun(dataset: Dataset, wanted: bool | None) -> str:
    """Why transformations are not run again, the end of a sentence; empty where they are."""
    if wanted:
        return ""
    if wanted is False:
        return "--no-rerun was given"
    if dataset.public:
        return "a public view does not say what they are"
    if dataset.manifest.transformation_library is None:
        return "its pairs were edited elsewhere"
    if SUITE_SPLITS[-1] not in dataset.splits:
        return "it is training data; --rerun runs them"
    try:
        dataset.library()
    except InputError as e:
        return str(e).rstrip(".")
    return ""


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> Dataset:
    # `_check_shard` compares the sums itself, so that it looks into a damaged shard too.
    return open_dataset(path, check=False)


def _check_shard(path: str, rerun: bool, piece: tuple[str, int]) -> Checked:
    dataset = _opened(path)
    split, index = piece
    entry = dataset.split(split).shards[index]
    shard, checked = dataset.path / entry.path, Checked(bytes=entry.bytes)
    try:
        open_dataset(path).check_shard(entry)
    except InputError as e:
        checked.problems.append(str(e))
    if not shard.is_file():
        return checked
    library = load_library(dataset.manifest.transformation_library) if rerun else None
    sizes: Counter[str] = Counter()
    try:
        for sample in read_shard(shard):
            sizes[f"{sample.record.get('width')}x{sample.record.get('height')}"] += 1
            try:
                checked.items.append(_check_sample(dataset, split, sample, checked, library))
            except InputError as e:
                checked.problems.append(str(e))
    except InputError as e:
        checked.problems.append(str(e))
        return checked
    if len(checked.items) != entry.samples and not checked.problems:
        checked.problems.append(
            f"{shard} holds {len(checked.items)} samples, the manifest says {entry.samples}."
        )
    checked.problems += _sidecar_problems(shard, entry, checked, sizes)
    return checked


def _sidecar_problems(
    shard: Path, entry: ShardEntry, checked: Checked, sizes: Counter[str]
) -> list[str]:
    try:
        sidecar = read_sidecar(shard)
    except InputError as e:
        return [str(e)]
    agrees = (sidecar.sha256, sidecar.samples, sidecar.bytes) == (
        entry.sha256,
        len(sidecar.items),
        entry.bytes,
    )
    agrees = agrees and sidecar.sizes in ({}, sizes)
    if not checked.problems:  # else the starts say nothing new
        agrees = agrees and sidecar.starts in ((), tuple(scan_index(shard).starts))
        agrees = (
            agrees
            and {sidecar.extension} == checked.extensions
            and set(sidecar.credits) == checked.credits
        )
        both = (checked.a_sources | checked.b_sources) - {""}
        names = {source.rpartition(IN_TASK)[2] for source in both}
        agrees = agrees and sidecar.sources in (None, tuple(sorted(names)))
    if not agrees or sidecar.keys != keys_digest(i.key for i in sidecar.items):
        return [f"{shard.with_suffix('.json')} does not agree with the manifest or with itself."]
    listed = {item.key: item for item in sidecar.items}
    wrong = [item.key for item in checked.items if listed.get(item.key) != item]
    return [f"{shard}: sample {key!r} is not what the sidecar says." for key in wrong]


def _check_sample(
    dataset: Dataset,
    split: str,
    sample: Sample,
    checked: Checked,
    library: TransformationLibrary | None,
) -> Item:
    name = f"{dataset.path}/{split}: sample {sample.key!r}"
    item = item_of(sample, name)
    if ("b_prime" in sample.images) != dataset.has_answers:
        raise InputError(f"{name} does not suit a {dataset.manifest.view} view.")
    checked.extensions.add(sample.ext)
    record = check_record(sample.record, name)
    checked.credits.update({(record.licence, record.attribution)} - {("", "")})
    if dataset.public:
        if extra := set(sample.record) - {"id", "width", "height", "prompt"}:
            checked.problems.append(
                f"{name}: the public view gives away {', '.join(sorted(extra))}."
            )
        return item
    # Without answers an a gives nothing away but of its own task.
    task = "" if dataset.has_answers else f"{record.transformation}{IN_TASK}"
    shown = (record.a_source, *(record.further_sources or ()))
    checked.a_sources |= {f"{task}{source}" for source in shown if source}
    checked.b_sources.add(f"{task}{record.b_source}" if record.b_source else "")
    checked.problems += [
        f"{name}: {problem}" for problem in label_problems(dataset.manifest, split, record)
    ]
    info = dataset.manifest.transformations.get(record.transformation)
    if (
        library is not None
        and info is not None
        and info.deterministic
        and sample.ext in ("png", "webp")
    ):
        _rerun(library, info.spec, sample, name, checked)
    return item


def label_problems(manifest: Manifest, split: str, record: Record) -> list[str]:
    """What in a full view's record does not agree with the manifest or the protocol."""
    info = manifest.transformations.get(record.transformation)
    if info is None:
        return [f"the manifest does not list its transformation {record.transformation!r}"]
    problems = []
    if (record.family, record.kind) != (info.family, info.kind):
        problems.append("its family or kind is not the manifest's")
    if record.tier != info.tier:
        problems.append(f"its tier is {record.tier}, the manifest's {info.tier}")
    if record.tier not in TIERS_OF_SPLIT.get(split, SEEN_TIERS):
        problems.append(f"tier {record.tier} does not belong in the split {split}")
    if record.candidates is not None:
        unknown = set(record.candidates) - set(manifest.transformations)
        if unknown:
            problems.append(f"the manifest does not list the candidate {min(unknown)!r}")
        if record.transformation not in record.candidates or len(set(record.candidates)) != len(
            record.candidates
        ):
            problems.append("its candidates are not distinct with the truth among them")
    return problems


def _rerun(
    library: TransformationLibrary,
    spec: dict[str, object],
    sample: Sample,
    name: str,
    checked: Checked,
) -> None:
    further = [pair for pair in FURTHER_PAIRS if pair[0] in sample.images]
    for before, after in (("a", "a_prime"), ("b", "b_prime"), *further):
        expected = library.apply(spec, images.decode_array(sample.images[before], name))
        actual = images.decode_array(sample.images[after], name)
        same_size = expected.shape == actual.shape
        levels = int(np.abs(expected.astype(np.int16) - actual).max()) if same_size else 255
        checked.rerun += 1
        checked.unpinned += 0 < levels <= UNPINNED_LEVELS
        if levels > UNPINNED_LEVELS:
            checked.problems.append(
                f"{name}: {after} is up to {levels} levels from its transformation of {before}."
            )


def _check_whole(dataset: Dataset, checked: Checked) -> None:
    manifest, problems = dataset.manifest, checked.problems
    keys = Counter(item.key for item in checked.items)
    twice = [key for key, count in keys.items() if count > 1]
    problems += [f"{dataset.path}: the key {key!r} occurs twice." for key in twice]
    listed = {entry.path for split in manifest.splits.values() for entry in split.shards}
    there = {str(tar.relative_to(dataset.path)) for tar in dataset.path.rglob("*.tar")}
    problems += [
        f"{dataset.path / path} is not in the manifest." for path in sorted(there - listed)
    ]
    for split, info in manifest.splits.items():
        if info.samples != sum(entry.samples for entry in info.shards):
            problems.append(
                f"{dataset.path}: the split {split} does not have the samples of its shards."
            )
    if len(checked.extensions) > 1:
        problems.append(
            f"{dataset.path} mixes image extensions: {', '.join(sorted(checked.extensions))}."
        )
    if SUITE_SPLITS[-1] in dataset.splits:  # seen is there where something was trained on
        problems += suite_problems(
            dataset, checked.items, checked.a_sources & checked.b_sources - {""}
        )
    base_problems, checked.base = check_base(manifest)
    problems += [f"{dataset.path}: {problem}." for problem in base_problems]
    if dataset.public and (
        manifest.recipe
        or manifest.transformations
        or manifest.targets_fingerprint
        or manifest.tiers_relative_to
    ):
        problems.append(
            f"{dataset.path}: the public view's manifest gives away how the suite was made."
        )
    if problems:
        return  # a fingerprint over samples that are not whole says nothing new
    if has_view(dataset):
        try:
            check_view(dataset)
        except InputError as error:
            problems.append(str(error))
    if fingerprint_of(checked.items) != manifest.fingerprint:
        problems.append(f"{dataset.path}: the fingerprint is not the manifest's.")
    if (
        not dataset.public
        and targets_fingerprint_of(checked.items, manifest) != manifest.targets_fingerprint
    ):
        problems.append(f"{dataset.path}: the fingerprint of the targets is not the manifest's.")


def suite_problems(dataset: Dataset, items: Iterable[Item], both: set[str]) -> list[str]:
    """Where a suite would give an answer away.

    Args:
        dataset: The suite.
        items: The digests of its samples.
        both: The photographs that are used as an a and as a b.
    """
    items = list(items)
    problems = [
        f"{dataset.path}: {source!r} is the source of an a and of a b." for source in sorted(both)
    ]
    if not dataset.has_answers and not dataset.public:
        return problems
    first = {item.pixels["a"]: item.key for item in items}
    problems += [
        f"{dataset.path}: the b of {i.key!r} is the a of {first[i.pixels['b']]!r}."
        for i in items
        if i.pixels["b"] in first
    ]
    shown_in: dict[str, str] = {}
    for item in items:
        shown_in |= {item.pixels[role]: item.key for role in shown_roles(item.pixels)}
    problems += [
        f"{dataset.path}: the answer of {item.key!r} is shown in "
        f"{shown_in[item.pixels['b_prime']]!r}."
        for item in items
        if item.pixels["b_prime"] in shown_in
    ]
    return problems
