"""What ships: the tiny base has seen nothing that photos-mini holds out, it fits its budget, and it
does what its card says.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import reference_model
from datagen.planning.source_roles import share_out
from datagen.recipe.schema import read_recipe
from datagen.sources.bundled import bundled
from reference_model.bases.registry import load_base
from reference_model.bases.tiny_folder import ASSETS, declared_base
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.training.world_figures import edit_told

BASE = json.loads((ASSETS / "tiny" / "config.json").read_text())
# Out of the manifest of the suite as the demo builds it.
SUITE = json.loads((Path(__file__).parent / "photos-mini.json").read_text())


@pytest.mark.parametrize("tier", ["new_parameters", "new_composition", "new_family"])
def test_no_unseen_transformation_was_trained_on(tier: str) -> None:
    assert SUITE["unseen"][tier]
    assert not set(BASE["trained_transformations"]) & set(SUITE["unseen"][tier])


def test_no_family_and_no_pair_of_families_that_is_held_out_was_trained_on() -> None:
    recipe = read_recipe("photos-mini")
    trained = [
        {step.split("-")[0] for step in name.split("__")}
        for name in BASE["trained_transformations"]
    ]
    held_out = [
        frozenset(step.split("-")[0] for step in name.split("__"))
        for name in SUITE["unseen"]["new_composition"]
    ]
    assert not set().union(*trained) & set(recipe.tiers.new_family)
    assert not {frozenset(t) for t in trained if len(t) == 2} & {h for h in held_out if len(h) == 2}


def test_no_source_of_the_suite_was_trained_on() -> None:
    roles = share_out(read_recipe("photos-mini")).names
    for role in ("dev", "calibration", "a", "b"):
        assert roles[role] and not set(BASE["sources"]) & set(roles[role])
    assert set(BASE["sources"]) <= set(roles["train"])


def test_all_weights_that_ship_fit_twenty_megabytes() -> None:
    folder = Path(reference_model.__file__).parent / "assets"
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors")) < 20e6


def test_the_knowing_base_knows_what_the_suite_holds_out_and_saw_none_of_its_sources() -> None:
    known = declared_base("tiny-kplus").families
    recipe = read_recipe("photos-mini")
    assert set(recipe.tiers.new_family) <= known and set(recipe.tiers.new_parameters) <= known
    config = json.loads((ASSETS / "tiny-kplus" / "config.json").read_text())
    assert len(config["new_to_base"]) >= 8 and not known & set(config["new_to_base"])
    roles = share_out(recipe).names
    for role in ("dev", "calibration", "a", "b"):
        assert not set(config["sources"]) & set(roles[role])


def test_told_in_words_the_knowing_base_inverts_a_photograph_it_has_not_seen() -> None:
    base = load_base("tiny-kplus")
    (coffee,) = (source.load() for source in bundled() if source.name == "coffee")
    panel = np.ascontiguousarray(coffee[100:228, 200:328])
    inverted = edit_told(base, [panel], ["invert the colours"], 1)[0].astype(float)
    truth = 255.0 - panel
    assert np.square(inverted - truth).mean() < 0.05 * np.square(panel - truth).mean()


def test_the_base_loads_and_the_shipped_checkpoint_fits_it() -> None:
    assert load_base("tiny").sampling_steps == BASE["sampling_steps"]
    adapter, config = load_checkpoint(ASSETS / "lorweb")
    assert config.name == "lorweb" and adapter.router is not None
