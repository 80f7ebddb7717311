"""DINO: `dino_direction` and `dino_image`, by the self-supervised encoders that timm builds.

After Caron et al. 2021 (arXiv 2104.14294); DINOv2 and DINOv3 are named in the brackets.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.metrics.encoders import (
    Encoder,
    FeatureDirection,
    FeatureLikeness,
    Network,
    Preprocessing,
    own_preprocessing,
)
from lorweb_bench.metrics.weights import device

DEFAULT = "vit_small_patch16_224/dino"
FILE = "model.safetensors"  # of timm's repositories on the hub


@dataclass(frozen=True)
class Dino(Encoder):
    """An encoder of timm and its weights: `MODEL/TAG` of timm's list, or `MODEL/FILE.safetensors`.

    Its feature is what timm gives without a classifier: of DINO's transformers the class token.
    """

    packages: ClassVar[tuple[str, ...]] = ("torch", "timm")
    distribution: ClassVar[str] = "timm"
    activations: ClassVar[bool] = False

    spec: str = DEFAULT

    def published(self) -> tuple[str, str, Path | None]:
        """The hub's repository and file of the weights, and where that lies, or None."""
        import timm
        from huggingface_hub import try_to_load_from_cache

        if not timm.is_model(self.model):
            raise unknown_name("model of timm", self.model, timm.list_models())
        named = timm.list_models(f"{self.model}.*", pretrained=True)
        tags = [name.partition(".")[2] for name in named]
        config = None
        if self.tag in tags:
            config = timm.get_pretrained_cfg(f"{self.model}.{self.tag}")
        if config is None or not config.hf_hub_id:
            tags = tags or ["FILE.safetensors"]
            raise unknown_name(f"published weights of {self.model}", self.tag, tags)
        there = try_to_load_from_cache(config.hf_hub_id, FILE)
        return config.hf_hub_id, FILE, Path(there) if isinstance(there, str) else None

    def load(self) -> Network:
        """Load the encoder; InputError where the weights do not fit it."""
        import timm
        from safetensors.torch import load_file
        from torch.nn.functional import normalize

        file = self.file()
        model: Any = timm.create_model(self.model, pretrained=False, num_classes=0)
        weights = load_file(file)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                f"The weights {file} do not fit {self.model} ({str(error).splitlines()[0]})."
            ) from None
        if self.own:
            preprocessing, config = own_preprocessing(self.own, self.activations), None
        else:
            config = timm.get_pretrained_cfg(f"{self.model}.{self.tag}")
            assert config is not None  # `published` has found it
            preprocessing = Preprocessing(tuple(config.mean), tuple(config.std))
        side = (config.input_size if config else model.pretrained_cfg["input_size"])[-1]
        model = model.eval().to(device())

        def encode(pixels: Any) -> Any:
            return normalize(model(pixels), dim=-1)

        return Network(encode, int(side), preprocessing)


class DinoDirection(FeatureDirection):
    __doc__ = FeatureDirection.__doc__
    called = "dino_direction"
    encoder_type = Dino
    default = DEFAULT


class DinoImage(FeatureLikeness):
    __doc__ = FeatureLikeness.__doc__
    called = "dino_image"
    encoder_type = Dino
    default = DEFAULT
