"""What every preset promises, and families against independent truths."""

import cv2
import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.exposure
import skimage.transform
from PIL import Image, ImageOps

from datagen.transformations import library

PRESETS = [
    {
        "family": family.name,
        "parameters": dict(values) if family.deterministic else {**values, "seed": 3},
    }
    for family in library().families.values()
    for values in family.presets
]
PHOTOGRAPHS = [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")]


def photograph(index: int, height: int, width: int) -> np.ndarray:
    """A photograph cut to the shape's proportions and resized, read-only."""
    full = PHOTOGRAPHS[index]
    share = min(full.shape[0] / height, full.shape[1] / width)
    rows, columns = int(height * share), int(width * share)
    top, left = (full.shape[0] - rows) // 2, (full.shape[1] - columns) // 2
    image = cv2.resize(
        full[top : top + rows, left : left + columns], (width, height), interpolation=cv2.INTER_AREA
    )
    image.flags.writeable = False
    return image


def run(family: str, image: np.ndarray, **parameters: object) -> np.ndarray:
    return library().apply({"family": family, "parameters": parameters}, image)


def rmse(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.mean((first.astype(np.float64) - second) ** 2)))


@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (80, 48), (32, 32)])
def test_every_preset_keeps_the_shape_and_is_pure(shape: tuple[int, int]) -> None:
    image = photograph(0, *shape)
    before = image.tobytes()
    # The same pixels elsewhere in memory: vector instructions may not change a bit by alignment.
    elsewhere = np.frombuffer(b"x" + before, np.uint8, offset=1).reshape(image.shape)
    for spec in PRESETS:
        result = library().apply(spec, image)
        assert result.shape == image.shape, spec
        assert result.dtype == np.uint8, spec
        assert result.flags["C_CONTIGUOUS"], spec
        assert not np.may_share_memory(result, image), spec
        assert np.array_equal(result, library().apply(spec, elsewhere)), spec
        assert image.tobytes() == before, spec


@pytest.mark.parametrize("shape", [(16, 256), (256, 16), (64, 1024), (1024, 64)])
def test_every_preset_runs_on_panoramas(shape: tuple[int, int]) -> None:
    image = cv2.resize(PHOTOGRAPHS[0], shape[::-1], interpolation=cv2.INTER_AREA)
    image.flags.writeable = False
    for spec in PRESETS:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            result = library().apply(spec, image)
        assert result.shape == image.shape, spec
        assert result.dtype == np.uint8, spec


def test_one_preset_of_every_family_at_256() -> None:
    image = photograph(1, 256, 320)
    for family in library().families.values():
        spec = {"family": family.name, "parameters": family.presets[0]}
        result = library().apply(spec, image)
        assert result.shape == image.shape, spec
        assert rmse(result, image) >= 8, spec


def test_every_preset_changes_photographs() -> None:
    images = [photograph(index, 64, 64) for index in range(len(PHOTOGRAPHS))]
    for spec in PRESETS:
        changes = [rmse(library().apply(spec, image), image) for image in images]
        assert max(changes) >= 8, spec
        assert np.median(changes) >= 8, spec


def test_presets_can_be_told_apart() -> None:
    images = [photograph(index, 48, 48) for index in range(len(PHOTOGRAPHS))]
    results = np.stack(
        [np.stack([library().apply(spec, image) for image in images]).ravel() for spec in PRESETS]
    ).astype(np.float32)
    squares = (results**2).sum(1)
    distances = np.sqrt(
        np.maximum(squares[:, None] + squares - 2 * results @ results.T, 0) / results.shape[1]
    )
    np.fill_diagonal(distances, np.inf)
    first, second = np.unravel_index(distances.argmin(), distances.shape)
    assert distances.min() >= 8, (PRESETS[first], PRESETS[second])


def test_flat_images_do_no_harm() -> None:
    for level in (0, 255):
        image = np.full((40, 40, 3), level, np.uint8)
        for spec in PRESETS:
            assert library().apply(spec, image).shape == image.shape, spec


@pytest.mark.parametrize(
    ("family", "parameters"),
    [
        ("flip", {"axis": "horizontal"}),
        ("flip", {"axis": "vertical"}),
        ("rotate", {"degrees": 180}),
        ("invert", {}),
        ("channel_swap", {"order": "bgr"}),
        ("translate", {"right": 0.5, "down": 0.5}),
        ("slice_flip", {"axis": "rows", "count": 4}),
        ("half", {"edit": "invert", "side": "left"}),
    ],
)
def test_doing_it_twice_gives_the_picture_back(family: str, parameters: dict) -> None:
    image = photograph(1, 64, 80)
    assert np.array_equal(run(family, run(family, image, **parameters), **parameters), image)


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_rotate_agrees_with_numpy(degrees: int, turns: int) -> None:
    image = photograph(2, 64, 64)
    assert np.array_equal(run("rotate", image, degrees=degrees), np.rot90(image, turns))


