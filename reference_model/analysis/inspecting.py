"""Look into a checkpoint's space of LoRAs.

Which elements are used in which layer, where the suite's transformations lie, and what each element
contributes to predictions.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import inexact
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.runtime.progress import track
from lorweb_bench.suites.overview import choose
from reference_model.analysis.space import Space
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint
from reference_model.method import Method, adapter_predictor, best_device
from reference_model.model.adapter import Adapter
from reference_model.model.working_size import working_size


@dataclass(frozen=True)
class MeanMix:
    """The mean coefficients (layers, elements) of a transformation's items, and its labels."""

    name: str
    kind: str
    tier: str
    instruction: str
    items: int
    coefficients: np.ndarray


@dataclass(frozen=True)
class ElementEffect:
    """What leaving an element out of every layer does, means over items.

    `change` is the RMSE to the whole model's predictions in levels of 255; `loss` the edit_recovery
    that goes with it, None where the suite has no answers; `worse` of `items` items lose any.
    """

    element: int
    change: float
    loss: float | None
    worse: int
    items: int


def spread_items(suite: Dataset, number: int) -> list[Quadruplet]:
    """Choose `number` items of the scored splits, spread over families.

    All where they are fewer.
    """
    splits = suite.scored_splits if not suite.public else suite.splits
    records: dict[str, tuple[str, Record]] = {
        r.id: (split, r) for split in splits for r in suite.records(split)
    }
    keys = choose([record for _, record in records.values()], number)
    by_key: dict[str, Quadruplet] = {}
    for split in splits:
        split_keys = {key for key in keys if records[key][0] == split}
        if split_keys:
            by_key |= {q.key: q for q in suite.quadruplets(split, keys=split_keys)}
    return [by_key[key] for key in keys]


def mean_mixes(space: Space, items: Sequence[Quadruplet]) -> list[MeanMix]:
    """Average the coefficients of some items by transformation, in the order of names.

    A public view names no transformation: there each item stands for itself, by its key.
    """
    groups: dict[str, list[tuple[Record, Tensor]]] = defaultdict(list)
    for item in track(items, len(items), "looking at analogies"):
        groups[item.record.transformation or item.key].append(
            (item.record, space.coefficients([(item.a, item.a_prime, item.b)])[0])
        )
    mixes = []
    for name, members in sorted(groups.items()):
        record = members[0][0]
        mean = np.mean([c.numpy() for _, c in members], axis=0)
        mixes.append(
            MeanMix(
                name,
                record.kind or "not told",
                record.tier or "",
                record.instruction,
                len(members),
                mean,
            )
        )
    return mixes


def effective_elements(coefficients: np.ndarray) -> np.ndarray:
    """How many elements a mix uses, exp of the entropy of |e| / sum |e| over the last axis.

    From 1 (one alone) to N (all alike).
    """
    sizes = np.abs(coefficients)
    total = sizes.sum(-1, keepdims=True)
    share = np.divide(sizes, total, out=np.full_like(sizes, 1 / sizes.shape[-1]), where=total > 0)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return np.exp(-(share * logs).sum(-1))


def principal_plane(found: Sequence[MeanMix]) -> tuple[np.ndarray, tuple[float, float]]:
    """Project mean mixes on the first two principal components of all layers' coefficients.

    Returns:
        Positions (transformations, 2), and the share of the variance along each axis.
    """
    flat = np.stack([p.coefficients.ravel() for p in found]).astype(np.float64)
    if len(flat) < 2 or not np.ptp(flat, axis=0).any():
        return np.zeros((len(flat), 2)), (0.0, 0.0)
    u, singular, right = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    # An axis has no sign of its own: its largest coordinate is made positive.
    signs = np.sign(right[np.arange(len(right)), np.abs(right).argmax(1)])
    positions = (u * singular * signs)[:, :2]
    shares = [*(singular**2 / (singular**2).sum()).tolist(), 0.0]
    return np.pad(positions, ((0, 0), (0, 2 - positions.shape[1]))), (shares[0], shares[1])


def nearest_neighbours(found: Sequence[MeanMix]) -> list[str]:
    """Name each transformation's nearest other one, by Euclidean distance of all coefficients.

    The name is "" where there is no other one.
    """
    flat = np.stack([p.coefficients.ravel() for p in found]).astype(np.float64)
    squares = (flat**2).sum(1)
    distances = squares[:, None] + squares[None] - 2 * flat @ flat.T
    np.fill_diagonal(distances, math.inf)
    return [found[int(row.argmin())].name if len(found) > 1 else "" for row in distances]


def element_effects(
    adapter: Adapter, method: Method, suite: Dataset, items: Sequence[Quadruplet]
) -> list[ElementEffect]:
    """The effect of leaving each element out of every layer, on some items of a suite.

    The other coefficients stay as they are.
    """
    whole = _predicted(method, items)
    scored = [item.b_prime is not None and inexact(suite) is None for item in items]
    effects = []
    for element in track(
        range(adapter.basis.elements), adapter.basis.elements, "leaving elements out"
    ):
        with _without(adapter, element):
            changed = _predicted(method, items)
        change = float(
            np.mean([255 * math.sqrt(mse(x, y)) for x, y in zip(whole, changed, strict=True)])
        )
        losses = [
            _recovered(i, x) - _recovered(i, y)
            for i, x, y, s in zip(items, whole, changed, scored, strict=True)
            if s
        ]
        effects.append(
            ElementEffect(
                element,
                change,
                float(np.mean(losses)) if losses else None,
                sum(x > 0 for x in losses),
                len(items),
            )
        )
    return effects


@contextmanager
def _without(adapter: Adapter, element: int) -> Iterator[None]:
    """Run the block with an element's coefficients at zero."""

    def leave_out(_module: object, _inputs: object, coefficients: Tensor) -> Tensor:
        remaining = coefficients.clone()
        remaining[..., element] = 0
        return remaining

    assert adapter.router is not None
    hook = adapter.router.register_forward_hook(leave_out)
    try:
        yield
    finally:
        hook.remove()


def _predicted(method: Method, items: Sequence[Quadruplet]) -> list[np.ndarray]:
    triplets = [item.triplet() for item in items]
    batches = (
        triplets[i : i + method.batch_size] for i in range(0, len(triplets), method.batch_size)
    )
    return [np.asarray(image) for batch in batches for image in method.predict(batch)]


def _recovered(item: Quadruplet, prediction: np.ndarray) -> float:
    return edit_recovery(prediction, np.asarray(item.b), np.asarray(item.b_prime))


def open_model(folder: str | Path) -> tuple[Adapter, Method]:
    """The adapter of a checkpoint folder and the method that runs it.

    InputError where it has no router.
    """
    adapter, config = load_checkpoint(checkpoint_folder(folder))
    if adapter.router is None:
        raise InputError(
            f"{folder}: has no router, so no coefficients to look at; name a checkpoint of kind "
            "lorweb"
        )
    device = best_device()
    return adapter, Method(
        config.name,
        adapter_predictor(adapter.to(device), config),
        working_size(config),
        device,
        adapter.base.sampling_steps,
        {},
    )
