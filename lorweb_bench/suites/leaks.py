"""Leaks: what a training dataset shares with a suite that calls it new."""

import functools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lorweb_bench.data import images
from lorweb_bench.data.composition import families_of, family_pairs
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import Manifest
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import NEW_FAMILY_TIERS, SEEN_TIERS, TIERS
from lorweb_bench.runtime.files import atomic_path, canonical_json
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.workers import run_pieces
from lorweb_bench.suites.near_duplicates import (
    NearDuplicateIndex,
    SourceDigest,
    SourceIndex,
    dhash,
    is_flat,
    thumbnail,
)


@dataclass(frozen=True)
class ImageSignature:
    """An image of a dataset, and what it is compared by.

    Attributes:
        key: The key of the first sample that it occurs in.
        role: Its role in that sample.
        pixels: Its pixel hash.
        dhash: Its difference hash.
        thumbnail: A uint8 array 16 x 16 x 3.
    """

    key: str
    role: str
    pixels: str
    dhash: int
    thumbnail: np.ndarray


@dataclass(frozen=True)
class ImagePair:
    """An image of the suite and the nearest one of the training data.

    `levels` is the RMSE of their thumbnails in levels of 255, 0 when the images are equal.
    """

    suite_key: str
    suite_role: str
    train_key: str
    train_role: str
    equal: bool
    levels: float


@dataclass(frozen=True)
class SourcePair:
    """A photograph of the suite and the near-equal one of the training data, or its mirror image.

    `levels` is the RMSE of their thumbnails in levels of 255.
    """

    suite: str
    train: str
    levels: float


@dataclass
class TierShare:
    """One tier, and what of it was trained on.

    Attributes:
        transformations: The tier's transformations.
        shared: Those of them that were trained on.
        families: Of new tiers, the families or pairs of families that were trained on.
    """

    transformations: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    families: set[str] = field(default_factory=set)


@dataclass
class SharedContent:
    """Everything that two datasets share.

    Attributes:
        tiers: What of each tier was trained on.
        sources: The photographs and scenes in both.
        like_sources: Near-equal photographs under different names.
        images: Equal and near-equal images.
        compared: How many images of each dataset were compared.
        flat: How many images of the suite have no content to compare.
        leaks: A sentence for each sort of leak.
        notes: What is worth knowing and is no leak.
    """

    tiers: dict[str, TierShare] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    like_sources: list[SourcePair] = field(default_factory=list)
    images: list[ImagePair] = field(default_factory=list)
    compared: tuple[int, int] = (0, 0)
    flat: int = 0
    leaks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_leaks(train: Path | str, suite: Path | str, workers: int = 1) -> SharedContent:
    """Find what a training dataset shares with a suite, or any dataset with another.

    Seen tiers share transformations on purpose; in unseen tiers that is a leak, as are shared
    photographs and images that are equal, or near-equal by a perceptual hash. Of a public view only
    the images can be compared.

    Args:
        train: The folder of the training dataset.
        suite: The folder of the suite.
        workers: Processes that read shards.

    Raises:
        InputError: One of the two is no dataset, or `train` is a public view.
    """
    training, scored = open_dataset(train), open_dataset(suite)
    if training.public:
        raise InputError(
            f"{train} is a public view; name the training dataset first, then the suite."
        )
    shared = SharedContent()
    if scored.public:
        shared.notes.append("a public view has no labels: only images were compared")
    else:
        _compare_labels(training, scored, shared)
        _compare_sources(training, scored, shared)
    trained_on = _signatures(training, training.splits, workers)
    of_suite = _signatures(scored, scored.splits, workers)
    shared.compared = (len(trained_on), len(of_suite))
    shared.flat = sum(is_flat(image.thumbnail) for image in of_suite)
    shared.images = like_images(trained_on, of_suite)
    if shared.images:
        equal = sum(pair.equal for pair in shared.images)
        near = len(shared.images) - equal
        shared.leaks.append(f"{equal} images are in the training data and {near} nearly so")
    return shared


