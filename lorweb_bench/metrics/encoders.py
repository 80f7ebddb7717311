"""Image encoders, and the metrics that any of them gives: a direction, and a likeness.

An encoder is an architecture and its weights: published ones by their name, or a safetensors file
of one's own, which has to say how images are prepared for it.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lorweb_bench.data.images import pixel_hash, resize
from lorweb_bench.errors import InputError
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
from lorweb_bench.runtime.files import canonical_json, read_json

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

BATCH = 16  # images in an encoder at a time
NO_DIRECTION = 1e-3  # between unit features: the change of less than a re-encoded JPEG
ACTIVATIONS = ("gelu", "quick_gelu")
CONFIG = "open_clip_config.json"  # beside a file of weights, as open_clip writes it


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for an encoder, and which activation it has.

    Attributes:
        mean: Of the three channels of images in [0, 1]; subtracted.
        std: Of the three channels; divided by.
        activation: `gelu` or `quick_gelu`; None where the architecture alone decides.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str | None = None

    @property
    def words(self) -> str:
        """What an identity says of it.

        >>> Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "gelu").words
        'gelu;mean 0.5 0.5 0.5;std 0.25 0.25 0.25'
        """
        mean = " ".join(f"{value:.4g}" for value in self.mean)
        std = " ".join(f"{value:.4g}" for value in self.std)
        activation = f"{self.activation};" if self.activation else ""
        return f"{activation}mean {mean};std {std}"


@dataclass(frozen=True, eq=False)
class Network:
    """An encoder that is loaded: prepared images, N x 3 x side x side, to features of length 1, N x
    D.
    """

    encode: Any
    side: int
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Encoder(ABC):
    """An architecture and its weights: `MODEL/TAG` of published ones, or "
    "`MODEL/FILE.safetensors`."""

    packages: ClassVar[tuple[str, ...]]
    distribution: ClassVar[str]  # whose version decides a feature, too
    activations: ClassVar[bool]  # whether a file has to name its activation

    spec: str

    @property
    def model(self) -> str:
        """The name of the architecture."""
        return self.spec.partition("/")[0]

    @property
    def tag(self) -> str:
        """The name of the weights, or their file."""
        return self.spec.partition("/")[2]

    @property
    def own(self) -> Path | None:
        """The file of the weights, where they are one's own."""
        return own_file(self.tag)

    @property
    def name(self) -> str:
        """Backbone and weights as an identity names them.

        Of a file also how images are prepared.
        """
        if self.own is None:
            return f"{self.model}/{self.tag}"
        words = own_preprocessing(self.own, self.activations).words
        return f"{self.model}/{short_digest(self.own)};{words}"

    @abstractmethod
    def published(self) -> tuple[str, str, Path | None]:
        """The hub's repository and file of the weights, and where that lies, or None.

        Raises:
            InputError: There are no such weights; the sentence has the nearest name.
        """

    @abstractmethod
    def load(self) -> Network:
        """Load the network; InputError where the weights do not fit it."""

    def file(self) -> Path:
        """The file of the weights; InputError where they are not there."""
        path = self.own or self.published()[2]
        if path is None:
            raise InputError(f"{self.name} cannot be computed here: {self.unavailable()}.")
        return path

    def unavailable(self) -> str | None:
        """What is not there: packages, or weights."""
        if lacking := lacks_packages(self.packages):
            return lacking
        if self.own:
            return None
        repository, file, there = self.published()
        if there:
            return None
        from huggingface_hub.constants import HF_HUB_CACHE

        download = f"`hf download {repository} {file}` puts them into {HF_HUB_CACHE}"
        return f"its weights are missing, {download}"

    def settings(self) -> dict[str, Any]:
        """What a feature depends on besides the image."""
        network = _network(self)
        preprocessing = network.preprocessing
        return {
            "network": self.name,
            "sha256": digest(self.file()),
            "resize": f"{network.side} px, the whole image, {RESIZE_KERNEL}",
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            **({"activation": preprocessing.activation} if preprocessing.activation else {}),
            "normalised": True,
            "device": device(),
        }

    def features(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Features of uint8 H x W x 3 images, N x D float32, each of length 1."""
        import torch

        network, parts = _network(self), []
        mean, std = (
            torch.tensor(values, device=device())[None, :, None, None]
            for values in (network.preprocessing.mean, network.preprocessing.std)
        )
        side = (network.side, network.side)
        for start in range(0, len(images), BATCH):
            some = np.stack([resize(image, side) for image in images[start : start + BATCH]])
            pixels = torch.from_numpy(some.transpose(0, 3, 1, 2).copy()).to(device()).float() / 255
            with torch.inference_mode():
                parts.append(network.encode((pixels - mean) / std).float().cpu().numpy())
        return np.concatenate(parts)


_network = lru_cache(maxsize=2)(lambda encoder: encoder.load())


def own_preprocessing(file: Path, needs_activation: bool) -> Preprocessing:
    """How images are prepared for weights of one's own, as the file or the config beside it says.

    The metadata of a safetensors file has `mean` and `std`, three numbers each, and `activation`;
    an `open_clip_config.json` beside it has `preprocess_cfg` and `model_cfg`.

    Raises:
        InputError: Neither says it, so that a guess would give other numbers without a word.
    """
    settings = "mean, std and activation" if needs_activation else "mean and std"
    stated = _metadata(file) or _config_beside(file)
    try:
        mean, std = (tuple(map(float, stated[name])) for name in ("mean", "std"))
        activation = stated.get("activation") if needs_activation else None
        fits = len(mean) == len(std) == 3 and min(std) > 0
        if not fits or (needs_activation and activation not in ACTIVATIONS):
            raise ValueError
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{file} does not say how images are prepared for it; save it with the metadata "
            f"{settings} "
            f"(three numbers each{'; gelu or quick_gelu' if needs_activation else ''}), "
            f"or put its {CONFIG} beside it."
        ) from None
    return Preprocessing(mean, std, activation)


@lru_cache(maxsize=16)
def _metadata(file: Path) -> Mapping[str, Any]:
    """What the header of a safetensors file says of preprocessing, with numbers as lists."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is no whole safetensors file ({error}).") from None
    if "mean" not in metadata:
        return {}
    numbers = {
        name: metadata[name].replace("[", " ").replace("]", " ").replace(",", " ").split()
        for name in ("mean", "std")
        if name in metadata
    }
    return {**metadata, **numbers}


