"""A secret seed: drawn once for a dataset, kept by it, and never drawn alike."""

import json
from pathlib import Path

import pytest

from datagen.planning.seeding import BUILDING, SECRET_BITS, secret_seed
from datagen.recipe.reading import read_recipe
from lorweb_bench.errors import InputError

RECIPE = """
name: private
version: "1"
seed: secret
source: {kind: photographs, path: photos}
panel: {square: 32}
splits: {train: 8}
"""


def test_a_secret_seed_has_its_bits_and_is_another_one_each_time(tmp_path: Path) -> None:
    seeds = {secret_seed(tmp_path) for _ in range(20)}
    assert len(seeds) == 20 and {seed.bit_length() for seed in seeds} == {SECRET_BITS}


@pytest.mark.parametrize("name", ["dataset.json", BUILDING])
def test_a_dataset_keeps_the_seed_that_it_was_begun_with(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps({"recipe": {"seed": 2**191 + 5}}))
    assert secret_seed(tmp_path) == 2**191 + 5


def test_a_recipe_may_ask_for_one(tmp_path: Path) -> None:
    recipe = tmp_path / "private.yaml"
    recipe.write_text(RECIPE)
    seed = read_recipe(recipe, (), tmp_path / "out").seed
    assert seed.bit_length() == SECRET_BITS != read_recipe(recipe, (), tmp_path / "other").seed
    set_to = read_recipe(recipe, ("seed=7",), tmp_path / "out").seed
    assert set_to == 7
    with pytest.raises(InputError, match="seed is 'secret'"):
        read_recipe(recipe)
