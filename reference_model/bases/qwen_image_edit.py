"""Qwen-Image-Edit-Plus: `qwen-image-edit-plus`, its releases 2509 and 2511.

It takes several pictures by itself, twice: their latents are reference pictures beside the noisy
one, and its text encoder, Qwen2.5-VL, sees them beside the words. So a prompt belongs to its
pictures, and prompts are of several lengths: a mask says which tokens count.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as stock
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from reference_model.bases.base import Prompt, Published
from reference_model.bases.pipeline_folder import (
    LazyTextEncoder,
    PipelineBase,
    VaeCodec,
    load_part,
)
from reference_model.model.grid_layout import TokenSequence

# Weights of the VAE and of Qwen2.5-VL-7B, counted on their published shapes.
ENCODER_WEIGHTS = 126_892_531 + 8_292_166_656
# Prompt tokens of a picture of 384 x 384 pixels, cut into squares of 28; and of the words around.
PICTURE_TOKENS, WORD_TOKENS = 14 * 14, 64
LONGEST_ROW = 1024  # of tokens in a made-up picture


class QwenCodec(VaeCodec):
    """Tokens by Qwen-Image's VAE, which is one for videos: a picture is a video of one frame."""

    vae_class = AutoencoderKLQwenImage

    @staticmethod
    def side(settings: Mapping[str, Any]) -> int:
        """The side in pixels of a token, from the VAE's settings."""
        return int(2 * 2 ** len(settings["temperal_downsample"]))

    def _units(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (1, channels, 1, 1) of latents."""
        settings = self.vae.config
        lists = (settings.latents_mean, settings.latents_std)
        mean, deviation = (torch.tensor(x, device=self.device, dtype=self.dtype) for x in lists)
        return mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)

    def tokens_of(self, pixels: Tensor) -> Tensor:
        """Normalised tokens (batch, channels, rows, columns) of pixels in [-1, 1]."""
        mean, deviation = self._units()
        latents = self.vae.encode(pixels[:, :, None]).latent_dist.mode()[:, :, 0]
        return F.pixel_unshuffle((latents - mean) / deviation, 2)

    def pixels_of(self, tokens: Tensor) -> Tensor:
        """Pixels (batch, 3, height, width), about in [-1, 1], of normalised tokens."""
        mean, deviation = self._units()
        latents = F.pixel_shuffle(tokens, 2) * deviation + mean
        pixels: Tensor = self.vae.decode(latents[:, :, None]).sample[:, :, 0]
        return pixels


class QwenTextEncoder(LazyTextEncoder):
    """Prompts by Qwen2.5-VL, which sees the pictures: the pipeline's own encoding, per sample."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.tokenizer = load_part(AutoTokenizer, folder, "tokenizer")
        self.processor = load_part(AutoProcessor, folder, "processor")

    def load(self) -> nn.Module:
        """Qwen2.5-VL."""
        kind = Qwen2_5_VLForConditionalGeneration
        return load_part(kind, self.folder, "text_encoder", dtype=self.dtype)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str], pictures: Sequence[Tensor] = ()) -> Prompt:
        """Encode each prompt beside its pictures.

        Args:
            prompts: one for each sample.
            pictures: the context, each uint8 (batch, 3, height, width).

        Returns:
            Prompt tokens (batch, longest, width) and a mask (batch, longest), both float32.
        """
        pipeline = QwenImageEditPlusPipeline(
            scheduler=None,
            vae=None,
            text_encoder=self.models,
            tokenizer=self.tokenizer,
            processor=self.processor,
            transformer=None,
        )
        rows = []
        for n, prompt in enumerate(prompts):
            shown = [_as_condition(pipeline, picture[n]) for picture in pictures]
            tokens, _ = pipeline.encode_prompt(prompt, shown or None, self.device)
            rows.append(tokens[0].float())
        mask = pad_sequence([row.new_ones(len(row)) for row in rows], batch_first=True)
        return pad_sequence(rows, batch_first=True), mask


def _as_condition(pipeline: Any, picture: Tensor) -> Image.Image:
    """A picture, uint8 (3, height, width), in the size in which the pipeline's encoder sees it."""
    image = Image.fromarray(picture.permute(1, 2, 0).cpu().numpy())
    ratio = image.width / image.height
    width, height = stock.calculate_dimensions(stock.CONDITION_IMAGE_SIZE, ratio)
    resized: Image.Image = pipeline.image_processor.resize(image, height, width)
    return resized


