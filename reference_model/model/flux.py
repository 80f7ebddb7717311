"""The real base: FLUX.1-Kontext-dev, or any folder in diffusers' layout, from the hub or from disk.

Images and prompts become tokens as in diffusers' `FluxKontextPipeline`. The VAE and the text
encoders are loaded when they are first used, and can be let go again: a training that has cached
what they give holds neither.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, CLIPTextModel, T5EncoderModel

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.progress import track
from reference_model.model.loading_bars import hide_bars_off_terminals

Part = TypeVar("Part")
LONGEST_PROMPT = 512  # T5 tokens, the pipeline's own
SAMPLING_STEPS = 28
GUIDANCE = 2.5  # of sampling, from the model card
ENCODER_PARTS = (
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
)  # what a training sees through
PARTS = ("transformer", *ENCODER_PARTS, "scheduler")


def is_flux_folder(folder: Path) -> bool:
    """Whether a folder is in diffusers' layout."""
    return (folder / "transformer" / "config.json").is_file()


def digest_of(folder: Path, parts: tuple[str, ...]) -> str:
    """sha256 over the names and bytes of all files of some parts of a pipeline folder.

    InputError where there are none.
    """
    files = sorted(file for part in parts for file in (folder / part).glob("*") if file.is_file())
    if not files:
        raise InputError(f"{folder}: holds nothing of {', '.join(parts)}; download it again")
    digests = [
        (str(file.relative_to(folder)), sha256_file(file))
        for file in track(files, len(files), f"checking {folder}")
    ]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def hub_folder(name: str) -> Path:
    """The folder of a base on the hub, downloaded unless it was before.

    Raises InputError that says what to download and where to put it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(
            snapshot_download(
                name, allow_patterns=["model_index.json", *(f"{part}/*" for part in PARTS)]
            )
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"base `{name}`: neither a folder here nor to be had from the hub ({reason}); accept "
            "its licence at "
            f"https://huggingface.co/{name}, log in with `hf auth login`, or run `hf download "
            f"{name} --local-dir FOLDER` where there is "
            "a network and set `base: FOLDER`"
        ) from error


def load_part(kind: type[Part], folder: Path, part: str, **options: Any) -> Part:
    """One part of a pipeline folder; InputError names the part that is missing or cut."""
    hide_bars_off_terminals()
    try:
        if not (folder / part).is_dir():
            raise FileNotFoundError("it is not there")
        loaded: Part = kind.from_pretrained(folder / part, **options)  # type: ignore[attr-defined]
        return loaded
    # transformers, diffusers and safetensors have an error class each for a damaged file
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder / part}: no whole part of a FLUX.1-Kontext pipeline ({reason}); download it "
            "again, "
            f"e.g. `hf download black-forest-labs/FLUX.1-Kontext-dev --include '{part}/*' "
            f"--local-dir {folder}`"
        ) from error


class VaeCodec:
    """Tokens of images by a VAE.

    The mode of its posterior, shifted and scaled, four latent pixels a token.
    """

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype, self.device = folder, dtype, torch.device("cpu")
        self.loaded: AutoencoderKL | None = None
        settings = json.loads((folder / "vae" / "config.json").read_text())
        self.patch = 2 * 2 ** (len(settings["block_out_channels"]) - 1)

    @property
    def vae(self) -> AutoencoderKL:
        """The VAE, loaded now if it was not."""
        if self.loaded is None:
            self.loaded = (
                load_part(AutoencoderKL, self.folder, "vae", torch_dtype=self.dtype)
                .requires_grad_(False)
                .eval()
            )
        return self.loaded.to(self.device)

    def to(self, device: str | torch.device) -> "VaeCodec":
        """The same codec on another device."""
        self.device = torch.device(device)
        return self

    def release(self) -> None:
        """Let the VAE go; the next use loads it again."""
        self.loaded = None

    @torch.no_grad()
    def encode(self, images: Tensor, shrink: int = 1) -> Tensor:
        """Tokens (batch, rows, columns, channels) of uint8 images (batch, 3, height, width), shrunk
        first.

        Their sides are multiples of `patch` * shrink.
        """
        vae = self.vae
        pixels = F.avg_pool2d(images.float(), shrink) if shrink > 1 else images.float()
        latents = vae.encode((pixels / 127.5 - 1).to(self.device, self.dtype)).latent_dist.mode()
        latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        return F.pixel_unshuffle(latents, 2).permute(0, 2, 3, 1).float()

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """uint8 images (batch, 3, height, width) of tokens (batch, rows, columns, channels)."""
        vae = self.vae
        latents = F.pixel_shuffle(tokens.permute(0, 3, 1, 2), 2).to(self.device, self.dtype)
        pixels = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
        return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


class FluxTextEncoder:
    """Prompts by T5 (tokens) and CLIP (a pooled vector), padded as the pipeline pads them."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype, self.device = folder, dtype, torch.device("cpu")
        self.loaded: nn.ModuleDict | None = None
        self.tokenizers = [
            load_part(AutoTokenizer, folder, part) for part in ("tokenizer", "tokenizer_2")
        ]

    @property
    def models(self) -> nn.ModuleDict:
        """Both encoders, loaded now if they were not."""
        if self.loaded is None:
            kinds: dict[str, Any] = {
                "text_encoder": CLIPTextModel,
                "text_encoder_2": T5EncoderModel,
            }
            loaded = {
                part: load_part(kind, self.folder, part, dtype=self.dtype)
                for part, kind in kinds.items()
            }
            self.loaded = nn.ModuleDict(loaded).requires_grad_(False).eval()
        return self.loaded.to(self.device)

    def to(self, device: str | torch.device) -> "FluxTextEncoder":
        """The same encoder on another device."""
        self.device = torch.device(device)
        return self

    def release(self) -> None:
        """Let both encoders go; the next use loads them again."""
        self.loaded = None

    def ids(self, which: int, prompts: list[str], length: int) -> Tensor:
        """Token ids (batch, length) of the first or second tokenizer, padded or cut."""
        tokens = self.tokenizers[which](
            prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return tokens.input_ids.to(self.device)

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Prompt tokens (batch, 512, width) and pooled vectors (batch, width), in float32."""
        models = self.models
        pooled = models["text_encoder"](
            self.ids(0, prompts, self.tokenizers[0].model_max_length)
        ).pooler_output
        tokens = models["text_encoder_2"](self.ids(1, prompts, LONGEST_PROMPT))[0]
        return tokens.float(), pooled.float()


def load_transformer(folder: Path, dtype: torch.dtype) -> FluxTransformer2DModel:
    """The transformer of a pipeline folder."""
    return load_part(FluxTransformer2DModel, folder, "transformer", torch_dtype=dtype)


def load_scheduler(folder: Path) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler of a pipeline folder, which says how sampling times are shifted."""
    return load_part(FlowMatchEulerDiscreteScheduler, folder, "scheduler")
