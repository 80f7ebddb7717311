"""Vision backbones of every kind, saved as the hub saves them, and what becomes of their
embeddings.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Siglip2ImageProcessor,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from lorweb_bench.errors import InputError
from reference_model.bases.registry import load_base
from reference_model.checkpoints.checkpoint import load_checkpoint
from reference_model.config import TrainConfig
from reference_model.model.adapter import fresh_adapter, load_encoder
from reference_model.model.backbones import INPUTS, load_backbone
from reference_model.model.shapes import feature_width, training_shapes
from reference_model.training.batches import load_frozen_encoders
from reference_model.training.train import train

SIZE, WIDTH, PROJECTED = 16, 24, 6
SMALL: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "patch_size": 8,
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
KINDS = ("clip", "siglip", "siglip2")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, nn.Module, int]]:
    """By kind: the folder, the backbone that was saved there, the width of its embeddings."""
    torch.manual_seed(0)
    made: dict[str, tuple[nn.Module, Any, int]] = {
        "clip": (
            CLIPVisionModelWithProjection(
                CLIPVisionConfig(**SMALL, image_size=SIZE, projection_dim=PROJECTED)
            ),
            CLIPImageProcessor(
                size={"shortest_edge": SIZE}, crop_size=SIZE, image_mean=MEAN, image_std=STD
            ),
            PROJECTED,
        ),
        "siglip": (
            SiglipVisionModel(SiglipVisionConfig(**SMALL, image_size=SIZE)),
            SiglipImageProcessor(
                size={"height": SIZE, "width": SIZE}, image_mean=MEAN, image_std=STD
            ),
            WIDTH,
        ),
        "siglip2": (
            Siglip2VisionModel(Siglip2VisionConfig(**SMALL, num_patches=4)),
            Siglip2ImageProcessor(patch_size=8, max_num_patches=4, image_mean=MEAN, image_std=STD),
            WIDTH,
        ),
    }
    found = {}
    for kind, (backbone, processor, width) in made.items():
        folder = tmp_path_factory.mktemp(kind)
        backbone.save_pretrained(folder)
        processor.save_pretrained(folder)
        found[kind] = (folder, backbone.eval(), width)
    return found


def drawn(seed: int, size: int = SIZE) -> Tensor:
    return torch.randint(
        0, 256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def embedding(kind: str, backbone: nn.Module, images: Tensor) -> Tensor:
    """Of images that already have the backbone's size, by transformers' own processor where it
    takes them as they are.
    """
    normalised = (images.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(
        STD
    ).view(3, 1, 1)
    with torch.no_grad():
        if kind == "clip":
            return backbone(pixel_values=normalised.float()).image_embeds
        if kind == "siglip":
            return backbone(pixel_values=normalised.float()).pooler_output
        given = Siglip2ImageProcessor(
            patch_size=8, max_num_patches=4, image_mean=MEAN, image_std=STD, do_resize=False
        )
        return backbone(
            **given(
                images=[image.permute(1, 2, 0).numpy() for image in images], return_tensors="pt"
            )
        ).pooler_output


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_the_embeddings_of_the_tower_on_each_image(
    backbones: dict[str, Any], kind: str
) -> None:
    folder, backbone, width = backbones[kind]
    a, a_prime, b = (drawn(seed) for seed in range(3))
    first, second, third = (embedding(kind, backbone, x) for x in (a, a_prime, b))
    expected = {
        "separate": torch.cat([first, second, third], 1),
        "a_prime-a": second - first,
        "a_prime-a+b": second - first + third,
    }
    for encoder_input, features in expected.items():
        encoder = load_backbone(str(folder), encoder_input)
        assert encoder.features == features.shape[1] == INPUTS[encoder_input] * width
        torch.testing.assert_close(encoder(a, a_prime, b), features, rtol=1e-4, atol=1e-5)


def test_pictures_of_several_panels_are_embedded_as_one(backbones: dict[str, Any]) -> None:
    """Panels cut out of a picture that has the backbone's size give that picture's embedding."""
    folder, backbone, _ = backbones["clip"]
    whole = drawn(3)
    half = SIZE // 2
    top, bottom = whole.chunk(2, 2)
    a, a_prime = top.chunk(2, 3)
    b = bottom[..., :half]
    grid = torch.cat([top, torch.cat([b, b], 3)], 2)
    torch.testing.assert_close(
        load_backbone(str(folder), "grid")(a, a_prime, b),
        embedding("clip", backbone, grid),
        rtol=1e-4,
        atol=1e-5,
    )
    encoder = load_backbone(str(folder), "concatenated")
    wide = torch.cat([a, a_prime, b], 3)
    torch.testing.assert_close(encoder(a, a_prime, b), encoder.embedded(wide))
    assert not torch.allclose(encoder(a, a_prime, b), encoder(a_prime, a, b))


@pytest.mark.parametrize("encoder_input", [name for name in INPUTS if name != "delta"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_counts_what_a_training_trains(
    backbones: dict[str, Any], config: Callable[..., TrainConfig], kind: str, encoder_input: str
) -> None:
    for adapter in ({}, {"kind": "token-control", "elements": 1, "tokens": 2}):
        settings = config(
            adapter={"heads": 2, **adapter},
            encoder=str(backbones[kind][0]),
            encoder_input=encoder_input,
        )
        made = fresh_adapter(
            settings, load_base(settings.base), 0, load_frozen_encoders(settings).features
        )
        assert training_shapes(settings).trainable == made.trainable_parameters


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_the_folder_of_a_whole_model_is_a_tower_to_a_dry_run_as_to_a_training(
    config: Callable[..., TrainConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    """With its text half, as the hub has them."""
    text: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 49408,
    }
    vision = {**SMALL, "image_size": SIZE}
    made: dict[str, tuple[Any, Any, Any]] = {
        "clip": (
            CLIPModel,
            CLIPConfig(
                vision_config={**vision, "projection_dim": 5}, text_config=text, projection_dim=5
            ),
            CLIPImageProcessor(),
        ),
        "siglip": (
            SiglipModel,
            SiglipConfig(vision_config=vision, text_config=text),
            SiglipImageProcessor(),
        ),
    }
    model, settings, processor = made[kind]
    model(settings).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    capsys.readouterr()
    chosen = config(encoder=str(tmp_path))
    assert feature_width(chosen) == load_encoder(chosen).features
    assert capsys.readouterr().err == ""


def test_a_tower_whose_weights_do_not_fit_its_config_is_refused(
    config: Callable[..., TrainConfig], backbones: dict[str, Any], tmp_path: Path
) -> None:
    """Transformers would fill in random ones."""
    for name, change in (("missing", None), ("other-size", torch.zeros(2, WIDTH))):
        shutil.copytree(backbones["clip"][0], tmp_path / name)
        weights = load_file(tmp_path / name / "model.safetensors")
        del weights["visual_projection.weight"]
        save_file(
            weights if change is None else {**weights, "visual_projection.weight": change},
            tmp_path / name / "model.safetensors",
        )
        with pytest.raises(
            InputError,
            match=r"1 weights are missing or do not fit its config\.json, "
            r".*visual_projection\.weight",
        ):
            load_encoder(config(encoder=str(tmp_path / name)))


def test_a_checkpoint_knows_its_tower(
    config: Callable[..., TrainConfig], backbones: dict[str, Any], tmp_path: Path
) -> None:
    """By the digest of its files: with another backbone in the same place it is refused."""
    folder = tmp_path / "backbone"
    shutil.copytree(backbones["clip"][0], folder)
    out = train(config(encoder=str(folder), training={"steps": 1}), tmp_path / "out")
    assert len(json.loads((out / "config.json").read_text())["encoder_sha256"]) == 64
    load_checkpoint(out)
    weights = load_file(folder / "model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, folder / "model.safetensors")
    with pytest.raises(
        InputError, match=r"was trained on another .* than the one there \(encoder_sha256\)"
    ):
        load_checkpoint(out)


def test_a_folder_that_is_no_tower_is_named(
    config: Callable[..., TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    for name in (str(tmp_path), "no-one/no-backbone"):
        with pytest.raises(
            InputError,
            match=rf"encoder `{name}`: neither a folder .*`hf download {name} --local-dir FOLDER`",
        ):
            load_encoder(config(encoder=name))
