"""Plain PNGs pass as the libraries write them; everything else is refused before it is decoded."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leaderboard.submission.png import SIGNATURE, check_plain, largest
from lorweb_bench.data.images import decode, encode
from lorweb_bench.errors import InputError

SIZE = (20, 12)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, layout: tuple[int, ...] = (8, 2, 0, 0, 0)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *layout))


def made(rows: bytes, *, head: bytes = header(*SIZE), end: bytes = chunk(b"IEND", b"")) -> bytes:
    return SIGNATURE + head + chunk(b"IDAT", rows) + end


ROWS = bytes(SIZE[1] * (1 + 3 * SIZE[0]))
GOOD = made(zlib.compress(ROWS))


@pytest.mark.parametrize("size", [(1, 1), (20, 12), (300, 200)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_pillow_writes_is_plain_and_within_the_bound(
    size: tuple[int, int], level: int
) -> None:
    data = png(Image.fromarray(noise(*size)), compress_level=level)
    check_plain(data, size, "x.png")
    assert len(data) <= largest(*size)


def test_what_opencv_and_the_project_write_is_plain() -> None:
    import cv2

    check_plain(cv2.imencode(".png", noise(*SIZE))[1].tobytes(), SIZE, "x.png")
    check_plain(encode(noise(*SIZE)), SIZE, "x.png")
    check_plain(GOOD, SIZE, "x.png")


RGB = Image.fromarray(noise(*SIZE))
REFUSED = {
    "jpeg": (lambda: (lambda b: (RGB.save(b, "JPEG"), b.getvalue())[1])(io.BytesIO()), "no PNG"),
    "empty": (lambda: b"", "no PNG"),
    "signature alone": (lambda: SIGNATURE, "is cut"),
    "cut": (lambda: GOOD[: len(GOOD) // 2], "is cut"),
    "without its last byte": (lambda: GOOD[:-1], "is cut"),
    "appended": (lambda: GOOD + b"PK\x03\x04", "4 bytes after its end"),
    "two images": (lambda: GOOD + GOOD, "after its end"),
    "other size": (lambda: png(RGB.resize((21, 12))), "is 21x12 pixels; the suite's item is 20x12"),
    "palette": (lambda: png(RGB.quantize(16)), "not a plain 8-bit RGB"),
    "grey": (lambda: png(RGB.convert("L")), "not a plain 8-bit RGB"),
    "alpha": (lambda: png(RGB.convert("RGBA")), "not a plain 8-bit RGB"),
    "16 bits": (
        lambda: made(zlib.compress(ROWS), head=header(*SIZE, (16, 2, 0, 0, 0))),
        "not a plain 8-bit RGB",
    ),
    "interlaced": (
        lambda: made(zlib.compress(ROWS), head=header(*SIZE, (8, 2, 0, 0, 1))),
        "not a plain 8-bit RGB",
    ),
    "text": (
        lambda: SIGNATURE + header(*SIZE) + chunk(b"tEXt", b"a\0b") + GOOD[33:],
        "chunk 'tEXt'",
    ),
    "compressed text": (
        lambda: made(
            zlib.compress(ROWS), end=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7)))
        ),
        "chunk 'zTXt'",
    ),
    "animation": (lambda: png(RGB, save_all=True, append_images=[RGB.rotate(90)]), "chunk 'acTL'"),
    "wrong checksum": (lambda: GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:], "checksum"),
    "no header": (lambda: SIGNATURE + GOOD[33:], "does not start with a header"),
    "two headers": (lambda: SIGNATURE + header(*SIZE) + GOOD[8:], "chunk 'IHDR'"),
    "end with a body": (
        lambda: made(zlib.compress(ROWS), end=chunk(b"IEND", b"x")),
        "chunk 'IEND'",
    ),
    "too few rows": (lambda: made(zlib.compress(ROWS[:-1])), "not as long"),
    "too many rows": (lambda: made(zlib.compress(ROWS + b"\0")), "not as long"),
    "behind the pixels": (lambda: made(zlib.compress(ROWS) + b"hidden"), "not as long"),
    "unfinished stream": (lambda: made(zlib.compress(ROWS)[:-4]), "not as long"),
    "no deflate": (lambda: made(b"not compressed"), "does not decompress"),
    "unknown filter": (lambda: made(zlib.compress(b"\x05" + ROWS[1:])), "unknown filter"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_with_the_reason(name: str) -> None:
    data, reason = REFUSED[name]
    with pytest.raises(InputError, match="x.png") as refused:
        check_plain(data(), SIZE, "x.png")
    assert reason in str(refused.value)


def test_huge_images_cost_nothing() -> None:
    started = time.process_time()
    huge = made(zlib.compress(bytes(10**6)), head=header(60_000, 60_000))
    with pytest.raises(InputError, match="60000x60000"):
        check_plain(huge, SIZE, "x.png")
    bomb = made(
        zlib.compress(bytes(10**8))
    )  # as large as it says in the header, but with endless rows
    started = time.process_time()
    with pytest.raises(InputError, match="not as long"):
        check_plain(bomb, SIZE, "x.png")
    assert time.process_time() - started < 0.5


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_passes_also_decodes(data: st.DataObject) -> None:
    mutated = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_plain(bytes(mutated), SIZE, "x.png")
    except InputError:
        return
    assert decode(bytes(mutated), "x.png").size == SIZE
