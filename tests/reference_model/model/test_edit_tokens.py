"""Edit tokens of what changed from a to a': the features, the module, and a trained control."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPVisionModelWithProjection

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from reference_model.analysis.space import open_space
from reference_model.config import TrainConfig
from reference_model.method import from_checkpoint
from reference_model.model.backbones import load_backbone
from reference_model.model.edit_tokens import EditTokens
from reference_model.model.shapes import training_shapes
from reference_model.training.train import train

Config = Callable[..., TrainConfig]


@pytest.fixture
def on_delta(config: Config, backbone: Path) -> Config:
    """`on_delta(**changes)`: delta-tokens on the small base, b alone in view."""

    def make(**changes: object) -> TrainConfig:
        adapter = {"kind": "delta-tokens", "rank": 2, "alpha": 2, "tokens": 3}
        chosen = {"encoder": str(backbone), "encoder_input": "delta", "layout": "edit", **changes}
        return config("token-control", adapter=adapter, name="delta-tokens", **chosen)

    return make


def pictures(seed: int) -> list[torch.Tensor]:
    """a, a' and b of noise, two of each."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 256, (3, 2, 3, 16, 16), generator=generator)
    return list(drawn.to(torch.uint8))


def test_features_are_the_difference_of_normalised_patches(backbone: Path) -> None:
    """Against transformers' own CLIP, and by hand."""
    encoder, (a, a_prime, b) = load_backbone(str(backbone), "delta"), pictures(1)
    clip = CLIPVisionModelWithProjection.from_pretrained(backbone)
    normalised = []
    for picture in (a, a_prime):
        pixels = (picture.float() / 255 - encoder.mean) / encoder.std
        with torch.no_grad():
            patches = clip(pixel_values=pixels).last_hidden_state[:, 1:]
        centred = patches - patches.mean(-1, keepdim=True)
        normalised.append(centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    expected = (normalised[1] - normalised[0]).flatten(1)
    assert encoder.features == expected.shape[1] == 4 * 16  # four patches, 16 features each
    torch.testing.assert_close(encoder(a, a_prime, b), expected, rtol=1e-4, atol=1e-5)
    assert encoder(a, a, b).abs().max() == 0  # no change, no delta
    assert torch.equal(encoder(a, a_prime, b), encoder(a, a_prime, a))  # b is not looked at


def test_the_refinement_starts_at_nothing_and_learns() -> None:
    torch.manual_seed(0)
    module, delta = EditTokens(4 * 16, 16, 3, 8), torch.randn(2, 4 * 16)
    before = module(delta)
    assert before.shape == (2, 3 * 8)
    module.refine.weight.data.mul_(5)
    assert torch.equal(module(delta), before)  # the gate is closed
    before.square().sum().backward()
    assert module.gate.grad is not None and module.gate.grad.abs() > 0
    assert (module(delta)[0] - module(delta)[1]).abs().max() > 1e-4


def test_a_control_is_trained_cached_run_and_fitted(
    on_delta: Config, triplet: Callable[..., Triplet], tmp_path: Path
) -> None:
    config = on_delta()
    fresh = train(config, tmp_path / "fresh")
    cached = train(on_delta(cache=str(tmp_path / "cache")), tmp_path / "cached")
    losses = [read_json(folder / "config.json")["losses"] for folder in (fresh, cached)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    count = sum(x.numel() for x in load_file(fresh / "router.safetensors").values())
    assert training_shapes(config).routing == count
    method = from_checkpoint(fresh)
    first, second = method.predict([triplet(1), triplet(2)])
    assert first.size == second.size == (16, 16)
    alone = np.asarray(method.predict([triplet(1)])[0]).astype(int)
    assert np.abs(alone - np.asarray(first)).max() <= 1
    assert from_checkpoint(fresh, fit={"steps": 1, "held_out": 1}).predict([triplet(1)])
    with pytest.raises(InputError, match="delta-tokens are no LoRA alone"):
        open_space(fresh)


def test_it_reads_dense_features_and_nothing_else_does(on_delta: Config, config: Config) -> None:
    with pytest.raises(ValueError, match="delta-tokens` reads dense features"):
        on_delta(encoder_input="separate")
    with pytest.raises(ValueError, match="`encoder_input: delta` is for the kind delta-tokens"):
        config("lorweb", encoder="openai/clip-vit-large-patch14", encoder_input="delta")


def test_a_dry_run_knows_the_shape_of_the_papers_backbones(on_delta: Config) -> None:
    for encoder, patches, width in (
        ("openai/clip-vit-large-patch14", 256, 1024),
        ("google/siglip2-base-patch16-224", 196, 768),
    ):
        with torch.device("meta"):
            module = EditTokens(patches * width, width, 3, 32)
        expected = sum(p.numel() for p in module.parameters())
        assert training_shapes(on_delta(encoder=encoder)).routing == expected
