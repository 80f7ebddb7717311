"""Leaks: what a training dataset shares with a suite that the suite says is new, or that gives its answers away."""

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lorweb_bench import images
from lorweb_bench.dataset import Dataset, open_dataset
from lorweb_bench.engine import run_pieces
from lorweb_bench.errors import InputError
from lorweb_bench.files import atomic_path, canonical_json
from lorweb_bench.manifest import Manifest
from lorweb_bench.protocol import SEEN_TIERS, TIERS

NEAR_BITS = 3  # of the 64 of a dHash; at most 3 apart, two hashes agree in one of four 16-bit bands
NEAR_LEVELS = 6.0  # RMSE of 255 between thumbnails of 8 x 8
NEAR_CORRELATION = 0.95  # of these thumbnails: a dot here and a dot there on black are not near-equal
FLAT_LEVELS = 3.0  # standard deviation of a thumbnail: an image without content is like any other one


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
        raise InputError(f"{train} is a public view; name the training dataset first, then the suite.")
    found = Found()
    if scored.public:
        found.notes.append("a public view has no labels: only images were compared")
    else:
        _compare_labels(training, scored, found)
    there, here = _seen(training, training.splits, workers), _seen(scored, scored.splits, workers)
    found.compared, found.flat = (len(there), len(here)), sum(_flat(image) for image in here)
    found.images = like_images(there, here)
    if found.images:
        equal = sum(pair.equal for pair in found.images)
        found.leaks.append(f"{equal} images are in the training data and {len(found.images) - equal} nearly so")
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
            found.notes.append(f"{len(other)} transformations of {tier} are not in this training data, {min(other)} for one")
        elif tier not in SEEN_TIERS and share.shared:
            found.leaks.append(f"{len(share.shared)} transformations of {tier} are trained on, {min(share.shared)} for one")
        elif share.families:
            what = "pairs of families" if tier == "new_composition" else "families"
            found.leaks.append(f"{len(share.families)} {what} of {tier} are trained on, {min(share.families)} for one")
    if found.sources:
        found.leaks.append(f"{len(found.sources)} photographs or scenes are trained on, {found.sources[0]} for one")
    if suite.manifest.tiers_relative_to not in (None, training.fingerprint):
        found.notes.append("the suite's tiers are relative to another training dataset")


def share_by_tier(training: Manifest, trained: set[str], suite: Manifest, by_tier: Mapping[str, set[str]]) -> dict[str, TierShare]:
    """What of each tier's transformations (by id, or by family and parameters) was trained on, and of its families or pairs."""
    specs = {_spec(training, name) for name in trained}
    families = {training.transformations[name].family for name in trained if name in training.transformations}
    parts = {part for family in families for part in family.split("+")}
    pairs = {pair for family in families for pair in _pairs(family)}
    shares = {}
    for tier in sorted(by_tier, key=lambda tier: TIERS.index(tier) if tier in TIERS else len(TIERS)):
        share = TierShare(set(by_tier[tier]))
        share.shared = {name for name in by_tier[tier] if name in trained or (_spec(suite, name) in specs and _spec(suite, name))}
        own = {suite.transformations[name].family for name in by_tier[tier] if name in suite.transformations}
        if tier == "new_composition":
            share.families = {family for family in own if _pairs(family) & pairs}
        elif tier == "new_family":
            share.families = {family for family in own if set(family.split("+")) & parts}
        shares[tier] = share
    return shares


def _pairs(family: str) -> set[frozenset[str]]:
    """Every two families that stand together in a composition."""
    return {frozenset(pair) for pair in itertools.combinations(family.split("+"), 2)}


def _spec(manifest: Manifest, name: str) -> str:
    info = manifest.transformations.get(name)
    return canonical_json([info.family, info.parameters]) if info and info.parameters else ""


def _seen(dataset: Dataset, splits: Iterable[str], workers: int) -> list[Seen]:
    pieces = [(split, index) for split in splits for index in range(len(dataset.split(split).shards))]
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
                image = images.to_array(images.decode(data, f"{path}: sample {sample.key!r} {role}"))
                seen = Seen(sample.key, role, images.pixel_hash(image), dhash(image), thumbnail(image))
                unique.setdefault(seen.pixels, seen)
    return list(unique.values())


