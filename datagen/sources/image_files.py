"""Image files as cameras, scanners and editors leave them: found, named, decoded and checked."""

import hashlib
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from datagen.making.build_notes import SHOWN, LeftOut, Note
from datagen.sources.check_cache import CheckCache, FileState
from lorweb_bench.data.colour import grey_levels
from lorweb_bench.data.images import (
    MAX_PIXELS,
    READ_FORMATS,
    decode_noting,
    pixel_hash,
    upright_srgb,
)
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.suites.near_duplicates import SourceDigest

# Pillow reads no HEIC, but a file of that name may be a JPEG; if not, it is named and counted.
SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp"),
        *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif"),
    ]
)
BENCHMARK_SIGNS = (b"\x89PNG", b"\xff\xd8", b"RIFF")  # how files of READ_FORMATS begin
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF")
BITS, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339  # tags of TIFF
CHECK_VERSION = 1  # of what `_check` finds out: another one makes the cache forget
BYTES_PER_PIXEL = 16  # of the largest uncompressed kind; larger files are refused unread


@dataclass(frozen=True)
class ImageFile:
    """Decodes the image file at `path` when called, as `decode_file` does."""

    path: str
    max_pixels: int = MAX_PIXELS

    def __call__(self) -> np.ndarray:
        return decode_file(Path(self.path), self.max_pixels)


def decode_file(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the image in a file to sRGB, upright by its EXIF orientation.

    Single png, jpg and webp images go through the benchmark's own decoder, and other formats
    through its last step (`upright_srgb`). Of animations and files of several pages the first image
    counts. 16-bit greys are scaled to 8 bits, 32-bit and floating-point ones by their largest
    value, and transparency is laid over white; a Windows bitmap whose alpha is 0 everywhere is
    opaque. Broken metadata is ignored.

    Args:
        path: The file.
        max_pixels: Files that announce more are refused before any pixel is decoded.

    Returns:
        uint8 H x W x 3.

    Raises:
        InputError: The file, which is named, is empty, cut, damaged, of another kind or too large.
    """
    return _decode_noting(path, max_pixels)[0]


def _decode_noting(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode as `decode_file`, and say what of the metadata was broken and ignored."""
    from PIL import Image, UnidentifiedImageError

    try:
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{path} is empty (0 bytes); remove it or copy it again")
        if size > BYTES_PER_PIXEL * max_pixels:
            raise InputError(
                f"{path} has {size} bytes, too many for an image of at most {max_pixels} pixels; "
                "make it smaller"
            )
        return _first_image(path, max_pixels)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist; restore the file or take it out of the list"
        ) from None
    except Image.DecompressionBombError:  # Pillow's own limit, where it is the lower one
        raise _too_large(path, max_pixels) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not a whole image of a kind that can be read ({', '.join(_formats())}); "
            "save it as png or jpg"
        ) from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged bytes
        raise InputError(
            f"{path} is not a whole image that can be read ({error}); "
            "remove it or save it again as png or jpg"
        ) from None


def _too_large(path: Path, max_pixels: int) -> InputError:
    return InputError(f"{path} has more pixels than the limit of {max_pixels}; make it smaller")


def _first_image(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    from PIL import Image

    # Given a name and not a file, Pillow maps turned greys of TIFF into memory as if upright.
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # Pillow's own bomb warning: the bound below is stricter
        start = file.read(12)
        file.seek(0)
        image: Image.Image
        try:
            image = Image.open(file, formats=_formats())
        except Image.DecompressionBombError:
            raise
        except Exception:
            if not start.startswith(BENCHMARK_SIGNS):
                raise
            return decode_noting(path.read_bytes(), str(path), max_pixels)
        if image.width * image.height > max_pixels:
            raise _too_large(path, max_pixels)
        single = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
        if image.format in (*READ_FORMATS, "MPO") and single:
            return decode_noting(path.read_bytes(), str(path), max_pixels)
        image.seek(0)
        image.load()
        if (
            image.format == "BMP"
            and image.mode == "RGBA"
            and image.getchannel("A").getextrema()[1] == 0
        ):
            image = image.convert("RGB")  # its alpha was never written
        upright, notes = upright_srgb(_eight_bits(image))
        return np.array(upright), notes


@lru_cache(maxsize=1)
def _formats() -> list[str]:
    """Those of FORMATS that the installed Pillow can read."""
    from PIL import Image

    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _eight_bits(image: Any) -> Any:
    """A grey image of more bits as one of 8, with its orientation; any other one as it is."""
    from PIL import Image

    deep = image.mode == "F" or (image.mode == "I" and image.format == "TIFF")
    if not deep and not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)
    tags = dict(getattr(image, "tag_v2", {}))
    unsigned = tags.get(SAMPLE_FORMAT, (1,))[0] == 1 and tags.get(BITS, (0,))[0] == 32
    if image.mode == "I" and deep and unsigned:
        levels = levels.view(np.uint32)  # Pillow takes them for signed ones
    levels = np.nan_to_num(levels.astype(np.float64), posinf=0.0, neginf=0.0)
    top = max(float(levels.max()), 1e-12) if deep else 65535.0
    greys = (levels / top * 65535).clip(0, 65535)
    if tags.get(PHOTOMETRIC) == 0:  # white is 0; Pillow turns 8 bits round, and no more
        greys = 65535 - greys
    small = Image.fromarray(grey_levels(greys, image.info))
    small.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return small


