"""Trivial methods: what can be had without any learning. They stand in every table."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lorweb_bench.images import to_array, to_image
from lorweb_bench.quadruplet import Triplet


def affine_colour_transfer(a: np.ndarray, a_prime: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Fit the affine RGB map (3x4) that takes a to a_prime by least squares, and apply it to b.

    All are uint8 H x W x 3; a and a_prime have one size, the result has b's. Colours that a does not span (a grey image has
    one axis) get the solution of least norm. Rounded and clipped to [0, 255].
    """
    colours = a.reshape(-1, 3).astype(np.float64)
    mean, target_mean = colours.mean(0), a_prime.reshape(-1, 3).mean(0)
    centred = colours - mean
    # The 3x3 normal equations of the centred colours: the offset drops out, and rank-deficient images stay well defined.
    matrix = np.linalg.pinv(centred.T @ centred, hermitian=True, rcond=1e-9) @ (centred.T @ (a_prime.reshape(-1, 3) - target_mean))
    mapped = (b.reshape(-1, 3) - mean) @ matrix + target_mean
    return mapped.round().clip(0, 255).astype(np.uint8).reshape(b.shape)


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
        return [to_image(affine_colour_transfer(*(to_array(image) for image in (t.a, t.a_prime, t.b)))) for t in triplets]
