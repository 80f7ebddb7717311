"""Structural similarity: `ssim`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.metrics import Scored, inexact

if TYPE_CHECKING:
    from lorweb_bench.dataset import Dataset

WINDOW = 7  # pixels; scikit-image's default: a flat window, sample covariance
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of two uint8 H x W x 3 arrays: mean over windows and channels, from -1 to 1.

    The value of scikit-image's `structural_similarity(..., channel_axis=2, data_range=255)`, several times faster: the window
    sums are of whole numbers, so running sums are exact. InputError when a side is under 7 pixels, ValueError when shapes differ.
    """
    import cv2

    if prediction.shape != truth.shape:
        raise ValueError(f"images of one size are compared, not {prediction.shape} with {truth.shape}")
    if min(truth.shape[:2]) < WINDOW:
        raise InputError(f"ssim needs images of at least {WINDOW} pixels a side, not {truth.shape[1]}x{truth.shape[0]}.")
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    inner = slice(WINDOW // 2, -(WINDOW // 2))

    def window_sum(image: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.boxFilter(image, -1, (WINDOW, WINDOW), normalize=False))[inner, inner]

    n = WINDOW * WINDOW
    sx, sy = window_sum(x), window_sum(y)
    var_x = (n * window_sum(x * x) - sx * sx) / (n * (n - 1))
    var_y = (n * window_sum(y * y) - sy * sy) / (n * (n - 1))
    covariance = (n * window_sum(x * y) - sx * sy) / (n * (n - 1))
    mx, my = sx / n, sy / n
    similarity = ((2 * mx * my + C1) * (2 * covariance + C2)) / ((mx * mx + my * my + C1) * (var_x + var_y + C2))
    return float(similarity.mean())


@dataclass(frozen=True)
class Ssim:
    """Structural similarity of prediction and b': luminance, contrast and structure in 7x7 windows, mean over all of them.

    From -1 to 1 (equal); a missing prediction counts -1. Blur and noise lower it much, a small constant shift hardly.
    """

    identity: str = "ssim"
    higher_is_better: bool = True
    worst: float = -1.0

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs a single right answer."""
        return inexact(suite)

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        return np.array([ssim(s.prediction, s.b_prime) for s in batch], dtype=np.float64)
