"""A basis whose router or elements do not learn, to tell what each of them is worth."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.analysis.space import open_space
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.config import FitConfig, TrainConfig
from reference_model.fitting.adaptation import routed
from reference_model.fitting.spaces import space_for
from reference_model.model.adapter import new_adapter
from reference_model.model.shapes import training_shapes
from reference_model.model.working_size import to_tensor
from reference_model.training.train import train

Settings = Callable[..., dict[str, Any]]


def config_of(settings: Settings, **adapter: Any) -> TrainConfig:
    return TrainConfig.model_validate(settings(adapter=adapter))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        **load_file(folder / "adapter_model.safetensors"),
        **load_file(folder / "router.safetensors"),
    }


@pytest.mark.parametrize(
    ("adapter", "learning"),
    [
        ({"router": "frozen"}, "lora_"),
        ({"router": "uniform"}, "lora_"),
        ({"basis": "frozen"}, "router."),
    ],
)
def test_only_the_parts_that_learn_change(
    settings: Settings, tmp_path: Path, adapter: dict[str, str], learning: str
) -> None:
    config = config_of(settings, **adapter)
    before = new_adapter(config, config.training.seed)
    started = {**before.basis.tensors()}
    started |= {f"router.{name}": x for name, x in before.router.state_dict().items()}
    after = weights(train(config, tmp_path / "checkpoint"))
    for name, weight in after.items():
        assert torch.equal(weight, started[name].detach()) == (learning not in name), name


def test_a_uniform_router_mixes_every_element_alike(settings: Settings) -> None:
    adapter = new_adapter(config_of(settings, router="uniform"), 0)
    assert adapter.router is not None
    gates = adapter.router(torch.randn(4, adapter.router.projections.shape[2]))
    torch.testing.assert_close(gates, torch.full_like(gates, 1 / 3))


def test_elements_of_a_frozen_basis_are_as_large_as_the_weights_beside_them(
    settings: Settings,
) -> None:
    adapter = new_adapter(config_of(settings, basis="frozen", elements=1, rank=4, alpha=4), 0)
    for layer in adapter.basis.layers.values():
        update = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
        ratio = update.square().mean().sqrt() / layer.base_layer.weight.square().mean().sqrt()
        assert 0.5 < float(ratio) < 2


def test_tokens_beside_the_mix_are_trained_kept_and_counted(
    settings: Settings, tmp_path: Path
) -> None:
    config = config_of(settings, tokens_beside=2)
    folder = train(config, tmp_path / "checkpoint")
    adapter, _ = load_checkpoint(folder)
    assert adapter.token is not None and adapter.router is not None
    width = adapter.base.transformer.config.joint_attention_dim
    assert adapter.token.out_features == 2 * width
    assert torch.equal(adapter.token.weight, weights(folder)["token.weight"])
    trained = new_adapter(config, 0).trainable_parameters
    assert training_shapes(config).trainable == trained


@pytest.mark.parametrize("space", ["hull", "span", "lora"])
def test_every_search_begins_at_what_router_and_tokens_say(
    settings: Settings, triplet: Callable[..., Triplet], space: str
) -> None:
    config = config_of(settings, tokens_beside=2)
    adapter = new_adapter(config, 0)
    panel = to_tensor([triplet(1).a, triplet(2).a], (16, 16), torch.device("cpu"))
    start = routed(adapter, [(panel, panel.flip(0))], panel)
    searched = space_for(adapter, config, FitConfig(space=space), start, 2)
    found = searched.at(searched.zeros())
    torch.testing.assert_close(found.gates, start.gates)
    assert found.tokens is not None and torch.equal(found.tokens, start.tokens)


def test_a_mix_with_a_token_beside_it_is_no_lora_to_compose(
    settings: Settings, tmp_path: Path
) -> None:
    folder = train(config_of(settings, tokens_beside=2), tmp_path / "checkpoint")
    with pytest.raises(InputError, match="tokens_beside"):
        open_space(folder)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_frozen_basis_is_drawn_on_a_quantised_base(
    settings: Settings, tiny_flux_folder: Path, backbone: Path, bits: str
) -> None:
    pytest.importorskip("bitsandbytes")
    base = {"base": str(tiny_flux_folder), "encoder": str(backbone), "layout": "paper"}
    config = TrainConfig.model_validate(settings(adapter={"basis": "frozen"}, **base))
    adapter = new_adapter(config, 0, bits)
    assert all(weight.isfinite().all() for weight in adapter.basis.parameters())


@pytest.mark.parametrize("adapter", [{"router": "frozen"}, {"basis": "frozen"}, {}])
def test_the_dry_run_counts_what_learns(settings: Settings, adapter: dict[str, str]) -> None:
    config = config_of(settings, **adapter)
    assert training_shapes(config).trainable == new_adapter(config, 0).trainable_parameters


def test_permuted_features_train_another_router(settings: Settings, tmp_path: Path) -> None:
    own = weights(train(config_of(settings), tmp_path / "own"))
    permuted = weights(train(config_of(settings, features="permuted"), tmp_path / "permuted"))
    assert not torch.equal(own["router.projections"], permuted["router.projections"])


@pytest.mark.parametrize(
    ("kind", "adapter", "words"),
    [
        ("token-control", {"router": "frozen"}, "router: frozen"),
        ("single-lora", {"basis": "frozen"}, "basis: frozen"),
        ("single-lora", {"features": "permuted"}, "sees no features"),
    ],
)
def test_what_has_no_basis_or_no_features_cannot_be_ablated(
    settings: Settings, kind: str, adapter: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        TrainConfig.model_validate(settings(kind, adapter=adapter))


def test_a_mix_of_trained_transformations_needs_a_router(
    settings: Settings, tmp_path: Path
) -> None:
    from reference_model.method import from_checkpoint

    config = TrainConfig.model_validate(settings("token-control"))
    folder = train(config, tmp_path / "checkpoint")
    with pytest.raises(InputError, match="no router"):
        from_checkpoint(folder, mix="mean")
    with pytest.raises(InputError, match="did you mean"):
        from_checkpoint(folder, mix="neares")
