"""The paper's way to look at an analogy.

A frozen vision backbone (CLIP, SigLIP, SigLIP 2) embeds images; embeddings become features.

What it is shown, `encoder_input`: `separate` embeds a, a' and b one by one and puts the embeddings
one after the other (the paper's own); `concatenated` embeds a, a' and b side by side as one
picture; `grid` the picture [a, a'; b, b], `grid-black` the same with its fourth quadrant black,
`upper-half` a and a' side by side; `a_prime-a` gives E(a') - E(a), and `a_prime-a+b` adds E(b). Of
CLIP the embedding is the projected one, of SigLIP the pooled output of its attention head.

How, `encoder_view`: `stretched` brings each picture to the backbone's square. `official` does what
the code of LoRWeB's authors does: it cuts a, a' and b out of the grid with half the grid's *width*
as the side on both axes, and of CLIP it scales the short edge and crops the centre, as CLIP's own
processor does. On square panels both see the panel. On others the authors' view of a and a' has
part of the row below in it (landscape) or lacks their lower part (portrait), that of b lacks its
upper part (landscape) or has part of a in it (portrait).
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from reference_model.model import imagenet
from reference_model.model.edit_tokens import semantic_delta
from reference_model.model.loading_bars import hide_bars_off_terminals

INPUTS: dict[str, int] = {
    "separate": 3,
    "concatenated": 1,
    "grid": 1,
    "grid-black": 1,
    "upper-half": 1,
    "a_prime-a": 1,
    "a_prime-a+b": 1,
    "delta": 1,
}  # embeddings that features hold

NOT_A_BACKBONE = "it is a `{}`, neither CLIP nor SigLIP"


class BackboneEncoder(nn.Module):
    """A backbone with `embed`, from normalised pixels (batch, 3, size, size) to embeddings (batch,
    width), and an `encoder_input`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        embed: Callable[[nn.Module, Tensor], Tensor],
        width: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        encoder_input: str = "separate",
        view: str = "stretched",
        processor: Any = None,
    ) -> None:
        super().__init__()
        self.backbone, self.embed, self.size, self.encoder_input = (
            backbone,
            embed,
            size,
            encoder_input,
        )
        self.view, self.processor = view, processor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.features = INPUTS[encoder_input] * width

    def embedded(self, images: Tensor) -> Tensor:
        """Embeddings (batch, width) of uint8 images (batch, 3, height, width) of any size.

        They are stretched to the backbone's own, or given to its processor where there is one.
        """
        if self.processor is not None:
            pictures = list(images.permute(0, 2, 3, 1).cpu().numpy())
            prepared = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
            return self.embed(self.backbone, prepared.to(self.mean))
        pixels = images.float() / 255
        pixels = nn.functional.interpolate(
            pixels, (self.size, self.size), mode="bicubic", antialias=True
        ).clamp(0, 1)
        return self.embed(self.backbone, (pixels - self.mean) / self.std)

    def forward(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor:
        """Features (batch, `features`) of uint8 images (batch, 3, height, width)."""
        if self.encoder_input == "delta":
            shown = official_panels(a, a_prime, b)[:2] if self.view == "official" else (a, a_prime)
            before, after = map(self.embedded, shown)
            return semantic_delta(before, after).flatten(1)
        if (picture := one_picture(self.encoder_input, a, a_prime, b)) is not None:
            return self.embedded(picture)
        if self.view == "official":
            first, second, third = map(self.embedded, official_panels(a, a_prime, b))
        else:
            first, second, third = self.embedded(torch.cat([a, a_prime, b])).chunk(3)
        if self.encoder_input == "separate":
            return torch.cat([first, second, third], 1)
        return second - first if self.encoder_input == "a_prime-a" else second - first + third


def one_picture(encoder_input: str, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor | None:
    """The one picture (batch, 3, height, width) that is embedded; None where it is each panel."""
    if encoder_input == "concatenated":
        return torch.cat([a, a_prime, b], 3)
    upper = torch.cat([a, a_prime], 3)
    if encoder_input == "upper-half":
        return upper
    if encoder_input in ("grid", "grid-black"):
        fourth = b if encoder_input == "grid" else torch.zeros_like(b)
        return torch.cat([upper, torch.cat([b, fourth], 3)], 2)
    return None


def official_panels(a: Tensor, a_prime: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the authors' code takes for a, a' and b: parts of the grid, half its width a side.

    InputError where panels are so wide that nothing is left of b.
    """
    grid = torch.cat([torch.cat([a, a_prime], 3), torch.cat([b, b], 3)], 2)
    height, side = grid.shape[2], grid.shape[3] // 2
    if side >= height:
        raise InputError(
            f"panels of {side} x {height // 2} pixels: the authors' view cuts b out below a square "
            "of their width, and nothing is left of panels twice as wide as high; crop the "
            "pictures, or set `encoder_view: stretched`"
        )
    return grid[..., :side, :side], grid[..., :side, side:], grid[..., side:, :side]


def projected(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """CLIP's image embedding in the space that it shares with text."""
    embeds: Tensor = backbone(pixel_values=pixels).image_embeds
    return embeds


def pooled(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """SigLIP's pooled output."""
    features: Tensor = backbone(pixel_values=pixels).pooler_output
    return features


def clip_patches(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """CLIP's dense features (batch, patches, width), without the token of the whole."""
    states: Tensor = backbone(pixel_values=pixels).last_hidden_state
    return states[:, 1:]


def siglip_patches(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """SigLIP's dense features (batch, patches, width)."""
    states: Tensor = backbone(pixel_values=pixels).last_hidden_state
    return states


def pooled_patches(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """The pooled output of a SigLIP 2 of flexible resolution."""
    features: Tensor = flexible(backbone, pixels).pooler_output
    return features


def siglip2_patches(backbone: nn.Module, pixels: Tensor) -> Tensor:
    """The dense features (batch, patches, width) of a SigLIP 2 of flexible resolution."""
    states: Tensor = flexible(backbone, pixels).last_hidden_state
    return states


def flexible(backbone: nn.Module, pixels: Tensor) -> Any:
    """What a SigLIP 2 of flexible resolution gives, which takes patches, a mask and the shape of
    each image.
    """
    side = int(backbone.config.patch_size)  # type: ignore[union-attr, arg-type]
    grid = pixels.unfold(2, side, side).unfold(
        3, side, side
    )  # (batch, 3, rows, columns, side, side)
    batch, _, rows, columns = grid.shape[:4]
    patches = grid.permute(0, 2, 3, 4, 5, 1).reshape(batch, rows * columns, -1)
    mask = torch.ones(batch, rows * columns, dtype=torch.long, device=pixels.device)
    shapes = torch.tensor([[rows, columns]] * batch, device=pixels.device)
    return backbone(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=shapes)


# How a backbone gives dense features, by how it gives one embedding.
DENSE: dict[Any, Callable[[nn.Module, Tensor], Tensor]] = {
    projected: clip_patches,
    pooled: siglip_patches,
    pooled_patches: siglip2_patches,
}


def _opened(name: str) -> tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor], int, int]:
    """The backbone of a folder or hub name, how it embeds, the width of an embedding and the side
    of its pictures in pixels.
    """
    from transformers import (
        AutoConfig,
        CLIPVisionModelWithProjection,
        Siglip2VisionModel,
        SiglipVisionModel,
    )

    kind = AutoConfig.from_pretrained(name).model_type
    if kind.startswith("siglip2"):
        backbone = _loaded(Siglip2VisionModel, name)
        side = int(backbone.config.num_patches**0.5) * backbone.config.patch_size
        return backbone, pooled_patches, backbone.config.hidden_size, side
    if kind.startswith("siglip"):
        backbone = _loaded(SiglipVisionModel, name)
        return backbone, pooled, backbone.config.hidden_size, backbone.config.image_size
    if kind.startswith("clip"):
        backbone = _loaded(CLIPVisionModelWithProjection, name)
        return backbone, projected, backbone.config.projection_dim, backbone.config.image_size
    raise ValueError(NOT_A_BACKBONE.format(kind))


def _loaded(kind: Any, name: str) -> Any:
    """A backbone of some class; ValueError where weights are missing or of other shapes, which
    transformers would fill with random ones.

    That a folder holds more than the backbone, as that of a whole CLIP does, is no news.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        backbone, report = kind.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    finally:
        logger.setLevel(before)
    if wrong := [*report["missing_keys"], *report["mismatched_keys"]]:
        raise ValueError(
            f"{len(wrong)} weights are missing or do not fit its config.json, {wrong[0]} first"
        )
    return backbone


def backbone_width(name: str) -> int:
    """The width of a backbone's embeddings, from the config in its folder or in the hub's cache.

    Nothing is downloaded.

    Raises OSError or ValueError where there is none, or it is no backbone.
    """
    from transformers import AutoConfig, CLIPVisionConfig, Siglip2VisionConfig, SiglipVisionConfig

    kind = AutoConfig.from_pretrained(name, local_files_only=True).model_type
    if kind.startswith("siglip"):
        siglip: Any = Siglip2VisionConfig if kind.startswith("siglip2") else SiglipVisionConfig
        return int(siglip.from_pretrained(name, local_files_only=True).hidden_size)
    if kind.startswith("clip"):
        return int(CLIPVisionConfig.from_pretrained(name, local_files_only=True).projection_dim)
    raise ValueError(NOT_A_BACKBONE.format(kind))


def dense_shape(name: str) -> tuple[int, int]:
    """How many patches a backbone sees and the width of their features, as `backbone_width`."""
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(name, local_files_only=True)
    config = getattr(config, "vision_config", config)
    patches = getattr(config, "num_patches", None) or (config.image_size // config.patch_size) ** 2
    return int(patches), int(config.hidden_size)


def backbone_folder(name: str) -> Path:
    """The folder of a backbone that is one, or that the hub's cache holds."""
    from transformers.utils import cached_file

    with _told(name):
        return (
            Path(name)
            if Path(name).is_dir()
            else Path(str(cached_file(name, "config.json"))).parent
        )


def load_backbone(
    name: str, encoder_input: str, encoder_view: str = "stretched"
) -> BackboneEncoder:
    """The frozen backbone of a folder or hub name.

    InputError that says what to download where it cannot be had.
    """
    if name == imagenet.NAME:
        return _frozen(imagenet_encoder(encoder_input))
    from transformers import AutoImageProcessor

    hide_bars_off_terminals()
    with _told(name):
        backbone, embed, width, size = _opened(name)
        processor = AutoImageProcessor.from_pretrained(name)
        if encoder_input == "delta":
            width = math.prod(dense_shape(name))
    # SigLIP's processors stretch, too, so that theirs is our way already.
    crops = encoder_view == "official" and embed is projected
    embed = DENSE[embed] if encoder_input == "delta" else embed
    encoder = BackboneEncoder(
        backbone,
        embed,
        width,
        size,
        processor.image_mean,
        processor.image_std,
        encoder_input,
        encoder_view,
        processor if crops else None,
    )
    return _frozen(encoder)


def imagenet_encoder(encoder_input: str) -> BackboneEncoder:
    """EfficientNet-Lite0 as a backbone; InputError where its packages are missing."""
    if encoder_input == "delta":
        raise InputError(
            f"encoder `{imagenet.NAME}`: gives one embedding of a picture, and delta-tokens need "
            "dense features; name a CLIP or SigLIP backbone"
        )
    network, about = imagenet.open_network(), imagenet
    looks = (about.averaged_features, about.WIDTH, about.SIDE, about.MEAN, about.STD)
    return BackboneEncoder(network, *looks, encoder_input)


def _frozen(encoder: BackboneEncoder) -> BackboneEncoder:
    encoder.requires_grad_(False).eval()
    return encoder


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn whatever keeps a backbone from being opened into an InputError that says what to
    download.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except (OSError, ValueError, KeyError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"encoder `{name}`: neither a folder of a backbone here nor to be had from the hub "
            f"({reason}); download it with "
            f"`hf download {name} --local-dir FOLDER` where there is a network and set `encoder: "
            "FOLDER`"
        ) from error
