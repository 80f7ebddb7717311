"""What a checkpoint was trained on, as its pair encoder sees it.

One centroid of features per trained transformation, and the distance beyond which an analogy is
unlike all of them: `known_pairs.safetensors` and `novelty_threshold` in `config.json`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json
from lorweb_bench.runtime.progress import track
from reference_model.model.encoder import PairEncoder
from reference_model.training.resume_state import write_tensors

FILE = "known_pairs.safetensors"
MOST_TRANSFORMATIONS = 2048
MOST_ITEMS = 20_000  # of the training split that are looked at
MOST_FOR_A_BACKBONE = 2_000  # which takes a hundred times as long for each
MOST_OF_EACH = 24  # items of one transformation
MOST_DEV = 1_000
LEAST_DEV = 40  # with fewer, a quantile near the end says nothing
QUANTILE = 0.95  # of dev's distances: one analogy of a trained kind in twenty is called unlike
BATCH = 64
SEED = 0


@dataclass(frozen=True)
class KnownPairs:
    """The trained transformations as points among the encoder's features.

    Attributes:
        names: the transformations' ids.
        instructions: what each does, in words.
        centroids: (transformations, width), the mean features of each.
        threshold: the distance to the nearest centroid beyond which an analogy is unlike what the
            checkpoint was trained on; None where the training data had too small a `dev` split.
    """

    names: tuple[str, ...]
    instructions: tuple[str, ...]
    centroids: Tensor
    threshold: float | None

    def distances(self, features: Tensor) -> Tensor:
        """Euclidean distances (batch, transformations) of features (batch, width)."""
        return torch.cdist(features.float().cpu(), self.centroids)

    def in_words(self, index: int) -> str:
        """What a transformation does: its instruction, or its name where it has none."""
        return self.instructions[index] or self.names[index].replace("_", " ")


def learn_known_pairs(
    encoder: nn.Module, dataset: Dataset, device: torch.device | None = None
) -> KnownPairs:
    """Look at a training dataset, and calibrate on its `dev` split.

    The choice of items is seeded, so the same dataset and encoder give the same result.

    Args:
        encoder: what feeds the router: features (batch, width) of uint8 images a, a', b, each
            (batch, 3, height, width).
        dataset: the training dataset, in its full view.
        device: where the encoder is.
    """
    device = device or torch.device("cpu")
    most = MOST_ITEMS if isinstance(encoder, PairEncoder) else MOST_FOR_A_BACKBONE
    keys = _spread_keys(dataset, most)
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = defaultdict(int)
    chosen = dataset.quadruplets("train", keys=set(keys))
    looked_at = track(chosen, len(keys), "looking at the training data")
    for names, features in _features(encoder, looked_at, device):
        for name, row in zip(names, features.double(), strict=True):
            sums[name] = sums.get(name, torch.zeros_like(row)) + row
            counts[name] += 1
    ordered = sorted(sums)
    centroids = torch.stack([sums[name] / counts[name] for name in ordered])
    instructions = _instructions(dataset, ordered)
    # As they are read back, so that a threshold means the same before and after writing.
    stored = centroids.half().float()
    known = KnownPairs(tuple(ordered), instructions, stored, None)
    return KnownPairs(*_fields(known), _threshold(known, encoder, dataset, device))


def _fields(known: KnownPairs) -> tuple[tuple[str, ...], tuple[str, ...], Tensor]:
    return known.names, known.instructions, known.centroids


def _spread_keys(dataset: Dataset, most: int) -> list[str]:
    """At most about `most` items of the training split, as many of each transformation.

    The choice is seeded; of every transformation that is looked at there is an item.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for record in dataset.records("train"):
        groups[record.transformation].append(record.id)
    random = np.random.default_rng(SEED)
    names = sorted(groups)
    if len(names) > MOST_TRANSFORMATIONS:
        names = sorted(random.choice(names, MOST_TRANSFORMATIONS, replace=False).tolist())
    each = max(1, min(MOST_OF_EACH, most // len(names)))
    keys: list[str] = []
    for name in names:
        members = groups[name]
        order = random.permutation(len(members))[:each]
        keys.extend(members[i] for i in order)
    return keys


def _features(
    encoder: nn.Module, items: Iterable[Quadruplet], device: torch.device
) -> Iterator[tuple[list[str], Tensor]]:
    """The transformations and the features (batch, width) of items, batch by batch."""
    batch: list[Quadruplet] = []
    for item in items:
        if batch and (len(batch) == BATCH or item.a.size != batch[0].a.size):
            yield _encoded(encoder, batch, device)
            batch = []
        batch.append(item)
    if batch:
        yield _encoded(encoder, batch, device)


def _encoded(
    encoder: nn.Module, batch: Sequence[Quadruplet], device: torch.device
) -> tuple[list[str], Tensor]:
    panels = []
    for role in ("a", "a_prime", "b"):
        arrays = np.stack([np.asarray(getattr(item, role)) for item in batch])
        panels.append(torch.from_numpy(arrays).permute(0, 3, 1, 2).to(device))
    with torch.no_grad():
        features: Tensor = encoder(*panels)
    return [item.record.transformation for item in batch], features.float().cpu()


def _instructions(dataset: Dataset, names: Sequence[str]) -> tuple[str, ...]:
    listed = dataset.manifest.transformations
    return tuple(listed[name].instruction if name in listed else "" for name in names)


def _threshold(
    known: KnownPairs, encoder: nn.Module, dataset: Dataset, device: torch.device
) -> float | None:
    """The quantile of dev's distances; None where dev is missing or too small."""
    if "dev" not in dataset.splits or dataset.split("dev").samples < LEAST_DEV:
        return None
    keys = [record.id for record in dataset.records("dev")]
    if len(keys) > MOST_DEV:
        keys = np.random.default_rng(SEED).choice(keys, MOST_DEV, replace=False).tolist()
    items = track(dataset.quadruplets("dev", keys=set(keys)), len(keys), "calibrating on dev")
    nearest = [
        known.distances(features).amin(1) for _, features in _features(encoder, items, device)
    ]
    return round(float(torch.quantile(torch.cat(nearest), QUANTILE)), 5)


def write_known_pairs(folder: Path, known: KnownPairs) -> None:
    """Write the centroids and their words to a checkpoint folder, atomically.

    The threshold belongs in `config.json`, as `novelty_threshold`.
    """
    words = {"names": json.dumps(known.names), "instructions": json.dumps(known.instructions)}
    tensors = {"centroids": known.centroids.half()}
    write_tensors(folder / FILE, tensors, {"format": "pt", **words})


def read_known_pairs(folder: Path) -> KnownPairs | None:
    """What a checkpoint was trained on, as its encoder sees it; None where it does not say.

    Raises:
        InputError: the file is there and is not whole.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            centroids = file.get_tensor("centroids").float()
        names = tuple(map(str, json.loads(about["names"])))
        instructions = tuple(map(str, json.loads(about["instructions"])))
        if not len(names) == len(instructions) == len(centroids):
            raise ValueError("its names are not as many as its centroids")
    except Exception as error:  # safetensors has errors of its own kind
        raise InputError(
            f"{path}: not a whole file of what the checkpoint was trained on ({error}); delete it, "
            "or make it anew with `lorweb-bench known-pairs`"
        ) from error
    threshold = read_json(folder / "config.json").get("novelty_threshold")
    return KnownPairs(names, instructions, centroids, threshold)
