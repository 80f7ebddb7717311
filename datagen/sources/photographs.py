"""Photographs: those that install with the project's dependencies, and a user's own folder."""

import hashlib
import re
import unicodedata
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from datagen.sources import Panel, Source
from lorweb_bench.errors import InputError
from lorweb_bench.images import MAX_PIXELS, pixel_hash, resize

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".jp2", ".avif")
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")


class Skipped(NamedTuple):
    """A file that was left out, and why, in words."""

    file: str
    reason: str


@dataclass(frozen=True)
class ImageFile:
    """Decodes the image file at `path` when called: uint8 H x W x 3 RGB; InputError when it cannot be read whole."""

    path: str
    max_pixels: int = MAX_PIXELS

    def __call__(self) -> np.ndarray:
        return decode_file(Path(self.path), self.max_pixels)


def decode_file(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image in a file as uint8 H x W x 3 RGB, upright by its EXIF orientation.

    Every colour mode and depth: 16-bit and float greys are scaled to 8 bits, CMYK and Lab are converted, transparency is laid over
    white, of an animation or several pages the first counts. InputError, naming the file, when it is empty, cut, damaged, of
    another kind, or its header announces more than `max_pixels`.
    """
    from PIL import Image, ImageOps

    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); remove it or copy it again")
        with warnings.catch_warnings(), Image.open(path, formats=_formats()) as image:
            warnings.simplefilter("ignore")
            width, height = image.size
            if width * height > max_pixels:
                raise InputError(f"{path} is {width} x {height} pixels, more than the limit of {max_pixels}; make it smaller")
            image.seek(0)
            image.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(image)))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise InputError(f"{path} is not a whole image that can be read ({error}); remove it or save it again as png or jpg") from None


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """Those of FORMATS that the installed Pillow can read."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _to_rgb(image: Any) -> Any:
    """A PIL image of any mode in RGB, 8 bits a channel, transparency over white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        top = 65535.0 if image.mode != "F" else max(1.0, float(np.nanmax(levels, initial=0.0)))
        return Image.fromarray(np.nan_to_num(levels / top * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


# name -> (distribution, file, licence, attribution), in the words of the packages' own files: skimage/data/_fetchers.py and
# skimage/data/_registry.py of scikit-image, sklearn/datasets/images/README.txt of scikit-learn, matplotlib's sample data.
BUNDLED: Mapping[str, tuple[str, str, str, str]] = {
    "astronaut": ("scikit-image", "skimage/data/astronaut.png", "public domain", "NASA Great Images database; Eileen Collins"),
    "chelsea": ("scikit-image", "skimage/data/chelsea.png", "CC0", "Stefan van der Walt"),
    "china": ("scikit-learn", "sklearn/datasets/images/china.jpg", "CC BY 2.0", "danielbuechele, Flickr"),
    "flower": ("scikit-learn", "sklearn/datasets/images/flower.jpg", "CC BY 2.0", "vultilion, Flickr"),
}


def bundled() -> list[Source]:
    """The photographs inside the installed wheels of scikit-image, scikit-learn and matplotlib, by name; no package is imported.

    InputError when a package or a file is missing: reinstall it.
    """
    return [
        Source(name, licence, attribution, ImageFile(str(_installed(package, file))))
        for name, (package, file, licence, attribution) in sorted(BUNDLED.items())
    ]


def _installed(package: str, file: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        raise InputError(f"the photograph {file} comes with {package}, which is not installed; pip install {package}") from None
    if not path.is_file():
        raise InputError(f"the photograph {path} of {package} is missing; reinstall {package}")
    return path


def slugs(names: Iterable[str]) -> list[str]:
    """A slug `[a-z0-9_-]+` for each name, the same for the same name whatever stands beside it, and unique.

    A name that is no slug already (upper case, dots, spaces, other alphabets) gets eight hex digits of its digest appended.
    """
    made = []
    for name in names:
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9_-]+", "-", plain).strip("-_")[:60]
        if slug != name:
            slug = f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
        made.append(slug)
    return made


def folder(
    path: str | Path,
    on_bad: Literal["skip", "fail"] = "skip",
    *,
    sha256: Mapping[str, str] | None = None,
    at_least: int = 1,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
    licence: str = "unknown",
    attribution: str = "",
) -> tuple[list[Source], list[Skipped]]:
    """The photographs in a folder (with its subfolders) or matching a glob, in the order of their names, and the files left out.

    Every file is decoded once here. Left out, with the reason: files that cannot be read whole, copies of a picture already taken,
    a short side under `min_side` pixels, and, where `sha256` (relative path -> hex digest) pins files, all others. With
    on_bad="fail" an unreadable file raises instead. InputError also when fewer than `at_least` photographs remain, or a pinned
    file is missing or has another digest.
    """
    root, files = _listed(path)
    names = [file.relative_to(root).as_posix() for file in files]
    if sha256 is not None:
        _check_pins(root, names, sha256)
    sources: list[Source] = []
    skipped: list[Skipped] = []
    seen: dict[str, str] = {}
    for name, slug, file in zip(names, slugs(_stem(n) for n in names), files, strict=True):
        reason = "" if sha256 is None or name in sha256 else "not pinned by the recipe"
        if not reason:
            try:
                image = decode_file(file, max_pixels)
            except InputError as error:
                if on_bad == "fail":
                    raise
                reason = str(error)
            else:
                first = seen.setdefault(pixel_hash(image), name)
                if first != name:
                    reason = f"the same picture as {first}"
                elif min(image.shape[:2]) < min_side:
                    reason = f"{image.shape[1]} x {image.shape[0]} pixels, its short side under {min_side}"
        if reason:
            skipped.append(Skipped(name, reason))
        else:
            sources.append(Source(slug, licence, attribution, ImageFile(str(file.resolve()), max_pixels)))
    if len(sources) < at_least:
        why = f"; the first left out: {skipped[0].file} ({skipped[0].reason})" if skipped else ""
        raise InputError(f"{path}: {len(sources)} usable photographs of {len(files)} files, {at_least} are needed{why}")
    return sources, skipped


def _stem(name: str) -> str:
    return name[: -len(Path(name).suffix)]


def _listed(path: str | Path) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the image files below it in the order of their names."""
    given = Path(path)
    if given.is_dir():
        root, found = given, given.rglob("*")
    elif any(c in str(path) for c in "*?["):
        fixed = [part for part in given.parts]
        at = next(i for i, part in enumerate(fixed) if any(c in part for c in "*?["))
        root = Path(*fixed[:at]) if at else Path()
        found = root.glob(str(Path(*fixed[at:])))
    else:
        raise InputError(f"{path} is not a folder; give a folder of photographs or a pattern such as 'photos/**/*.jpg'")
    files = [f for f in found if f.suffix.lower() in SUFFIXES and f.is_file() and not f.name.startswith(".")]
    return root, sorted(files, key=lambda f: f.relative_to(root).as_posix())


def _check_pins(root: Path, names: list[str], pins: Mapping[str, str]) -> None:
    for name, digest in pins.items():
        if name not in names:
            raise InputError(f"{root / name} is pinned by its sha256 but missing; restore the file or take the pin out of the recipe")
        found = hashlib.sha256((root / name).read_bytes()).hexdigest()
        if found != digest.lower():
            raise InputError(f"{root / name} has the sha256 {found}, the recipe pins {digest}; use the very same file or change the pin")


@lru_cache(maxsize=4)
def _recent(load: Any) -> np.ndarray:
    """The last few images decoded, read-only: a build takes many crops of one photograph in a row."""
    image = load()
    image.setflags(write=False)
    return image


def panel(source: Source, size: Panel, seed: int) -> np.ndarray:
    """A panel of a source, uint8 H x W x 3 RGB, a pure function of its arguments.

    `square`: a seeded crop of 0.35 to 1.0 of the short side, never enlarged and, where the image has any detail, not flat.
    `long_edge`: the whole image with the long edge at most that, both sides multiples of 16, never enlarged beyond rounding.
    InputError when the image is smaller than the panel (square) or than 16 pixels (long_edge).
    """
    image = _recent(source.load)
    height, width = image.shape[:2]
    if size.long_edge is not None:
        if min(height, width) < 16:
            raise InputError(f"{source.name} is {width} x {height} pixels, smaller than 16; leave it out")
        shrink = min(1.0, size.long_edge / max(height, width))
        long_limit = size.long_edge // 16
        sides = [min(max(1, round(side * shrink / 16)), long_limit) * 16 for side in (width, height)]
        return np.array(resize(image, (sides[0], sides[1])))
    assert size.square is not None
    if min(height, width) < size.square:
        raise InputError(f"{source.name} is {width} x {height} pixels, smaller than the panel of {size.square}; leave it out")
    random = np.random.default_rng((seed, zlib.crc32(source.name.encode())))
    best, best_detail = None, -1.0
    for _ in range(12):
        crop = np.array(resize(_crop(random, image, size.square), (size.square, size.square)))
        detail = _detail(crop)
        if detail > best_detail:
            best, best_detail = crop, detail
        if detail >= 1.0:
            break
    assert best is not None
    return best


def _crop(random: np.random.Generator, image: np.ndarray, least: int) -> np.ndarray:
    height, width = image.shape[:2]
    short = min(height, width)
    side = max(least, int(round(short * random.uniform(0.35, 1.0))))
    y, x = int(random.integers(height - side + 1)), int(random.integers(width - side + 1))
    return image[y : y + side, x : x + side]


def _detail(crop: np.ndarray) -> float:
    """How far from flat a square crop is: 1 or more is enough.

    The luma must vary (standard deviation of 16 levels) and at least six of the crop's nine fields must vary themselves (3 levels).
    """
    luma = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    third = max(1, luma.shape[0] // 3)
    fields = [luma[y : y + third, x : x + third].std() for y in (0, third, 2 * third) for x in (0, third, 2 * third)]
    return float(min(luma.std() / 16.0, sorted(fields)[3] / 3.0))
