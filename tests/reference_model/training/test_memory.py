"""The estimate of a dry run against the bytes of real tensors, on a tiny FLUX.1-Kontext."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lorweb_bench.data.dataset import open_dataset
from reference_model.config import CONFIGS, FitConfig, TrainConfig, read_train_config
from reference_model.model.grid_layout import flatten_tokens
from reference_model.model.shapes import training_shapes
from reference_model.training.batches import Choice, InMemoryBatches, load_frozen_encoders
from reference_model.training.flow import draw
from reference_model.training.launching import new_optimizer
from reference_model.training.memory import (
    CARD,
    RESERVE,
    card_line,
    count_tokens,
    estimate_memory,
    fit_bytes,
    fit_lines,
    fit_passes,
    frozen_bytes,
    what_fits,
    with_settings,
)
from reference_model.training.quadruplets import read_quadruplets
from reference_model.training.train import batch_loss, new_trained

Config = Callable[..., TrainConfig]


@pytest.fixture
def flux_config(config: Config, tiny_flux_folder: Path, backbone: Path) -> Config:
    """A config on the tiny FLUX folder.

    Some of its trained tensors are large enough for moments of 8 bits.
    """

    def make(**training: Any) -> TrainConfig:
        adapter = {"elements": 8, "rank": 4, "alpha": 4, "key_width": 64}
        return config(
            base=str(tiny_flux_folder),
            encoder=str(backbone),
            layout="paper",
            adapter=adapter,
            training=training,
        )

    return make


def bytes_of(tensors: Any) -> int:
    return sum(t.nbytes for t in tensors)


@pytest.mark.parametrize("bits", ["no", "8bit", "4bit"])
def test_the_frozen_transformer_is_as_large_as_its_tensors(flux_config: Config, bits: str) -> None:
    if bits != "no":
        pytest.importorskip("bitsandbytes")
    config = flux_config(quantize=bits)
    transformer = new_trained(config, 18).transformer
    frozen = [p for p in transformer.parameters() if not p.requires_grad]
    scales: list[Tensor] = [p.SCB for p in frozen if getattr(p, "SCB", None) is not None]
    for state in (p.quant_state for p in frozen if getattr(p, "quant_state", None) is not None):
        nested = state.state2
        scales += [state.absmax, state.code, state.offset, nested.absmax, nested.code]
    assert frozen_bytes(config) == bytes_of(frozen) + bytes_of(scales)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_trained_weights_gradients_and_moments_are_as_large_as_their_tensors(
    flux_config: Config, optimizer: str
) -> None:
    if optimizer != "adamw":
        pytest.importorskip("bitsandbytes")
    config = flux_config(optimizer=optimizer)
    trainable = new_trained(config, 18).trainable()
    weights = list(trainable.parameters())
    made = new_optimizer(trainable, config.training)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    made.step()
    shared = ("step", "qmap1", "qmap2")  # a number each, and two tables for all
    moments = [
        v for state in made.state.values() for name, v in state.items() if name not in shared
    ]
    found = estimate_memory(config, training_shapes(config).trained)
    assert (found.weights, found.gradients) == (
        bytes_of(weights),
        bytes_of(w.grad for w in weights),
    )
    assert found.moments == bytes_of(moments)
    assert (
        estimate_memory(
            with_settings(config, precision="bf16"), training_shapes(config).trained
        ).copies
        == bytes_of(weights) // 2
    )


def test_activations_are_about_what_autograd_keeps(
    flux_config: Config, training_dataset: Path
) -> None:
    """Of a real forward pass, each storage once.

    Attention on a processor keeps no scores either.
    """
    config = flux_config()
    quadruplets = read_quadruplets(open_dataset(training_dataset), "train", config.panel)
    source = InMemoryBatches(
        quadruplets, [""] * len(quadruplets), load_frozen_encoders(config), config
    )
    adapter = new_trained(config, source.features)
    batch = source.batch([Choice(0), Choice(1)], torch.device("cpu"))
    weights = {p.data_ptr() for p in adapter.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        drawn = draw(
            config.training.times,
            flatten_tokens(batch.target).shape,
            torch.Generator().manual_seed(0),
        )
        batch_loss(adapter, config, batch, drawn)
    truth = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights)
    assert estimate_memory(config, []).activations == pytest.approx(truth, rel=0.15)


def test_tokens_are_those_of_the_sequence(flux_config: Config) -> None:
    paper = read_train_config(CONFIGS / "flux-kontext-paper.yaml", [])
    assert count_tokens(paper) == (
        2 * 64 * 64,
        512,
    )  # the noisy grid and the clean one, a token for 16 x 16 pixels
    assert count_tokens(with_settings(paper, layout="target-only")) == (4 * 32 * 32, 512)
    assert count_tokens(with_settings(paper, layout="target-only", pair_shrink=2)) == (
        2 * 32 * 32 + 2 * 16 * 16,
        512,
    )
    assert count_tokens(flux_config()) == (8, 512)


def test_what_saves_memory_saves_memory() -> None:
    """The paper's setting on a card of 24 GB.

    By which settings, that each of them is needed, and what is said where none is enough.
    """
    paper = read_train_config(CONFIGS / "flux-kontext-paper.yaml", [])
    shapes = training_shapes(paper)
    changes: dict[str, Any] = {"cache": Path("cache"), "accumulation": 6, "quantize": "4bit"}
    assert estimate_memory(with_settings(paper, **changes), shapes.trained).total + RESERVE <= CARD
    for left_out in changes:
        fewer = {name: value for name, value in changes.items() if name != left_out}
        assert estimate_memory(with_settings(paper, **fewer), shapes.trained).total + RESERVE > CARD
    assert what_fits(with_settings(paper, **changes), shapes.trained) == {}
    assert what_fits(with_settings(paper, optimizer="adamw", quantize="8bit"), shapes.trained) == {
        "optimizer": "adamw-8bit",
        "accumulation": 6,
        "cache": Path("FOLDER"),
        "quantize": "4bit",
    }
    assert what_fits(paper, shapes.trained, CARD // 4) is None
    assert "too small" in card_line(None) and card_line({}).endswith("as it is")


@pytest.mark.parametrize(("checkpointing", "passes"), [(False, 6 * 2 * 2 + 3 * 5), (True, 51)])
def test_the_passes_of_a_fit_are_counted(checkpointing: bool, passes: int) -> None:
    settings = FitConfig(steps=6, draws=2, held_out=3)
    assert fit_passes(settings, checkpointing) == passes


def test_a_fit_needs_no_moments_of_the_trained_weights(config: Config) -> None:
    settings = config("lorweb")
    shapes = training_shapes(settings).trained
    fitted, trained = fit_bytes(settings, shapes, "no"), estimate_memory(settings, shapes).total
    assert 0 < fitted < trained
    said = list(fit_lines(settings, shapes))
    assert "--set fit.steps=20" in said[0] and "where an image takes 1" in said[0]
