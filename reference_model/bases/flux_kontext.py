"""FLUX.1-Kontext-dev, or any folder of diffusers' `FluxKontextPipeline`: the paper's own base.

It takes one clean picture, so an analogy is shown to it as a grid, or as panels one after the
other.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, FluxKontextPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from reference_model.bases.base import Base, Prompt, Published, Sampler
from reference_model.bases.pipeline_folder import (
    LazyTextEncoder,
    PipelineBase,
    VaeCodec,
    load_part,
)
from reference_model.model.grid_layout import TokenSequence
from reference_model.seeding import seeded

LONGEST_PROMPT = 512  # T5 tokens, the pipeline's own


class FluxCodec(VaeCodec):
    """Tokens by FLUX.1's VAE, shifted and scaled."""

    vae_class = AutoencoderKL

    def tokens_of(self, pixels: Tensor) -> Tensor:
        """Normalised tokens (batch, channels, rows, columns) of pixels in [-1, 1]."""
        vae = self.vae
        latents = vae.encode(pixels).latent_dist.mode()
        latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        return F.pixel_unshuffle(latents, 2)

    def pixels_of(self, tokens: Tensor) -> Tensor:
        """Pixels (batch, 3, height, width), about in [-1, 1], of normalised tokens."""
        vae, latents = self.vae, F.pixel_shuffle(tokens, 2)
        pixels: Tensor = vae.decode(
            latents / vae.config.scaling_factor + vae.config.shift_factor
        ).sample
        return pixels


class FluxTextEncoder(LazyTextEncoder):
    """Prompts by T5 (tokens) and CLIP (a pooled vector), padded as the pipeline pads them."""

    def __init__(self, folder: Any, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.tokenizers = [
            load_part(AutoTokenizer, folder, part) for part in ("tokenizer", "tokenizer_2")
        ]

    def load(self) -> nn.Module:
        """Both encoders."""
        kinds: dict[str, Any] = {"text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
        loaded = {
            part: load_part(kind, self.folder, part, dtype=self.dtype)
            for part, kind in kinds.items()
        }
        return nn.ModuleDict(loaded)

    def ids(self, which: int, prompts: list[str], length: int) -> Tensor:
        """Token ids (batch, length) of the first or second tokenizer, padded or cut."""
        tokens = self.tokenizers[which](
            prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        ids: Tensor = tokens.input_ids
        return ids.to(self.device)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Prompt:
        """Prompt tokens (batch, 512, width) and pooled vectors (batch, width), in float32."""
        models = self.models
        pooled = models["text_encoder"](
            self.ids(0, prompts, self.tokenizers[0].model_max_length)
        ).pooler_output
        tokens = models["text_encoder_2"](self.ids(1, prompts, LONGEST_PROMPT))[0]
        return tokens.float(), pooled.float()


class FluxVelocity:
    """How a FLUX.1 transformer is called, at full size and tiny."""

    transformer: Any
    transformer_class: ClassVar[Any] = FluxTransformer2DModel

    def velocity(
        self, noisy: Tensor, sequenced: TokenSequence, time: Tensor, prompt: Prompt, guidance: float
    ) -> Tensor:
        """The velocity of the whole sequence, target tokens first, as `Base.velocity`."""
        transformer = self.transformer
        dtype = transformer.dtype
        tokens, pooled = (x.to(dtype) for x in prompt)
        velocity: Tensor = transformer(
            hidden_states=torch.cat([noisy, sequenced.context], 1).to(dtype),
            encoder_hidden_states=tokens,
            pooled_projections=pooled,
            timestep=time.to(dtype),
            img_ids=sequenced.ids.to(noisy.device),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=noisy.device),
            guidance=torch.full_like(time, guidance)
            if transformer.config.guidance_embeds
            else None,
            return_dict=False,
        )[0]
        return velocity

    @classmethod
    def forward_inputs(
        cls, transformer: Any, tokens: int, words: int, dtype: torch.dtype
    ) -> dict[str, Any]:
        """Empty inputs of one sample, on the device of the context."""
        settings = transformer.config
        return {
            "hidden_states": torch.empty(1, tokens, settings.in_channels, dtype=dtype),
            "encoder_hidden_states": torch.empty(
                1, words, settings.joint_attention_dim, dtype=dtype
            ),
            "pooled_projections": torch.empty(1, settings.pooled_projection_dim, dtype=dtype),
            "timestep": torch.empty(1, dtype=dtype),
            "guidance": torch.empty(1, dtype=dtype) if settings.guidance_embeds else None,
            "img_ids": torch.empty(tokens, 3),
            "txt_ids": torch.empty(words, 3),
            "return_dict": False,
        }


class FluxKontext(FluxVelocity, PipelineBase):
    """FLUX.1-Kontext-dev, guidance-distilled, with T5 and CLIP."""

    kind = "flux-kontext"
    pipeline_class = FluxKontextPipeline
    codec_class = FluxCodec
    text_encoder_class = FluxTextEncoder
    # The class's own defaults with the guidance embedding (config.json on the hub); the weights of
    # its VAE, CLIP and T5.
    published: ClassVar[Mapping[str, Published]] = {
        "black-forest-labs/FLUX.1-Kontext-dev": Published(
            {"guidance_embeds": True}, 83_819_683 + 123_060_480 + 4_762_310_656
        )
    }
    encoder_parts = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    steps = 28
    sampling_guidance = 2.5  # from the model card

    @classmethod
    def prompt_length(cls, pictures: int) -> int:
        """How many tokens a prompt has."""
        return LONGEST_PROMPT

    def stock_sampler(self, layout: str) -> Sampler | None:
        """The pipeline, for layouts of a target and one clean image."""
        return sample_stock if layout in ("paper", "edit") else None


def sample_stock(
    base: Base, sequenced: TokenSequence, prompt: Prompt, seeds: list[int], steps: int
) -> Tensor:
    """Predicted clean target tokens (batch, target tokens, channels).

    As `sampling.sample`, run by the pipeline.

    It is called with latents in place of images, at their own size: else it would bring the output
    to one megapixel.
    """
    whole = {"scheduler": base.scheduler, "vae": base.codec.vae, "transformer": base.transformer}
    pipeline = FluxKontextPipeline(
        **whole, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None
    )
    pipeline.set_progress_bar_config(disable=None, leave=False)  # a bar on a terminal alone
    rows, columns = sequenced.target_size
    dtype = base.transformer.dtype
    shown = sequenced.context.unflatten(1, sequenced.context_size).permute(0, 3, 1, 2)
    image = F.pixel_shuffle(shown, 2)
    height, width = rows * base.codec.patch, columns * base.codec.patch
    tokens, pooled = (x.to(dtype) for x in prompt)
    drawn: Tensor = pipeline(
        image=image,
        prompt_embeds=tokens,
        pooled_prompt_embeds=pooled,
        generator=[seeded(seed) for seed in seeds],
        guidance_scale=base.guidance,
        num_inference_steps=steps,
        height=height,
        width=width,
        max_area=height * width,
        _auto_resize=False,
        output_type="latent",
    ).images
    return drawn.float()
