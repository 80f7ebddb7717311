"""The tiny base that ships with the package, and its like: folders written by `pretrain-tiny`.

`TinyFlux` is diffusers' own `FluxTransformer2DModel` with a small config. It predicts the change to
the image inside and returns the velocity that rectified flow asks for, so that every line of
training, adapting and sampling is the line that a full-size base would run.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base, shrunk
from reference_model.bases.flux_kontext import FluxVelocity
from reference_model.bases.tiny_folder import tiny_digest
from reference_model.model.operator import EditOperator
from reference_model.seeding import torch_seed

TINY_TRANSFORMER = {
    "patch_size": 1,
    "in_channels": 400,  # a token of the image after, of the image before, and where it lies
    "out_channels": 192,
    "num_layers": 1,
    "num_single_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 128,
    "pooled_projection_dim": 128,
    "guidance_embeds": False,
    "axes_dims_rope": [4, 14, 14],
}
HEADS = ("patches", "operator")  # what a token predicts: its patch's change, or an edit of b
# Below this time the division by t would only amplify the model's error; sampling never asks for
# less.
SMALLEST_TIME = 0.05


def place_features(ids: Tensor) -> Tensor:
    """Sixteen features (tokens, 16) of the row and column in positions (tokens, 3).

    Rotary positions tell distances alone.
    """
    angles = ids[:, 1:, None] * torch.pi / 16 * 2 ** torch.arange(4, device=ids.device)
    return torch.cat([angles.sin(), angles.cos()], 2).flatten(1)


class TinyFlux(FluxTransformer2DModel):
    """A small FLUX transformer whose tokens are pairs.

    An image after beside the image before, as FLUX.1-Depth sees its control image.

    The sequence comes as every FLUX base gets it: the target, then the context panels, told apart
    by the first position axis (0 target, 1 what lies under it, 2 a, 3 a'). The target's tokens are
    joined with those under them and the tokens of a' with those of a, place by place, which halves
    the work. The network's output is the change, so an untrained one hands b back; returned is the
    velocity (z_t - x_0) / t, zero for the context.
    """

    def forward(
        self,
        hidden_states: Tensor,
        *args: Any,
        timestep: Tensor,
        img_ids: Tensor,
        return_dict: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Velocity of every token, as `FluxTransformer2DModel.forward`.

        `timestep` runs from 1 (noise) to 0 (image).
        """
        panel = img_ids[:, 0]
        is_after = (panel == 0) | (panel == 3)
        after, before, ids = (
            hidden_states[:, is_after],
            hidden_states[:, ~is_after],
            img_ids[is_after],
        )
        places = place_features(ids).to(after).expand(len(after), -1, -1)
        pairs = torch.cat([after, before, places], 2)
        outputs = super().forward(
            pairs, *args, timestep=timestep, img_ids=ids, return_dict=False, **kwargs
        )[0]
        target = int((panel == 0).sum())
        after, before = after[:, :target], before[:, :target]
        change = self.change(outputs[:, :target], before, ids[:target])
        time = timestep.view(-1, 1, 1).clamp(min=SMALLEST_TIME)
        velocity = torch.zeros_like(hidden_states)
        velocity[:, :target] = (after - before - change) / time
        return Transformer2DModelOutput(sample=velocity) if return_dict else (velocity,)

    def change(self, outputs: Tensor, before: Tensor, ids: Tensor) -> Tensor:
        """What the network's outputs add to the tokens under the target: here, the outputs."""
        return outputs


class OperatorFlux(TinyFlux):
    """The same with an operator at its end: tokens say what is done to b's pixels.

    `ids` of the target start at row and column 0 of a whole picture.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.operator = EditOperator()

    def change(self, outputs: Tensor, before: Tensor, ids: Tensor) -> Tensor:
        """What the operator's edit adds to the tokens (batch, tokens, channels) of b."""
        rows, columns = (int(last) + 1 for last in ids[:, 1:].amax(0))
        tokens = before.float().unflatten(1, (rows, columns))
        edited, _ = self.operator(outputs, join_patches(tokens), rows, columns)
        patch = edited.shape[2] // rows
        return cut_patches(edited, patch).flatten(1, 2).to(before) - before


def cut_patches(pictures: Tensor, patch: int) -> Tensor:
    """Tokens (batch, rows, columns, 3 * patch²) of pictures (batch, 3, height, width)."""
    return F.pixel_unshuffle(pictures, patch).permute(0, 2, 3, 1)


def join_patches(tokens: Tensor) -> Tensor:
    """Pictures (batch, 3, height, width) of tokens (batch, rows, columns, 3 * patch²)."""
    patch = math.isqrt(tokens.shape[3] // 3)
    return F.pixel_shuffle(tokens.permute(0, 3, 1, 2), patch)


class UnshuffleCodec:
    """The image codec of the tiny base.

    Pixels in [-1, 1] cut into patches, lossless and without parameters.
    """

    def __init__(self, patch: int = 8) -> None:
        self.patch = patch

    def to(self, device: str | torch.device) -> "UnshuffleCodec":
        """Itself: it has no weights, and works wherever its input is."""
        return self

    def release(self) -> None:
        """Nothing to let go."""

    def encode(self, images: Tensor, shrink: int = 1) -> Tensor:
        """Tokens (batch, rows, columns, channels) of uint8 images (batch, 3, height, width), shrunk
        first.

        Their sides are multiples of `patch`.
        """
        pixels = shrunk(images, shrink, self.patch)
        return cut_patches(pixels / 127.5 - 1, self.patch)

    def decode(self, tokens: Tensor) -> Tensor:
        """uint8 images (batch, 3, height, width) of tokens (batch, rows, columns, channels)."""
        pixels = join_patches(tokens)
        return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


LARGEST_NUMBER = 1e6  # in a prompt; without a bound, a long row of digits would become infinity
WORD = re.compile(r"-?\d+(?:\.\d+)?|[a-z]+|#[0-9a-f]+")


def words_of(text: str) -> list[str]:
    """Lower-case words and numbers of an instruction, in order."""
    return WORD.findall(text.lower())


def _is_number(word: str) -> bool:
    return word[-1].isdigit() and not word.startswith("#")


class TinyTextEncoder(nn.Module):
    """Instructions to one prompt token, which is the pooled vector too.

    Numbers are read by value, so that unseen ones have a meaning.
    """

    longest = 40

    def __init__(self, vocabulary: Sequence[str], width: int = 128, layers: int = 2) -> None:
        super().__init__()
        self.vocabulary = list(vocabulary)
        self.index = {
            word: i for i, word in enumerate(self.vocabulary, start=3)
        }  # 0 padding, 1 unknown word, 2 number
        self.words = nn.Embedding(len(self.vocabulary) + 3, width)
        self.numbers = nn.Sequential(nn.Linear(20, width), nn.GELU(), nn.Linear(width, width))
        self.positions = nn.Parameter(torch.randn(self.longest + 1, width) * 0.1)
        self.start = nn.Parameter(torch.randn(1, width) * 0.5)
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True, activation="gelu"
        )
        self.blocks = nn.TransformerEncoder(
            block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    @staticmethod
    def number_features(value: Tensor) -> Tensor:
        """Twenty features of a number.

        Its size at several scales, and its angle were it in degrees or in units of ten.
        """
        scales = torch.tensor([1.0, 10.0, 100.0, 360.0], device=value.device)
        size = torch.tanh(value[..., None] / scales)
        angle = value[..., None] * torch.tensor(
            [torch.pi / 360, torch.pi / 180, torch.pi / 90, torch.pi / 5], device=value.device
        )
        log = torch.log1p(value.abs())[..., None] * value.sign()[..., None]
        fine = value[..., None] * torch.tensor([torch.pi, torch.pi / 2], device=value.device)
        return torch.cat(
            [
                size,
                angle.sin(),
                angle.cos(),
                log,
                log * 0.2,
                value[..., None] / 50,
                fine.sin(),
                fine.cos(),
                value[..., None].sign(),
            ],
            -1,
        )

    def release(self) -> None:
        """Nothing to let go: it is small."""

    def forward(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Prompt tokens (batch, 1, width) and pooled vectors (batch, width)."""
        device = self.start.device
        lists = [words_of(p)[: self.longest] for p in prompts]
        length = max(1, *(len(x) for x in lists)) if lists else 1
        ids = torch.zeros(len(lists), length, dtype=torch.long)
        values = torch.zeros(len(lists), length)
        for row, found in enumerate(lists):
            for column, word in enumerate(found):
                ids[row, column] = 2 if _is_number(word) else self.index.get(word, 1)
                values[row, column] = (
                    max(-LARGEST_NUMBER, min(LARGEST_NUMBER, float(word)))
                    if _is_number(word)
                    else 0.0
                )
        ids, values = ids.to(device), values.to(device)
        embedded = (
            self.words(ids) + self.numbers(self.number_features(values)) * (ids == 2)[..., None]
        )
        start = self.start.expand(len(lists), -1, -1)
        sequence = torch.cat([start, embedded], 1) + self.positions[: 1 + length]
        padding = torch.cat(
            [torch.zeros(len(lists), 1, dtype=torch.bool, device=device), ids == 0], 1
        )
        tokens = self.blocks(sequence, src_key_padding_mask=padding)[:, :1]
        return tokens, tokens[:, 0].clone()


class TinyBase(FluxVelocity, Base):
    """A base of some hundred thousand weights, in a folder that `pretrain-tiny` wrote."""

    kind = "tiny"
    full_size = False

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> "TinyBase":
        """The base in a folder; InputError when it is missing, incomplete or cut."""
        base = load_tiny_base(folder)
        base.transformer.to(dtype)
        return base

    @classmethod
    def load_encoders(cls, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
        """The codec and the text encoder of a folder; they stay in float32."""
        base = load_tiny_base(folder).freeze()
        return base.codec, base.text_encoder

    @classmethod
    def transformer_config(cls, folder: Path) -> dict[str, Any]:
        """The settings of the transformer in a folder; OSError or ValueError where it has none."""
        return {
            **TINY_TRANSFORMER,
            **json.loads((folder / "config.json").read_text())["transformer"],
        }

    @classmethod
    def token_side(cls, folder: Path, config: Mapping[str, Any]) -> int:
        """The side in pixels of a token, from the transformer's settings."""
        return patch_side(config)

    @classmethod
    def transformer_digest(cls, folder: Path) -> str:
        """sha256 of the base's file; InputError where it is not there."""
        return tiny_digest(folder, "base")

    @classmethod
    def encoders_digest(cls, folder: Path) -> str:
        """The same: one file holds the transformer and the text encoder."""
        return tiny_digest(folder, "base")

    @classmethod
    def encoder_bytes(cls, folder: Path) -> int:
        """The bytes of the pair encoder; the text encoder is small."""
        return sum(file.stat().st_size for file in folder.glob("encoder.safetensors"))

    @classmethod
    def sequence_length(cls, tokens: int) -> int:
        """Half of the pictures' tokens: it joins them two by two."""
        return tokens // 2

    @classmethod
    def prompt_length(cls, pictures: int) -> int:
        """How many tokens a prompt has."""
        return 1


def patch_side(settings: Mapping[str, Any]) -> int:
    """The side in pixels of a token, from the transformer's settings.

    Its input is a patch of the image after, one of the image before, and where they lie.
    """
    return math.isqrt((settings["in_channels"] - 16) // 6)


def new_tiny_base(
    vocabulary: Sequence[str],
    seed: int,
    settings: dict[str, Any] | None = None,
    head: str = "patches",
) -> TinyBase:
    """An untrained tiny base with seeded weights, which hands b back.

    Args:
        vocabulary: The words that its text encoder knows.
        seed: Of the weights.
        settings: Of the transformer, beside the usual ones; `in_channels` sets the patch's size.
        head: One of `HEADS`; the operator works on patches of 16 pixels.
    """
    torch.manual_seed(torch_seed(seed))
    config = {**TINY_TRANSFORMER, **(settings or {})}
    transformer = (OperatorFlux if head == "operator" else TinyFlux)(**config)
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return TinyBase(
        "tiny",
        transformer,
        UnshuffleCodec(patch_side(config)),
        TinyTextEncoder(vocabulary, config["joint_attention_dim"]),
    )


def load_tiny_base(folder: Path) -> TinyBase:
    """The base in a folder written by `pretrain-tiny`.

    InputError when it is missing, incomplete or cut.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        base = new_tiny_base(
            config["vocabulary"], 0, config["transformer"], config.get("head", "patches")
        )
        base.sampling_steps = config["sampling_steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: no whole base there ({error}); name `tiny` or a folder written by "
            "`lorweb-bench pretrain-tiny`"
        ) from error
    try:
        weights = load_file(folder / "base.safetensors")
        for part, module in (
            ("transformer", base.transformer),
            ("text_encoder", base.text_encoder),
        ):
            module.load_state_dict(
                {
                    n.removeprefix(f"{part}."): w.float()
                    for n, w in weights.items()
                    if n.startswith(f"{part}.")
                }
            )
    except Exception as error:  # safetensors has its own error class for a cut file
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder / 'base.safetensors'}: not the whole weights of this base ({reason}); make "
            "or download it again"
        ) from error
    return base
