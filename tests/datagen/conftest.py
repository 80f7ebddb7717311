"""A small training dataset and a small suite relative to it, built once from procedural scenes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen.build import build
from datagen.recipe.reading import read_recipe
from lorweb_bench.data.dataset import Dataset

TRAIN: dict[str, Any] = {
    "name": "small-train",
    "version": "1",
    "seed": 7,
    "source": {
        "kind": "scenes",
        "scenes": 60,
        "shares": {"train": 0.3, "dev": 0.1, "calibration": 0.2, "a": 0.2, "b": 0.2},
    },
    "panel": {"square": 32},
    "transformations": {
        "families": ["hue_shift", "invert", "flip", "rotate", "border", "tint", "lines"],
        "compositions": {"count": 24},
    },
    "tiers": {
        "new_family": ["threshold", "sobel", "letter"],
        "new_parameters": {"hue_shift": [{"degrees": 180}], "rotate": [{"degrees": 180}]},
        "new_composition": {"family_pairs": 4},
    },
    "splits": {"train": 60, "dev": 10},
    "analogies_per_pair": 2,
}
SUITE = {**TRAIN, "name": "small", "splits": {"seen": 20, "unseen": 24}, "analogies_per_pair": 1}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe, the small training one with other top-level keys, to a file."""

    def _write(**keys: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({**TRAIN, **keys}, sort_keys=False))
        return path

    return _write


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small training dataset, built by one worker."""
    folder = tmp_path_factory.mktemp("datagen")
    (folder / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    return build(read_recipe(folder / "train.yaml"), folder / "train").dataset


@pytest.fixture(scope="session")
def suite(train: Dataset) -> Dataset:
    """The small suite relative to `train`."""
    folder = train.path.parent
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    return build(
        read_recipe(folder / "suite.yaml", [f"tiers.relative_to={train.path}"]), folder / "suite"
    ).dataset


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random open_clip model, as a recipe names it."""
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    place = tmp_path_factory.mktemp("tower")
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    (place / "tiny-filter.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text})
    )
    open_clip.add_model_config(place / "tiny-filter.json")
    torch.manual_seed(4)
    metadata = {"mean": "0.5 0.5 0.5", "std": "0.5 0.5 0.5", "activation": "gelu"}
    weights = open_clip.create_model("tiny-filter").state_dict()
    save_file(weights, place / "weights.safetensors", metadata)
    return f"tiny-filter/{place / 'weights.safetensors'}"
