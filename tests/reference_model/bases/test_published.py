"""What the hub publishes, from shapes alone: the sizes that the models' names and cards state."""

from collections.abc import Callable

import pytest

from reference_model.bases.registry import base_kind, published_as, transformer_config
from reference_model.config import CONFIGS, TrainConfig, read_train_config
from reference_model.model.shapes import training_shapes
from reference_model.training.memory import frozen_bytes, frozen_encoder_bytes

# Billions of weights by the card. Linear layers: a double block of FLUX.2 has 12 (query, key, value
# and output for pictures and words, two in each feed-forward net), a single block 2; a
# block of Qwen-Image has two more, for what the time does.
SIZES = [
    ("flux-kontext", 12, 494),
    ("flux2-klein", 4, 5 * 12 + 20 * 2),
    ("black-forest-labs/FLUX.2-klein-base-9B", 9, 8 * 12 + 24 * 2),
    ("flux2", 32, 8 * 12 + 48 * 2),
    ("qwen-image-edit-plus", 20, 60 * 14),
]


@pytest.fixture
def at_full_size() -> Callable[..., TrainConfig]:
    """`at_full_size(base, layout)`: the paper's adapter on a base."""

    def make(base: str, layout: str) -> TrainConfig:
        overrides = [f"base={base}", f"layout={layout}"]
        return read_train_config(CONFIGS / "references.yaml", overrides)

    return make


@pytest.mark.parametrize(("base", "billions", "layers"), SIZES)
def test_a_base_has_the_size_and_the_layers_of_its_card(
    at_full_size: Callable[..., TrainConfig], base: str, billions: int, layers: int
) -> None:
    config = at_full_size(base, base_kind(base).layouts[-1])
    shapes = training_shapes(config)
    assert round(shapes.base / 1e9) == billions
    assert shapes.adapted_layers == layers
    assert frozen_bytes(config) == 2 * shapes.base  # bfloat16
    published = published_as(base)
    assert published is not None
    assert frozen_encoder_bytes(config) > 2 * published.encoder_weights


def test_a_kind_stands_for_its_first_repository() -> None:
    assert transformer_config("flux2-klein") == transformer_config(
        "black-forest-labs/FLUX.2-klein-base-4B"
    )
