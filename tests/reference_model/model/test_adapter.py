"""The encoder that a config names.

The base's own, or the paper's way with a CLIP backbone from a folder.
"""

from pathlib import Path

import pytest
import torch

from lorweb_bench.errors import InputError
from reference_model.config import TrainConfig
from reference_model.model.adapter import load_encoder, new_adapter

TRAINING = {"steps": 1, "batch": 1, "learning_rate": 1e-3}
ADAPTER = {"kind": "lorweb", "elements": 3, "rank": 1, "alpha": 1, "key_width": 4}


def config(base_folder: Path, encoder: str) -> TrainConfig:
    settings = {
        "name": "lorweb",
        "base": str(base_folder),
        "layout": "target-only",
        "encoder": encoder,
        "adapter": ADAPTER,
        "training": TRAINING,
    }
    return TrainConfig.model_validate(settings)


def test_a_clip_tower_routes_the_basis_by_three_embeddings(
    base_folder: Path, backbone: Path
) -> None:
    adapter = new_adapter(config(base_folder, str(backbone)), seed=0)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    features = adapter.features(image, image, image)
    assert features is not None and features.shape == (2, 18)
    assert adapter.router is not None and adapter.router(features).shape == (
        len(adapter.basis.layers),
        2,
        3,
    )


def test_a_missing_tower_says_what_to_download(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="hf download no-one/no-backbone"):
        load_encoder(config(base_folder, "no-one/no-backbone"))
