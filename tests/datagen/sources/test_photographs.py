"""Photographs: the bundled ones, and folders with everything that users put into folders."""

import hashlib
import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datagen.sources.image_files import decode_file, slugs
from datagen.sources.photographs import folder
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError


def picture(seed: int = 0, height: int = 24, width: int = 36) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bit_files_keep_their_greys(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(grey).save(tmp_path / name)
        image = decode_file(tmp_path / name)
        assert np.abs(image[..., 0].astype(float) - grey / 257).max() <= 1
        assert np.array_equal(image[..., 0], image[..., 2])


def test_floating_point_greys_are_scaled_by_their_largest(tmp_path: Path) -> None:
    field = np.linspace(0, 4, 600, dtype=np.float32).reshape(20, 30)
    field[0, 0] = np.nan
    Image.fromarray(field).save(tmp_path / "depth.tif")
    image = decode_file(tmp_path / "depth.tif")
    assert image.max() == 255
    assert np.abs(image[1:, :, 0] - field[1:] / 4 * 255).max() <= 0.51


@pytest.mark.parametrize(
    ("kind", "top"),
    [(np.int32, 255), (np.uint32, 2**32 - 1), (np.int16, 32767), (np.uint16, 65535)],
)
def test_greys_of_other_depths_keep_their_order(tmp_path: Path, kind: type, top: int) -> None:
    grey = np.linspace(0, top, 600).astype(kind).reshape(20, 30)
    signs = {np.int32: (2, 32), np.uint32: (1, 32), np.int16: (2, 16), np.uint16: (1, 16)}[kind]
    for photometric in (1, 0) if kind is np.uint16 else (1,):  # 0: the largest value is black
        (tmp_path / "deep.tif").write_bytes(tiff(grey, *signs, photometric))
        image = decode_file(tmp_path / "deep.tif")[..., 0].astype(float)
        assert np.abs((image if photometric else 255 - image) - grey / top * 255).max() <= 1


def tiff(grey: np.ndarray, sample_format: int, bits: int, photometric: int) -> bytes:
    """An uncompressed little-endian TIFF of one strip."""
    height, width = grey.shape
    data = grey.astype(grey.dtype.newbyteorder("<")).tobytes()
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 8,
        277: 1,
        278: height,
        279: len(data),
        339: sample_format,
    }
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
        for tag, value in tags.items()
    )
    return (
        struct.pack("<2sHI", b"II", 42, 8 + len(data))
        + data
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
    )


def test_colour_modes_become_rgb(tmp_path: Path) -> None:
    smooth = np.array(Image.fromarray(picture(1, 3, 4)).resize((36, 24), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "print.jpg", quality=98)
    assert np.abs(decode_file(tmp_path / "print.jpg").astype(int) - smooth).mean() < 3
    for mode in ("P", "L", "1", "LA", "YCbCr", "LAB"):
        name = tmp_path / f"{mode}.{'tif' if mode in ('YCbCr', 'LAB') else 'png'}"
        (
            Image.fromarray(smooth)
            if mode != "LAB"
            else Image.merge("LAB", Image.fromarray(smooth).split())
        ).convert(mode).save(name)
        assert decode_file(name).shape == smooth.shape


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_transparency_is_laid_over_white(tmp_path: Path, name: str) -> None:
    rgba = np.dstack([picture(2), np.full((24, 36), 255, np.uint8)])
    rgba[:12, :, 3] = 0
    rgba[12:, 18:, 3] = 128
    Image.fromarray(rgba).save(
        tmp_path / name, **({"lossless": True, "exact": True} if name == "a.webp" else {})
    )
    image = decode_file(tmp_path / name)
    assert (image[:12] == 255).all()
    assert np.array_equal(image[12:, :18], rgba[12:, :18, :3])
    over = rgba[12:, 18:, :3] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(image[12:, 18:] - over).max() <= 1.5


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.kron(picture(3, 3, 5), np.ones((16, 16, 1), np.uint8))
    # How a camera stores the upright picture for each value of the EXIF tag.
    stored = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"p.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        file, exif=exif, **({"quality": 98, "subsampling": 0} if suffix == "jpg" else {})
    )
    image = decode_file(file)
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_greys_stand_upright_whatever_their_depth(tmp_path: Path, kind: type, suffix: str) -> None:
    if kind is np.float32 and suffix == "png":
        pytest.skip("PNG has no floating-point greys")
    grey = np.linspace(0, 65535 if kind is np.uint16 else 255, 600).astype(kind).reshape(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(grey))).save(tmp_path / f"p.{suffix}", exif=exif)
    image = decode_file(tmp_path / f"p.{suffix}")[..., 0]
    assert image.shape == grey.shape
    assert np.abs(image - grey / grey.max() * 255.0).max() <= 1


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif", "a.jpg"])
def test_the_first_image_of_several_counts(tmp_path: Path, name: str) -> None:
    first, second = (
        np.full((24, 36, 3), (200, 40, 40), np.uint8),
        np.full((24, 36, 3), (30, 90, 200), np.uint8),
    )
    kind = {"a.jpg": {"format": "MPO"}, "a.webp": {"lossless": True}}.get(name, {})
    Image.fromarray(first).save(
        tmp_path / name, save_all=True, append_images=[Image.fromarray(second)], **kind
    )
    assert np.abs(decode_file(tmp_path / name).astype(int) - first).max() <= 4


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    with pytest.raises(InputError, match="more pixels than the limit of 67108864"):
        decode_file(tmp_path / "bomb.png")
    Image.fromarray(picture()).save(tmp_path / "small.bmp")
    with pytest.raises(InputError, match="more pixels than the limit of 800"):
        decode_file(tmp_path / "small.bmp", max_pixels=800)
    (tmp_path / "long.jpg").write_bytes(bytes(2000))
    with pytest.raises(InputError, match="2000 bytes, too many"):
        decode_file(tmp_path / "long.jpg", max_pixels=100)


