"""CLIP: `clip_direction` and `clip_image`, by the image towers that open_clip builds (Radford et al. 2021, arXiv 2103.00020)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorweb_bench.data.images import pixel_hash, resize
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.metrics.base import Scored
from lorweb_bench.metrics.weights import (
    absolute_spec,
    device,
    digest,
    lacks_packages,
    own_file,
    short_digest,
)
from lorweb_bench.protocol import RESIZE_KERNEL
from lorweb_bench.runtime.cache import cache_folder, make_room, read_arrays, write_arrays
from lorweb_bench.runtime.files import canonical_json

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

DEFAULT = "ViT-L-14/openai"
BATCH = 16  # images in the tower at a time
NO_DIRECTION = 1e-3  # between unit features: the change of less than a re-encoded JPEG


@dataclass(frozen=True)
class Clip:
    """An image tower and its weights: `MODEL/TAG` of open_clip's list, or `MODEL/FILE.safetensors`."""

    spec: str = DEFAULT

    @property
    def model(self) -> str:
        """open_clip's name of the architecture."""
        return self.spec.partition("/")[0]

    @property
    def tag(self) -> str:
        """open_clip's name of the weights, or their file."""
        return self.spec.partition("/")[2]

    @property
    def own(self) -> Path | None:
        """The file of the weights, where they are one's own."""
        return own_file(self.tag)

    @property
    def name(self) -> str:
        """Backbone and weights as an identity names them."""
        return f"{self.model}/{short_digest(self.own) if self.own else self.tag}"

    def published(self) -> tuple[str, str, Path | None]:
        """The hub's repository and file of the weights, and where that lies, or None. InputError for an unknown name."""
        import open_clip
        from huggingface_hub import try_to_load_from_cache
        from open_clip.constants import HF_SAFE_WEIGHTS_NAME

        if self.model not in (models := open_clip.list_models()):
            raise unknown_name("CLIP model", self.model, models)
        config = open_clip.get_pretrained_cfg(self.model, self.tag)
        if not config.get("hf_hub"):
            tags = [
                tag
                for tag in open_clip.list_pretrained_tags_by_model(self.model)
                if tag != self.tag
            ]
            raise unknown_name(
                f"published weights of {self.model}", self.tag, tags or ["FILE.safetensors"]
            )
        repository, _, named = config["hf_hub"].rpartition("/")
        file = str(Path(named).with_suffix(".safetensors")) if named else HF_SAFE_WEIGHTS_NAME
        there = try_to_load_from_cache(repository, file)
        return repository, file, Path(there) if isinstance(there, str) else None

    def file(self) -> Path:
        """The file of the weights; InputError where they are not there."""
        found = self.own or self.published()[2]
        if found is None:
            raise InputError(f"clip[{self.name}] cannot be computed here: {self.unavailable()}.")
        return found

    def unavailable(self) -> str | None:
        """What is not there: packages, or weights."""
        if lacking := lacks_packages(("torch", "open_clip")):
            return lacking
        if self.own:
            return None
        repository, file, there = self.published()
        if there:
            return None
        from huggingface_hub.constants import HF_HUB_CACHE

        return f"its weights are missing, `hf download {repository} {file}` puts them into {HF_HUB_CACHE}"

    def settings(self) -> dict[str, Any]:
        """What a feature depends on besides the image."""
        network = _network(self)
        size = f"{network.side} px, the whole image, {RESIZE_KERNEL}"
        return {
            "network": self.name,
            "sha256": digest(self.file()),
            "resize": size,
            "normalised": True,
            "device": device(),
        }

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features of uint8 H x W x 3 images, N x D float32, each of length 1."""
        import torch

        network, found = _network(self), []
        for start in range(0, len(images), BATCH):
            some = np.stack(
                [
                    resize(image, (network.side, network.side))
                    for image in images[start : start + BATCH]
                ]
            )
            pixels = torch.from_numpy(some.transpose(0, 3, 1, 2).copy()).to(device()).float() / 255
            with torch.inference_mode():
                found.append(
                    network.model.encode_image(
                        (pixels - network.mean) / network.std, normalize=True
                    )
                    .float()
                    .cpu()
                    .numpy()
                )
        return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class Network:
    """A model that is loaded, the side of its input in pixels, and the mean and deviation that its input is normalised with."""

    model: Any
    side: int
    mean: Any
    std: Any


@lru_cache(maxsize=2)
def _network(clip: Clip) -> Network:
    import open_clip
    import torch

    file = clip.file()
    config = {} if clip.own else open_clip.get_pretrained_cfg(clip.model, clip.tag)
    try:
        model = open_clip.create_model(
            clip.model,
            pretrained=str(file),
            device=device(),
            force_quick_gelu=bool(config.get("quick_gelu")),
            weights_only=True,
        )
    except (RuntimeError, KeyError, ValueError) as e:
        raise InputError(
            f"The weights {file} do not fit {clip.model} ({str(e).splitlines()[0]})."
        ) from None
    own = model.visual.preprocess_cfg
    side = own["size"] if isinstance(own["size"], int) else own["size"][0]
    mean, std = (
        torch.tensor(config.get(name, own[name]), device=device())[None, :, None, None]
        for name in ("mean", "std")
    )
    return Network(model.eval(), int(side), mean, std)


class ClipDirection:
    """Does the prediction move away from b as a' moves away from a? The cosine of E(a') - E(a) and E(p) - E(b).

    E is the tower's feature scaled to length 1, of the whole image resized to the tower's side. From -1 to 1 (the same
    direction); a missing prediction counts -1; one whose feature is that of b (`copy-b`) has no direction and counts 0. InputError
    for an item whose a and a' have one feature: there the value is not defined.
    """

    higher_is_better = True
    worst = -1.0
    needs_weights = True
    called = "clip_direction"

    def __init__(self, spec: str = DEFAULT) -> None:
        self.clip = Clip(absolute_spec(spec))
        self.identity = f"{self.called}[{self.clip.name}]"

    def unavailable(self) -> str | None:
        """What is not there: packages, or weights."""
        return self.clip.unavailable()

    def weights(self) -> Path | None:
        """The file of the tower's weights, or None where it is not there."""
        return None if self.unavailable() else self.clip.file()

    def settings(self) -> dict[str, Any]:
        """What a value depends on besides the images."""
        return self.clip.settings()

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        known = suite_features(
            self.clip, suite, [(s, role) for s in batch for role in ("a", "a_prime", "b")]
        )
        a, a_prime, b = (known[i::3] for i in range(3))
        shown, made = a_prime - a, self.clip.features([s.prediction for s in batch]) - b
        lengths = np.linalg.norm(shown, axis=1)
        if (lengths < NO_DIRECTION).any():
            key = batch[int(lengths.argmin())].key
            raise InputError(
                f"{self.identity} is not defined for {key!r}: its a and a_prime have the same feature."
            )
        own = np.linalg.norm(made, axis=1)
        cosines = (shown * made).sum(axis=1) / (lengths * np.maximum(own, NO_DIRECTION))
        return np.where(own < NO_DIRECTION, 0.0, cosines.clip(-1.0, 1.0))


