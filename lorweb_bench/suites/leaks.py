"""Leaks: what a training dataset shares with a suite that the suite says is new, or that gives its answers away."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lorweb_bench.data import images
from lorweb_bench.data.composition import families_of, family_pairs
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import Manifest
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SEEN_TIERS, TIERS
from lorweb_bench.runtime.files import atomic_path, canonical_json
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.workers import run_pieces
from lorweb_bench.suites.near_duplicates import (
    Known,
    KnownSources,
    SourceDigest,
    dhash,
    flat,
    thumbnail,
)


@dataclass(frozen=True)
class Seen:
    """An image of a dataset: where it stands (once, however often it occurs), and what it is compared by."""

    key: str
    role: str
    pixels: str
    dhash: int
    thumbnail: np.ndarray  # uint8 8 x 8 x 3


@dataclass(frozen=True)
class ImagePair:
    """An image of the suite and the nearest one of the training data; `levels` is the RMSE of thumbnails, 0 when equal."""

    suite_key: str
    suite_role: str
    train_key: str
    train_role: str
    equal: bool
    levels: float


@dataclass(frozen=True)
class SourcePair:
    """A photograph of the suite and the near-equal one of the training data, or its mirror image."""

    suite: str
    train: str
    levels: float  # the RMSE of the thumbnails


@dataclass
class TierShare:
    """One tier: its transformations, those of them trained on, and for new tiers the families or pairs trained on."""

    transformations: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    families: set[str] = field(default_factory=set)


@dataclass
class Found:
    """Everything shared. `leaks` are sentences, one for each sort of leak; `notes` are worth knowing, and no leak."""

    tiers: dict[str, TierShare] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    like_sources: list[SourcePair] = field(default_factory=list)
    images: list[ImagePair] = field(default_factory=list)
    compared: tuple[int, int] = (0, 0)
    flat: int = 0
    leaks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_leaks(train: Path | str, suite: Path | str, workers: int = 1) -> Found:
    """Compare a dataset with another: a training dataset with a suite or its public view (of which only the images can be compared),
    or any two with labels.

    Sharing transformations is what seen tiers are for; in unseen tiers it is a leak, as are shared photographs and images that
    are equal, or near-equal by a perceptual hash. InputError when `train` has no labels.
    """
    training, scored = open_dataset(train), open_dataset(suite)
    if training.public:
        raise InputError(
            f"{train} is a public view; name the training dataset first, then the suite."
        )
    found = Found()
    if scored.public:
        found.notes.append("a public view has no labels: only images were compared")
    else:
        _compare_labels(training, scored, found)
        _compare_sources(training, scored, found)
    there, here = _seen(training, training.splits, workers), _seen(scored, scored.splits, workers)
    found.compared, found.flat = (
        (len(there), len(here)),
        sum(flat(image.thumbnail) for image in here),
    )
    found.images = like_images(there, here)
    if found.images:
        equal = sum(pair.equal for pair in found.images)
        found.leaks.append(
            f"{equal} images are in the training data and {len(found.images) - equal} nearly so"
        )
    return found


def _compare_labels(training: Dataset, suite: Dataset, found: Found) -> None:
    trained: set[str] = set()
    train_sources: set[str] = set()
    for split in training.splits:
        for record in training.records(split):
            trained.add(record.transformation)
            train_sources |= {record.a_source, record.b_source}
    by_tier: dict[str, set[str]] = defaultdict(set)
    sources: set[str] = set()
    for split in suite.splits:
        for record in suite.records(split):
            by_tier[record.tier or "no tier"].add(record.transformation)
            sources |= {record.a_source, record.b_source}
    found.tiers = share_by_tier(training.manifest, trained, suite.manifest, by_tier)
    found.sources = sorted((sources & train_sources) - {""})
    for tier, share in found.tiers.items():
        if tier in SEEN_TIERS and (other := share.transformations - share.shared):
            found.notes.append(
                f"{len(other)} transformations of {tier} are not in this training data, {min(other)} for one"
            )
        elif tier not in SEEN_TIERS and share.shared:
            found.leaks.append(
                f"{len(share.shared)} transformations of {tier} are trained on, {min(share.shared)} for one"
            )
        elif share.families:
            what = "pairs of families" if tier == "new_composition" else "families"
            found.leaks.append(
                f"{len(share.families)} {what} of {tier} are trained on, {min(share.families)} for one"
            )
    if found.sources:
        found.leaks.append(
            f"{len(found.sources)} photographs or scenes are trained on, {found.sources[0]} for one"
        )
    if suite.manifest.tiers_relative_to not in (None, training.fingerprint):
        found.notes.append("the suite's tiers are relative to another training dataset")


def _compare_sources(training: Dataset, suite: Dataset, found: Found) -> None:
    """Find photographs of the suite that are near-equal to trained ones under another name."""
    trained, scored = _source_digests(training), _source_digests(suite)
    if not trained or not scored:
        found.notes.append("no digests of whole photographs to compare: only panels were compared")
        return
    known = KnownSources()
    for name, digest in trained.items():
        known.add(name, digest)
    for name, digest in scored.items():
        if name not in trained and (near := known.nearest(digest)) is not None:
            found.like_sources.append(SourcePair(name, *near))
    found.like_sources.sort(key=lambda pair: (pair.levels, pair.suite))
    if found.like_sources:
        first = found.like_sources[0]
        found.leaks.append(
            f"{len(found.like_sources)} photographs are near-equal to trained ones, "
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
                    f"{dataset.path}: the digest of {name!r} in a sidecar of {split} is none ({e}); "
                    "build the dataset again."
                ) from None
    return digests


def share_by_tier(
    training: Manifest, trained: set[str], suite: Manifest, by_tier: Mapping[str, set[str]]
) -> dict[str, TierShare]:
    """What of each tier's transformations (by id, or by family and parameters) was trained on, and of its families or pairs."""
    specs = {_spec(training, name) for name in trained}
    families = {
        training.transformations[name].family
        for name in trained
        if name in training.transformations
    }
    parts = {part for family in families for part in families_of(family)}
    pairs = {pair for family in families for pair in family_pairs(family)}
    shares = {}
    for tier in sorted(
        by_tier, key=lambda tier: TIERS.index(tier) if tier in TIERS else len(TIERS)
    ):
        share = TierShare(set(by_tier[tier]))
        share.shared = {
            name
            for name in by_tier[tier]
            if name in trained or (_spec(suite, name) in specs and _spec(suite, name))
        }
        own = {
            suite.transformations[name].family
            for name in by_tier[tier]
            if name in suite.transformations
        }
        if tier == "new_composition":
            share.families = {family for family in own if family_pairs(family) & pairs}
        elif tier == "new_family":
            share.families = {family for family in own if not parts.isdisjoint(families_of(family))}
        shares[tier] = share
    return shares


