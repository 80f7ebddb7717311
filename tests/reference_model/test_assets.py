"""What ships: the tiny base has seen nothing that photos-mini holds out, it fits its budget, and it
does what its card says.
"""

import json
from pathlib import Path

import pytest

import reference_model
from datagen.planning.source_roles import share_out
from datagen.recipe.schema import read_recipe
from reference_model.bases.registry import load_base
from reference_model.bases.tiny_folder import ASSETS
from reference_model.checkpoints.checkpoint import load_checkpoint

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


def test_base_encoder_and_checkpoint_fit_thirteen_megabytes() -> None:
    folder = Path(reference_model.__file__).parent / "assets"
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors")) < 13e6


def test_the_base_loads_and_the_shipped_checkpoint_fits_it() -> None:
    assert load_base("tiny").sampling_steps == BASE["sampling_steps"]
    adapter, config = load_checkpoint(ASSETS / "lorweb")
    assert config.name == "lorweb" and adapter.router is not None