class ClipImage(ClipDirection):
    """Does the prediction show what b' shows? The cosine of E(p) and E(b') (CLIP-I), E as of `clip_direction`.

    From -1 to 1 (equal features); a missing prediction counts -1. Photographs are seldom below 0.4, and b itself is near b':
    read it beside the value of `copy-b`. A constant shift or a blur of the answer lowers it, the more the stronger; a slight
    one hardly at all.
    """

    called = "clip_image"

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        truth = suite_features(self.clip, suite, [(s, "b_prime") for s in batch])
        cosines = (truth * self.clip.features([s.prediction for s in batch])).sum(
            axis=1, dtype=np.float64
        )
        return np.asarray(cosines.clip(-1.0, 1.0))


def suite_features(
    clip: Clip, suite: "Dataset", images: Sequence[tuple[Scored, str]]
) -> np.ndarray:
    """Features of images of the suite, N x D, kept by their pixels in the user's cache."""
    folder = _folder(clip, suite)
    panels = [getattr(s, role) for s, role in images]
    names = [pixel_hash(panel) for panel in panels]
    features: dict[str, np.ndarray] = {}
    new: dict[str, np.ndarray] = {}
    for name, panel in zip(names, panels, strict=True):
        arrays = read_arrays(folder, name) or {}
        if "feature" in arrays:
            features[name] = arrays["feature"]
        else:
            new[name] = panel
    if new:
        for name, feature in zip(new, clip.features(list(new.values())), strict=True):
            features[name] = feature
            write_arrays(folder, name, feature=feature)
    return np.stack([features[name] for name in names])


@lru_cache(maxsize=8)
def _folder(clip: Clip, suite: "Dataset") -> Path | None:
    """The folder that keeps a suite's features by this tower, or None when they are kept nowhere."""
    root = cache_folder()
    if root is None:
        return None
    decided_by = [
        suite.fingerprint,
        suite.manifest.targets_fingerprint,
        sorted(clip.settings().items()),
        version("open_clip_torch"),
    ]
    folder = (
        root / "features" / hashlib.sha256(canonical_json(decided_by).encode()).hexdigest()[:24]
    )
    make_room(folder)
    return folder
