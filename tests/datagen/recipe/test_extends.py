"""A recipe that extends another one: what it takes over, what it changes, and what is refused."""

from pathlib import Path

import pytest

from datagen.recipe.reading import read_content, read_recipe
from lorweb_bench.errors import InputError

BASE = """
name: base
version: "2"
supersedes: "1"
seed: 5
source: {kind: photographs, path: mine, assign: {a: [x, y], b: [z, w]}, licence: CC0-1.0}
panel: {square: 48}
tiers: {new_family: [sobel], new_parameters: {gamma: [{value: 2.4}]}, transformations: 4}
splits: {seen: 3, unseen: 5}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def extending(base: Path, text: str) -> Path:
    path = base.parent / "more.yaml"
    path.write_text(f"extends: base.yaml\nname: more\n{text}")
    return path


def test_sections_are_merged_and_other_values_are_replaced(base: Path) -> None:
    recipe = read_recipe(
        extending(
            base,
            "panel: {format: webp}\n"
            "tiers: {new_parameters: {hue_shift: [{degrees: 180}]}}\n"
            "splits: {train: 7}\n",
        )
    )
    assert (recipe.name, recipe.version, recipe.supersedes, recipe.seed) == ("more", "2", None, 5)
    assert (recipe.panel.square, recipe.panel.format) == (48, "webp")
    assert recipe.splits == {"train": 7}
    assert recipe.tiers.new_family == ("sobel",)
    assert recipe.tiers.new_parameters == {"hue_shift": ({"degrees": 180},)}
    assert recipe.source.assign == {"a": ("x", "y"), "b": ("z", "w")}


def test_a_resolved_recipe_says_nothing_of_what_it_extends(base: Path) -> None:
    recipe, content = read_content(extending(base, "splits: {train: 7}\n"))
    assert "extends" not in content
    assert "extends" not in recipe.model_dump()


def test_overrides_come_last(base: Path) -> None:
    path = extending(base, "splits: {train: 7}\n")
    settings = ["tiers.new_parameters.tint=[{strength: 0.3}]", "panel.square=96"]
    recipe = read_recipe(path, settings)
    assert recipe.panel.square == 96
    assert sorted(recipe.tiers.new_parameters) == ["gamma", "tint"]


def test_photographs_that_are_assigned_belong_to_the_path_that_they_are_in(base: Path) -> None:
    assert not read_recipe(extending(base, "source: {path: other}\n")).source.assign
    path = extending(base, "source: {path: other, assign: {a: [p, q], b: [r, s]}}\n")
    assert read_recipe(path).source.assign["a"] == ("p", "q")


def test_a_recipe_may_extend_one_that_extends_another(base: Path) -> None:
    extending(base, "panel: {format: webp}\n")
    path = base.parent / "third.yaml"
    path.write_text("extends: more.yaml\nname: third\nseed: 6\n")
    recipe = read_recipe(path)
    assert (recipe.name, recipe.seed, recipe.panel.format, recipe.panel.square) == (
        *("third", 6, "webp", 48),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: basis.yaml\nname: more\n", "extends 'basis.yaml', and there is no such recipe"),
        ("extends: photos-mimi\nname: more\n", "did you mean 'photos-mini'?"),
        ("extends: more.yaml\nname: more\n", "extends it in turn"),
        ("extends: [a]\nname: more\n", "extends is ['a'], and it must be text"),
        ("extends: base.yaml\n", "the key 'name' is missing"),
        ("extends: base.yaml\nname: more\npanel: {squrae: 3}\n", "line 3: there is no key"),
    ],
)
def test_what_cannot_be_extended_is_told(base: Path, text: str, said: str) -> None:
    path = base.parent / "more.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_recipe(path)
    assert said in str(error.value) and "more.yaml" in str(error.value)


def test_what_is_wrong_with_the_other_recipe_is_told_with_its_name(base: Path) -> None:
    base.write_text(BASE.replace("seed: 5", "seed: five"))
    with pytest.raises(InputError, match=r"base\.yaml, line 5: seed is 'five'"):
        read_recipe(extending(base, ""))
