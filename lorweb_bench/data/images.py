"""Images: bounded and strict decoding, deterministic encoding, and the one resize kernel.

Every picture is decoded to upright sRGB, in all packages by the same functions.
"""

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lorweb_bench.data.colour import grey_levels, to_srgb
from lorweb_bench.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
READ_FORMATS = ("PNG", "JPEG", "WEBP")
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
PNG_NEEDED = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
JPEG_START, JPEG_SCAN = b"\xff\xd8", 0xDA
JPEG_METADATA = (*range(0xE1, 0xEE), 0xEF, 0xFE)  # comments, application data but JFIF's, Adobe's


def decode(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, transparent: bool = True
) -> Image.Image:
    """Decode a png, jpg or webp into an upright sRGB image, in full.

    The EXIF orientation is applied, colours are brought to sRGB (see `lorweb_bench.data.colour`),
    transparency is laid over white, and 16-bit greys are scaled to 8 bits. Of a phone's JPEG with
    several pictures (MPO) the first one counts. Broken metadata is ignored.

    Args:
        data: The bytes of the file.
        name: What an error calls the image.
        max_pixels: Checked against the size in the header before any pixel is decoded.
        transparent: Whether transparent pixels are allowed.

    Returns:
        A plain image of mode RGB, which holds no file.

    Raises:
        InputError: The image is larger, cut, damaged, animated or no such image, or has transparent
            pixels that are not allowed.
    """
    return _read(data, name, max_pixels, transparent)[0].copy()


def decode_array(data: bytes, name: str) -> np.ndarray:
    """Decode as `decode` into a uint8 H x W x 3 array, which is quicker by a copy."""
    return np.asarray(_read(data, name, MAX_PIXELS, transparent=True)[0])


def decode_noting(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode as `decode_array`, and say what of the file's metadata was broken and ignored.

    Returns:
        uint8 H x W x 3, and sentences that begin with "its".
    """
    image, notes = _read(data, name, max_pixels, transparent=True)
    return np.asarray(image), notes


def _read(
    data: bytes, name: str, max_pixels: int, transparent: bool
) -> tuple[Image.Image, tuple[str, ...]]:
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb warning: the bound below is stricter.
            warnings.simplefilter("ignore")
            image, notes = _load(data, name, max_pixels)
            if not transparent and _is_transparent(image):
                raise InputError(
                    f"{name} has transparent pixels, whose colour nobody can tell; "
                    "write it without an alpha channel."
                )
            rgb, more = upright_srgb(image)
            return rgb, (*notes, *more)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{name} has more pixels than the limit of {max_pixels}; make it smaller."
        ) from None
    except UnidentifiedImageError:  # its text is of a buffer in memory
        raise InputError(
            f"{name} is not a whole png, jpg or webp image; save it again as one of these."
        ) from None
    except Exception as e:  # Pillow's decoders raise nearly anything on damaged bytes
        raise InputError(f"{name} is not a whole png, jpg or webp image ({e}).") from None


def _load(data: bytes, name: str, max_pixels: int) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode every pixel; a file that Pillow refuses is tried again without its metadata."""
    try:
        return _open(data, name, max_pixels), ()
    except (InputError, Image.DecompressionBombError):
        raise
    except Exception:  # as in `_read`
        bare = b"".join(_essential_parts(data))
        if not bare or bare == data:
            raise
        return _open(bare, name, max_pixels), ("its metadata is broken, and was ignored",)


def _open(data: bytes, name: str, max_pixels: int) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=READ_FORMATS)
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{name} is {width}x{height} pixels, more than the limit of {max_pixels}; "
            "make it smaller."
        )
    if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
        raise InputError(f"{name} is an animation; give a single image.")
    image.load()
    if image.format == "PNG" and PNG_END not in data[-64:] and PNG_END not in data:
        raise ValueError("it ends too early")  # Pillow is content once it has the pixels
    return image


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    return bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)


def _essential_parts(data: bytes) -> Iterator[bytes]:
    """The parts of a PNG or JPEG that its pixels need; none where it is neither, or cut."""
    if data.startswith(PNG_START):
        yield PNG_START
        at = len(PNG_START)
        while at + 12 <= len(data):
            size, kind = struct.unpack(">I4s", data[at : at + 8])
            if kind in PNG_NEEDED:
                yield data[at : at + 12 + size]
            at += 12 + size
    elif data.startswith(JPEG_START):
        yield JPEG_START
        at = len(JPEG_START)
        while data[at : at + 1] == b"\xff" and data[at + 1] != JPEG_SCAN and at + 4 <= len(data):
            (size,) = struct.unpack(">H", data[at + 2 : at + 4])
            if data[at + 1] not in JPEG_METADATA:
                yield data[at : at + 2 + size]
            at += 2 + size
        yield data[at:]


