"""Tiers hold what their names promise, read from the manifests of a built training dataset and
suite.
"""

import numpy as np
import pytest

from datagen.planning.calibration import Calibration, calibrate, own_images
from datagen.planning.source_roles import share_out
from datagen.planning.tiers import suite_tiers, trained
from datagen.recipe.reading import read_recipe
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError


def _families(dataset: Dataset, *tiers: str) -> list[str]:
    return [info.family for info in dataset.manifest.transformations.values() if info.tier in tiers]


def test_training_holds_out_families_parameters_and_pairs(train: Dataset) -> None:
    assert set(_families(train, "seen_single")) == {
        "hue_shift",
        "invert",
        "flip",
        "rotate",
        "border",
        "tint",
        "lines",
    }
    assert all(info.trained for info in train.manifest.transformations.values())
    steps = {step for name in train.manifest.transformations for step in name.split("__")}
    assert not steps & {"hue_shift-degrees_180", "rotate-degrees_180"}
    assert len(_families(train, "seen_composition")) == 24
    assert {info.tier for info in train.manifest.transformations.values()} == {
        "seen_single",
        "seen_composition",
    }


def test_unseen_tiers_are_new_as_they_promise(train: Dataset, suite: Dataset) -> None:
    known = train.manifest.transformations
    singly = set(_families(train, "seen_single"))
    together = {frozenset(f.split("+")) for f in _families(train, "seen_composition")}
    ever = {part for info in known.values() for part in info.family.split("+")}
    records = [record for split in suite.splits for record in suite.records(split)]
    assert {r.tier for r in records} == {
        "seen_single",
        "seen_composition",
        "new_parameters",
        "new_composition",
        "new_family",
    }
    for record in records:
        parts = record.family.split("+")
        match record.tier:
            case "seen_single" | "seen_composition":
                assert record.transformation in known
                assert known[record.transformation].tier == record.tier
            case "new_parameters":
                assert record.transformation not in known
                assert record.family in singly
            case "new_composition":
                assert frozenset(parts) not in together
                assert set(parts) <= singly
                assert all(step in known for step in record.transformation.split("__"))
            case "new_family":
                assert record.family not in ever


def test_the_suite_lists_all_that_was_trained_and_says_so(train: Dataset, suite: Dataset) -> None:
    listed = suite.manifest.transformations
    assert suite.manifest.tiers_relative_to == train.fingerprint
    for name, info in train.manifest.transformations.items():
        assert listed[name].trained is True
        assert listed[name].tier == info.tier
    assert all(
        info.trained is (info.tier in ("seen_single", "seen_composition"))
        for info in listed.values()
    )


def test_both_steps_of_a_composition_can_be_seen(train: Dataset) -> None:
    recipe = read_recipe(train.path.parent / "train.yaml")
    images = calibrate(recipe, share_out(recipe)).images

    def apart(xs: list[np.ndarray], ys: list[np.ndarray]) -> float:
        return float(
            np.median(
                [np.sqrt(((x.astype(float) - y) ** 2).mean()) for x, y in zip(xs, ys, strict=True)]
            )
        )

    for info in train.manifest.transformations.values():
        if info.tier == "seen_composition":
            first, second = (
                [library().apply(step, image) for image in images]
                for step in info.parameters["steps"]
            )
            both = [library().apply(info.spec, image) for image in images]
            # The build measures on a sample of the pixels: leave it a level.
            assert min(apart(both, images), apart(both, first), apart(both, second)) > 7


def test_calibration_does_not_depend_on_the_number_of_scenes(write) -> None:
    few, more = (
        read_recipe(write(), [f"source.scenes={count}", f"splits={{train: {count}}}"])
        for count in (200, 320)
    )
    for x, y in zip(
        calibrate(few, share_out(few)).pairs, calibrate(more, share_out(more)).pairs, strict=True
    ):
        assert np.array_equal(x, y)


def test_ready_recipes_calibrate_on_the_same_images() -> None:
    """So the training dataset and the suite decide alike what can be seen and told apart."""
    pictures = []
    for name in ("photos-mini-train", "photos-mini"):
        recipe = read_recipe(name)
        pictures.append(
            np.stack(
                [image for pair in calibrate(recipe, share_out(recipe)).pairs for image in pair]
            )
        )
    assert np.array_equal(pictures[0], pictures[1])