def _spec(manifest: Manifest, name: str) -> str:
    info = manifest.transformations.get(name)
    return canonical_json([info.family, info.parameters]) if info and info.parameters else ""


def _seen(dataset: Dataset, splits: Iterable[str], workers: int) -> list[Seen]:
    pieces = [
        (split, index) for split in splits for index in range(len(dataset.split(split).shards))
    ]
    unique: dict[str, Seen] = {}
    function = functools.partial(_look, str(dataset.path))
    for part in run_pieces(function, pieces, workers, describe=f"reading {dataset.name}"):
        for image in part:
            unique.setdefault(image.pixels, image)
    return list(unique.values())


def _look(path: str, piece: tuple[str, int]) -> list[Seen]:
    dataset = open_dataset(path)
    split, index = piece
    done: set[bytes] = set()  # the same photograph is in many samples: decode it once
    unique: dict[str, Seen] = {}
    for sample in dataset.samples(split, [index]):
        for role, data in sample.images.items():
            if data not in done:
                done.add(data)
                image = images.decode_array(data, f"{path}: sample {sample.key!r} {role}")
                seen = Seen(
                    sample.key, role, images.pixel_hash(image), dhash(image), thumbnail(image)
                )
                unique.setdefault(seen.pixels, seen)
    return list(unique.values())


def like_images(train: Sequence[Seen], suite: Sequence[Seen]) -> list[ImagePair]:
    """For each image of the suite the nearest of the training images, where that is equal or near-equal; flat ones are left out."""
    equal = {image.pixels: image for image in train}
    content = [image for image in train if not flat(image.thumbnail)]
    known = Known()
    for image in content:
        known.add(image.dhash, image.thumbnail)
    pairs = []
    for image in track(suite, len(suite), "comparing images"):
        if flat(image.thumbnail):
            continue
        if image.pixels in equal:
            other = equal[image.pixels]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, True, 0.0))
        elif (near := known.nearest(image.dhash, image.thumbnail)) is not None:
            other = content[near[0]]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, False, near[1]))
    return sorted(pairs, key=lambda pair: (not pair.equal, pair.levels, pair.suite_key))


def write_sheet(
    found: Found, train: Path | str, suite: Path | str, path: Path | str, limit: int = 40
) -> None:
    """Draw the pairs of like images, the suite's beside the training data's, to a PNG."""
    from lorweb_bench.reports.sheet import Row, Section, contact_sheet

    pairs = found.images[:limit]
    left = _panels(open_dataset(suite), {(p.suite_key, p.suite_role) for p in pairs})
    right = _panels(open_dataset(train), {(p.train_key, p.train_role) for p in pairs})
    rows = [
        Row(
            (left[p.suite_key, p.suite_role], right[p.train_key, p.train_role]),
            f"{p.suite_role} · {p.train_role} · "
            + ("equal" if p.equal else f"{p.levels:.1f} levels"),
            f"{p.suite_key} · {p.train_key}",
        )
        for p in pairs
    ]
    section = Section("suite beside training data", rows)
    sheet = contact_sheet(
        "Like images", f"{len(pairs)} of {len(found.images)}", [section], ("suite", "training")
    )
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _panels(dataset: Dataset, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Image.Image]:
    keys = {key for key, _ in wanted}
    found: dict[tuple[str, str], Image.Image] = {}
    for split in dataset.splits:
        for q in dataset.quadruplets(split, keys=keys):
            found |= {(q.key, role): getattr(q, role) for key, role in wanted if key == q.key}
    return found