def _compare_labels(training: Dataset, suite: Dataset, shared: SharedContent) -> None:
    trained: set[str] = set()
    train_sources: set[str] = set()
    for split in training.splits:
        for record in training.records(split):
            trained.add(record.transformation)
            train_sources |= record.sources
    by_tier: dict[str, set[str]] = defaultdict(set)
    sources: set[str] = set()
    for split in suite.splits:
        for record in suite.records(split):
            by_tier[record.tier or "no tier"].add(record.transformation)
            sources |= record.sources
    shared.tiers = share_by_tier(training.manifest, trained, suite.manifest, by_tier)
    shared.sources = sorted((sources & train_sources) - {""})
    for tier, share in shared.tiers.items():
        other = share.transformations - share.shared
        if tier in SEEN_TIERS and other:
            what = f"transformations of {tier} are not in this training data"
            shared.notes.append(_counted(other, what))
        elif tier not in SEEN_TIERS and share.shared:
            shared.leaks.append(_counted(share.shared, f"transformations of {tier} are trained on"))
        elif share.families:
            what = "pairs of families" if tier == "new_composition" else "families"
            shared.leaks.append(_counted(share.families, f"{what} of {tier} are trained on"))
    if shared.sources:
        shared.leaks.append(_counted(shared.sources, "photographs or scenes are trained on"))
    if suite.manifest.tiers_relative_to not in (None, training.fingerprint):
        shared.notes.append("the suite's tiers are relative to another training dataset")


def _counted(names: Collection[str], what: str) -> str:
    return f"{len(names)} {what}, {min(names)} for one"


def _compare_sources(training: Dataset, suite: Dataset, shared: SharedContent) -> None:
    """Find photographs of the suite that are near-equal to trained ones under another name."""
    trained, scored = _source_digests(training), _source_digests(suite)
    if not trained or not scored:
        shared.notes.append("no digests of whole photographs to compare: only panels were compared")
        return
    index = SourceIndex()
    for name, digest in trained.items():
        index.add(name, digest)
    for name, digest in scored.items():
        if name not in trained and (near := index.nearest(digest)) is not None:
            shared.like_sources.append(SourcePair(name, *near))
    shared.like_sources.sort(key=lambda pair: (pair.levels, pair.suite))
    if shared.like_sources:
        first = shared.like_sources[0]
        shared.leaks.append(
            f"{len(shared.like_sources)} photographs are near-equal to trained ones, "
            f"{first.suite} to {first.train} for one"
        )


def _source_digests(dataset: Dataset) -> dict[str, SourceDigest]:
    digests: dict[str, SourceDigest] = {}
    for split in dataset.splits:
        for name, text in dataset.source_digests(split).items():
            try:
                digests[name] = SourceDigest.from_text(text)
            except ValueError as e:
                raise InputError(
                    f"{dataset.path}: the digest of {name!r} in a sidecar of {split} is none "
                    f"({e}); build the dataset again."
                ) from None
    return digests


def share_by_tier(
    training: Manifest, trained: set[str], suite: Manifest, by_tier: Mapping[str, set[str]]
) -> dict[str, TierShare]:
    """What of each tier was trained on.

    Transformations are the same where their ids are, or their families and parameters.

    Args:
        training: The manifest of the training dataset.
        trained: The ids of the transformations that were trained on.
        suite: The manifest of the suite.
        by_tier: The ids of the suite's transformations by tier.
    """
    specs = {_spec(training, name) for name in trained} - {""}
    families = _families(training, trained)
    single = {part for family in families for part in families_of(family)}
    pairs = {pair for family in families for pair in family_pairs(family)}
    shares = {}
    for tier in sorted(by_tier, key=lambda tier: (*TIERS, tier).index(tier)):
        names = by_tier[tier]
        share = TierShare(set(names))
        share.shared = {n for n in names if n in trained or _spec(suite, n) in specs}
        of_tier = _families(suite, names)
        if tier == "new_composition":
            share.families = {f for f in of_tier if family_pairs(f) & pairs}
        elif tier in NEW_FAMILY_TIERS:
            share.families = {f for f in of_tier if not single.isdisjoint(families_of(f))}
        shares[tier] = share
    return shares


