"""LPIPS: how far apart two images look to a network, `lpips_to_b` and `lpips_to_b_prime` (Zhang et
al. 2018, arXiv 1801.03924).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

# torchvision's file of each trunk, whose name ends as its sha256 begins, and the least side it
# takes
TRUNKS = {
    "alex": ("alexnet-owt-7be5be79.pth", 31),
    "vgg": ("vgg16-397923af.pth", 16),
    "squeeze": ("squeezenet1_1-b8a52dc0.pth", 31),
}
VERSION = "v0.1"
BATCH = 8  # pairs in the network at a time


@dataclass(frozen=True)
class Lpips:
    """The network: a trunk and its weights, published ones (`alex/v0.1`) or a file of one's own
    (`alex/FILE.safetensors`).
    """

    spec: str = f"alex/{VERSION}"

    def __post_init__(self) -> None:
        if self.trunk not in TRUNKS or (
            self.spec != f"{self.trunk}/{VERSION}" and self.own is None
        ):
            specs = ", ".join(f"{trunk}/{VERSION}" for trunk in TRUNKS)
            raise InputError(
                f"There is no LPIPS {self.spec!r}; there are {specs}, and TRUNK/FILE.safetensors."
            )

    @property
    def trunk(self) -> str:
        """alex, vgg or squeeze."""
        return self.spec.partition("/")[0]

    @property
    def own(self) -> Path | None:
        """The file with all weights, where they are one's own."""
        return own_file(self.spec.partition("/")[2])

    @property
    def name(self) -> str:
        """Trunk and weights as an identity names them."""
        return f"{self.trunk}/{short_digest(self.own) if self.own else VERSION}"

    def published(self) -> Path:
        """Where torchvision keeps the trunk's weights."""
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / TRUNKS[self.trunk][0]

    def unavailable(self) -> str | None:
        """What is not there: packages, or the trunk's weights."""
        if lacking := lacks_packages(("torch", "torchvision", "lpips")):
            return lacking
        if self.own or self.published().is_file():
            return None
        url = f"https://download.pytorch.org/models/{TRUNKS[self.trunk][0]}"
        return f"its weights are missing, get {url} and put it at {self.published()}"

    def distances(self, first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[float]:
        """LPIPS of each two uint8 H x W x 3 images of one size, in pixels as they are, kept within
        [0, 1].
        """
        import torch

        model = _network(self)
        by_index: dict[int, float] = {}
        sizes = sorted({image.shape for image in first})
        if small := [size for size in sizes if min(size[:2]) < TRUNKS[self.trunk][1]]:
            raise InputError(
                f"lpips[{self.name}] needs sides of {TRUNKS[self.trunk][1]} pixels, not "
                f"{small[0][1]}x{small[0][0]}."
            )
        for size in sizes:
            rows = iter([i for i, image in enumerate(first) if image.shape == size])
            for some in iter(lambda rows=rows: list(islice(rows, BATCH)), []):  # type: ignore[misc]
                with torch.inference_mode():
                    values = model(
                        _tensor([first[i] for i in some]),
                        _tensor([second[i] for i in some]),
                        normalize=True,
                    )
                by_index.update(zip(some, values.flatten().tolist(), strict=True))
        return [min(1.0, max(0.0, by_index[i])) for i in range(len(first))]


def _tensor(images: Sequence[np.ndarray]) -> Any:
    import torch

    stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
    return stacked.to(device()).float() / 255


@lru_cache(maxsize=4)
def _network(made: Lpips) -> Any:
    """The lpips package's network, in eval mode; the trunk is read without unpickling."""
    import lpips
    from safetensors.torch import load_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision in a way that is deprecated
        model = lpips.LPIPS(
            net=made.trunk, pnet_rand=True, pretrained=made.own is None, verbose=False
        )
    try:
        if made.own:
            load_model(model, made.own)
        else:
            state = _trunk(made.published())
            for (
                name,
                layers,
            ) in (
                model.net.named_children()
            ):  # slices of the trunk, in which its layers keep their numbers
                model.net.get_submodule(name).load_state_dict(
                    {layer: state[f"features.{layer}"] for layer in layers.state_dict()}
                )
    except (RuntimeError, KeyError, ValueError) as e:
        raise InputError(
            f"The weights of lpips[{made.name}] do not fit the network ({str(e).splitlines()[0]})."
        ) from None
    return model.to(device()).eval()


def _trunk(file: Path) -> dict[str, Any]:
    import torch

    if not digest(file).startswith(file.stem.rpartition("-")[2]):
        raise InputError(
            f"{file} is damaged: its sha256 does not begin as its name ends; get it again."
        )
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return state


class LpipsToB:
    """LPIPS between prediction and b: how much was kept (the paper's preservation).

    Lower keeps more.

    From 0 (equal) to 1, where it is cut off; a missing prediction counts 1. `copy-b` has 0, so
    nothing is ranked by it alone. A constant shift or a blur of b raises it, the more the stronger.
    """

    higher_is_better = False
    worst = 1.0
    needs_weights = True
    reference = "b"

    def __init__(self, spec: str = Lpips.spec) -> None:
        self.lpips = Lpips(absolute_spec(spec))
        self.identity = f"lpips_to_{self.reference}[{self.lpips.name}]"

    def unavailable(self) -> str | None:
        """What is not there: packages, or the trunk's weights."""
        return self.lpips.unavailable()

    def settings(self) -> dict[str, Any]:
        """What a value depends on besides the images."""
        file = self.lpips.own or self.lpips.published()
        return {
            "network": self.lpips.name,
            "sha256": digest(file),
            "resize": "none",
            "device": device(),
        }

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        references = [getattr(s, self.reference) for s in batch]
        return np.array(
            self.lpips.distances([s.prediction for s in batch], references), dtype=np.float64
        )


class LpipsToBPrime(LpipsToB):
    """LPIPS between prediction and the true b'.

    Lower is nearer; where many answers are right, it names one of them.

    From 0 (equal) to 1, where it is cut off; a missing prediction counts 1. A constant shift or a
    blur of the answer raises it, the more the stronger.
    """

    reference = "b_prime"
    needs_answer = True
