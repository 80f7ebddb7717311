"""What ships: the tiny base has seen nothing that photos-mini holds out, it fits its budget, and it
does what its card says.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from datagen.planning.source_roles import share_out
from datagen.recipe.reading import read_recipe
from datagen.sources.bundled import bundled
from reference_model.bases.registry import load_base
from reference_model.bases.tiny_folder import ASSETS, declared_base
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.instructed import edit_told
from reference_model.training.world import stack_panels


def families_in(transformation: str) -> set[str]:
    """The families in the id of a transformation or composition."""
    return {step.split("-")[0] for step in transformation.split("__")}


BASE = json.loads((ASSETS / "tiny" / "config.json").read_text())
# Out of the manifest of the suite as the demo builds it.
SUITE = json.loads((Path(__file__).parent / "photos-mini.json").read_text())


@pytest.mark.parametrize("tier", ["new_parameters", "new_composition", "new_family"])
def test_the_base_knows_every_family_that_the_suite_holds_out(tier: str) -> None:
    families = {family for name in SUITE["tiers"][tier] for family in families_in(name)}
    assert families and families <= set(BASE["known_families"])


def test_the_base_knows_none_of_the_families_that_are_new_to_it() -> None:
    new = {family for name in SUITE["tiers"]["new_to_base"] for family in families_in(name)}
    assert len(new) >= 8 and new <= set(BASE["new_to_base"])
    assert not set(BASE["new_to_base"]) & set(BASE["known_families"])


def test_no_source_of_the_suite_was_trained_on() -> None:
    roles = share_out(read_recipe("photos-mini")).names
    for role in ("dev", "calibration", "a", "b"):
        assert roles[role] and not set(BASE["sources"]) & set(roles[role])
    of_recipe = {name for name in BASE["sources"] if name in set().union(*roles.values())}
    assert of_recipe and of_recipe <= set(roles["train"])


def test_the_checkpoint_was_trained_on_the_dataset_that_the_suite_holds_out_from() -> None:
    config = json.loads((ASSETS / "lorweb" / "config.json").read_text())
    assert config["training_dataset"] == SUITE["relative_to"]
    assert config["base_sha256"] == SUITE["base"] == declared_base("tiny").fingerprint


def test_all_weights_that_ship_fit_twenty_four_megabytes() -> None:
    assert sum(p.stat().st_size for p in ASSETS.rglob("*.safetensors")) < 24e6


def test_told_in_words_the_base_inverts_a_photograph_that_it_has_not_seen() -> None:
    base = load_base("tiny")
    (coffee,) = (source.load() for source in bundled() if source.name == "coffee")
    panel = np.ascontiguousarray(coffee[100:228, 200:328])
    told = edit_told(base, stack_panels([panel]), ["invert the colours"], [0])
    inverted = told[0].permute(1, 2, 0).numpy().astype(float)
    truth = 255.0 - panel
    assert np.square(inverted - truth).mean() < 0.05 * np.square(panel - truth).mean()


def test_the_base_loads_and_the_shipped_checkpoint_fits_it() -> None:
    assert load_base("tiny").sampling_steps == BASE["sampling_steps"]
    adapter, config = load_checkpoint(ASSETS / "lorweb")
    assert config.name == "lorweb" and adapter.router is not None
