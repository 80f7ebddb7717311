"""Leaks are found in every tier, and among images equal and near-equal; what is new is not called a
leak.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import decode, encode, pixel_hash, resize, to_array
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError
from lorweb_bench.suites.leaks import ImageSignature, find_leaks, like_images, write_sheet
from lorweb_bench.suites.near_duplicates import NEAR_BITS, NearDuplicateIndex, dhash, thumbnail

TIER_OF = {
    "hue_shift-degrees_60": ("hue_shift", "seen_single"),
    "hue_shift-degrees_90": ("hue_shift", "new_parameters"),
    "blur-sigma_2__invert": ("blur+invert", "new_composition"),
    "swirl-turns_1": ("swirl", "new_family"),
    "shear-right_1": ("shear", "new_to_base"),
}


def suite(folder: Path, items: Iterable[tuple[str, str, str]]) -> Dataset:
    """A suite of (transformation, family, tier); photographs and images by the items' numbers."""
    return _written(
        folder,
        [(name, family, tier, 100 + i) for i, (name, family, tier) in enumerate(items)],
        ("seen", "unseen"),
    )


def _written(
    folder: Path, items: list[tuple[str, str, str, int]], splits: tuple[str, ...]
) -> Dataset:
    for split in splits:
        with ShardWriter(folder, split, 0) as shard:
            for n, (name, family, tier, seed) in enumerate(items):
                if len(splits) == 1 or split == ("seen" if tier.startswith("seen") else "unseen"):
                    images = {
                        role: (encode(scene(5000 + 4 * seed + i, 24, 24)), "png")
                        for i, role in enumerate(("a", "a_prime", "b", "b_prime"))
                    }
                    record = {
                        "id": f"{folder.name}-{n}",
                        "transformation": name,
                        "family": family,
                        "kind": "colour",
                        "tier": tier,
                    }
                    record |= {
                        "instruction": "do",
                        "a_source": f"a{seed}",
                        "b_source": f"b{seed}",
                        "width": 24,
                        "height": 24,
                    }
                    shard.add(f"{folder.name}-{n}", images, record)
    described = {
        name: {"family": family, "kind": "colour", "instruction": "do", "tier": tier}
        for name, family, tier, _ in items
    }
    return finish_dataset(
        folder, {"name": folder.name, "version": "1", "view": "full", "transformations": described}
    )


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Trained on a hue shift and on blur, inversion and fog, the last three in two pairs."""
    names = [
        "hue_shift-degrees_60",
        "blur-sigma_1",
        "invert",
        "fog-density_1",
        "invert__fog-density_1",
        "fog-density_1__blur-sigma_1",
    ]
    families = ["hue_shift", "blur", "invert", "fog", "invert+fog", "fog+blur"]
    tiers = ["seen_composition" if "+" in family else "seen_single" for family in families]
    items = list(zip(names, families, tiers, range(len(names)), strict=True))
    return _written(tmp_path_factory.mktemp("leaks") / "train", items, ("train",))


def test_a_suite_of_new_things_does_not_leak(train: Dataset, tmp_path: Path) -> None:
    found = find_leaks(
        train.path, suite(tmp_path / "s", [(name, *rest) for name, rest in TIER_OF.items()]).path
    )
    assert (found.leaks, found.images, found.sources) == ([], [], [])
    assert found.tiers["seen_single"].shared == {"hue_shift-degrees_60"}  # by design


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (
            ("hue_shift-degrees_60", "hue_shift", "new_parameters"),
            "1 transformations of new_parameters are trained on",
        ),
        (
            ("fog-density_2__invert", "fog+invert", "new_composition"),
            "pairs of families of new_composition are trained on, fog+invert",
        ),
        (
            ("swirl__fog__blur", "swirl+fog+blur", "new_composition"),
            "pairs of families of new_composition are trained on, swirl+fog+blur",
        ),
        (("blur-sigma_9", "blur", "new_family"), "families of new_family are trained on, blur"),
        (
            ("swirl__fog", "swirl+fog", "new_family"),
            "families of new_family are trained on, swirl+fog",
        ),
        (("blur-sigma_9", "blur", "new_to_base"), "families of new_to_base are trained on, blur"),
        (("blur-sigma_1", "", "new_task"), "1 transformations of new_task"),
    ],
)
def test_what_is_not_new_leaks(
    train: Dataset, tmp_path: Path, item: tuple[str, str, str], words: str
) -> None:
    found = find_leaks(
        train.path,
        suite(tmp_path / "s", [("hue_shift-degrees_60", "hue_shift", "seen_single"), item]).path,
    )
    assert len(found.leaks) == 1
    assert words in found.leaks[0]


def test_shared_photographs_and_images_leak(train: Dataset, tmp_path: Path) -> None:
    items = [
        (name, family, tier, 3 if tier == "new_family" else 200 + i)
        for i, (name, (family, tier)) in enumerate(TIER_OF.items())
    ]
    leaking = _written(tmp_path / "s", items, ("seen", "unseen"))
    found = find_leaks(train.path, leaking.path, workers=2)
    assert found.sources == ["a3", "b3"]
    assert {(p.suite_role, p.train_role, p.train_key, p.equal) for p in found.images} == {
        (role, role, "train-3", True) for role in ("a", "a_prime", "b", "b_prime")
    }
    assert "4 images are in the training data" in " ".join(found.leaks)
    write_sheet(found, train.path, leaking.path, tmp_path / "pairs.png")
    assert Image.open(tmp_path / "pairs.png").width > 300


def test_a_suite_relative_to_another_training_dataset_is_noted(
    train: Dataset, small_suite: Dataset
) -> None:
    notes = " ".join(find_leaks(train.path, small_suite.path).notes)
    assert "relative to another training dataset" in notes
    assert "seen_single are not in this training data" in notes


def test_the_same_scene_in_another_size_is_found(small_suite: Dataset, tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", 0) as shard:
        b = next(small_suite.quadruplets("seen"))
        panels = {
            role: (encode(resize(getattr(b, role), (24, 24))), "png")
            for role in ("a", "a_prime", "b", "b_prime")
        }
        shard.add("k", panels, {"id": "k", "width": 24, "height": 24, "transformation": "t"})
    finish_dataset(tmp_path, {"name": "n", "version": "1", "view": "full"})
    found = find_leaks(tmp_path, small_suite.path)
    assert (b.key, "b", "k", "b") in {
        (p.suite_key, p.suite_role, p.train_key, p.train_role) for p in found.images
    }


def test_public_views_are_compared_by_images_alone(train: Dataset, small_public: Dataset) -> None:
    found = find_leaks(train.path, small_public.path)
    assert (found.leaks, found.tiers) == ([], {})
    assert "only images" in found.notes[0]
    with pytest.raises(InputError, match="training dataset first"):
        find_leaks(small_public.path, small_public.path)


def signature(array: np.ndarray, key: str = "k") -> ImageSignature:
    return ImageSignature(key, "a", pixel_hash(array), dhash(array), thumbnail(array))


SCENES = [scene(seed, 64, 64) for seed in range(60)]
EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": lambda image: decode(encode(image, "jpg"), "x"),
    "resized": lambda image: image.resize((80, 80), Image.Resampling.BICUBIC),
    "noise": lambda image: Image.fromarray((to_array(image) ^ 3).astype(np.uint8)),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(0.6)),
    "cropped": lambda image: image.crop((1, 1, image.width - 1, image.height - 1)),
    "brighter": lambda image: image.point(
        [min(255, round(value * 1.05)) for value in range(256)] * 3
    ),
    "smaller": lambda image: image.resize((24, 24), Image.Resampling.LANCZOS),
}


@pytest.mark.parametrize("edit", EDITS)
def test_near_equal_images_are_found_and_others_are_not(edit: str) -> None:
    edited = [
        signature(to_array(EDITS[edit](Image.fromarray(array))), str(i))
        for i, array in enumerate(SCENES[:40])
    ]
    pairs = like_images([signature(array, str(i)) for i, array in enumerate(SCENES)], edited)
    assert all(pair.suite_key == pair.train_key and not pair.equal for pair in pairs)
    assert len(pairs) >= 36
    assert (
        like_images(
            [signature(array) for array in SCENES[:30]], [signature(array) for array in SCENES[30:]]
        )
        == []
    )


@pytest.mark.parametrize("width", [16, 19])
def test_two_pictures_in_one_frame_are_not_near_equal(width: int) -> None:
    framed = [np.full((64, 64, 3), (20, 40, 200), np.uint8) for _ in range(2)]
    for image, inside in zip(framed, SCENES, strict=False):
        image[width:-width, width:-width] = 100 + inside[width:-width, width:-width] // 10
    first, second = map(thumbnail, framed)
    index = NearDuplicateIndex()
    index.add(0, first)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.97
    assert index.nearest(0, second) is None
    assert index.nearest(0, first) == (0, 0.0)


def test_images_without_content_are_left_out() -> None:
    black, dot, other = (np.zeros((64, 64, 3), np.uint8) for _ in range(3))
    dot[50:58, 40:42] = 255
    other[45:53, 30:34] = 255
    assert (
        like_images([signature(black), signature(other)], [signature(black), signature(dot)]) == []
    )


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=80),
    st.sets(st.integers(0, 63), max_size=14),
)
@settings(max_examples=60, deadline=None)
def test_no_hash_within_ten_bits_is_lost(hashes: list[int], flips: set[int]) -> None:
    small = thumbnail(SCENES[0])
    query = hashes[0] ^ sum(1 << bit for bit in flips)
    train = [ImageSignature(str(i), "a", str(i), value, small) for i, value in enumerate(hashes)]
    near = min((value ^ query).bit_count() for value in hashes) <= NEAR_BITS
    assert bool(like_images(train, [ImageSignature("q", "b", "q", query, small)])) == near


def test_any_two_datasets_can_be_compared(train: Dataset, tmp_path: Path) -> None:
    same = [
        ("hue_shift-degrees_60", "hue_shift", "seen_single", 1),
        ("swirl-turns_1", "swirl", "seen_single", 900),
    ]
    other = _written(tmp_path / "other", same, ("train",))
    found = find_leaks(train.path, other.path)
    assert "seen_single" in found.tiers
    found = find_leaks(other.path, other.path)
    assert found.tiers["seen_single"].shared == {"hue_shift-degrees_60", "swirl-turns_1"}
    assert found.sources == ["a1", "a900", "b1", "b900"]
    assert all(pair.equal for pair in found.images)
    assert len(found.images) == 8
