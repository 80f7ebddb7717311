"""Roles and items: no source serves twice, the pixels are exact, keys and order say nothing,
candidates can be told apart.
"""

import itertools
import re

import numpy as np
import pytest

from datagen.making.filters import blank, levels
from datagen.making.panels import fit
from datagen.making.photograph_items import plan_items
from datagen.planning.calibration import Calibration, calibrate
from datagen.planning.source_roles import LEAST, share_out
from datagen.recipe.reading import read_recipe
from datagen.recipe.sources import ROLES
from datagen.sources.scenes.compose import scene
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.errors import InputError
from lorweb_bench.methods.baselines import affine_colour_transfer
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.protocol import CANDIDATES, SEEN_TIERS


def test_no_source_serves_two_roles(train: Dataset, suite: Dataset) -> None:
    roles = share_out(read_recipe(train.path.parent / "train.yaml"))
    names = [name for group in roles.names.values() for name in group]
    assert len(names) == len(set(names)) == 60
    for dataset, split, a_role, b_role in (
        (train, "train", "train", "train"),
        (train, "dev", "dev", "dev"),
        (suite, "seen", "a", "b"),
        (suite, "unseen", "a", "b"),
    ):
        for record in dataset.records(split):
            assert record.a_source in roles.names[a_role]
            assert record.b_source in roles.names[b_role]
            assert record.a_source != record.b_source


def test_a_scene_keeps_its_role_whatever_their_number(write) -> None:
    few, many = (share_out(read_recipe(write(), [f"source.scenes={n}"])).names for n in (60, 300))
    for role in ROLES:
        assert set(few[role]) <= set(many[role])


def test_answers_are_the_transformation_of_the_decoded_pixels(
    train: Dataset, suite: Dataset
) -> None:
    for dataset in (train, suite):
        for split in dataset.splits:
            for q in dataset.quadruplets(split):
                spec = dataset.manifest.transformations[q.record.transformation].spec
                for before, after in ((q.a, q.a_prime), (q.b, q.b_prime)):
                    x, y = to_array(before), to_array(after)  # type: ignore[arg-type]
                    assert np.array_equal(library().apply(spec, x), y)
                    assert np.sqrt(((x.astype(float) - y) ** 2).mean()) >= 8
                    assert blank(y) <= 0.9


def test_suite_keys_and_order_say_nothing(suite: Dataset) -> None:
    records = [r for split in suite.splits for r in suite.records(split)]
    assert all(re.fullmatch(r"[0-9a-f]{16}", r.id) for r in records)
    for split in suite.splits:
        order = [r.transformation for r in suite.records(split)]
        neighbours = sum(x == y for x, y in zip(order, order[1:], strict=False))
        assert neighbours <= 0.25 * len(order)


def test_training_items_share_pairs_as_asked(train: Dataset) -> None:
    by_pair: dict[tuple[str, bytes], int] = {}
    for q in train.quadruplets("train"):
        name = (q.record.transformation, q.a.tobytes())
        by_pair[name] = by_pair.get(name, 0) + 1
    assert max(by_pair.values()) == 2  # analogies_per_pair
    assert sum(by_pair.values()) == 60


def test_candidates_are_fifty_with_the_truth_and_can_be_told_apart(suite: Dataset) -> None:
    known = suite.manifest.transformations
    for split in suite.splits:
        for q in suite.quadruplets(split):
            candidates = q.record.candidates
            assert candidates is not None
            assert len(candidates) == len(set(candidates)) == min(CANDIDATES, len(known))
            assert q.record.transformation in candidates
            assert set(candidates) <= set(known)
            b, truth = to_array(q.b), to_array(q.b_prime)  # type: ignore[arg-type]
            far = {
                n: levels(library().apply(info.spec, b), truth)
                for n, info in known.items()
                if n != q.record.transformation
            }
            nearest = sorted((distance, n) for n, distance in far.items() if distance >= 2.0)[:25]
            assert {n for _, n in nearest} <= set(
                candidates
            )  # of whatever sort: so few transformations are all tried
            assert min(far[n] for n in candidates if n != q.record.transformation) >= 2.0


def test_rivals_are_the_nearest_on_the_calibration_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datagen.planning.calibration.RIVALS", 12)
    images, singles = [scene(i, 48, 48) for i in range(4)], library().singles()
    names = sorted(singles)[::6]
    found = Calibration("datagen", [(image, image) for image in images]).nearest(
        names[:5], {n: singles[n] for n in names}
    )
    for name in names[:5]:
        truth = [library().apply(singles[name], image).astype(float) for image in images]
        far = {
            n: sum(
                ((library().apply(singles[n], i) - x) ** 2).sum()
                for i, x in zip(images, truth, strict=True)
            )
            for n in names
        }
        nearest = sorted(set(names) - {name}, key=far.__getitem__)[:12]
        assert name not in found[name] and len(found[name]) == 12
        assert (
            len(set(nearest) & set(found[name])) >= 11
        )  # it measures at a selection of the pixels