def mixed_folder(root: Path) -> dict[str, str]:
    """A folder of three good photographs and every kind of bad one; returns a word of the reason
    for each of the bad.
    """
    Image.fromarray(picture(0)).save(root / "one.png")
    (root / "sub").mkdir()
    Image.fromarray(picture(1)).save(root / "sub" / "Zwei .b.bmp")
    Image.fromarray(picture(2)).save(root / "три.png")
    (root / "one copy.png").write_bytes((root / "one.png").read_bytes())
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_text("not an image")
    Image.fromarray(picture(4, 200, 200)).save(root / "cut.jpg")
    (root / "cut.jpg").write_bytes((root / "cut.jpg").read_bytes()[:9000])
    Image.fromarray(picture(4, 90, 90)).save(root / "cut.tif")
    (root / "cut.tif").write_bytes((root / "cut.tif").read_bytes()[:9000])
    (root / "bomb.png").write_bytes(png_claiming(60_000, 60_000))
    (root / "notes.txt").write_text("passed over")
    (root / ".hidden.png").write_bytes(b"passed over")
    return {
        "bomb.png": "limit",
        "cut.jpg": "whole",
        "cut.tif": "whole",
        "empty.jpg": "empty",
        "one.png": "same picture",
        "text.jpg": "whole",
    }


def test_bad_files_are_named_with_their_reason(tmp_path: Path) -> None:
    reasons = mixed_folder(tmp_path)
    sources, skipped = folder(tmp_path, licence="CC0-1.0", attribution="me")
    assert [source.name for source in sources][:2] == ["one-copy", "sub-zwei-b"]
    assert re.fullmatch("[0-9a-f]{8}", sources[2].name)
    assert [one.name for one in skipped if reasons[one.name] not in one.reason] == []
    assert {one.name for one in skipped} == set(reasons)
    assert all((source.licence, source.attribution) == ("CC0-1.0", "me") for source in sources)
    assert np.array_equal(sources[1].load(), picture(1))