def _config_beside(file: Path) -> Mapping[str, Any]:
    """What an open_clip config beside a file of weights says of preprocessing."""
    path = file.parent / CONFIG
    if not path.is_file():
        return {}
    config = read_json(path)
    try:
        quick = bool(config["model_cfg"].get("quick_gelu", False))
        return {**config["preprocess_cfg"], "activation": "quick_gelu" if quick else "gelu"}
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{path} has no model_cfg and preprocess_cfg.") from None


class FeatureDirection:
    """Does the prediction move away from b as a' moves away from a?

    The cosine of E(a') - E(a) and E(p) - E(b).

    E is the encoder's feature scaled to length 1, of the whole image resized to the encoder's side.
    From -1 to 1 (the same direction); a missing prediction counts -1. One whose feature is that of
    b (`copy-b`) has no direction and counts 0.

    Raises:
        InputError: An item's a and a' have one feature, so that the value is not defined.
    """

    higher_is_better = True
    worst = -1.0
    needs_weights = True
    called: ClassVar[str]
    encoder_type: ClassVar[type[Encoder]]
    default: ClassVar[str]

    def __init__(self, spec: str | None = None) -> None:
        self.encoder = self.encoder_type(absolute_spec(spec or self.default))
        self.identity = f"{self.called}[{self.encoder.name}]"

    def unavailable(self) -> str | None:
        """What is not there: packages, or weights."""
        return self.encoder.unavailable()

    def weights(self) -> Path | None:
        """The file of the weights, or None where it is not there."""
        return None if self.unavailable() else self.encoder.file()

    def settings(self) -> dict[str, Any]:
        """What a value depends on besides the images."""
        return self.encoder.settings()

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        panels = [(s, role) for s in batch for role in ("a", "a_prime", "b")]
        features = suite_features(self.encoder, suite, panels)
        a, a_prime, b = (features[i::3] for i in range(3))
        direction = a_prime - a
        edited = self.encoder.features([s.prediction for s in batch]) - b
        lengths = np.linalg.norm(direction, axis=1)
        if (lengths < NO_DIRECTION).any():
            key = batch[int(lengths.argmin())].key
            raise InputError(
                f"{self.identity} is not defined for {key!r}: its a and a_prime have the same "
                "feature."
            )
        distances = np.linalg.norm(edited, axis=1)
        cosines = (direction * edited).sum(axis=1) / (lengths * np.maximum(distances, NO_DIRECTION))
        return np.where(distances < NO_DIRECTION, 0.0, cosines.clip(-1.0, 1.0))


class FeatureLikeness(FeatureDirection):
    """Does the prediction show what b' shows? The cosine of E(p) and E(b'), E as of a direction.

    From -1 to 1 (equal features); a missing prediction counts -1. Photographs are seldom below 0.4,
    and b itself is near b': read it beside the value of `copy-b`. A constant shift or a blur of the
    answer lowers it, the more the stronger; a slight one hardly at all.
    """

    needs_answer = True

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        truth = suite_features(self.encoder, suite, [(s, "b_prime") for s in batch])
        features = self.encoder.features([s.prediction for s in batch])
        cosines = (truth * features).sum(axis=1, dtype=np.float64)
        return np.asarray(cosines.clip(-1.0, 1.0))


def suite_features(
    encoder: Encoder, suite: "Dataset", images: Sequence[tuple[Scored, str]]
) -> np.ndarray:
    """Features of images of the suite, N x D, remembered by their pixels in the user's cache."""
    folder = features_folder(encoder, suite)
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
        for name, feature in zip(new, encoder.features(list(new.values())), strict=True):
            features[name] = feature
            write_arrays(folder, name, feature=feature)
    return np.stack([features[name] for name in names])


@lru_cache(maxsize=8)
def features_folder(encoder: Encoder, suite: "Dataset") -> Path | None:
    """The folder that keeps a suite's features by this encoder, or None where nothing is kept."""
    root = cache_folder()
    if root is None:
        return None
    decided_by = [
        suite.fingerprint,
        suite.manifest.targets_fingerprint,
        sorted(encoder.settings().items()),
        version(encoder.distribution),
    ]
    name = hashlib.sha256(canonical_json(decided_by).encode()).hexdigest()[:24]
    make_room(root / "features" / name)
    return root / "features" / name
