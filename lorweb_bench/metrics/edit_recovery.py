"""The headline metric: how much of the change from b to b' a prediction recovers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.metrics.base import Scored, inexact
from lorweb_bench.metrics.pixel import mse

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset


def edit_recovery(prediction: np.ndarray, b: np.ndarray, b_prime: np.ndarray) -> float:
    """1 - MSE(prediction, b') / MSE(b, b') of uint8 H x W x 3 arrays, clipped to [-1, 1].

    0 is handing b back, 1 is exact, below 0 is worse than doing nothing. Where b equals b' there is
    nothing to recover: then 1 for the exact answer and -1 for any other (a suite drops such items
    when it is built).
    """
    error, change = mse(prediction, b_prime), mse(b, b_prime)
    if change == 0.0:
        return 1.0 if error == 0.0 else -1.0
    return max(-1.0, 1.0 - error / change)


@dataclass(frozen=True)
class EditRecovery:
    """Share of the change that is recovered, 1 - MSE(pred, b') / MSE(b, b'), clipped to [-1, 1] per
    sample.

    0: no better than handing b back; 1: exact; -1: missing, or as wrong as twice the change. It
    puts strong and weak transformations on one scale; blurring the answer or doing half of the edit
    lands in between.
    """

    identity: str = "edit_recovery"
    higher_is_better: bool = True
    worst: float = -1.0

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs a single right answer."""
        return inexact(suite)

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        return np.array(
            [edit_recovery(s.prediction, s.b, s.b_prime) for s in batch], dtype=np.float64
        )
