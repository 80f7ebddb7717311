"""A submission: one zip of predictions, their manifest and the card.

How it is packed, and how it is opened without trust.
"""

import json
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leaderboard.submission.archive import Archive, deadline, open_archive
from leaderboard.submission.card import (
    CARD_BYTES,
    Card,
    check_card,
    claimed_result,
    is_line,
    read_card,
)
from leaderboard.submission.png import NotPlain, check_plain, largest
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import decode, encode
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MANIFEST, MethodId, PredictionsManifest, suite_id
from lorweb_bench.predictions.reader import Place, Predictions, open_predictions
from lorweb_bench.runtime.files import MARKER, atomic_path
from lorweb_bench.runtime.progress import track
from lorweb_bench.runtime.settings import checked

CARD = "card.json"
MANIFEST_BYTES = 256 * 1024
THE_DATE = (1980, 1, 1, 0, 0, 0)  # the same submission has the same bytes whenever it is packed
PLAIN_FILE = 0o100644 << 16
SECONDS, SECONDS_PER_IMAGE = 60.0, 0.5

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class PackedImage(Place):
    """An image within an archive, checked each time that it is read."""

    archive: Archive
    key: str
    pixels: Size

    def read(self) -> bytes:
        """The bytes of a plain PNG of the suite's size; InputError when they are something else."""
        data = self.archive.read(image_name(self.key))
        check_plain(data, self.pixels, image_name(self.key))
        return data


@dataclass(frozen=True)
class Submission:
    """An opened submission: its card, its manifest, and its images by key."""

    card: Card
    manifest: PredictionsManifest
    images: Mapping[str, PackedImage]

    @property
    def predictions(self) -> Predictions:
        """The images as predictions, to be scored; one is decoded when it is asked for."""
        return Predictions(self.manifest, self.images)


def image_name(key: str) -> str:
    """Where the image of a key lies in the archive."""
    return f"images/{key}.png"


def sizes_of(suite: Dataset) -> dict[str, Size]:
    """Key -> (width, height) of every item that is to be submitted, by key."""
    sizes = {
        record.id: (record.width, record.height)
        for split in suite.scored_splits
        for record in suite.records(split)
    }
    return dict(sorted(sizes.items()))


def limits_of(sizes: Mapping[str, Size]) -> dict[str, int]:
    """The names that a submission to a suite has, and the most bytes of each."""
    return {MANIFEST: MANIFEST_BYTES, CARD: CARD_BYTES} | {
        image_name(key): largest(*size) for key, size in sizes.items()
    }


def most_bytes(sizes: Mapping[str, Size]) -> int:
    """A size in bytes beyond which a file is no submission at all, and is not even read."""
    return 2 * sum(limits_of(sizes).values())


def pack(predictions: Path | str, suite: Dataset, card: Path | str, output: Path | str) -> Path:
    """Pack a predictions folder and a card into one zip, atomically.

    Either view of the suite will do.

    Plain 8-bit RGB PNGs keep their bytes, other images become such with the same pixels. The same
    input gives the same bytes. InputError when the predictions are of another suite, partial,
    incomplete, of another size, or not what the card says.
    """
    predictions, output, declared = Path(predictions), Path(output), read_card(card)
    bare = (
        predictions.is_dir()
        and not (predictions / MANIFEST).exists()
        and not (predictions / MARKER).exists()
    )
    opened = open_predictions(predictions, suite, declared.method if bare else None)
    declared, manifest = _agree(declared, opened.manifest, str(card), suite, bare)
    sizes = sizes_of(suite)
    if missing := sorted(set(sizes) - set(opened.images)):
        raise InputError(
            f"{predictions} lacks {len(missing)} of {len(sizes)} predictions, the first is "
            f"{missing[0]}; a board takes all or none."
        )
    with atomic_path(output) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            _store(
                archive,
                MANIFEST,
                _json(manifest.model_copy(update={"samples": len(sizes)}).model_dump(mode="json")),
            )
            _store(archive, CARD, _json(declared.model_dump(mode="json")))
            for key, size in track(sizes.items(), len(sizes), "packing"):
                _store(
                    archive,
                    image_name(key),
                    _plain(
                        opened.images[key].read(),
                        size,
                        f"{predictions}: the prediction for {key!r}",
                    ),
                )
        open_submission(temporary, suite, sizes)
    return output


def _store(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, THE_DATE)
    entry.external_attr = PLAIN_FILE
    archive.writestr(entry, data)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _plain(data: bytes, size: Size, name: str) -> bytes:
    try:
        check_plain(data, size, name)
    except NotPlain:
        image = decode(data, name)
        if image.size != size:
            raise InputError(
                f"{name} is {image.width}x{image.height} pixels; the suite's item is "
                f"{size[0]}x{size[1]}."
            ) from None
        return encode(image, "png")
    return data