def dhash(image: np.ndarray) -> int:
    """The difference hash of a uint8 H x W x 3 image: 64 bits, one for each step to the right in an 8 x 9 grey thumbnail."""
    import cv2

    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A uint8 8 x 8 x 3 thumbnail of a uint8 H x W x 3 image, each pixel the mean of its area."""
    import cv2

    return cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)


def _flat(image: Seen) -> bool:
    return float(image.thumbnail.std(axis=(0, 1)).max()) < FLAT_LEVELS


def like_images(train: Sequence[Seen], suite: Sequence[Seen]) -> list[ImagePair]:
    """For each image of the suite the nearest of the training images, where that is equal or near-equal; flat ones are left out.

    Each is compared with the training images that share one of four bands of its hash, not with all of them.
    """
    equal = {image.pixels: image for image in train}
    content = [image for image in train if not _flat(image)]
    hashes = np.array([image.dhash for image in content], dtype=np.uint64)
    thumbnails = np.stack([image.thumbnail for image in content]).astype(np.float32) if content else np.zeros((0, 8, 8, 3), np.float32)
    bands = [(hashes >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
    orders = [np.argsort(band, kind="stable") for band in bands]
    sorted_bands = [band[order] for band, order in zip(bands, orders, strict=True)]
    pairs = []
    for image in suite:
        if _flat(image):
            continue
        if image.pixels in equal:
            other = equal[image.pixels]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, True, 0.0))
            continue
        near: list[np.ndarray] = []
        for shift, order, values in zip((0, 16, 32, 48), orders, sorted_bands, strict=True):
            value = np.uint64((image.dhash >> shift) & 0xFFFF)
            near.append(order[np.searchsorted(values, value, "left") : np.searchsorted(values, value, "right")])
        chosen = np.unique(np.concatenate(near))
        chosen = chosen[_bits(hashes[chosen] ^ np.uint64(image.dhash)) <= NEAR_BITS]
        best, levels = _nearest(thumbnails[chosen], image.thumbnail)
        if best is not None:
            other = content[chosen[best]]
            pairs.append(ImagePair(image.key, image.role, other.key, other.role, False, levels))
    return sorted(pairs, key=lambda pair: (not pair.equal, pair.levels, pair.suite_key))


def _nearest(thumbnails: np.ndarray, one: np.ndarray) -> tuple[int | None, float]:
    """The index of the nearest of float32 N x 8 x 8 x 3 thumbnails and its RMSE; None where none is near."""
    if not len(thumbnails):
        return None, 0.0
    levels = np.sqrt(((thumbnails - one) ** 2).mean(axis=(1, 2, 3)))
    best = int(levels.argmin())
    correlation = np.corrcoef(thumbnails[best].ravel(), one.ravel())[0, 1]
    return (best, float(levels[best])) if levels[best] <= NEAR_LEVELS and correlation >= NEAR_CORRELATION else (None, 0.0)


def _bits(values: np.ndarray) -> np.ndarray:
    return np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)


def write_sheet(found: Found, train: Path | str, suite: Path | str, path: Path | str, limit: int = 40) -> None:
    """Draw the pairs of like images, the suite's beside the training data's, to a PNG."""
    from lorweb_bench.pages.sheet import Row, Section, contact_sheet

    pairs = found.images[:limit]
    left = _panels(open_dataset(suite), {(p.suite_key, p.suite_role) for p in pairs})
    right = _panels(open_dataset(train), {(p.train_key, p.train_role) for p in pairs})
    rows = [
        Row(
            (left[p.suite_key, p.suite_role], right[p.train_key, p.train_role]),
            f"{p.suite_role} · {p.train_role} · " + ("equal" if p.equal else f"{p.levels:.1f} levels"),
            f"{p.suite_key} · {p.train_key}",
        )
        for p in pairs
    ]
    section = Section("suite beside training data", rows)
    sheet = contact_sheet("Like images", f"{len(pairs)} of {len(found.images)}", [section], ("suite", "training"))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _panels(dataset: Dataset, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Image.Image]:
    keys = {key for key, _ in wanted}
    found: dict[tuple[str, str], Image.Image] = {}
    for split in dataset.splits:
        for q in dataset.quadruplets(split, keys=keys):
            found |= {(q.key, role): getattr(q, role) for key, role in wanted if key == q.key}
    return found
