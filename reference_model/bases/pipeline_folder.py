"""Bases in diffusers' layout: a folder with a part each for the transformer, the VAE and so on.

The VAE and the text encoders are loaded when they are first used, and can be let go again: a
training that has cached what they give holds neither.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.progress import track
from reference_model.bases.base import Base, shrunk
from reference_model.model.grid_layout import TokenSequence
from reference_model.model.loading_bars import hide_bars_off_terminals
from reference_model.seeding import seeded

Part = TypeVar("Part")
PARTS = (
    "transformer",
    "vae",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "processor",
    "scheduler",
)
TOKEN_SIDE = 16  # pixels a side that a token of the published models holds


def is_pipeline_folder(folder: Path) -> bool:
    """Whether a folder is in diffusers' layout."""
    names = ("model_index.json", "transformer/config.json")
    return any((folder / name).is_file() for name in names)


def class_in(path: Path) -> str:
    """The `_class_name` in a JSON file of diffusers; empty where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return ""
    name = content.get("_class_name", "") if isinstance(content, dict) else ""
    return name if isinstance(name, str) else ""


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
        pipeline = class_in(folder / "model_index.json") or "pipeline"
        raise InputError(
            f"{folder / part}: no whole part of a {pipeline} ({reason}); download it again, "
            f"e.g. `hf download REPOSITORY --include '{part}/*' --local-dir {folder}`"
        ) from error


class VaeCodec(ABC):
    """Tokens of images by a VAE: the mode of its posterior, four latent pixels a token."""

    vae_class: ClassVar[Any]

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype, self.device = folder, dtype, torch.device("cpu")
        self.loaded: Any = None
        self.patch = self.side(json.loads((folder / "vae" / "config.json").read_text()))

    @staticmethod
    def side(settings: Mapping[str, Any]) -> int:
        """The side in pixels of a token, from the VAE's settings."""
        return 2 * 2 ** (len(settings["block_out_channels"]) - 1)

    @property
    def vae(self) -> Any:
        """The VAE, loaded now if it was not."""
        if self.loaded is None:
            vae = load_part(self.vae_class, self.folder, "vae", torch_dtype=self.dtype)
            self.loaded = vae.requires_grad_(False).eval()
        return self.loaded.to(self.device)

    def to(self, device: str | torch.device) -> Self:
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

        Their sides are multiples of `patch`.
        """
        pixels = shrunk(images, shrink, self.patch)
        tokens = self.tokens_of((pixels / 127.5 - 1).to(self.device, self.dtype))
        return tokens.permute(0, 2, 3, 1).float()

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """uint8 images (batch, 3, height, width) of tokens (batch, rows, columns, channels)."""
        pixels = self.pixels_of(tokens.permute(0, 3, 1, 2).to(self.device, self.dtype))
        return ((pixels.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    @abstractmethod
    def tokens_of(self, pixels: Tensor) -> Tensor:
        """Normalised tokens (batch, channels, rows, columns) of pixels in [-1, 1]."""

    @abstractmethod
    def pixels_of(self, tokens: Tensor) -> Tensor:
        """Pixels (batch, 3, height, width), about in [-1, 1], of normalised tokens."""


class LazyTextEncoder(ABC):
    """Prompts by the models of a folder, which are loaded when they are first used."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.folder, self.dtype, self.device = folder, dtype, torch.device("cpu")
        self.loaded: Any = None

    @abstractmethod
    def load(self) -> nn.Module:
        """The models, whole."""

    @property
    def models(self) -> Any:
        """The models, loaded now if they were not."""
        if self.loaded is None:
            self.loaded = self.load().requires_grad_(False).eval()
        return self.loaded.to(self.device)

    def to(self, device: str | torch.device) -> Self:
        """The same encoder on another device."""
        self.device = torch.device(device)
        return self

    def release(self) -> None:
        """Let the models go; the next use loads them again."""
        self.loaded = None


class PipelineBase(Base):
    """A base in a folder in diffusers' layout, of the classes that its subclass names."""

    codec_class: ClassVar[type[VaeCodec]]
    text_encoder_class: ClassVar[Any]
    sampling_guidance: ClassVar[float]

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype) -> Self:
        """The base in a folder, weights as `dtype`; InputError where it is missing or cut."""
        codec, text_encoder = cls.load_encoders(folder, dtype)
        return cls(
            str(folder),
            load_part(cls.transformer_class, folder, "transformer", torch_dtype=dtype),
            codec,
            text_encoder,
            cls.steps,
            cls.sampling_guidance,
            load_part(FlowMatchEulerDiscreteScheduler, folder, "scheduler"),
        )

    def draw_noise(self, sequenced: TokenSequence, seeds: list[int]) -> Tensor:
        """Noise (batch, target tokens, channels), each sample's from its own seed.

        It is what diffusers' pipeline draws of `torch.Generator("cpu")` with the seed: latents in
        the type of the weights, then cut into tokens.
        """
        rows, columns = sequenced.target_size
        shape = (sequenced.context.shape[2] // 4, 2 * rows, 2 * columns)
        dtype = self.transformer.dtype
        latents = [torch.randn(shape, generator=seeded(seed), dtype=dtype) for seed in seeds]
        return F.pixel_unshuffle(torch.stack(latents), 2).flatten(2).mT

    @classmethod
    def load_encoders(cls, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
        """The codec and the text encoder of a folder, without the transformer.

        Float16 is too narrow for large text encoders, so they then run in bfloat16.
        """
        wide = torch.bfloat16 if dtype == torch.float16 else dtype
        return cls.codec_class(folder, wide), cls.text_encoder_class(folder, wide)

    @classmethod
    def transformer_config(cls, folder: Path) -> dict[str, Any]:
        """The settings of the transformer in a folder; OSError or ValueError where it has none."""
        raw = json.loads((folder / "transformer" / "config.json").read_text())
        return {key: value for key, value in raw.items() if not key.startswith("_")}

    @classmethod
    def token_side(cls, folder: Path, config: Mapping[str, Any]) -> int:
        """The side in pixels of a token, of a folder, which need not be there, and its config."""
        vae = folder / "vae" / "config.json"
        return cls.codec_class.side(json.loads(vae.read_text())) if vae.is_file() else TOKEN_SIDE

    @classmethod
    def transformer_digest(cls, folder: Path) -> str:
        """sha256 of the transformer's files; InputError where there are none."""
        return digest_of(folder, ("transformer",))

    @classmethod
    def encoders_digest(cls, folder: Path) -> str:
        """sha256 of the codec's and the text encoder's files; InputError where there are none."""
        return digest_of(folder, cls.encoder_parts)

    @classmethod
    def encoder_bytes(cls, folder: Path) -> int:
        """The bytes of the codec's and the text encoder's weights that are in a folder."""
        files = [
            file for part in cls.encoder_parts for file in (folder / part).glob("*.safetensors")
        ]
        return sum(file.stat().st_size for file in files)
