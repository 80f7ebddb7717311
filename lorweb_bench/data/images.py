"""Images: bounded and strict decoding, deterministic encoding, pixel hashes, one resize kernel."""

import hashlib
import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from lorweb_bench.errors import InputError

MAX_PIXELS = 64 * 1024 * 1024
READ_FORMATS = ("PNG", "JPEG", "WEBP")
PNG_END = b"IEND\xaeB`\x82"


def decode(
    data: bytes, name: str, max_pixels: int = MAX_PIXELS, transparent: bool = True
) -> Image.Image:
    """Decode a png, jpg or webp into an RGB image, in full.

    The EXIF orientation is applied, and 16-bit greys are scaled to 8 bits.

    Args:
        data: The encoded image.
        name: What an error calls the image.
        max_pixels: The most pixels; the header is checked before any pixel is decoded.
        transparent: Whether transparency is laid over white; otherwise it is refused.

    Raises:
        InputError: The image is larger, cut, damaged, animated, or not a png, jpg or webp.
    """
    return _read(data, name, max_pixels, transparent).copy()  # a plain image, which holds no file


def decode_array(data: bytes, name: str) -> np.ndarray:
    """Decode as `decode` into a uint8 H x W x 3 array, which is quicker by a copy."""
    return np.asarray(_read(data, name, MAX_PIXELS, transparent=True))


def _read(data: bytes, name: str, max_pixels: int, transparent: bool) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's bomb warning: the bound below is stricter
            image = Image.open(io.BytesIO(data), formats=READ_FORMATS)
            width, height = image.size
            if width * height > max_pixels:
                raise InputError(
                    f"{name} is {width}x{height} pixels, more than the limit of {max_pixels}; "
                    "make it smaller."
                )
            if getattr(image, "n_frames", 1) != 1:
                raise InputError(f"{name} is an animation; give a single image.")
            image.load()
            if image.format == "PNG" and PNG_END not in data[-64:] and PNG_END not in data:
                raise ValueError("it ends too early")  # Pillow is content once it has the pixels
            if (
                not transparent
                and image.has_transparency_data
                and np.asarray(image.convert("RGBA"))[..., 3].min() < 255
            ):
                raise InputError(
                    f"{name} has transparent pixels, whose colour nobody can tell; "
                    "write it without an alpha channel."
                )
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{name} has more pixels than the limit of {max_pixels}; make it smaller."
        ) from None
    except Exception as e:  # Pillow's decoders raise nearly anything on damaged bytes
        raise InputError(f"{name} is not a whole png, jpg or webp image ({e}).") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        image.info = {}  # no metadata
        return image
    if image.mode.startswith("I") or image.mode == "F":
        levels = np.asarray(image).astype(np.float64)
        return Image.fromarray((levels / 257).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def encode(image: Image.Image | np.ndarray, ext: str = "png") -> bytes:
    """Encode an RGB image; the same pixels give the same bytes with the same libraries.

    Args:
        image: A PIL image, or a uint8 array H x W x 3.
        ext: png and webp are lossless, jpg has quality 95 and no chroma subsampling.

    Raises:
        InputError: There is no such extension.

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
    """The sha256 in hex over an image's size and its RGB pixels."""
    array = to_array(image)
    digest = hashlib.sha256(f"{array.shape[1]}x{array.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def resize(image: Any, size: tuple[int, int]) -> Any:
    """Resize with the fixed kernel: area when both sides shrink or stay, cubic otherwise.

    Args:
        image: A PIL RGB image, or a uint8 array H x W x 3; the result is of the same type.
        size: The (width, height) in pixels. An image of that size comes back as it is.
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
        ValueError: The array is of another dtype or shape.
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