def test_a_bad_file_can_stop_the_build(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    with pytest.raises(InputError, match=r"bomb\.png"):
        folder(tmp_path, "fail")


def test_a_glob_chooses_files(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    sources, skipped = folder(str(tmp_path / "**" / "*.bmp"))
    assert [source.name for source in sources] == ["sub-zwei-b"]
    assert not skipped


def test_whatever_people_call_their_files(tmp_path: Path) -> None:
    names = [
        "A.JPG",
        "b.JPEG",
        "c.jfif",
        "d.heic",
        "e.v1.2.png",
        "new\nline.png",
        "имя.png",
        "图片.png",
        "😀.png",
        "sub.dir/A.JPG",
    ]
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(seed)).save(
            tmp_path / name, "PNG" if name.endswith("png") else "JPEG"
        )
    (tmp_path / "图片.png").rename(tmp_path / os.fsdecode(b"\xd0\xb8\xff.png"))  # no Unicode at all
    sources, skipped = folder(tmp_path)
    assert not skipped
    assert len({source.name for source in sources}) == len(names)
    assert all(re.fullmatch("[a-z0-9_-]+", source.name) for source in sources)


def test_hidden_places_are_passed_over_and_links_followed(tmp_path: Path) -> None:
    home, other = tmp_path / "photos", tmp_path / "other"
    for seed, place in enumerate((home, home / ".thumbnails", home / "__MACOSX" / "x", other)):
        place.mkdir(parents=True)
        Image.fromarray(picture(seed)).save(place / f"p{seed}.png")
    (home / "._p0.png").write_bytes(b"\0\5\x16\7")
    (home / "linked").symlink_to(other)
    (other / "back").symlink_to(home)  # a ring
    (home / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(home / "pipe.png")
    sources, skipped = folder(home)
    assert [source.name for source in sources] == ["linked-p3", "p0"]
    assert [(one.name, one.filter) for one in skipped] == [("gone.png", "unreadable")]
    assert [source.name for source in folder(str(home / "**" / "*.png"))[0]] == ["p0"]


def test_what_is_no_photograph_is_named_with_its_kind(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    (tmp_path / "whole.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    (left_out,) = folder(tmp_path)[1]
    assert left_out.name == "IMG_1.HEIC"
    assert "JPEG, PNG" in left_out.reason
    assert "save it as png or jpg" in left_out.reason


def test_a_pattern_that_is_none_and_a_file_are_refused(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    with pytest.raises(InputError, match="no pattern of files"):
        folder(str(tmp_path / "**x"))
    with pytest.raises(InputError, match=r"one\.png is a file and not a folder"):
        folder(tmp_path / "one.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError,
        match="has no usable photographs; nothing in it is named as an image",
    ):
        folder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs the columns file, licence and attribution, with commas between; it has none"),
        ("name,terms\n", "it has name, terms"),
        ("file;licence;attribution\na;b;c\n", "it has file;licence;attribution"),
        (
            "file,licence,attribution\none.png,CC0-1.0,Ann, Bob\n",
            "line 2 has more fields than columns; put text",
        ),
        ("file,licence,attribution\none.png,a,b\n\none.png,c,d\n", "line 4 names 'one.png' again"),
        (
            "file,licence,attribution\none.pgn,a,b\n",
            "line 2 names 'one.pgn', which is not among the photographs; did you mean 'one.png'?",
        ),
        ("file,licence,attribution\none.png,a,é\n", "it is a CSV file in UTF-8"),
    ],
)
def test_wrong_credits_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    mixed_folder(tmp_path)
    (tmp_path / "credits.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as error:
        folder(tmp_path, credits=tmp_path / "credits.csv")
    assert said in str(error.value)


def test_too_few_photographs_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no usable photographs"):
        folder(tmp_path)
    mixed_folder(tmp_path)
    with pytest.raises(
        InputError, match=r"no usable photographs; the first left out: .*36 x 24 pixels, its short"
    ):
        folder(tmp_path / "sub", min_side=32)
    with pytest.raises(InputError, match="not a folder"):
        folder(tmp_path / "nowhere")


def test_pinned_files_are_the_only_ones_and_must_be_the_very_same(tmp_path: Path) -> None:
    mixed_folder(tmp_path)
    digest = hashlib.sha256((tmp_path / "one.png").read_bytes()).hexdigest()
    sources, skipped = folder(tmp_path, sha256={"one.png": digest.upper()})
    assert [source.name for source in sources] == ["one"]
    assert ("три.png", "not among the files that the recipe pins") in [
        (one.name, one.reason) for one in skipped
    ]
    with pytest.raises(InputError, match=f"sha256 {digest}, the recipe pins 00"):
        folder(tmp_path, sha256={"one.png": "00"})
    with pytest.raises(InputError, match=r"gone\.png is pinned .* missing"):
        folder(tmp_path, sha256={"gone.png": digest})


def test_files_that_differ_in_their_suffix_alone_get_different_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "a.bmp", "b.png")):
        Image.fromarray(picture(seed)).save(tmp_path / name)
    assert [source.name for source in folder(tmp_path)[0]] == ["a-bmp", "a-png", "b"]


def test_slugs_are_readable() -> None:
    assert slugs(["Île 1.b", "9-Disney_Style", "IMG_0001"]) == [
        "ile-1-b",
        "9-disney_style",
        "img_0001",
    ]
    once, twice = slugs(["A b", "a.b"])
    assert once != twice
    assert once.startswith("a-b-")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=80), unique=True, max_size=20))
def test_slugs_are_unique_and_safe(names: list[str]) -> None:
    made = slugs(names)
    assert made == slugs(names)
    assert len(set(made)) == len(names)
    assert all(re.fullmatch("[a-z0-9_-]{1,70}", slug) for slug in made)
