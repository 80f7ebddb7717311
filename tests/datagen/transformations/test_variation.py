"""Parameters between the presets: allowed values only, and all families."""

import numpy as np
import pytest

from datagen.transformations import library
from datagen.transformations.declaration import SEED

FAMILIES = sorted(library().families)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_varies_within_its_presets(name: str) -> None:
    random, family = np.random.default_rng(0), library().family(name)
    for _ in range(12):
        spec = library().vary(name, random)
        assert spec == library().describe(name, spec["parameters"])
        for key, value in spec["parameters"].items():
            values = [preset[key] for preset in family.presets if key in preset]
            if family.parameters[key].choices or family.parameters[key] is SEED:
                assert value in values
            else:
                assert min(values) <= value <= max(values)


def test_numbers_lie_between_presets_and_words_are_mixed() -> None:
    random = np.random.default_rng(1)
    gammas = {library().vary("gamma", random)["parameters"]["value"] for _ in range(50)}
    presets = {preset["value"] for preset in library().family("gamma").presets}
    assert len(gammas - presets) > 40
    stickers = [library().vary("sticker", random)["parameters"] for _ in range(50)]
    told = {tuple(sorted(s.items())) for s in stickers}
    there = {tuple(sorted(p.items())) for p in library().family("sticker").presets}
    assert len(told - there) > 20


def test_kernels_keep_their_odd_sizes() -> None:
    random = np.random.default_rng(2)
    sizes = {library().vary("brush", random)["parameters"]["size"] for _ in range(40)}
    assert len(sizes) > 3 and all(size % 2 for size in sizes)


def test_a_preset_is_one_of_the_presets() -> None:
    random, ids = np.random.default_rng(3), set(library().singles())
    assert all(library().draw_preset(name, random)["id"] in ids for name in ("hue_shift", "flip"))