def _families(manifest: Manifest, names: Iterable[str]) -> set[str]:
    listed = manifest.transformations
    return {listed[name].family for name in names if name in listed}


def _spec(manifest: Manifest, name: str) -> str:
    info = manifest.transformations.get(name)
    return canonical_json([info.family, info.parameters]) if info and info.parameters else ""


def _signatures(dataset: Dataset, splits: Iterable[str], workers: int) -> list[ImageSignature]:
    """The signature of each image of some splits, once however often it occurs."""
    pieces = [
        (split, index) for split in splits for index in range(len(dataset.split(split).shards))
    ]
    unique: dict[str, ImageSignature] = {}
    function = functools.partial(_signatures_in_shard, str(dataset.path))
    for part in run_pieces(function, pieces, workers, describe=f"reading {dataset.name}"):
        for image in part:
            unique.setdefault(image.pixels, image)
    return list(unique.values())


def _signatures_in_shard(path: str, piece: tuple[str, int]) -> list[ImageSignature]:
    dataset = open_dataset(path)
    split, index = piece
    decoded: set[bytes] = set()  # the same photograph is in many samples: decode it once
    unique: dict[str, ImageSignature] = {}
    for sample in dataset.samples(split, [index]):
        for role, data in sample.images.items():
            if data in decoded:
                continue
            decoded.add(data)
            image = images.decode_array(data, f"{path}: sample {sample.key!r} {role}")
            pixels = images.pixel_hash(image)
            signature = ImageSignature(sample.key, role, pixels, dhash(image), thumbnail(image))
            unique.setdefault(pixels, signature)
    return list(unique.values())


def like_images(
    train: Sequence[ImageSignature], suite: Sequence[ImageSignature]
) -> list[ImagePair]:
    """For each image of the suite the nearest training image, where it is equal or near-equal.

    Images without content are left out.
    """
    equal = {image.pixels: image for image in train}
    content = [image for image in train if not is_flat(image.thumbnail)]
    index = NearDuplicateIndex()
    for image in content:
        index.add(image.dhash, image.thumbnail)
    pairs = []
    for image in track(suite, len(suite), "comparing images"):
        if is_flat(image.thumbnail):
            continue
        if image.pixels in equal:
            other = equal[image.pixels]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, True, 0.0))
        elif (near := index.nearest(image.dhash, image.thumbnail)) is not None:
            other = content[near[0]]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, False, near[1]))
    return sorted(pairs, key=lambda pair: (not pair.equal, pair.levels, pair.suite_key))


def write_sheet(
    shared: SharedContent, train: Path | str, suite: Path | str, path: Path | str, limit: int = 40
) -> None:
    """Draw the pairs of like images, the suite's beside the training data's, to a PNG."""
    from lorweb_bench.reports.sheet import Row, Section, contact_sheet

    pairs = shared.images[:limit]
    suite_panels = _panels(open_dataset(suite), {(p.suite_key, p.suite_role) for p in pairs})
    right = _panels(open_dataset(train), {(p.train_key, p.train_role) for p in pairs})
    rows = []
    for p in pairs:
        panels = (suite_panels[p.suite_key, p.suite_role], right[p.train_key, p.train_role])
        how = "equal" if p.equal else f"{p.levels:.1f} levels"
        line = f"{p.suite_role} · {p.train_role} · {how}"
        rows.append(Row(panels, line, f"{p.suite_key} · {p.train_key}"))
    section = Section("suite beside training data", rows)
    subtitle = f"{len(pairs)} of {len(shared.images)}"
    sheet = contact_sheet("Like images", subtitle, [section], ("suite", "training"))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _panels(dataset: Dataset, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Image.Image]:
    keys = {key for key, _ in wanted}
    panels: dict[tuple[str, str], Image.Image] = {}
    for split in dataset.splits:
        for q in dataset.quadruplets(split, keys=keys):
            panels |= {(q.key, role): getattr(q, role) for key, role in wanted if key == q.key}
    return panels