def test_hard_is_what_no_trivial_method_solves(suite: Dataset) -> None:
    recipe = read_recipe(suite.path.parent / "suite.yaml")
    pairs = calibrate(recipe, share_out(recipe)).pairs
    flags = {r.transformation: r.hard for split in suite.splits for r in suite.records(split)}
    assert set(flags.values()) == {True, False}
    for name, flag in flags.items():
        spec = suite.manifest.transformations[name].spec
        scores = []
        for a, b in pairs:
            a_prime, b_prime = library().apply(spec, a), library().apply(spec, b)
            if np.sqrt(((b.astype(float) - b_prime) ** 2).mean()) >= 8:
                guesses = (b, a_prime, affine_colour_transfer(a, a_prime, b))
                scores.append([edit_recovery(guess, b, b_prime) for guess in guesses])
        assert flag == (np.mean(scores, axis=0).max() < 0.5)
    assert flags.get("rotate-degrees_180") is True
    assert not any(
        flag
        for name, flag in flags.items()
        if name.startswith(("invert", "tint")) and "__" not in name
    )


def test_one_calibration_source_is_too_few(write) -> None:  # type: ignore[no-untyped-def]
    recipe = read_recipe(write(), ["source.scenes=2", "source.shares={calibration: 1}"])
    assert len(calibrate(recipe, share_out(recipe)).pairs) == 12
    with pytest.raises(InputError, match="calibration"):
        one = read_recipe(write(), ["source.scenes=1", "source.shares={calibration: 1}"])
        calibrate(one, share_out(one))


def test_distances_agree_with_plain_numpy() -> None:
    images = [scene(i, 48, 48) for i in range(4)]
    calibration = Calibration("datagen", [(image[::-1].copy(), image) for image in images])
    singles = library().singles()
    for name in ("invert", "rotate-degrees_90", "tint-colour_name_red-strength_0p45"):
        full = np.median(
            [
                np.sqrt(((library().apply(singles[name], i).astype(float) - i) ** 2).mean())
                for i in images
            ]
        )
        assert calibration.change(name, singles[name]) == pytest.approx(full, rel=0.05)
    twice = {
        "invert": singles["invert"],
        "again": singles["invert"],
        "flip": singles["flip-axis_vertical"],
    }
    assert calibration.too_near(twice, {}, 2.0) == {"again": ("invert", 0.0)}


@pytest.mark.parametrize("count", [10, 17, 60])
def test_photographs_are_shared_out_by_share_and_never_too_thin(
    write, tmp_path, count: int
) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (count, 40, 40, 3), dtype=np.uint8)
    for i, picture in enumerate(noise):
        (folder / f"p{i:03d}.png").write_bytes(encode(picture))
    settings = [
        f"source={{kind: photographs, path: {folder}, "
        "shares: {train: 0.5, dev: 0.05, calibration: 0.05, a: 0.2, b: 0.2}}"
    ]
    roles = share_out(read_recipe(write(), settings))
    counts = {role: len(roles.pools[role].photographs) for role in ROLES}
    assert sum(counts.values()) == count
    assert all(counts[role] >= least for role, least in LEAST.items())
    if count == 60:
        assert all(
            abs(counts[role] - share * 60) <= 2
            for role, share in {"train": 0.5, "a": 0.2, "b": 0.2}.items()
        )


def test_fit_covers_without_stretching() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 30:50] = 255
    fitted = fit(image, (32, 32))
    assert fitted.shape == (32, 32, 3)
    assert fitted[:, 8:24].mean() == pytest.approx(255, abs=12)
    assert fit(image, (80, 40)) is image


def test_items_that_share_a_pair_stand_together_in_training_data(
    train: Dataset, suite: Dataset
) -> None:
    recipe = read_recipe(train.path.parent / "train.yaml")
    names = list(train.manifest.transformations)
    used = {
        tier: [n for n in names if train.manifest.transformations[n].tier == tier]
        for tier in SEEN_TIERS
    }
    items = list(plan_items(recipe, "train", used, names))
    groups = [
        key for key, _ in itertools.groupby((item.transformation, item.turn // 2) for item in items)
    ]
    assert len(groups) == len(set(groups)) < len(items)
    a = {
        q.key: (q.record.transformation, np.asarray(q.a).tobytes())
        for q in train.quadruplets("train")
    }
    by_pair: dict[tuple[str, int], set[tuple[str, bytes]]] = {}
    for item in items:
        by_pair.setdefault((item.transformation, item.turn // 2), set()).add(a[item.key])
    assert all(len(shared) == 1 for shared in by_pair.values())
    for split in suite.splits:
        keys = [record.id for record in suite.records(split)]
        assert keys == sorted(keys)
