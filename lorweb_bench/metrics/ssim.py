"""Structural similarity: `ssim`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import Scored, inexact

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

WINDOW = 7  # pixels; scikit-image's default: a flat window, sample covariance
COUNT = WINDOW * WINDOW
BAND = 32  # rows of windows at a time
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(prediction: np.ndarray, truth: np.ndarray) -> float:
    """SSIM of two uint8 H x W x 3 arrays: mean over windows and channels, from -1 to 1.

    The value of scikit-image's `structural_similarity(..., channel_axis=2, data_range=255)`, many
    times faster: the window sums are of whole numbers, so running sums are exact, and a band of
    rows at a time stays in the processor's cache. InputError when a side is under 7 pixels,
    ValueError when shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(
            f"images of one size are compared, not {prediction.shape} with {truth.shape}"
        )
    if min(truth.shape[:2]) < WINDOW:
        raise InputError(
            f"ssim needs images of at least {WINDOW} pixels a side, not "
            f"{truth.shape[1]}x{truth.shape[0]}."
        )
    height, width, channels = (
        truth.shape[0] - WINDOW + 1,
        truth.shape[1] - WINDOW + 1,
        truth.shape[2],
    )
    total = 0.0
    for top in range(0, height, BAND):
        rows = slice(top, min(top + BAND, height) + WINDOW - 1)
        total += float(_similarity(prediction[rows], truth[rows]).sum())
    return total / (height * width * channels)


def _similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """SSIM of every window, float64.

    Sums and their products fit 32 bits: 49 x 49 x 255 x 255 is under 2^31.
    """
    sx, sy = _window_sums(x), _window_sums(y)
    product = sx * sy
    squares = sx * sx
    squares += sy * sy
    covariance = COUNT * _window_sums(_times(x, y)) - product
    variances = COUNT * (_window_sums(_times(x, x)) + _window_sums(_times(y, y))) - squares
    similarity = product * (2 / COUNT**2) + C1
    similarity *= covariance * (2 / (COUNT * (COUNT - 1))) + C2
    similarity /= (squares * (1 / COUNT**2) + C1) * (variances * (1 / (COUNT * (COUNT - 1))) + C2)
    return np.asarray(similarity)


def _times(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.multiply(x, y, dtype=cv2.CV_16U))


def _window_sums(image: np.ndarray) -> np.ndarray:
    """The sum over each window, int32."""
    import cv2

    inner = slice(WINDOW // 2, -(WINDOW // 2))
    return np.asarray(cv2.boxFilter(image, cv2.CV_32S, (WINDOW, WINDOW), normalize=False))[
        inner, inner
    ]


@dataclass(frozen=True)
class Ssim:
    """Structural similarity of prediction and b': luminance, contrast and structure in 7x7 windows,
    mean over all of them.

    From -1 to 1 (equal); a missing prediction counts -1. Blur and noise lower it much, a small
    constant shift hardly.
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