def test_twins_and_invisible_ones_are_dropped_and_reported(write, train: Dataset) -> None:
    recipe = read_recipe(write(), ["tiers.indistinct=60", "transformations.compositions.count=0"])
    calibration = calibrate(recipe, share_out(recipe))
    selection = trained(recipe, library(), calibration)
    assert len(selection.transformations) < len(_families(train, "seen_single"))
    assert any("levels from" in str(note) for note in selection.notes)
    strict = trained(
        read_recipe(write(), ["filters.minimum_change=60", "transformations.compositions.count=0"]),
        library(),
        calibration,
    )
    assert any("levels only" in str(note) for note in strict.notes)


def test_twins_on_the_suites_own_images_have_no_items_and_are_reported(
    write, train: Dataset
) -> None:  # type: ignore[no-untyped-def]
    """On gray photographs every shift of the hue is the same; on the calibration images none is
    like another.
    """
    known = {n: i.model_dump(mode="json") for n, i in train.manifest.transformations.items()}
    recipe = read_recipe(write())
    roles = share_out(recipe)
    gray = [
        (b.mean(2, keepdims=True).repeat(3, 2).astype(np.uint8),) * 2
        for b in own_images(recipe, roles).images
    ]
    plain = suite_tiers(
        recipe, library(), calibrate(recipe, roles), own_images(recipe, roles), known
    )
    found = suite_tiers(
        recipe, library(), calibrate(recipe, roles), Calibration("datagen", gray), known
    )
    used = {name: found.transformations[name] for names in found.used.values() for name in names}
    assert Calibration("datagen", gray).too_near(used, {}, recipe.tiers.indistinct) == {}
    hues = [[n for n in s.of("seen_single") if n.startswith("hue_shift")] for s in (plain, found)]
    assert len(hues[0]) > len(hues[1]) == 1
    assert set(known) <= set(found.transformations)  # trained on all the same
    said = [note for note in found.notes if "on the suite's images" in str(note)]
    assert said and all(note.filter == "indistinct" for note in said)
    assert not any("on the suite's images" in str(note) for note in plain.notes)


def test_a_recipe_may_give_its_own_parameters(write) -> None:  # type: ignore[no-untyped-def]
    settings = [
        "transformations={families: [hue_shift, flip], presets: {hue_shift: [{degrees: 77}, "
        "{degrees: 180}]}}",
        "tiers.new_parameters={hue_shift: [{degrees: 180}]}",
    ]
    recipe = read_recipe(write(), settings)
    selection = trained(recipe, library(), calibrate(recipe, share_out(recipe)))
    assert {n for n in selection.transformations if n.startswith("hue")} == {
        "hue_shift-degrees_77"
    }  # 180 is held out
    assert any(n.startswith("flip") for n in selection.transformations)


def test_new_parameters_keep_their_distance(write, train: Dataset) -> None:
    known = {n: i.model_dump(mode="json") for n, i in train.manifest.transformations.items()}
    recipe = read_recipe(write(), ["tiers.minimum_distance=200"])
    roles = share_out(recipe)
    selection = suite_tiers(
        recipe, library(), calibrate(recipe, roles), own_images(recipe, roles), known
    )
    assert not selection.of("new_parameters")
    assert any("under the distance of 200" in str(note) for note in selection.notes)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("transformations.families=[invertt, flip]", "did you mean 'invert'"),
        ("tiers.new_family=[sobell]", "did you mean 'sobel'"),
        ("tiers.new_parameters={hue_shfit: [{degrees: 3}]}", "did you mean 'hue_shift'"),
        ("tiers.new_parameters={sobel: [{gain: 3}]}", "not among the trained families"),
        ("tiers.new_parameters={hue_shift: [{degree: 3}]}", "degree"),
        ("transformations.families=[fresh_noise]", "fresh seed"),
        (
            "transformations.presets={sobel: [{gain: 3}]}",
            "transformations.presets: 'sobel' is not among",
        ),
        (
            "transformations.presets={tint: [{colour_name: magneta, strength: 0.4}]}",
            "transformations.presets.tint: The family 'tint' takes",
        ),
        (
            "tiers.new_parameters={hue_shift: [{degrees: 400}]}",
            "tiers.new_parameters.hue_shift: The family 'hue_shift' takes degrees (turn around the "
            "hue circle, 0 to 360 degrees); degrees was 400.",
        ),
        ("transformations.library=nowhere", "nowhere"),
        (
            "filters.minimum_change=255",
            "No transformation is left to train on (hue_shift-degrees_60: it changes an image by",
        ),
    ],
)
def test_unknown_families_are_named_with_the_nearest(write, setting: str, said: str) -> None:
    from datagen.build import make_plan

    recipe = read_recipe(write(), [setting])
    with pytest.raises(InputError, match=".") as error:
        make_plan(recipe, share_out(recipe), None)
    assert said in str(error.value)
