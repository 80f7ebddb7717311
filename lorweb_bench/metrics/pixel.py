"""Metrics that compare pixels with the true answer: `mse` and `psnr`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lorweb_bench.metrics.base import Scored, inexact
from lorweb_bench.protocol import PSNR_CAP

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset


def mse(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared error over pixels and channels of two uint8 H x W x 3 arrays, as of images in
    [0, 1].

    Summed in whole numbers, so it is exact and independent of order. ValueError when the shapes
    differ.
    """
    import cv2

    if prediction.shape != truth.shape:
        raise ValueError(
            f"images of one size are compared, not {prediction.shape} with {truth.shape}"
        )
    return float(cv2.norm(prediction, truth, cv2.NORM_L2SQR)) / (truth.size * 255.0**2)


def psnr(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mse), capped at 50 dB (equal images have no
    finite one).
    """
    error = mse(prediction, truth)
    return PSNR_CAP if error == 0.0 else min(PSNR_CAP, -10.0 * math.log10(error))


@dataclass(frozen=True)
class Mse:
    """Mean squared error, mean((pred - b')^2) over pixels and channels, images in [0, 1].

    From 0 (equal) to 1 (black for white); a missing prediction counts 1. A constant shift by s adds
    s^2; blur, noise and misplaced edges raise it, and so does a copy of b, by as much as the
    transformation changes.
    """

    identity: str = "mse"
    higher_is_better: bool = False
    worst: float = 1.0

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs a single right answer."""
        return inexact(suite)

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        return np.array([mse(s.prediction, s.b_prime) for s in batch], dtype=np.float64)


def l1(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute error over pixels and channels of two uint8 H x W x 3 arrays, as of images in
    [0, 1].

    ValueError when the shapes differ.

    >>> l1(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 51, np.uint8))
    0.2
    """
    import cv2

    if prediction.shape != truth.shape:
        raise ValueError(
            f"images of one size are compared, not {prediction.shape} with {truth.shape}"
        )
    return float(cv2.norm(prediction, truth, cv2.NORM_L1)) / (truth.size * 255.0)


@dataclass(frozen=True)
class L1:
    """Mean absolute error, mean(|pred - b'|) over pixels and channels, images in [0, 1].

    Computed on request.

    From 0 (equal) to 1 (black for white); a missing prediction counts 1. A constant shift by s adds
    s. It weighs a few large errors less than `mse` does.
    """

    identity: str = "l1"
    higher_is_better: bool = False
    worst: float = 1.0
    on_request: bool = True

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs a single right answer."""
        return inexact(suite)

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item, float64."""
        return np.array([l1(s.prediction, s.b_prime) for s in batch], dtype=np.float64)


@dataclass(frozen=True)
class Psnr:
    """Peak signal-to-noise ratio, -10 log10(mse) dB, capped at 50 dB.

    From 0 dB (black for white, or missing) to 50 dB (equal, or off by less than the cap can tell).
    Halving the error in levels adds 6 dB; near-perfect items pull a mean up much more than bad ones
    pull it down.
    """

    identity: str = "psnr"
    higher_is_better: bool = True
    worst: float = 0.0

    def unsupported(self, suite: "Dataset") -> str | None:
        """Needs a single right answer."""
        return inexact(suite)

    def values(self, batch: Sequence[Scored], suite: "Dataset") -> np.ndarray:
        """One value per item in dB, float64."""
        return np.array([psnr(s.prediction, s.b_prime) for s in batch], dtype=np.float64)
