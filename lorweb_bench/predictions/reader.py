"""Reading predictions: one image per key, by whoever made them, and nothing of another suite."""

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import decode, resize, to_array, to_image
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.predictions.format import (
    MANIFEST,
    MethodId,
    PredictionsManifest,
    read_manifest,
    suite_id,
    suite_keys,
)
from lorweb_bench.protocol import PREDICTIONS_FORMAT, PROMPT_MODES, TRACKS
from lorweb_bench.runtime.files import MARKER, read_json

READ = (".png", ".jpg", ".jpeg", ".webp")  # endings of images, in either case
OTHER_IMAGES = (".jpe", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".npy")
Resize = Literal["scale", "crop", "pad", "stretch"]
RESIZES: tuple[Resize, ...] = get_args(Resize)


@dataclass(frozen=True)
class Place:
    """Where the bytes of an image lie: a file, or a stretch of a shard."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """The bytes."""
        with self.path.open("rb") as f:
            f.seek(self.offset)
            return f.read(self.size)


@dataclass(frozen=True)
class Predictions(Mapping[str, Image.Image]):
    """Predictions by key; an image is decoded when it is asked for.

    `manifest` says whose they are.
    """

    manifest: PredictionsManifest
    images: Mapping[str, Any]  # key -> Place, or the image itself

    def __getitem__(self, key: str) -> Image.Image:
        """The image, RGB; InputError when it is damaged."""
        image = self.images[key]
        if isinstance(image, Place):
            name = f"{image.path} ({key})" if image.offset else str(image.path)
            return decode(image.read(), name, transparent=False)
        try:
            return to_image(image)
        except (ValueError, AttributeError) as error:
            raise InputError(f"The prediction for {key!r} is no RGB image ({error}).") from None

    def __contains__(self, key: object) -> bool:
        return key in self.images  # without decoding it

    def __iter__(self) -> Iterator[str]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def part(self, keys: Iterator[str] | list[str]) -> "Predictions":
        """The predictions of these keys alone, for a worker."""
        here = {key: self.images[key] for key in keys if key in self.images}
        return Predictions(self.manifest, here)


def resize_mode(resize: bool | str | None) -> Resize | None:
    """What is done with predictions of another size than b's: None refuses them, True is `scale`.

    Raises:
        InputError: There is no such mode.
    """
    if resize is None or isinstance(resize, bool):
        return "scale" if resize else None
    if resize not in RESIZES:
        raise unknown_name("way to resize", resize, RESIZES)
    return resize


def fitted(
    image: Image.Image, key: str, size: tuple[int, int], mode: Resize | None
) -> tuple[Image.Image, bool]:
    """A prediction at b's size.

    Args:
        image: The prediction.
        key: The item's key, for errors.
        size: b's width and height.
        mode: None refuses another size. `scale` resizes an answer of b's aspect, to a pixel, and
            refuses others. `crop` scales it to cover b and cuts off what hangs over on both sides
            alike; `pad` scales it to fit in b, black around it; `stretch` changes its aspect.

    Returns:
        The image, and whether it was resized.

    Raises:
        InputError: The size, or with `scale` the aspect, is another one.
    """
    if image.size == size:
        return image, False
    (width, height), (b_width, b_height) = image.size, size
    sizes = f"The prediction for {key!r} is {width}x{height}, b is {b_width}x{b_height}"
    if mode is None:
        raise InputError(
            f"{sizes}; predict at b's size, or score with --resize, which is marked in the report."
        )
    if mode == "scale" and abs(width * b_height - height * b_width) > max(width, height):
        raise InputError(
            f"{sizes}: another aspect, which --resize alone does not change; "
            "say what to do with --resize crop, pad or stretch."
        )
    if mode in ("scale", "stretch"):
        return resize(image, size), True
    ratios = (b_width / width, b_height / height)
    scale = max(ratios) if mode == "crop" else min(ratios)
    scaled = to_array(resize(image, (_side(width * scale), _side(height * scale))))
    return to_image(_centred(scaled, size)), True


def _side(length: float) -> int:
    return max(1, round(length))


def _centred(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image on black, at a size (width, height): cut where larger, padded where
    smaller.
    """
    result = np.zeros((size[1], size[0], 3), np.uint8)
    source, target = [], []
    for have, want in zip(image.shape[:2], result.shape[:2], strict=True):
        length = min(have, want)
        source.append(slice((have - length) // 2, (have - length) // 2 + length))
        target.append(slice((want - length) // 2, (want - length) // 2 + length))
    result[target[0], target[1]] = image[source[0], source[1]]
    return result


def open_predictions(
    source: str | Path | Mapping[str, Any],
    suite: Dataset,
    name: str | None = None,
    *,
    prompt: str | None = None,
    track: str | None = None,
    allow_missing: bool = False,
) -> Predictions:
    """Open predictions: a folder with a manifest, a bare folder of images, or images by key.

    Args:
        source: The folder, or images by key.
        suite: The suite that they are of.
        name: The method's name, where no manifest says it.
        prompt: The prompt mode, where no manifest says it; `none` by default.
        track: The track, where no manifest says it; `open` by default.
        allow_missing: Open the folder of a run that is not finished, too.

    Raises:
        InputError: They were made for another suite or are unfinished, there are none, or a key
            occurs twice or is not the suite's. Images that are missing are no error here.
    """
    if isinstance(source, Predictions):
        opened = source
    elif isinstance(source, Mapping):
        manifest = _bare_manifest(suite, name or "in-memory", prompt, track, len(source))
        opened = Predictions(manifest, source)
    else:
        folder = Path(source).resolve()
        opened = _open_folder(folder, suite, name, prompt, track, allow_missing)
    where = "The mapping" if isinstance(source, Mapping) else str(source)
    keys: set[str] = set()
    for split in suite.scored_splits:
        keys.update(*suite_keys(suite, split))
    if not isinstance(source, Mapping):
        _refuse_nested(Path(source), keys - set(opened.images), bool(opened.images))
    if not opened.images:
        raise InputError(
            f"{where} holds no predictions by key; one image per key is needed, "
            "<key>.png, .jpg, .jpeg or .webp."
        )
    if extra := sorted(set(opened.images) - keys):
        raise InputError(
            f"{where} has {len(extra)} images whose keys {suite.name} does not have, "
            f"the first is {extra[0]!r}; take them out."
        )
    return opened


def _bare_manifest(
    suite: Dataset, name: str, prompt: str | None, track: str | None, samples: int
) -> PredictionsManifest:
    """What is said of predictions that come without a manifest."""
    for value, what, allowed in (
        (prompt, "prompt mode", PROMPT_MODES),
        (track, "track", TRACKS),
    ):
        if value is not None and value not in allowed:
            raise unknown_name(what, value, allowed)
    return PredictionsManifest.model_validate(
        {
            "suite": suite_id(suite).model_dump(),
            "method": MethodId(name=name).model_dump(),
            "samples": samples,
            "prompt_mode": prompt or "none",
            "track": track or "open",
        }
    )


def _open_folder(
    folder: Path,
    suite: Dataset,
    name: str | None,
    prompt: str | None,
    track: str | None,
    allow_missing: bool,
) -> Predictions:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder; predictions are a folder with one image per key."
        )
    unfinished = (folder / MARKER).is_file()
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
    elif unfinished and allow_missing:
        manifest = _unfinished_manifest(folder)
    elif unfinished:
        raise InputError(
            f"{folder} holds unfinished predictions; run the same `lorweb-bench predict` again to "
            "finish them, or score what is there with --allow-missing."
        )
    elif name is None:
        raise InputError(
            f"{folder} has no {MANIFEST}, so say whose predictions they are with --name."
        )
    else:
        manifest = _bare_manifest(suite, name, prompt, track, 0)
        return Predictions(manifest, dict(_places(folder)))
    _refuse_contradiction(folder, manifest, name, prompt, track)
    check_suite(folder, manifest, suite)
    return Predictions(manifest, dict(_places(folder)))


def _refuse_contradiction(
    folder: Path,
    manifest: PredictionsManifest,
    name: str | None,
    prompt: str | None,
    track: str | None,
) -> None:
    """InputError where something is said of a folder that its manifest says otherwise."""
    for option, option_value, what, stated in (
        ("--name", name, "method", manifest.method.name),
        ("--prompt", prompt, "prompt mode", manifest.prompt_mode),
        ("--track", track, "track", manifest.track),
    ):
        if option_value is not None and option_value != stated:
            raise InputError(
                f"{folder} says that its {what} is {stated!r}; "
                f"{option} is for bare folders of images."
            )


def _unfinished_manifest(folder: Path) -> PredictionsManifest:
    """What a run that is not finished wrote about itself when it began."""
    claim = read_json(folder / MARKER)
    if not isinstance(claim, dict) or claim.get("format") != PREDICTIONS_FORMAT:
        raise InputError(f"{folder} holds unfinished work of another sort; give predictions.")
    try:
        identity = json.loads(str(claim.get("identity")))
        return PredictionsManifest.model_validate({**identity, "samples": 0})
    except (ValueError, TypeError):
        raise InputError(
            f"{folder / MARKER} is damaged; delete it and score the folder with --name."
        ) from None


def check_suite(folder: Path, manifest: PredictionsManifest, suite: Dataset) -> None:
    """InputError when the predictions were made for another suite, or another version of it."""
    made_for = manifest.suite
    if made_for.fingerprint != suite.fingerprint:
        raise InputError(
            f"{folder} holds predictions for {made_for.name} {made_for.version} "
            f"({made_for.fingerprint[:12]}), not for {suite.name} {suite.version} "
            f"({suite.fingerprint[:12]}); predict again on this suite."
        )


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in READ


def _refuse_nested(folder: Path, missing: set[str], has_images: bool) -> None:
    """InputError where predictions that are missing lie in a folder further down."""
    if not missing:
        return
    nested: dict[Path, int] = {}
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.parent != folder and not hidden and _is_image(path.name) and path.stem in missing:
            nested[path.parent] = nested.get(path.parent, 0) + 1
    if not nested:
        return
    inner, count = max(nested.items(), key=lambda item: (item[1], str(item[0])))
    if len(nested) == 1 and not has_images:
        raise InputError(
            f"{folder} holds no predictions by key, but {inner} holds {count}; give that."
        )
    raise InputError(
        f"{inner} holds {count} of the predictions that {folder} lacks; "
        "predictions lie in one folder, so move them up or take them out."
    )


def _places(folder: Path) -> Iterator[tuple[str, Place]]:
    """Each key's image in a folder: plain files, and the members of its shards.

    InputError for a key that occurs twice.
    """
    names: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.suffix == ".tar":
            places = list(_members(path))
        elif _is_image(path.name):
            places = [(path.name, Place(path))]
        elif path.suffix.lower() in OTHER_IMAGES:
            raise InputError(
                f"{path} cannot be scored; predictions are <key>.png, <key>.jpg, <key>.jpeg or "
                "<key>.webp."
            )
        else:
            continue
        for name, location in places:
            key = name.rpartition(".")[0]
            if key in names:
                raise InputError(
                    f"{folder} has two predictions for {key!r}, {names[key]} and {name}; take one "
                    "out."
                )
            names[key] = name
            yield key, location


def _members(path: Path) -> Iterator[tuple[str, Place]]:
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or not _is_image(member.name):
                    raise InputError(
                        f"{path}: {member.name!r} is not <key>.png, <key>.jpg, <key>.jpeg or "
                        "<key>.webp."
                    )
                yield member.name, Place(path, member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path} is cut or damaged ({error}); write it again.") from None
