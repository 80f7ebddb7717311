"""The tier `new_to_base`: what neither the training dataset nor the declared base has seen."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.suites.leaks import find_leaks
from lorweb_bench.suites.verify import verify
from tests.datagen.conftest import SUITE

NEW = ["shear", "rings"]
KNOWN = ["invert", "rotate", "border", "threshold", "sobel", "letter", "checks"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a base as `pretrain-tiny` writes it, with weights that nobody loads."""
    folder = tmp_path_factory.mktemp("bases") / "wide"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"known_families": KNOWN}))
    (folder / "base.safetensors").write_bytes(b"weights")
    return folder


def recipe_of(folder: Path, declared: Path, train: Dataset, **tiers: Any) -> Recipe:
    """The small suite's recipe with a declared base and other tiers."""
    relative = {"base": str(declared), "relative_to": str(train.path)}
    content = {
        **SUITE,
        "tiers": {**SUITE["tiers"], **relative, **tiers},
        "splits": {"seen": 4, "unseen": 22},
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return read_recipe(path)


@pytest.fixture(scope="module")
def suite_of_base(train: Dataset, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A small suite with that base declared."""
    folder = tmp_path_factory.mktemp("suite")
    return build(recipe_of(folder, base, train, new_to_base=NEW), folder / "suite").dataset


def test_the_tier_shares_the_split_evenly_with_the_others(suite_of_base: Dataset) -> None:
    counts = Counter(record.tier for record in suite_of_base.records("unseen"))
    assert set(counts) == {"new_parameters", "new_composition", "new_family", "new_to_base"}
    assert sum(counts.values()) == 22 and set(counts.values()) == {5, 6}
    assert {r.family for r in suite_of_base.records("unseen") if r.tier == "new_to_base"} == set(
        NEW
    )


def test_the_manifest_names_the_base_and_says_of_each_what_it_knows(suite_of_base: Dataset) -> None:
    declared = suite_of_base.manifest.base
    assert declared is not None
    assert declared.name == "wide"
    assert declared.fingerprint == hashlib.sha256(b"weights").hexdigest()
    for info in suite_of_base.manifest.transformations.values():
        assert info.known_to_base is (set(info.family.split("+")) <= set(KNOWN))
        assert not (info.tier == "new_to_base" and info.known_to_base)


def test_it_keeps_its_promise(suite_of_base: Dataset, train: Dataset) -> None:
    found = verify(suite_of_base.path)
    assert found.problems == [] and "knows what the manifest says" in found.base
    assert find_leaks(train.path, suite_of_base.path).leaks == []
    trained = {
        part for i in train.manifest.transformations.values() for part in i.family.split("+")
    }
    assert not trained & set(NEW)


def test_the_other_tiers_are_chosen_as_without_it(suite_of_base: Dataset, suite: Dataset) -> None:
    listed = suite_of_base.manifest.transformations.items()
    assert {n: i.tier for n, i in suite.manifest.transformations.items() if i.tier} == {
        n: i.tier for n, i in listed if i.tier and i.tier != "new_to_base"
    }
    written = (suite.path / "dataset.json").read_text()
    assert "known_to_base" not in written and "base" not in json.loads(written)


def test_a_base_that_became_another_one_since_is_named(
    suite_of_base: Dataset, train: Dataset, base: Path, tmp_path: Path
) -> None:
    again = recipe_of(tmp_path, base, train, new_to_base=NEW)
    assert build(again, suite_of_base.path).dataset.fingerprint == suite_of_base.fingerprint
    (base / "base.safetensors").write_bytes(b"other weights")
    try:
        with pytest.raises(InputError, match="was built with base .* and not .*another folder"):
            build(again, suite_of_base.path)
        found = verify(suite_of_base.path, rerun=False)
        assert found.problems == [] and "is not the declared one" in found.base
    finally:
        (base / "base.safetensors").write_bytes(b"weights")


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        (
            {"new_to_base": ["shear", "checks"]},
            "tiers.new_to_base: 'checks' is known to the declared base wide",
        ),
        (
            {"new_to_base": ["tint"]},
            "tiers.new_to_base: 'tint' is trained on in the dataset that tiers.relative_to names.",
        ),
        ({"new_to_base": ["sheer"]}, "tiers.new_to_base: there is no family 'sheer'; did you mean"),
        ({"base": "nowhere"}, "tiers.base: nowhere: no base there; name `tiny` or a folder"),
        (
            {"new_to_base": NEW, "new_family": [], "new_parameters": {}, "new_composition": {}},
            "tiers.new_to_base: the split unseen holds nothing else",
        ),
    ],
)
def test_what_cannot_be_promised_is_refused(
    train: Dataset, base: Path, tmp_path: Path, tiers: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=".") as error:
        build(recipe_of(tmp_path, base, train, **tiers), tmp_path / "suite")
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "suite").exists()


def test_training_data_is_made_without_what_is_new_to_the_base(
    base: Path, write: Any, tmp_path: Path
) -> None:
    settings = [f"tiers.base={base}", f"tiers.new_to_base={NEW}", "splits={train: 8}"]
    families = "transformations.families=[invert, flip, shear, rings]"
    compositions = "transformations.compositions={count: 0}"
    off = ["tiers.new_parameters={}", "tiers.new_composition={}"]
    recipe = read_recipe(write(), [*settings, families, compositions, *off])
    made = build(recipe, tmp_path / "train").dataset
    known = {info.family: info.known_to_base for info in made.manifest.transformations.values()}
    assert known == {"invert": True, "flip": False}
