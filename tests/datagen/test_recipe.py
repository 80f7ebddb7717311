"""Recipes: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from datagen.recipe import Recipe, find_recipe, read_recipe
from lorweb_bench.errors import InputError

READY = ("photos-mini-train", "photos-mini")
TOP_LEVEL = [
    "name",
    "version",
    "supersedes",
    "seed",
    "source",
    "panel",
    "transformations",
    "splits",
    "tiers",
    "analogies_per_pair",
    "filters",
]


def test_top_level_keys_are_the_ones_of_the_design() -> None:
    assert list(Recipe.model_fields) == TOP_LEVEL


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [f.annotation for f in model.model_fields.values() if isinstance(f.annotation, type) and issubclass(f.annotation, BaseModel)]
    return [model, *(section for one in inner for section in _sections(one))]


def test_every_key_is_documented() -> None:
    missing = [f"{s.__name__}.{n}" for s in _sections(Recipe) for n, f in s.model_fields.items() if not f.description]
    assert len(_sections(Recipe)) >= 6
    assert not missing


@pytest.mark.parametrize("name", READY)
def test_ready_recipes_are_found_by_name(name: str) -> None:
    assert read_recipe(name).name == name
    assert read_recipe(find_recipe(name)).name == name


def test_ready_recipes_share_what_keeps_their_sources_and_transformations_apart() -> None:
    train, suite = (read_recipe(name) for name in READY)
    assert (suite.seed, suite.panel) == (train.seed, train.panel)
    assert (suite.source.shares, suite.source.assign) == (train.source.shares, train.source.assign)
    for key in ("new_family", "new_parameters", "new_composition"):
        assert getattr(suite.tiers, key) == getattr(train.tiers, key)
    assert len(train.tiers.new_family) >= 8
    assert train.transformations.compositions.count >= 1000


@pytest.mark.parametrize(
    ("text", "found", "said"),
    [
        ("seed: 7", "sead: 7", ["line 3", "'sead'", "'seed'"]),
        ("  kind: scenes", "  kind: scenes\n  scene: 4", ["line 6", "'source.scene'", "'scenes'"]),
        ("    count: 24", "    cuont: 24", ["'transformations.compositions.cuont'", "'count'"]),
        ("  kind: scenes", "  kind: hugs", ["'hugs'", "photographs, scenes, pairs, quadruplets, relation252k, hub, editor"]),
        ("  kind: scenes", "  kind: scene", ["did you mean 'scenes'"]),
        ("  square: 32", "  square: 7", ["panel.square is 7", "16"]),
        ("  square: 32", "  square: 32\n  long_edge: 64", ["either `square` or `long_edge`"]),
        ("  train: 60", "  train: 60\n  seen: 3", ["two datasets"]),
        ("  train: 60", "  trian: 60", ["trian", "train, dev"]),
        ("name: small-train\n", "", ["'name' is missing"]),
        ("seed: 7", "seed: [", ["not YAML"]),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(write, text: str, found: str, said: list[str]) -> None:  # type: ignore[no-untyped-def]
    path = write()
    before = path.read_text()
    assert text in before
    path.write_text(before.replace(text, found, 1))
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    for words in said:
        assert words in str(error.value)


def test_settings_override_any_key(write) -> None:  # type: ignore[no-untyped-def]
    recipe = read_recipe(
        write(), ["seed=9", "splits={train: 5}", "transformations.compositions.count=3", "filters.attempts=2", "source.scenes=80"]
    )
    assert (recipe.seed, recipe.splits, recipe.transformations.compositions.count) == (9, {"train": 5}, 3)
    assert (recipe.filters.attempts, recipe.source.scenes) == (2, 80)


def test_another_path_sets_the_assigned_photographs_aside() -> None:
    own = read_recipe("photos-mini", ["source.path=photos"])
    assert (own.source.path, own.source.assign) == ("photos", {})
    assert read_recipe("photos-mini", ["source.scenes=9"]).source.assign
    assert read_recipe("photos-mini", ["source.path=photos", "source.assign={a: [mine]}"]).source.assign == {"a": ("mine",)}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed", "key=value"),
        ("seeed=3", "--set: there is no key 'seeed' in a recipe; did you mean 'seed'?"),
        ("filters.atempts=3", "did you mean 'attempts'?"),
        ("seed.x=3", "holds the value 7"),
        ("seed=[", "not YAML"),
        ("panel.square=no", "panel.square"),
    ],
)
def test_a_wrong_setting_is_refused(write, setting: str, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=".*") as error:
        read_recipe(write(), [setting])
    assert said in str(error.value)


def test_no_recipe_names_the_ready_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="photos-mini"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="did you mean 'photos-mini'"):
        read_recipe("photos-mimi")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    with pytest.raises(InputError, match="is no recipe"):
        read_recipe(tmp_path / "list.yaml")


def test_ready_recipes_stand_as_yaml_and_use_known_families() -> None:
    from datagen.tiers import held_out_parameters, trained_families
    from datagen.transformations import library

    for name in READY:
        recipe = read_recipe(name)
        assert yaml.safe_load(find_recipe(name).read_text())["name"] == name
        families = trained_families(recipe, library())
        kinds = {library().families[f].kind for f in families}
        assert "geometry" in kinds
        assert len(held_out_parameters(recipe, library())) >= 15
        if not recipe.is_suite:
            assert len(families) + len(recipe.tiers.new_family) >= 24
