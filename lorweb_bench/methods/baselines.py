"""Trivial methods: what can be had without any learning. They stand in every table."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lorweb_bench.data.images import to_array, to_image
from lorweb_bench.data.samples import Triplet


class AffineColours:
    """The affine RGB map (3x4) that takes the colours of a to those of a_prime by least squares, in
    the units that these have.

    a and a_prime are of one shape, ... x 3. Colours that a does not span (a grey image has one
    axis) get the solution of least norm.
    """

    def __init__(self, a: np.ndarray, a_prime: np.ndarray) -> None:
        colours, target = a.reshape(-1, 3).astype(np.float64), a_prime.reshape(-1, 3)
        self.mean, self.target_mean = colours.mean(0), target.mean(0)
        centred = colours - self.mean
        # The 3x3 normal equations of the centred colours: the offset drops out, and rank-deficient
        # images stay well defined.
        self.matrix = np.linalg.pinv(centred.T @ centred, hermitian=True, rcond=1e-9) @ (
            centred.T @ (target - self.target_mean)
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The map of every colour, in float64, neither rounded nor clipped."""
        return np.asarray(
            ((image.reshape(-1, 3) - self.mean) @ self.matrix + self.target_mean).reshape(
                image.shape
            )
        )


def affine_colour_transfer(a: np.ndarray, a_prime: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`AffineColours` of a and a_prime, applied to b: all uint8 H x W x 3, a and a_prime of one
    size, the result of b's.

    Rounded and clipped to [0, 255].
    """
    return AffineColours(a, a_prime)(b).round().clip(0, 255).astype(np.uint8)


class CopyB:
    """Hands b back: `edit_recovery` 0 by definition."""

    name = "copy-b"
    track = "closed"
    needs = "nothing"

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """b of each triplet."""
        return [t.b for t in triplets]


class CopyAPrime:
    """Hands a_prime back: right where the transformation paints over everything."""

    name = "copy-a-prime"
    track = "closed"
    needs = "nothing"

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """a_prime of each triplet."""
        return [t.a_prime for t in triplets]


class ColourTransfer:
    """The affine RGB map from a to a_prime, applied to b (`affine_colour_transfer`)."""

    name = "color-transfer"
    track = "closed"
    needs = "nothing"

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """b of each triplet in new colours."""
        answers = []
        for t in triplets:
            panels = to_array(t.a), to_array(t.a_prime), to_array(t.b)
            answers.append(to_image(affine_colour_transfer(*panels)))
        return answers
