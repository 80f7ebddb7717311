"""A base with its adapter: the LoRA layers, the router or the token projection, and the encoder
that feeds them.
"""

from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from reference_model.bases.base import Base
from reference_model.bases.registry import base_folder, load_base
from reference_model.config import AdapterConfig, TrainConfig
from reference_model.model.backbones import BackboneEncoder, dense_shape, load_backbone
from reference_model.model.basis import Basis
from reference_model.model.edit_tokens import EditTokens
from reference_model.model.encoder import PairEncoder
from reference_model.model.grid_layout import TokenSequence
from reference_model.model.quantize import quantize
from reference_model.model.router import Router
from reference_model.sampling import predict_velocity
from reference_model.seeding import torch_seed

# What the weights of the frozen base are held in, by the precision of a training.
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Adapter(nn.Module):
    """What is trained on a frozen base.

    `encoder` is frozen, and None for the plain single LoRA and where features come from a cache.
    """

    def __init__(
        self,
        base: Base,
        basis: Basis,
        encoder: nn.Module | None,
        router: Router | None,
        token: nn.Module | None,
        frozen: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.base, self.basis, self.frozen = base, basis, frozenset(frozen)
        self.transformer, self.encoder, self.router, self.token = (
            base.transformer,
            encoder,
            router,
            token,
        )

    def to(self, device: str | torch.device) -> "Adapter":  # type: ignore[override]
        """The same adapter on another device."""
        super().to(device)
        self.base.to(device)
        return self

    def trainable(self) -> nn.ModuleDict:
        """Every trainable weight, by stable names: not those of the parts in `frozen`."""
        modules = nn.ModuleDict()
        if "basis" not in self.frozen:
            weights = {name.replace(".", "/"): p for name, p in self.basis.tensors().items()}
            modules["basis"] = nn.ParameterDict(weights)
        if self.router is not None and "router" not in self.frozen:
            modules["router"] = self.router
        if self.token is not None:
            modules["token"] = self.token
        return modules

    @property
    def trainable_parameters(self) -> int:
        """How many weights are trained."""
        return sum(p.numel() for p in self.trainable().parameters())

    def gate(self, features: Tensor | None) -> None:
        """Set the basis to the mix of a batch, from the encoder's features.

        Without a router the basis has no gates.
        """
        self.basis.gates = (
            self.router(features) if self.router is not None and features is not None else None
        )

    def extended(
        self, prompt: tuple[Tensor, Tensor], features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """A prompt's tokens and pooled vectors.

        The control appends the features as tokens of the prompt's width.
        """
        tokens, pooled = prompt
        if self.token is not None and features is not None:
            tokens = torch.cat(
                [tokens, self.token(features).unflatten(1, (-1, tokens.shape[2]))], 1
            )
        return tokens, pooled

    def prompt(self, prompts: list[str], features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Prompt tokens and pooled vectors of prompts, with the control's tokens."""
        with torch.no_grad():
            prompt = self.base.text_encoder(prompts)
        return self.extended(prompt, features)

    def features(self, a: Tensor, a_prime: Tensor, b: Tensor) -> Tensor | None:
        """Encode uint8 images (batch, 3, height, width) into features (batch, width)."""
        if self.encoder is None:
            return None
        with torch.no_grad():
            features: Tensor = self.encoder(a, a_prime, b)
        return features

    def forward(
        self,
        noisy: Tensor,
        sequenced: TokenSequence,
        time: Tensor,
        prompt: tuple[Tensor, Tensor],
        features: Tensor | None,
        guidance: float,
    ) -> Tensor:
        """Velocity (batch, target tokens, channels) of noisy target tokens, mixed for `features`.

        The gates stay for the backward pass.
        """
        self.gate(features)
        return predict_velocity(
            self.base, noisy, sequenced, time, self.extended(prompt, features), guidance
        )


def read_pair_encoder(path: Path) -> PairEncoder:
    """The frozen pair encoder in a file.

    InputError when it is missing, cut or another kind of file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            sizes = (about["steps"], about["features"], about.get("patch", "8"))
            encoder = PairEncoder(*map(int, sizes))
            names = file.keys()  # safe_open is no mapping
            encoder.load_state_dict({name: file.get_tensor(name).float() for name in names})
    except Exception as error:
        raise InputError(
            f"{path}: not a whole pair encoder ({error}); `lorweb-bench pretrain-tiny` writes one"
        ) from error
    encoder.requires_grad_(False).eval()
    return encoder


def load_pair_encoder(base_name: str) -> PairEncoder:
    """The frozen pair encoder that was pretrained beside a base."""
    return read_pair_encoder(base_folder(base_name) / "encoder.safetensors")


def load_encoder(config: TrainConfig) -> PairEncoder | BackboneEncoder:
    """The frozen encoder that a config names.

    The base's own `pair` encoder, or the paper's way with a backbone from a folder or the hub.

    Raises InputError that says what to download where the backbone is missing.
    """
    return (
        load_pair_encoder(config.base)
        if config.encoder == "pair"
        else load_backbone(config.encoder, config.encoder_input, config.encoder_view)
    )


def new_adapter(config: TrainConfig, seed: int, bits: str = "no") -> Adapter:
    """A base with a fresh, seeded adapter on it, and the encoder that feeds it.

    Every other weight is frozen.
    """
    dtype = DTYPES[config.training.precision]
    base = load_base(config.base, dtype)
    if bits != "no":
        quantize(base.transformer, bits, dtype)
    return fresh_adapter(config, base, seed)


def fresh_adapter(
    config: TrainConfig, base: Base, seed: int, features: int | None = None
) -> Adapter:
    """A seeded adapter on a base, with the encoder that feeds it, or without one for `features`,
    the width of what comes from elsewhere.
    """
    torch.manual_seed(torch_seed(seed))
    settings = config.adapter
    basis = Basis(
        base.transformer, settings.elements, settings.rank, settings.alpha, settings.targets
    )
    if settings.initial == "official":
        basis.start_at_official_scale()
    if settings.kind == "single-lora":
        return Adapter(base, basis, None, None, None)
    # Making the pair encoder draws random numbers, so it is made in this place even if not kept:
    # the same seed gives the same router.
    encoder = load_encoder(config) if features is None or config.encoder == "pair" else None
    if features is not None:
        encoder, width = None, features
    else:
        assert encoder is not None
        width = encoder.features
    token_width = base.transformer.config.joint_attention_dim
    if settings.kind == "token-control":
        control = nn.Linear(width, settings.tokens * token_width)
        return Adapter(base, basis, encoder, None, control)
    if settings.kind == "delta-tokens":
        patch = dense_shape(config.encoder)[1]
        edit = EditTokens(width, patch, settings.tokens, token_width)
        return Adapter(base, basis, encoder, None, edit)
    router = new_router(settings, len(basis.layers), width)
    if settings.initial == "official":
        router.start_at_official_scale()
    beside = settings.tokens_beside * token_width
    token = nn.Linear(width, beside) if beside else None
    adapter = Adapter(base, basis, encoder, router, token, frozen_parts(settings))
    freeze(adapter, settings)
    return adapter


def frozen_parts(settings: AdapterConfig) -> list[str]:
    """Which of basis and router do not learn."""
    frozen = [] if settings.basis == "trained" else ["basis"]
    return frozen if settings.router == "trained" else [*frozen, "router"]


def weight_rms(linear: nn.Linear) -> float:
    """The RMS of a linear layer's weights.

    A quantised weight does not show its values: for it, 1 / sqrt(in), which is what a layer starts
    at.
    """
    weight = linear.weight
    is_plain = weight.is_floating_point()
    is_plain = is_plain and weight.shape == (linear.out_features, linear.in_features)
    rms = float(weight.float().square().mean().sqrt()) if is_plain else 0.0
    return rms or linear.in_features**-0.5


def freeze(adapter: Adapter, settings: AdapterConfig) -> None:
    """Set the parts that do not learn to what they stay at.

    A uniform router scores all elements 0. A frozen basis is drawn so that each element's update
    has the RMS of the layer's own weights; as it starts, its B would be zero.
    """
    assert adapter.router is not None
    with torch.no_grad():
        if settings.router == "uniform":
            adapter.router.projections.zero_()
        if settings.basis == "frozen":
            for layer in adapter.basis.layers.values():
                a, b = (part["default"].weight for part in (layer.lora_A, layer.lora_B))
                goal = weight_rms(layer.base_layer)
                entry = a.square().mean().sqrt() * settings.rank**0.5  # of B A, for B of unit RMS
                b.normal_(std=float(goal / entry / adapter.basis.alpha * settings.rank))
    for part in adapter.frozen:
        module = adapter.router if part == "router" else adapter.basis
        for parameter in module.parameters():
            parameter.requires_grad_(False)


def new_router(settings: AdapterConfig, layers: int, features: int) -> Router:
    """A fresh router for `layers` adapted layers and an encoder of width `features`."""
    return Router(
        layers,
        settings.elements,
        features,
        settings.key_width,
        settings.mixing,
        settings.heads,
        settings.over_heads,
    )