def upright_srgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Turn a loaded picture upright and bring it to sRGB, with transparency over white.

    Args:
        image: A picture of any mode of 8 bits a channel, or of 16-bit greys. It may be changed.

    Returns:
        An image of mode RGB, and what of its metadata was broken and ignored: sentences that begin
        with "its".
    """
    notes: tuple[str, ...] = ()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # Pillow raises nearly anything on broken EXIF data
        notes = ("its EXIF data is broken, and was ignored",)
    info, alpha = image.info, None
    if image.mode.startswith("I") or image.mode == "F":
        greys = np.asarray(image).astype(np.float64).clip(0, 65_535)
        return Image.fromarray(grey_levels(greys, info)).convert("RGB"), notes
    if image.mode != "RGB" or "transparency" in info:
        image, alpha = _without_alpha(image)
    image.info = {}
    rgb, broken = to_srgb(image, info)
    if alpha is not None:
        rgb.putalpha(alpha)
        white = Image.new("RGBA", rgb.size, "white")
        rgb = Image.alpha_composite(white, rgb).convert("RGB")
    return rgb, (*notes, broken) if broken else notes


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """A picture in mode L, RGB or CMYK, and its alpha channel where it has one."""
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
        alpha = image.getchannel("A")
    image.info = {}
    if image.mode == "LA":
        return image.getchannel("L"), alpha
    if image.mode == "1":
        return image.convert("L"), alpha
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB"), alpha


def encode(image: Image.Image | np.ndarray, ext: str = "png") -> bytes:
    """Encode an image; the same pixels give the same bytes with the same versions of libraries.

    Args:
        image: A PIL image, or uint8 H x W x 3.
        ext: png (lossless), jpg (quality 95, 4:4:4) or webp (lossless).

    Raises:
        InputError: The extension is another one.

    >>> from PIL import Image
    >>> encode(Image.new("RGB", (8, 8)))[:4]
    b'\\x89PNG'
    """
    options: dict[str, dict[str, Any]] = {
        "png": {"format": "PNG", "compress_level": 3},
        "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
        "webp": {"format": "WEBP", "lossless": True, "quality": 50, "method": 4, "exact": True},
    }
    if ext not in options:
        raise InputError(f"Images are written as {', '.join(options)}, not as {ext!r}.")
    buffer = io.BytesIO()
    to_image(image).save(buffer, **options[ext])
    return buffer.getvalue()


def pixel_hash(image: Image.Image | np.ndarray) -> str:
    """The sha256 in hex over an image's size and RGB pixels: equal exactly when the pixels are."""
    array = to_array(image)
    digest = hashlib.sha256(f"{array.shape[1]}x{array.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def resize(image: Any, size: tuple[int, int]) -> Any:
    """Resize with the fixed kernel: area when both sides shrink or stay, cubic otherwise.

    Args:
        image: A PIL RGB image, or a uint8 H x W x 3 array.
        size: (width, height) in pixels.

    Returns:
        An image of the same type; the image itself where it has that size already.
    """
    import cv2

    array = to_array(image)
    height, width = array.shape[:2]
    if (width, height) == tuple(size):
        return image
    shrinks = size[0] <= width and size[1] <= height
    resized = cv2.resize(
        array, tuple(size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    )
    return to_image(resized) if isinstance(image, Image.Image) else resized


def to_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """A uint8 H x W x 3 RGB array of a PIL image, or the array itself.

    Raises:
        ValueError: The array has another dtype or shape.
    """
    if isinstance(image, Image.Image):
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 H x W x 3, not {image.dtype} {image.shape}")
    return image


def to_image(image: Image.Image | np.ndarray) -> Image.Image:
    """A PIL RGB image of a uint8 H x W x 3 array, or the image itself."""
    if isinstance(image, Image.Image):
        return image if image.mode == "RGB" else image.convert("RGB")
    return Image.fromarray(np.ascontiguousarray(to_array(image)))