def test_the_colour_families_agree_with_pillow_and_skimage() -> None:
    image = photograph(1, 64, 80)
    picture = Image.fromarray(image)
    assert (
        np.abs(
            run("grayscale", image).astype(int) - np.asarray(picture.convert("L"))[..., None]
        ).max()
        <= 1
    )
    assert np.array_equal(run("invert", image), np.asarray(ImageOps.invert(picture)))
    assert np.array_equal(
        run("solarise", image, threshold=140), np.asarray(ImageOps.solarize(picture, 140))
    )
    assert (
        np.abs(
            run("gamma", image, value=2.4).astype(int) - skimage.exposure.adjust_gamma(image, 2.4)
        ).max()
        <= 1
    )
    hsv = skimage.color.rgb2hsv(image)
    hsv[..., 0] = (hsv[..., 0] + 120 / 360) % 1
    assert rmse(run("hue_shift", image, degrees=120), skimage.color.hsv2rgb(hsv) * 255) < 3


def test_a_hue_shift_of_120_degrees_passes_the_channels_on() -> None:
    image = photograph(0, 64, 64)
    assert rmse(run("hue_shift", image, degrees=120), image[..., [2, 0, 1]]) < 3


def test_the_transposes_agree_with_numpy() -> None:
    image = photograph(0, 64, 64)
    assert np.array_equal(run("transpose", image, diagonal="main"), image.transpose(1, 0, 2))
    assert np.array_equal(
        run("transpose", image, diagonal="other"), image[::-1, ::-1].transpose(1, 0, 2)
    )


def test_tilt_and_swirl_turn_the_way_they_say() -> None:
    image = photograph(0, 65, 65)
    turned = skimage.transform.rotate(image, -30, mode="reflect", preserve_range=True)
    inner = slice(16, -16)
    assert rmse(run("tilt", image, degrees=30)[inner, inner], turned[inner, inner]) < 4
    # A swirl's very middle turns like a tilt by its full angle.
    ramp = np.repeat(np.linspace(0, 255, 65).astype(np.uint8)[None], 65, 0)[..., None].repeat(3, 2)
    swirled, tilted = run("swirl", ramp, degrees=90), run("tilt", ramp, degrees=90)
    middle = slice(30, 35)
    assert rmse(swirled[middle, middle], tilted[middle, middle]) < 4


def test_light_on_a_relief_comes_from_where_it_says() -> None:
    bump = np.full((64, 64, 3), 60, np.uint8)
    bump[24:40, 24:40] = 160
    for degrees, bright, dark in ((0, (32, 39), (32, 24)), (90, (24, 32), (39, 32))):
        relief, gray = (
            run("colour_relief", bump, degrees=degrees),
            run("emboss", bump, degrees=degrees),
        )
        assert relief[bright][0] > 160 >= relief[dark][0]
        towards = (bright[0] - (1 if degrees else 0), bright[1] + (0 if degrees else 1))
        assert gray[towards][0] > 128


def test_the_mirror_of_a_half_is_symmetric() -> None:
    image = photograph(1, 64, 80)
    left = run("mirror_half", image, side="left")
    assert np.array_equal(left, left[:, ::-1])
    assert np.array_equal(left[:, :40], image[:, :40])


def test_marks_follow_the_picture() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    image[8:20, 40:52] = 240
    image[40:52, 8:20] = 5
    assert tuple(run("mark", image, target="brightest", shade="red")[14, 46]) == (225, 35, 40)
    assert tuple(run("mark", image, target="darkest", shade="red")[46, 14]) == (225, 35, 40)
    flipped = np.ascontiguousarray(image[:, ::-1])
    assert tuple(run("mark", flipped, target="brightest", shade="red")[14, 17]) == (225, 35, 40)


def test_few_colours_has_no_more_than_it_says() -> None:
    for index in range(3):
        for count in (2, 3, 4, 6):
            assert (
                len(
                    np.unique(
                        run("few_colours", photograph(index, 64, 64), count=count).reshape(-1, 3),
                        axis=0,
                    )
                )
                <= count
            )


def test_mosaics_keep_the_mean_colour() -> None:
    image = photograph(0, 64, 64)
    for family, parameters in (
        ("pixelate", {"size": 8}),
        ("hexagons", {"size": 8}),
        ("triangles", {"size": 9}),
        ("crystals", {"size": 9, "seed": 1}),
    ):
        assert np.abs(run(family, image, **parameters).mean((0, 1)) - image.mean((0, 1))).max() < 1


def test_lengths_grow_with_the_image() -> None:
    small, large = photograph(0, 64, 64), photograph(0, 256, 256)
    for family, parameters in (
        ("border", {"shade": "red", "width": 0.1}),
        ("gaussian_blur", {"sigma": 3.0}),
        ("sticker", {"shape": "heart", "shade": "red", "place": "centre"}),
        ("pixelate", {"size": 8}),
        ("swirl", {"degrees": 180}),
    ):
        shrunk = cv2.resize(
            run(family, large, **parameters), (64, 64), interpolation=cv2.INTER_AREA
        )
        assert rmse(shrunk, run(family, small, **parameters)) < 16, family


def test_a_wide_blur_looks_like_the_whole_gaussian() -> None:
    image = photograph(0, 512, 512)
    exact = cv2.GaussianBlur(image, (0, 0), 24.0, borderType=cv2.BORDER_REFLECT_101)
    assert rmse(run("gaussian_blur", image, sigma=3.0), exact) < 2
