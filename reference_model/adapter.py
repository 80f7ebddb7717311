"""A base with its adapter: the LoRA layers, the router or the token projection, and the encoder that feeds them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from reference_model.base import Base, base_folder, load_base
from reference_model.basis import Basis
from reference_model.config import AdapterConfig, TrainConfig
from reference_model.encoder import PairEncoder
from reference_model.router import Router
from reference_model.towers import TowerEncoder, load_tower


@dataclass
class Adapter:
    """What is trained on a frozen base; `encoder` is frozen, and None for the plain single LoRA."""

    base: Base
    basis: Basis
    encoder: nn.Module | None
    router: Router | None
    token: nn.Linear | None

    def to(self, device: torch.device) -> "Adapter":
        """The same adapter on another device."""
        self.base.to(device)
        for module in (self.encoder, self.router, self.token):
            if module is not None:
                module.to(device)
        return self

    def trainable(self) -> nn.ModuleDict:
        """Every trainable weight, by stable names."""
        weights = nn.ParameterDict({name.replace(".", "/"): p for name, p in self.basis.tensors().items()})
        modules = nn.ModuleDict({"basis": weights})
        if self.router is not None:
            modules["router"] = self.router
        if self.token is not None:
            modules["token"] = self.token
        return modules

    @property
    def trainable_parameters(self) -> int:
        """How many weights are trained."""
        return sum(p.numel() for p in self.trainable().parameters())

    def gate(self, features: Tensor | None) -> None:
        """Set the basis to the mix of a batch, from the encoder's features; without a router the basis has no gates."""
        self.basis.gates = self.router(features) if self.router is not None and features is not None else None

    def prompt(self, prompts: list[str], features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Prompt tokens and pooled vectors; the control appends the features as tokens of the prompt's width."""
        with torch.no_grad():
            tokens, pooled = self.base.text_encoder(prompts)
        if self.token is not None and features is not None:
            tokens = torch.cat([tokens, self.token(features).unflatten(1, (-1, tokens.shape[2]))], 1)
        return tokens, pooled

    def features(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor | None:
        """The frozen encoder's features (batch, width) of uint8 images (batch, 3, height, width)."""
        if self.encoder is None:
            return None
        with torch.no_grad():
            found: Tensor = self.encoder(a, a_prime, b)
        return found


def read_pair_encoder(path: Path) -> PairEncoder:
    """The frozen pair encoder in a file; InputError when it is missing, cut or another kind of file."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            encoder = PairEncoder(int(about["steps"]), int(about["features"]))
            encoder.load_state_dict({k: file.get_tensor(k).float() for k in file.keys()})  # noqa: SIM118 (safe_open is no mapping)
    except Exception as error:
        raise InputError(f"{path}: not a whole pair encoder ({error}); `lorweb-bench pretrain-tiny` writes one") from error
    encoder.requires_grad_(False).eval()
    return encoder


def load_pair_encoder(base_name: str) -> PairEncoder:
    """The frozen pair encoder that was pretrained beside a base."""
    return read_pair_encoder(base_folder(base_name) / "encoder.safetensors")


def load_encoder(config: TrainConfig) -> PairEncoder | TowerEncoder:
    """The frozen encoder that a config names: the base's own `pair` encoder, or the paper's way with a tower from a folder or the hub.

    Raises InputError that says what to download where the tower is missing.
    """
    return load_pair_encoder(config.base) if config.encoder == "pair" else load_tower(config.encoder, config.encoder_input)


def new_adapter(config: TrainConfig, seed: int) -> Adapter:
    """A base with a fresh, seeded adapter on it, every other weight frozen."""
    base = load_base(config.base)
    torch.manual_seed(seed)
    settings = config.adapter
    basis = Basis(base.transformer, settings.elements, settings.rank, settings.alpha, settings.targets)
    if settings.kind == "single-lora":
        return Adapter(base, basis, None, None, None)
    encoder = load_encoder(config)
    if settings.kind == "token-control":
        token = nn.Linear(encoder.features, settings.tokens * base.transformer.config.joint_attention_dim)
        return Adapter(base, basis, encoder, None, token)
    return Adapter(base, basis, encoder, new_router(settings, len(basis.layers), encoder.features), None)


def new_router(settings: AdapterConfig, layers: int, features: int) -> Router:
    """A fresh router for `layers` adapted layers and an encoder of width `features`."""
    return Router(layers, settings.elements, features, settings.key_width, settings.mixing, settings.heads, settings.over_heads)
