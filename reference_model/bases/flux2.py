"""FLUX.2: `flux2-klein` (4 and 9 billion weights) and `flux2` (32 billion).

They take several pictures by themselves: a, a' and b are references of their own, told apart by the
first of four position axes, and b' alone is noisy. The two kinds differ in the text encoder and in
how they are guided.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import (
    AutoencoderKLFlux2,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    Mistral3ForConditionalGeneration,
    Qwen3ForCausalLM,
)

from reference_model.bases.base import Prompt, Published
from reference_model.bases.pipeline_folder import (
    LazyTextEncoder,
    PipelineBase,
    VaeCodec,
    load_part,
)
from reference_model.model.grid_layout import TokenSequence
from reference_model.seeding import seeded

LONGEST_PROMPT = 512  # tokens, the pipelines' own
REFERENCE_STEP = 10  # between the first position axes of two reference pictures
VAE_WEIGHTS = 84_046_115
# Transformers as their config.json on the hub say, where it differs from the class's defaults;
# encoder weights are counted on the published shapes.
KLEIN_4B = Published(
    {
        "num_layers": 5,
        "num_single_layers": 20,
        "num_attention_heads": 24,
        "joint_attention_dim": 7680,
        "guidance_embeds": False,
    },
    VAE_WEIGHTS + 4_022_468_096,
)
KLEIN_9B = Published(
    {
        "num_layers": 8,
        "num_single_layers": 24,
        "num_attention_heads": 32,
        "joint_attention_dim": 12288,
        "guidance_embeds": False,
    },
    VAE_WEIGHTS + 8_190_735_360,
)
DEV = Published({}, VAE_WEIGHTS + 24_011_361_280)


class Flux2Codec(VaeCodec):
    """Tokens by FLUX.2's VAE: four latent pixels each, in the units of its batch norm."""

    vae_class = AutoencoderKLFlux2

    def _units(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (1, channels, 1, 1) of tokens."""
        norm = self.vae.bn
        mean = norm.running_mean.view(1, -1, 1, 1).to(self.device, self.dtype)
        variance = norm.running_var.view(1, -1, 1, 1) + self.vae.config.batch_norm_eps
        return mean, variance.sqrt().to(self.device, self.dtype)

    def tokens_of(self, pixels: Tensor) -> Tensor:
        """Normalised tokens (batch, channels, rows, columns) of pixels in [-1, 1]."""
        mean, deviation = self._units()
        tokens = F.pixel_unshuffle(self.vae.encode(pixels).latent_dist.mode(), 2)
        return (tokens - mean) / deviation

    def pixels_of(self, tokens: Tensor) -> Tensor:
        """Pixels (batch, 3, height, width), about in [-1, 1], of normalised tokens."""
        mean, deviation = self._units()
        pixels: Tensor = self.vae.decode(F.pixel_shuffle(tokens * deviation + mean, 2)).sample
        return pixels


@contextmanager
def quiet_processor() -> Iterator[None]:
    """Run the block without a warning on how diffusers calls the processor of transformers."""
    logger = logging.getLogger("transformers.processing_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


class KleinTextEncoder(LazyTextEncoder):
    """Prompts by three layers of Qwen3, as the pipeline has them."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.tokenizer = load_part(AutoTokenizer, folder, "tokenizer")

    def load(self) -> nn.Module:
        """Qwen3."""
        return load_part(Qwen3ForCausalLM, self.folder, "text_encoder", dtype=self.dtype)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Prompt:
        """Prompt tokens (batch, 512, width) in float32, and nothing beside them."""
        tokens = Flux2KleinPipeline._get_qwen3_prompt_embeds(
            self.models, self.tokenizer, prompts, max_sequence_length=LONGEST_PROMPT
        )
        return tokens.float(), tokens.new_zeros(len(prompts), 0).float()


class DevTextEncoder(LazyTextEncoder):
    """Prompts by three layers of Mistral Small, as the pipeline has them."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        super().__init__(folder, dtype)
        self.processor = load_part(AutoProcessor, folder, "tokenizer")

    def load(self) -> nn.Module:
        """Mistral Small."""
        kind = Mistral3ForConditionalGeneration
        return load_part(kind, self.folder, "text_encoder", dtype=self.dtype)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Prompt:
        """Prompt tokens (batch, 512, width) in float32, and nothing beside them."""
        with quiet_processor():
            tokens = Flux2Pipeline._get_mistral_3_small_prompt_embeds(
                self.models, self.processor, prompts, max_sequence_length=LONGEST_PROMPT
            )
        return tokens.float(), tokens.new_zeros(len(prompts), 0).float()


def four_axes(ids: Tensor) -> Tensor:
    """Positions (tokens, 4) of FLUX.2 from ours (tokens, 3): panel, row, column."""
    panels = ids[:, :1] * REFERENCE_STEP
    return torch.cat([panels, ids[:, 1:], torch.zeros_like(panels)], 1)


def word_positions(words: int) -> Tensor:
    """Positions (words, 4) of prompt tokens: they count along the last axis."""
    return F.pad(torch.arange(words, dtype=torch.float32)[:, None], (3, 0))


class Flux2(PipelineBase):
    """FLUX.2-dev, guidance-distilled, with Mistral Small."""

    kind = "flux2"
    transformer_class: ClassVar[Any] = Flux2Transformer2DModel
    pipeline_class: ClassVar[Any] = Flux2Pipeline
    codec_class = Flux2Codec
    text_encoder_class: ClassVar[Any] = DevTextEncoder
    published: ClassVar[Mapping[str, Published]] = {"black-forest-labs/FLUX.2-dev": DEV}
    layouts = ("paper", "references")
    encoder_parts = ("vae", "text_encoder", "tokenizer")
    steps = 50
    sampling_guidance = 4.0  # from the model card

    @classmethod
    def prompt_length(cls, pictures: int) -> int:
        """How many tokens a prompt has."""
        return LONGEST_PROMPT

    def velocity(
        self, noisy: Tensor, sequenced: TokenSequence, time: Tensor, prompt: Prompt, guidance: float
    ) -> Tensor:
        """The velocity of the whole sequence, target tokens first, as `Base.velocity`."""
        transformer = self.transformer
        tokens = prompt[0].to(transformer.dtype)
        told = torch.full_like(time, guidance) if transformer.config.guidance_embeds else None
        velocity: Tensor = transformer(
            hidden_states=torch.cat([noisy, sequenced.context], 1).to(transformer.dtype),
            encoder_hidden_states=tokens,
            timestep=time.to(transformer.dtype),
            img_ids=four_axes(sequenced.ids).to(noisy.device),
            txt_ids=word_positions(tokens.shape[1]).to(noisy.device),
            guidance=told,
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
            "guidance": torch.empty(1, dtype=dtype) if settings.guidance_embeds else None,
            "img_ids": torch.empty(tokens, 4),
            "txt_ids": torch.empty(words, 4),
            "return_dict": False,
        }

    def shift(self, tokens: int, steps: int) -> float:
        """How far the times of so many target tokens are shifted towards noise."""
        return float(compute_empirical_mu(tokens, steps))

    def draw_noise(self, sequenced: TokenSequence, seeds: list[int]) -> Tensor:
        """Noise (batch, target tokens, channels), as the pipeline draws it: tokens row by row."""
        shape = (sequenced.context.shape[2], *sequenced.target_size)
        dtype = self.transformer.dtype
        noise = [torch.randn(shape, generator=seeded(seed), dtype=dtype) for seed in seeds]
        return torch.stack(noise).flatten(2).mT


class Flux2Klein(Flux2):
    """FLUX.2-klein, with Qwen3; the base models are guided by an empty prompt, the distilled ones
    are not guided and take four steps.
    """

    kind = "flux2-klein"
    pipeline_class: ClassVar[Any] = Flux2KleinPipeline
    text_encoder_class: ClassVar[Any] = KleinTextEncoder
    published: ClassVar[Mapping[str, Published]] = {
        "black-forest-labs/FLUX.2-klein-base-4B": KLEIN_4B,
        "black-forest-labs/FLUX.2-klein-base-9B": KLEIN_9B,
        "black-forest-labs/FLUX.2-klein-4B": KLEIN_4B,
        "black-forest-labs/FLUX.2-klein-9B": KLEIN_9B,
    }
    negative_prompt = ""

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> Self:
        """The base in a folder, weights as `dtype`; InputError where it is missing or cut."""
        base = super().load(folder, dtype)
        index = folder / "model_index.json"
        if index.is_file() and json.loads(index.read_text()).get("is_distilled"):
            base.sampling_steps, base.guidance = 4, 1.0
        return base