@dataclass(frozen=True)
class Checked:
    """What decoding a file showed.

    Attributes:
        digest: The pixel hash.
        height: In pixels.
        width: In pixels.
        source: What it is compared by with other images, a `SourceDigest` as text.
        problem: Why the file cannot be used, in a sentence; empty where it can.
        notes: What of its metadata is broken and was ignored: sentences that begin with "its".
    """

    digest: str = ""
    height: int = 0
    width: int = 0
    source: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()


def check_files(
    paths: Sequence[Path], max_pixels: int = MAX_PIXELS, workers: int = 1, recheck: bool = False
) -> Iterator[Checked]:
    """Decode every file once and yield what each one showed, in order.

    What an earlier build found out about a file that has not changed since is not found out again.

    Args:
        paths: The files.
        max_pixels: Files that announce more are not decoded.
        workers: Processes that decode them.
        recheck: Whether all are decoded, whatever the cache knows.
    """
    from PIL import __version__ as pillow

    from lorweb_bench.runtime.workers import run_pieces

    with CheckCache(f"image {CHECK_VERSION} {pillow} {max_pixels}", recheck) as cache:
        states = [FileState.of(path) for path in paths]
        cached = [_checked_from(cache.get(state)) for state in states]
        unknown = [path for path, entry in zip(paths, cached, strict=True) if entry is None]
        check = partial(_check, max_pixels=max_pixels)
        fresh = run_pieces(check, unknown, workers, describe="checking images")
        for state, entry in zip(states, cached, strict=True):
            if entry is None:
                entry = next(fresh)
                if not entry.problem:  # which may be the disk's and not the file's
                    cache.put(state, asdict(entry))
            yield entry


def _checked_from(value: Any) -> Checked | None:
    """What the cache knows of a file; None where it knows nothing that can be used."""
    try:
        return Checked(**{**value, "notes": tuple(value["notes"])})
    except (TypeError, KeyError):
        return None


def file_sha256(path: Path, recheck: bool = False) -> str:
    """The sha256 of a file in hex; from the cache where the file has not changed since."""
    with CheckCache("sha256", recheck) as cache:
        state = FileState.of(path)
        cached = cache.get(state)
        if isinstance(cached, str):
            return cached
        digest = sha256_file(path)
        cache.put(state, digest)
        return digest


def _check(path: Path, max_pixels: int) -> Checked:
    try:
        image, notes = _decode_noting(path, max_pixels)
    except InputError as error:
        return Checked(problem=str(error))
    source = SourceDigest.of(image).to_text()
    return Checked(pixel_hash(image), image.shape[0], image.shape[1], source, notes=notes)


def metadata_notes(names: Iterable[str], checked: Iterable[Checked]) -> list[Note]:
    """One sentence about the images whose metadata is broken and was ignored, or none."""
    broken = [
        f"{name} ({', '.join(check.notes)})"
        for name, check in zip(names, checked, strict=True)
        if check.notes
    ]
    if not broken:
        return []
    more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
    return [
        f"{len(broken)} images were read as well as could be: {', '.join(broken[:SHOWN])}{more}"
    ]


