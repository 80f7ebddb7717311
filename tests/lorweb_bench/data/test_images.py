"""Decoding is strict and bounded, encoding deterministic, the pixel hash exact, the resize kernel
fixed.
"""

import hashlib
import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from lorweb_bench.data.images import decode, encode, pixel_hash, resize, to_array, to_image
from lorweb_bench.errors import InputError

RGB = arrays(
    np.uint8,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24).map(lambda shape: (*shape, 3)),
)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@given(RGB, st.sampled_from(["png", "webp"]))
@settings(max_examples=40, deadline=None)
def test_lossless_formats_give_the_pixels_back(array: np.ndarray, ext: str) -> None:
    data = encode(array, ext)
    assert data == encode(to_image(array), ext)
    assert (to_array(decode(data, "x")) == array).all()


def test_jpg_is_close_and_keeps_colour_at_full_size() -> None:
    array = np.zeros((32, 32, 3), np.uint8)
    array[:, ::2] = (255, 0, 0)  # columns of one pixel: chroma subsampling would smear them
    assert np.abs(to_array(decode(encode(array, "jpg"), "x")).astype(int) - array).max() < 40


def test_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="gif"):
        encode(np.zeros((2, 2, 3), np.uint8), "gif")
    with pytest.raises(InputError, match="x is not"):
        decode(saved(Image.new("RGB", (4, 4)), "BMP"), "x")


@pytest.mark.parametrize("ext", ["png", "jpg", "webp"])
def test_every_cut_is_noticed(ext: str) -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8), ext)
    for length in range(
        0, len(data) - 12, max(1, len(data) // 40)
    ):  # the last bytes may hold no pixels
        with pytest.raises(InputError, match="key-1 b_prime"):
            decode(data[:length], "key-1 b_prime")


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def test_the_size_is_checked_before_anything_is_decoded() -> None:
    with pytest.raises(InputError, match="bomb has more pixels"):
        decode(png_header(60000, 60000), "bomb")
    with pytest.raises(InputError, match="9000x9000"):
        decode(png_header(9000, 9000), "big")
    with pytest.raises(InputError, match="limit of 99"):
        decode(encode(np.zeros((10, 10, 3), np.uint8)), "x", max_pixels=99)


def test_transparency_is_laid_over_white() -> None:
    rgba = Image.new("RGBA", (3, 2), (200, 0, 0, 0))
    assert (to_array(decode(saved(rgba), "x")) == 255).all()
    palette = Image.new("P", (3, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    assert (to_array(decode(saved(palette, transparency=0), "x")) == 255).all()
    assert (to_array(decode(saved(palette), "x")) == (10, 20, 30)).all()
    assert (
        to_array(decode(saved(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3)), "x"))
        == 255
    ).all()


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.array([[0, 257 * 100, 65535]], np.uint16)
    assert to_array(decode(saved(Image.fromarray(levels)), "x"))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "RGB", "RGBA"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    format = "JPEG" if mode == "CMYK" else "PNG"
    assert decode(saved(Image.new(mode, (5, 4)), format), "x").mode == "RGB"


def test_the_exif_orientation_is_applied() -> None:
    image = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(saved(image, "JPEG", exif=exif), "x").size == (4, 6)


def test_animations_are_refused() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    with pytest.raises(InputError, match="animation"):
        decode(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "x")


def test_the_pixel_hash_is_over_size_and_pixels() -> None:
    array = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert pixel_hash(array) == hashlib.sha256(b"3x2:" + bytes(range(18))).hexdigest()
    assert pixel_hash(array) == pixel_hash(to_image(array)) == pixel_hash(np.asfortranarray(array))
    assert pixel_hash(array) != pixel_hash(array.reshape(3, 2, 3))


@given(RGB, RGB)
@settings(max_examples=30, deadline=None)
def test_the_pixel_hash_tells_images_apart(x: np.ndarray, y: np.ndarray) -> None:
    assert (pixel_hash(x) == pixel_hash(y)) == (x.shape == y.shape and bool((x == y).all()))


def test_shrinking_averages_areas() -> None:
    array = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    means = array.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    assert np.abs(resize(array, (6, 4)).astype(float) - means).max() <= 0.51


def test_enlarging_is_cubic_and_types_are_kept() -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    assert (
        resize(array, (8, 10)) == cv2.resize(array, (8, 10), interpolation=cv2.INTER_CUBIC)
    ).all()
    assert resize(to_image(array), (8, 10)).size == (8, 10)
    assert resize(array, (4, 5)) is array


def test_arrays_that_are_no_images_are_refused() -> None:
    for array in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3)), np.zeros((2, 2, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 H x W x 3"):
            to_array(array)


@pytest.mark.parametrize("data", [b"no image", b"BM" + bytes(60)])
def test_what_is_no_such_image_is_told_without_what_python_calls_it(data: bytes) -> None:
    with pytest.raises(InputError) as error:
        decode(data, "cat.bmp")
    assert str(error.value).startswith("cat.bmp is not a whole png, jpg or webp image; save it")
    assert "0x" not in str(error.value)
