"""Colours of other profiles come to sRGB within two levels of the arithmetic, by numpy alone."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from datagen.sources.image_files import decode_file
from lorweb_bench.data.images import decode, decode_array, decode_noting, upright_srgb

# x and y of red, green, blue and white, from the standards.
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.3127, 0.3290))
ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), (0.3127, 0.3290))
PROPHOTO = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), (0.3127, 0.3290))
CONE = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D50 = np.array([0.9642, 1.0, 0.8249])


def srgb_to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(values: np.ndarray) -> np.ndarray:
    values = values.clip(0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def to_xyz(space) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The matrix from linear RGB to XYZ relative to D50."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in space]).T
    colours, white = columns[:, :3], columns[:, 3]
    matrix = colours * np.linalg.solve(colours, white)
    adapt = np.linalg.inv(CONE) @ np.diag((CONE @ D50) / (CONE @ white)) @ CONE
    return adapt @ matrix


def reference(pixels: np.ndarray, space, gamma: float | None) -> np.ndarray:
    """What sRGB shows for pixels of a space; gamma None: the curve of sRGB."""
    values = pixels / 255
    linear = srgb_to_linear(values) if gamma is None else values**gamma
    srgb = linear @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(space)).T
    return (255 * linear_to_srgb(srgb)).round()


def profile(space, gamma: float | None, sort: bytes = b"RGB ") -> bytes:
    """An ICC profile of version 2: three primaries or grey, and a curve."""
    curve = b"curv" + struct.pack(">II", 0, 1) + struct.pack(">H", round((gamma or 1) * 256))
    if gamma is None:
        table = (65535 * srgb_to_linear(np.linspace(0, 1, 1024))).round().astype(">u2")
        curve = b"curv" + struct.pack(">II", 0, 1024) + table.tobytes()
    tags = {b"desc": b"desc" + struct.pack(">II", 0, 2) + b"x\0" + bytes(80)}
    tags[b"wtpt"] = b"XYZ " + struct.pack(">4i", 0, *(D50 * 65536).round().astype(int))
    if sort == b"GRAY":
        tags[b"kTRC"] = curve
    for letter, column in zip("rgb", to_xyz(space).T, strict=True):
        if sort != b"GRAY":
            numbers = (column * 65536).round().astype(int)
            tags[f"{letter}XYZ".encode()] = b"XYZ " + struct.pack(">4i", 0, *numbers)
            tags[f"{letter}TRC".encode()] = curve
    at, table, content = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    head = struct.pack(">IIII", at + len(content), 0, 0x02400000, 0)[:12] + b"mntr" + sort
    head += b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(D50 * 65536).round().astype(int))
    return head.ljust(128, b"\0") + table + content


def picture() -> np.ndarray:
    """Every hue, dark and light, in patches of 4 x 4 that survive JPEG."""
    y, x = np.mgrid[:32, :48]
    soft = np.stack([x * 5, y * 8, (x + y) * 3], -1)
    return soft.astype(np.uint8).repeat(4, 0).repeat(4, 1)


def saved(pixels: np.ndarray, form: str, icc: bytes | None, **more: object) -> bytes:
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    options |= {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True, "exact": True},
    }.get(form, {})
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options, **more)
    return buffer.getvalue()


def decoded_as(form: str, data: bytes, folder: Path) -> np.ndarray:
    """The pixels that the benchmark reads; a TIFF can only be a photograph of a recipe."""
    if form != "TIFF":
        return decode_array(data, "x")
    (folder / "x.tif").write_bytes(data)
    return decode_file(folder / "x.tif")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("space", "gamma"), [(P3, None), (ADOBE, 2.2), (PROPHOTO, 1.8), (SRGB, 1.0)]
)
def test_profiles_come_to_srgb_within_two_levels(
    space,  # type: ignore[no-untyped-def]
    gamma: float | None,
    form: str,
    tmp_path: Path,
) -> None:
    pixels = picture()
    data = saved(pixels, form, profile(space, gamma))
    stored = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    if space is PROPHOTO:  # the darkest steps of a power law are steeper than a level of 8 bits
        pixels, stored = pixels[8:, 12:], stored[8:, 12:]
    expected = reference(stored, space, gamma)
    decoded = decoded_as(form, data, tmp_path)
    decoded = decoded[8:, 12:] if space is PROPHOTO else decoded
    assert np.abs(decoded - expected).max() <= 2
    assert np.abs(decoded.astype(int) - stored).max() > 8


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("depth", [8, 16])
def test_linear_greys_come_to_srgb(depth: int, form: str, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256)[None].repeat(8, 0)
    top = 2**depth - 1
    levels = (values * top).round().astype(np.uint8 if depth == 8 else np.uint16)
    data = saved(levels, form, profile(SRGB, 1.0, b"GRAY"))
    expected = (255 * linear_to_srgb(levels / top)).round()
    decoded = decoded_as(form, data, tmp_path)
    assert np.abs(decoded[..., 0] - expected).max() <= 2
    assert (decoded[..., 0] == decoded[..., 2]).all()


def test_what_is_srgb_in_any_words_keeps_its_pixels() -> None:
    pixels = picture()
    built_in = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for icc in (None, built_in, profile(SRGB, None)):
        assert np.array_equal(decode_array(saved(pixels, "PNG", icc), "x"), pixels)
    grey = np.ascontiguousarray(pixels[..., 0])
    assert np.array_equal(decode_array(saved(grey, "PNG", built_in), "x")[..., 1], grey)


def test_transparency_is_laid_over_white_after_the_conversion() -> None:
    pixels = np.dstack([picture(), np.full((128, 192), 255, np.uint8)])
    pixels[:, :96, 3] = 0
    decoded = decode_array(saved(pixels, "PNG", profile(P3, None)), "x")
    assert (decoded[:, :96] == 255).all()
    assert np.abs(decoded[:, 96:] - reference(pixels[:, 96:, :3], P3, None)).max() <= 2


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(pixels: np.ndarray, *chunks: bytes) -> bytes:
    plain = saved(pixels, "PNG", None)
    return plain[:33] + b"".join(chunks) + plain[33:]


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 * gamma)))


def chrm(space) -> bytes:  # type: ignore[no-untyped-def]
    white_first = (space[3], *space[:3])
    numbers = [round(100_000 * number) for point in white_first for number in point]
    return chunk(b"cHRM", struct.pack(">8I", *numbers))


def test_a_png_says_its_gamma_and_primaries_without_a_profile() -> None:
    pixels = picture()
    linear = decode_array(with_chunks(pixels, gama(1.0)), "x")
    assert np.abs(linear - reference(pixels, SRGB, 1.0)).max() <= 2
    adobe = decode_array(with_chunks(pixels, gama(1 / 2.2), chrm(ADOBE)), "x")
    bright = pixels.min(axis=2) > 16  # a power law is steep where sRGB's curve is not
    assert np.abs(adobe - reference(pixels, ADOBE, 2.2))[bright].max() <= 2


@pytest.mark.parametrize(
    "chunks",
    [
        [gama(1 / 2.2)],
        [gama(0.45455), chrm(SRGB)],
        [chunk(b"sRGB", b"\0"), gama(1.0)],  # sRGB is said, and counts for more than its gamma
    ],
)
def test_gamma_and_primaries_of_srgb_change_nothing(chunks: list[bytes]) -> None:
    pixels = picture()
    assert np.array_equal(decode_array(with_chunks(pixels, *chunks), "x"), pixels)


def test_a_profile_counts_for_more_than_a_gamma() -> None:
    pixels, icc = picture(), profile(P3, None)
    chunks = [chunk(b"iCCP", b"p3\0\0" + zlib.compress(icc)), gama(1.0)]
    decoded = decode_array(with_chunks(pixels, *chunks), "x")
    assert np.abs(decoded - reference(pixels, P3, None)).max() <= 2


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ([chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile at all"))], "colour profile"),
        ([chunk(b"iCCP", b"x\0\0" + zlib.compress(profile(P3, None, b"GRAY")))], "another sort"),
        ([gama(1.0), chunk(b"cHRM", bytes(32))], "colour profile"),
        ([chunk(b"eXIf", b"http://not tiff")], "EXIF"),
        ([chunk(b"tEXt", b"k\0v")[:-1] + b"?"], "metadata"),
        ([chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(70_000_000), 9))], "metadata"),
    ],
)
def test_broken_metadata_never_costs_the_picture(chunks: list[bytes], said: str) -> None:
    pixels = picture()
    decoded, notes = decode_noting(with_chunks(pixels, *chunks), "x")
    assert np.array_equal(decoded, pixels)
    (note,) = notes
    assert note.startswith("its ") and said in note


def test_a_damaged_picture_is_refused_whatever_its_metadata() -> None:
    data = with_chunks(picture(), chunk(b"tEXt", b"k\0v")[:-1] + b"?")
    at = data.index(b"IDAT") + 40
    with pytest.raises(Exception, match="not a whole png"):
        decode(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :], "x")


def test_a_jpeg_is_read_when_its_exif_data_is_broken() -> None:
    data = saved(picture(), "JPEG", None, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    decoded, notes = decode_noting(data, "x")
    assert decoded.shape == (128, 192, 3)
    assert all(note.startswith("its ") for note in notes)


def test_a_phone_s_second_picture_is_passed_over() -> None:
    buffer, first = io.BytesIO(), Image.fromarray(picture())
    second = Image.new("RGB", first.size, "red")
    first.save(buffer, "MPO", save_all=True, append_images=[second], quality=95)
    decoded = np.asarray(decode(buffer.getvalue(), "x"))
    assert np.abs(decoded.astype(int) - picture()).mean() < 3


def test_an_image_of_a_pipeline_is_brought_to_srgb_too() -> None:
    image = Image.open(io.BytesIO(saved(picture(), "PNG", profile(P3, None))))
    converted, notes = upright_srgb(image)
    assert notes == () and converted.mode == "RGB" and "icc_profile" not in converted.info
    assert np.abs(np.asarray(converted) - reference(picture(), P3, None)).max() <= 2