def _rows_of(tokens: int) -> list[tuple[int, int, int]]:
    """Sizes of pictures of one row each that have so many tokens; a long row has no positions."""
    whole, rest = divmod(tokens, LONGEST_ROW)
    rows = [(1, 1, LONGEST_ROW)] * whole
    return [*rows, (1, 1, rest)] if rest else rows


class QwenImageEditPlus(PipelineBase):
    """Qwen-Image-Edit-Plus, with Qwen2.5-VL; guided by a second pass without the words."""

    kind = "qwen-image-edit-plus"
    transformer_class: ClassVar[Any] = QwenImageTransformer2DModel
    pipeline_class: ClassVar[Any] = QwenImageEditPlusPipeline
    codec_class = QwenCodec
    text_encoder_class: ClassVar[Any] = QwenTextEncoder
    # The class's own defaults; 2511 modulates the references as clean pictures (config.json).
    published: ClassVar[Mapping[str, Published]] = {
        "Qwen/Qwen-Image-Edit-2509": Published({}, ENCODER_WEIGHTS),
        "Qwen/Qwen-Image-Edit-2511": Published({"zero_cond_t": True}, ENCODER_WEIGHTS),
    }
    layouts = ("paper", "references")
    encoder_parts = ("vae", "text_encoder", "tokenizer", "processor")
    block_counts = ("num_layers",)
    sees_pictures = True
    negative_prompt = " "
    steps = 40
    sampling_guidance = 4.0  # from the model card

    @classmethod
    def prompt_length(cls, pictures: int) -> int:
        """How many tokens a prompt has, beside a context of so many pictures."""
        return pictures * PICTURE_TOKENS + WORD_TOKENS

    def velocity(
        self, noisy: Tensor, sequenced: TokenSequence, time: Tensor, prompt: Prompt, guidance: float
    ) -> Tensor:
        """The velocity of the whole sequence, target tokens first, as `Base.velocity`."""
        transformer = self.transformer
        tokens, mask = prompt
        # The control's own tokens follow those of the words, and always count.
        mask = F.pad(mask, (0, tokens.shape[1] - mask.shape[1]), value=1.0) > 0
        sizes = [(1, rows, columns) for rows, columns in (sequenced.target_size, *sequenced.sizes)]
        velocity: Tensor = transformer(
            hidden_states=torch.cat([noisy, sequenced.context], 1).to(transformer.dtype),
            encoder_hidden_states=tokens.to(transformer.dtype),
            encoder_hidden_states_mask=None if bool(mask.all()) else mask,
            timestep=time.to(transformer.dtype),
            img_shapes=[sizes] * len(noisy),
            return_dict=False,
        )[0]
        return velocity

    @classmethod
    def forward_inputs(
        cls, transformer: Any, tokens: int, words: int, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Empty inputs of one sample, on the device of the context."""
        settings = transformer.config
        width = settings.joint_attention_dim
        return {
            "hidden_states": torch.empty(1, tokens, settings.in_channels, dtype=dtype),
            "encoder_hidden_states": torch.empty(1, words, width, dtype=dtype),
            "timestep": torch.empty(1, dtype=dtype),
            "img_shapes": [_rows_of(tokens)],
            "return_dict": False,
        }

    def guide(self, velocity: Tensor, negative: Tensor) -> Tensor:
        """Lead the velocity away from that without the words, and keep its length token by token,
        as the pipeline does.
        """
        led = super().guide(velocity, negative)
        return led * (velocity.norm(dim=-1, keepdim=True) / led.norm(dim=-1, keepdim=True))

    def shift(self, tokens: int, steps: int) -> float:
        """How far the times of so many target tokens are shifted towards noise."""
        settings = self.scheduler.config
        usual = {
            "base_image_seq_len": 256,
            "max_image_seq_len": 4096,
            "base_shift": 0.5,
            "max_shift": 1.15,
        }
        shift: float = stock.calculate_shift(
            tokens, *(settings.get(key, value) for key, value in usual.items())
        )
        return float(shift)
