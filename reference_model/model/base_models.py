"""Sampling by diffusers' own `FluxKontextPipeline`, for the paper's layout on a FLUX base."""

from diffusers import FluxKontextPipeline
from torch import Tensor
from torch.nn import functional as F

from reference_model.model.base import Base
from reference_model.model.flux import VaeCodec
from reference_model.model.grid_layout import TokenSequence
from reference_model.seeding import seeded


def is_stock(base: Base, layout: str) -> bool:
    """Whether the stock pipeline can sample.

    A target and one clean image of the same size, on a base that it runs.
    """
    return isinstance(base.codec, VaeCodec) and layout in ("paper", "edit")


def sample_stock(
    base: Base,
    sequenced: TokenSequence,
    prompt: tuple[Tensor, Tensor],
    seeds: list[int],
    steps: int,
) -> Tensor:
    """Predicted clean target tokens (batch, target tokens, channels).

    As `sampling.sample`, run by the pipeline.

    It is called with latents in place of images, at their own size: else it would bring the output
    to one megapixel.
    """
    assert isinstance(base.codec, VaeCodec)
    whole = {"scheduler": base.scheduler, "vae": base.codec.vae, "transformer": base.transformer}
    pipeline = FluxKontextPipeline(
        **whole, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None
    )
    pipeline.set_progress_bar_config(disable=None, leave=False)  # a bar on a terminal alone
    rows, columns = sequenced.target_size
    dtype = base.transformer.dtype
    image = F.pixel_shuffle(sequenced.context.unflatten(1, (rows, columns)).permute(0, 3, 1, 2), 2)
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
