"""CLIP and SigLIP: `clip_direction` and `clip_image`, by the image towers that open_clip builds.

After Radford et al. 2021 (arXiv 2103.00020); the direction after Gal et al. 2021 (arXiv
2108.00946).
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

DEFAULT = "ViT-L-14/openai"


@dataclass(frozen=True)
class Clip(Encoder):
    """An image tower and its weights: `MODEL/TAG` of open_clip's list, or "
    "`MODEL/FILE.safetensors`."""

    packages: ClassVar[tuple[str, ...]] = ("torch", "open_clip")
    distribution: ClassVar[str] = "open_clip_torch"
    activations: ClassVar[bool] = True

    spec: str = DEFAULT

    def published(self) -> tuple[str, str, Path | None]:
        """The hub's repository and file of the weights, and where that lies, or None."""
        import open_clip
        from huggingface_hub import try_to_load_from_cache
        from open_clip.constants import HF_SAFE_WEIGHTS_NAME

        if self.model not in (models := open_clip.list_models()):
            raise unknown_name("CLIP model", self.model, models)
        config = open_clip.get_pretrained_cfg(self.model, self.tag)
        if not config.get("hf_hub"):
            published_tags = open_clip.list_pretrained_tags_by_model(self.model)
            tags = [tag for tag in published_tags if tag != self.tag] or ["FILE.safetensors"]
            raise unknown_name(f"published weights of {self.model}", self.tag, tags)
        repository, _, named = config["hf_hub"].rpartition("/")
        file = str(Path(named).with_suffix(".safetensors")) if named else HF_SAFE_WEIGHTS_NAME
        there = try_to_load_from_cache(repository, file)
        return repository, file, Path(there) if isinstance(there, str) else None

    def load(self) -> Network:
        """Load the tower; InputError where the weights do not fit it."""
        import open_clip

        file = self.file()
        config = {} if self.own else open_clip.get_pretrained_cfg(self.model, self.tag)
        preprocessing = own_preprocessing(self.own, self.activations) if self.own else None
        quick = (
            preprocessing.activation == "quick_gelu"
            if preprocessing
            else bool(config.get("quick_gelu"))
        )
        try:
            model = open_clip.create_model(
                self.model,
                pretrained=str(file),
                device=device(),
                force_quick_gelu=quick,
                weights_only=True,
            )
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(
                f"The weights {file} do not fit {self.model} ({str(error).splitlines()[0]})."
            ) from None
        of_model = model.visual.preprocess_cfg
        side = of_model["size"] if isinstance(of_model["size"], int) else of_model["size"][0]
        mean, std = (tuple(config.get(name, of_model[name])) for name in ("mean", "std"))
        published = Preprocessing(mean, std, "quick_gelu" if quick else "gelu")
        model = model.eval()

        def encode(pixels: Any) -> Any:
            return model.encode_image(pixels, normalize=True)

        return Network(encode, int(side), preprocessing or published)


class ClipDirection(FeatureDirection):
    __doc__ = FeatureDirection.__doc__
    called = "clip_direction"
    encoder_type = Clip
    default = DEFAULT


class ClipImage(FeatureLikeness):
    __doc__ = FeatureLikeness.__doc__
    called = "clip_image"
    encoder_type = Clip
    default = DEFAULT
