"""Plain PNGs.

The one image format a submission may hold, checked byte by byte before any decoder sees it.
"""

import struct
import zlib

from lorweb_bench.errors import InputError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGB_8_BIT = (8, 2, 0, 0, 0)  # bit depth, colour type, compression, filter, interlace


class NotPlain(InputError):
    """It may well be an image, but it is not a plain PNG."""


def largest(width: int, height: int) -> int:
    """The most bytes that a plain PNG of this size needs.

    Incompressible rows, and what zlib and chunks add.
    """
    raw = height * (1 + 3 * width)
    return raw + raw // 64 + 4096


def check_plain(data: bytes, size: tuple[int, int], name: str) -> None:
    """Check that `data` is a PNG of (width, height) in 8-bit RGB, not interlaced, of IHDR, IDAT and
    IEND chunks alone.

    The size in the header is compared before anything is decompressed, checksums are compared, the
    pixel data has to end where the size says, and nothing may follow IEND. InputError calls the
    image `name` and says what is wrong; it is a NotPlain where the image may be whole, but is of
    another format, mode or has other chunks.
    """
    if not data.startswith(SIGNATURE):
        raise NotPlain(f"{name} is no PNG.")
    position, pixels, kinds = len(SIGNATURE), [], list[bytes]()
    while not kinds or kinds[-1] != b"IEND":
        kind, body, position = _chunk(data, position, name)
        if not kinds:
            _check_header(kind, body, size, name)
        elif kind == b"IDAT":
            pixels.append(body)
        elif kind != b"IEND" or body:
            printable = ascii(kind.decode("latin-1"))
            raise NotPlain(
                f"{name} has a chunk {printable}; a plain 8-bit RGB PNG has none, and `leaderboard "
                "pack` writes such."
            )
        kinds.append(kind)
    if position != len(data):
        raise InputError(f"{name} has {len(data) - position} bytes after its end.")
    _check_pixels(b"".join(pixels), size, name)


def _chunk(data: bytes, position: int, name: str) -> tuple[bytes, bytes, int]:
    """The kind and the body of the chunk at `position`, and where the next one starts."""
    if position + 12 > len(data):
        raise InputError(f"{name} is cut.")
    length, kind = struct.unpack_from(">I4s", data, position)
    end = position + 12 + length
    if end > len(data):
        raise InputError(f"{name} is cut.")
    body = data[position + 8 : end - 4]
    if zlib.crc32(kind + body) != struct.unpack_from(">I", data, end - 4)[0]:
        raise InputError(f"{name} is damaged: a checksum is wrong.")
    return kind, body, end


def _check_header(kind: bytes, body: bytes, size: tuple[int, int], name: str) -> None:
    if kind != b"IHDR" or len(body) != 13:
        raise InputError(f"{name} is no PNG: it does not start with a header.")
    width, height, *layout = struct.unpack(">IIBBBBB", body)
    if (width, height) != size:
        raise InputError(
            f"{name} is {width}x{height} pixels; the suite's item is {size[0]}x{size[1]}."
        )
    if tuple(layout) != RGB_8_BIT:
        raise NotPlain(f"{name} is not a plain 8-bit RGB PNG; `leaderboard pack` writes such.")


def _check_pixels(data: bytes, size: tuple[int, int], name: str) -> None:
    stride, height = 1 + 3 * size[0], size[1]
    stream = zlib.decompressobj()
    try:
        rows = stream.decompress(data, stride * height + 1)
    except zlib.error:
        raise InputError(f"{name} is damaged: its pixel data does not decompress.") from None
    if len(rows) != stride * height or not stream.eof or stream.unused_data:
        raise InputError(f"{name} is damaged: its pixel data is not as long as its size says.")
    if max(rows[::stride]) > 4:  # a row starts with its filter: 0 to 4
        raise InputError(f"{name} is damaged: a row has an unknown filter.")