def is_too_small(width: int, height: int, least: int) -> bool:
    """Whether the short side of an image has fewer than `least` pixels."""
    return min(width, height) < least


def too_small(name: str, width: int, height: int, least: int) -> LeftOut:
    """The note of an image whose short side has fewer than `least` pixels."""
    reason = f"{width} x {height} pixels, its short side under {least}"
    return LeftOut(name, reason, "minimum_side")


def image_files(path: str | Path) -> tuple[Path, list[Path]]:
    """Find the images in a folder and its subfolders, or those that match a pattern.

    Linked folders are searched too. Files of other kinds, hidden files and folders, and what a zip
    of a Mac adds, are passed over. A link that leads nowhere is among the images.

    Args:
        path: A folder, or a pattern such as `photos/**/*.jpg`.

    Returns:
        The folder that names are relative to, and the images, sorted by name.

    Raises:
        InputError: There is no such folder, or the pattern is none.
    """
    root_or_pattern = Path(path).expanduser()
    candidates: Iterable[Path]
    if root_or_pattern.is_dir():
        root, candidates = root_or_pattern, _files_in(root_or_pattern)
    elif any(sign in str(path) for sign in "*?["):
        root, candidates = _matching_files(root_or_pattern)
    else:
        what = "is a file and not a folder" if root_or_pattern.exists() else "is not a folder"
        raise InputError(
            f"{path} {what}; give a folder of images or a pattern such as 'photos/**/*.jpg'"
        )
    files = [
        file
        for file in candidates
        if is_image(file) and not any(map(_hidden, file.relative_to(root).parts))
    ]
    return root, sorted(files, key=lambda file: file.relative_to(root).as_posix())


def _files_in(root: Path) -> Iterator[Path]:
    for folder, names in folders(root):
        for name in names:
            yield folder / name


def _matching_files(pattern: Path) -> tuple[Path, list[Path]]:
    """The folder before the first part with a sign of a pattern, and what matches there."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if set(part) & set("*?["))
    root = Path(*parts[:first])
    try:
        return root, list(root.glob(str(Path(*parts[first:]))))
    except ValueError as error:
        raise InputError(
            f"{pattern} is no pattern of files ({error}); write one such as 'photos/**/*.jpg'"
        ) from None


def folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those in it at any depth, each with its files' names, sorted.

    Each folder comes once, however it is linked; hidden files and folders are passed over.
    """
    visited: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True, onerror=_stop):
        real = os.path.realpath(folder)
        inner[:] = [] if real in visited else sorted(n for n in inner if not _hidden(n))
        if real not in visited:
            visited.add(real)
            yield Path(folder), sorted(name for name in names if not _hidden(name))


def is_image(file: Path) -> bool:
    """Whether a file has the name of an image, and is a file or a link that leads nowhere."""
    if file.suffix.lower() not in SUFFIXES:
        return False
    return file.is_file() or (file.is_symlink() and not file.exists())


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _stop(error: OSError) -> None:
    raise error


def slugs(names: Sequence[str]) -> list[str]:
    """For each of some different names a slug, unique among them and the same in every run.

    Lower case, accents dropped, all else a dash. Where letters of other alphabets are lost, or two
    names would get the same slug, eight hex digits of the name's digest are appended.

    Args:
        names: Names, each different from the others.

    Returns:
        Slugs of `[a-z0-9_-]+`, in the order of the names.

    >>> slugs(["\u00cele 1.b", "plain"])
    ['ile-1-b', 'plain']
    """
    plain, lossy = [], []
    for name in names:
        folded = unicodedata.normalize("NFKD", name).casefold()
        letters = "".join(sign for sign in folded if not unicodedata.combining(sign))
        slug = re.sub(r"[^a-z0-9_]+", "-", letters).strip("-")
        foreign = any(sign.isalnum() and not sign.isascii() for sign in letters)
        plain.append(slug[:60])
        lossy.append(not slug or len(slug) > 60 or foreign)
    counts = Counter(plain)
    return [
        f"{slug}-{_short_digest(name)}".lstrip("-") if lost or counts[slug] > 1 else slug
        for name, slug, lost in zip(names, plain, lossy, strict=True)
    ]


def _short_digest(name: str) -> str:
    data = name.encode(errors="surrogatepass")  # names of files need not be Unicode
    return hashlib.sha256(data).hexdigest()[:8]