def _agree(
    card: Card, manifest: PredictionsManifest, name: str, suite: Dataset, bare: bool
) -> tuple[Card, PredictionsManifest]:
    """Card and manifest as they are packed.

    The manifest says what ran, the card declares the track; a bare folder says nothing.
    """
    if manifest.partial or manifest.pairs != "true":
        what = "of a part of the suite" if manifest.partial else "with shuffled pairs, an ablation"
        raise InputError(
            f"These are predictions {what}; a board takes whole runs, so predict without "
            "--limit, --shard and --pairs."
        )
    if bare:
        named = MethodId(name=card.method, version=card.version)
        manifest = PredictionsManifest(
            suite=suite_id(suite),
            method=named,
            prompt_mode=card.prompt_mode,
            exemplars=card.exemplars,
            seed=card.seeds[0],
            samples=manifest.samples,
        )
    manifest = manifest.model_copy(update={"track": card.track})
    card = card.model_copy(update={"version": card.version or manifest.method.version})
    check_agreement(card, manifest, name, suite)
    return card, manifest


def check_agreement(card: Card, manifest: PredictionsManifest, name: str, suite: Dataset) -> None:
    """InputError naming the first thing that the card (called `name`) and the manifest, or the
    suite, say differently.
    """
    pairs = [
        ("method", card.method, manifest.method.name),
        ("version", card.version, manifest.method.version or card.version),
        ("track", card.track, manifest.track),
        ("prompt_mode", card.prompt_mode, manifest.prompt_mode),
        ("exemplars", card.exemplars, manifest.exemplars),
    ]
    for field, ours, theirs in pairs:
        if ours != theirs:
            raise InputError(
                f"{name}: {field} is {ours!r}, the predictions say {theirs!r}; correct the card, "
                "or predict again."
            )
    if manifest.exemplars > suite.manifest.exemplars:
        raise InputError(
            f"{name}: exemplars is {manifest.exemplars}, and an item of the suite shows "
            f"{suite.manifest.exemplars}."
        )
    if manifest.seed is not None and manifest.seed not in card.seeds:
        raise InputError(
            f"{name}: seeds lack {manifest.seed}, the seed of the predictions; add it."
        )
    if any(
        value is not None and not 0 <= value < 10**15
        for value in manifest.cost.model_dump(exclude={"device"}).values()
    ):
        raise InputError(
            f"{name}: the cost in the predictions is negative or beyond all measure; predict again."
        )
    if not is_line(manifest.cost.device or "-"):
        raise InputError(
            f"{name}: the device in the predictions is longer than a line, or holds invisible "
            "characters; predict again."
        )
    training_fingerprint = suite.manifest.tiers_relative_to
    other = [
        d.name
        for d in card.training_data
        if d.fingerprint and training_fingerprint and d.fingerprint != training_fingerprint
    ]
    if card.track == "closed" and other:
        raise InputError(
            f"{name}: track is 'closed', but {other[0]!r} is not the suite's own training "
            "dataset; the track is 'open'."
        )


def open_submission(path: Path | str, suite: Dataset, sizes: Mapping[str, Size]) -> Submission:
    """Open a zip that anyone may have made.

    Every byte of it is checked before it comes back; nothing is written to disk.

    `sizes` is `sizes_of(suite)`. InputError, one sentence with the reason, for whatever is not a
    whole submission to this suite.
    """
    archive = open_archive(path, limits_of(sizes))
    declared = read_object(archive.read(MANIFEST), MANIFEST)
    if claim := claimed_result(declared):
        raise InputError(f"{MANIFEST}: {claim}.")
    manifest = checked(PredictionsManifest, declared, MANIFEST, "manifest of predictions")
    card = check_card(read_object(archive.read(CARD), CARD), CARD)
    if (
        manifest.suite.fingerprint != suite.fingerprint
    ):  # it is what was predicted on; a version may change the answers alone
        suite_label = (
            f"{manifest.suite.name[:80]} {manifest.suite.version[:40]} "
            f"({manifest.suite.fingerprint[:12]})"
        )
        raise InputError(
            f"The submission is for the suite {ascii(suite_label)}, not for {suite.name} "
            f"{suite.version} ({suite.fingerprint[:12]})."
        )
    whole = not manifest.partial and manifest.pairs == "true"
    if not whole or manifest.samples != len(sizes):
        raise InputError(
            f"{MANIFEST} describes a partial run or an ablation; a board takes whole runs of "
            f"{len(sizes)} items."
        )
    check_agreement(card, manifest, CARD, suite)
    images = {
        key: PackedImage(archive.path, archive=archive, key=key, pixels=size)
        for key, size in sizes.items()
    }
    late = deadline(SECONDS + SECONDS_PER_IMAGE * len(sizes), "Checking the images")
    for image in track(images.values(), len(images), "checking"):
        image.read()
        late()
    return Submission(card, manifest, images)


def read_object(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object: UTF-8, no key twice, no NaN or infinity. InputError calls it `name`."""
    try:
        content = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_refuse,
            parse_float=_finite,
        )
        if (
            b"\\u0000" in json.dumps(content, ensure_ascii=False).encode()
        ):  # half a surrogate pair has no UTF-8, a null no column
            raise ValueError("a null character")
    except (ValueError, RecursionError) as e:
        raise InputError(f"{name} is not readable JSON ({ascii(str(e))[1:-1][:120]}).") from None
    if not isinstance(content, dict):
        raise InputError(f"{name} is not a mapping of fields to values.")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a field occurs twice")
    return content


def _refuse(constant: str) -> Iterator[None]:
    raise ValueError(f"{constant} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
