"""Colour management: every picture is brought to sRGB, as a browser shows it.

An embedded ICC profile decides; a PNG without one may say its gamma and primaries instead. The
conversion is LittleCMS' own, by way of Pillow, with the perceptual intent. A picture that says
nothing, or says sRGB in whatever words, keeps its pixels.
"""

import io
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

SRGB_LEVELS = 2  # a profile that moves no colour by more than this is sRGB
SRGB_GAMMA, GAMMA_SLACK = 1 / 2.2, 0.05  # what a PNG calls sRGB's gamma, and within which share
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue
PRIMARIES_SLACK = 0.003
SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile, and Pillow's mode for it
D50 = (0.9642, 1.0, 0.8249)  # the white that every profile refers to, as XYZ
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
BROKEN = "its colour profile is broken or of another sort of colours, so it was read as sRGB"


def to_srgb(image: Image.Image, info: Mapping[Any, Any]) -> tuple[Image.Image, str]:
    """Bring a picture's colours to sRGB.

    Args:
        image: A picture of mode L, RGB or CMYK.
        info: What Pillow read beside the pixels: `icc_profile`, `gamma`, `chromaticity`, `srgb`.

    Returns:
        The picture in RGB; and a sentence about what could not be used, or "".
    """
    profile = info.get("icc_profile") or _described_profile(info)
    if not profile:
        return _plain_rgb(image), ""
    try:
        space = _space(bytes(profile))
        if image.mode == "L" and space == "RGB":  # as many programs write greys
            image = image.convert("RGB")
        transform = _transform(bytes(profile), image.mode)
    except Exception:  # LittleCMS and Pillow raise whatever a broken profile leads them to
        return _plain_rgb(image), BROKEN
    return (_plain_rgb(image) if transform is None else _apply(transform, image)), ""


def _plain_rgb(image: Image.Image) -> Image.Image:
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


def grey_levels(greys: np.ndarray, info: Mapping[Any, Any]) -> np.ndarray:
    """Bring greys of 16 bits to sRGB.

    Args:
        greys: Whole numbers from 0 to 65535, of any shape.
        info: What Pillow read beside the pixels.

    Returns:
        uint8 levels.
    """
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.asarray(to_srgb(ramp, info)[0])[0, :, 0]
    exact = np.interp(greys / 257, np.arange(256), levels)
    return exact.round().clip(0, 255).astype(np.uint8)


def _apply(transform: Any, image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    converted.info = {}
    return converted


@lru_cache(maxsize=32)
def _space(profile: bytes) -> str:
    """The sort of a profile's colours: RGB, GRAY, CMYK, …"""
    from PIL import ImageCms

    space: str = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space
    return space.strip()


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> Any:
    """The transform from a profile to sRGB for pictures of a mode; None where it changes nothing.

    Raises:
        ValueError: The profile is of another sort of colours than the picture.
        ImageCms.PyCMSError: It is no profile.
    """
    from PIL import ImageCms

    if SPACES.get(_space(profile)) != mode:
        raise ValueError(f"a profile of {_space(profile)} in a picture of mode {mode}")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    # A table that LittleCMS interpolates is too coarse for the darkest of linear greys.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    transform = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags
    )
    if mode == "CMYK":
        return transform
    sample = _sample(mode)
    plain = np.asarray(sample.convert("RGB")).astype(np.int16)
    moved = np.abs(np.asarray(_apply(transform, sample)) - plain).max()
    return transform if moved > SRGB_LEVELS else None


def _sample(mode: str) -> Image.Image:
    """Colours all over the space: every grey, or a grid of 17 levels for each channel."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Image.fromarray(grid.reshape(17, 17 * 17, 3))


def _described_profile(info: Mapping[Any, Any]) -> bytes | None:
    """A profile of what a PNG says of its gamma and primaries; None where that is sRGB."""
    gamma = info.get("gamma")
    if gamma is None or "srgb" in info or not isinstance(gamma, float) or not 0.1 <= gamma <= 10:
        return None
    primaries = info.get("chromaticity") or SRGB_PRIMARIES
    near = np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() <= PRIMARIES_SLACK
    if near and abs(gamma / SRGB_GAMMA - 1) <= GAMMA_SLACK:
        return None
    try:
        return _matrix_profile(tuple(float(number) for number in primaries), 1 / gamma)
    except (np.linalg.LinAlgError, ValueError, ZeroDivisionError, struct.error, OverflowError):
        return b"no profile"  # the numbers describe no colours


@lru_cache(maxsize=32)
def _matrix_profile(primaries: tuple[float, ...], exponent: float) -> bytes:
    """An ICC profile of version 2 of three primaries, a white and a power law.

    Args:
        primaries: x and y of white, red, green and blue (CIE 1931).
        exponent: Linear light is a value in [0, 1] to this power.

    Raises:
        numpy.linalg.LinAlgError, ZeroDivisionError: The primaries span no space.
    """
    white, *colours = (_xyz(x, y) for x, y in zip(primaries[::2], primaries[1::2], strict=True))
    matrix = np.array(colours).T
    matrix = matrix * np.linalg.solve(matrix, white)
    scale = np.diag((BRADFORD @ np.array(D50)) / (BRADFORD @ white))
    columns = (np.linalg.inv(BRADFORD) @ scale @ BRADFORD @ matrix).T
    curve = b"curv" + struct.pack(">IIHH", 0, 1, round(exponent * 256), 0)
    name = b"PNG\0"
    description = b"desc" + struct.pack(">II", 0, len(name)) + name + bytes(4 + 4 + 2 + 1 + 67)
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": _xyz_tag(D50)}
    for letter, column in zip(b"rgb", columns, strict=True):
        tags[bytes([letter]) + b"XYZ"] = _xyz_tag(column)
        tags[bytes([letter]) + b"TRC"] = curve
    return _profile_file(tags)


def _xyz(x: float, y: float) -> np.ndarray:
    if y == 0:
        raise ZeroDivisionError
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _xyz_tag(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(v) * 65_536) for v in values))


def _profile_file(tags: dict[bytes, bytes]) -> bytes:
    """The file of a display profile: a header of 128 bytes, the table of tags, and the tags."""
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(data), len(content))
        data += content
    header = struct.pack(">I4xI", start + len(data), 0x02400000) + b"mntrRGB XYZ " + bytes(12)
    header += b"acsp" + bytes(28) + struct.pack(">3i", *(round(v * 65_536) for v in D50))
    return header.ljust(128, b"\0") + table + data
