"""A classical image analogy from patches, after Hertzmann et al., "Image Analogies", SIGGRAPH 2001:
no learning, one pair.

What an affine map of colours explains of a to a_prime is carried over by that map; the rest by
patches. Every pixel of b gets the place in a whose surroundings look most like its own, from coarse
to fine: the coarse level searches all of a in a k-d tree over principal components of the patches,
the finer ones take over the coarser match. On every level the match that continues a neighbour's is
preferred where it is nearly as near (Ashikhmin's coherence, the paper's kappa).

Three things differ from the paper, whose pairs differ in texture alone. A match stands for the line
that takes a to the rest around it (as in a guided filter), and a pixel gets the mean of what the
matches around it say. The place in the picture is part of what matches, where that explains the
pair better (a guide as in Fiser et al., "Example-Based Synthesis of Stylized Facial Animations",
SIGGRAPH 2017). And both parts are trusted as far as they explain the pair itself: each pixel of a
is answered from the rest of a, and the shares are those of least squares, between 0 and 1.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from PIL import Image

from lorweb_bench.data.images import to_array, to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.methods.baselines import AffineColours
from lorweb_bench.methods.patch_matching import (
    AROUND,
    cohere,
    continued,
    features,
    finer,
    placed,
    search,
    search_elsewhere,
)

SEARCHED = 96 * 96  # pixels of the largest level that is searched as a whole
COARSEST = 16  # least side of the coarsest level, pixels
# How much further a coherent match may be on the level that is searched; halved on each finer one.
KAPPA = 0.5
SLOPE_PATCH = 9  # side of the patch that the line is fitted in, pixels
FLAT = 1e-3  # variance, of images in [0, 1], under which a patch of a is flat and the line is level
# What the place weighs, from edge to edge, in standard deviations of the patches; the first where
# it is as good.
PLACES = (0.0, 6.0)
BETTER = 0.98  # of the error of the pair, that a greater weight has to stay under


def patch_analogy(a: np.ndarray, a_prime: np.ndarray, b: np.ndarray) -> np.ndarray:
    """b_prime for uint8 H x W x 3 images: a and a_prime of one size, the result of b's.

    The same input gives the same bytes.
    """
    levels = [_pyramid(image) for image in (a, a_prime, b)]
    start = _searched(levels[0], levels[2])
    coloured = _colours(levels[0][start], levels[1][start])
    weight, trust = _what_explains(levels[0][start], levels[1][start], coloured)
    answer: np.ndarray | None = None
    matches: np.ndarray | None = None
    for level in reversed(range(start + 1)):
        here_a, here_a_prime, here_b = (pyramid[level] for pyramid in levels)
        coarse = (
            None
            if answer is None
            else (_to_size(levels[1][level + 1], here_a), _to_size(answer, here_b))
        )
        a_features, b_features = placed(features(here_a, here_b, coarse), weight)
        matches = (
            search(a_features, b_features)
            if matches is None
            else finer(matches, a_features.shape[:2], b_features.shape[:2])
        )
        matches = cohere(matches, a_features, b_features, KAPPA * 2.0 ** (level - start))
        rest = _vote(matches, here_a_prime - coloured(here_a), here_a, here_b)
        answer = here_b + trust[0] * (coloured(here_b) - here_b) + trust[1] * rest
    assert answer is not None
    return np.asarray((answer * 255).round().clip(0, 255).astype(np.uint8))


def _searched(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> int:
    """The finest level that is small enough to be searched as a whole, or the coarsest that there
    is.
    """
    small = (
        i for i, (x, y) in enumerate(zip(a, b, strict=False)) if max(x.size, y.size) <= 3 * SEARCHED
    )
    return next(small, min(len(a), len(b)) - 1)


def _what_explains(
    a: np.ndarray, a_prime: np.ndarray, coloured: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, np.ndarray]:
    """What the place is to weigh, and the shares in which the colours and the rest explain a_prime,
    each pixel from others.
    """
    colours = _colours_from_elsewhere(a, a_prime) - a
    rest = a_prime - coloured(a)
    patches = features(a, a, None)
    explanations: list[tuple[float, float, np.ndarray]] = []
    for weight in PLACES:
        placed_patches, _ = placed(patches, weight)
        parts = (colours, _vote(search_elsewhere(placed_patches), rest, a, a))
        shares = _shares(parts, a_prime - a)
        error = float(np.mean((shares[0] * parts[0] + shares[1] * parts[1] + a - a_prime) ** 2))
        if not explanations or error < BETTER * explanations[-1][0]:
            explanations.append((error, weight, shares))
    return explanations[-1][1], explanations[-1][2]


def _colours(a: np.ndarray, a_prime: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The affine map of a's colours to a_prime's, kept in [0, 1]."""
    fitted = AffineColours(a, a_prime)
    return lambda image: fitted(image).clip(0, 1).astype(np.float32)


def _colours_from_elsewhere(a: np.ndarray, a_prime: np.ndarray) -> np.ndarray:
    """Each quarter of a by the affine map of the three others."""
    mapped = np.empty_like(a)
    rows, columns = (np.arange(side) < side // 2 for side in a.shape[:2])
    for top, side_columns in product((rows, ~rows), (columns, ~columns)):
        here = np.outer(top, side_columns)
        others = ~here if (~here).any() else here
        mapped[here] = _colours(a[others], a_prime[others])(a[here])
    return mapped


def _shares(parts: Sequence[np.ndarray], whole: np.ndarray) -> np.ndarray:
    """How much of each part, between 0 and 1, is nearest to the whole by least squares."""
    from scipy.optimize import lsq_linear

    columns = np.stack([part.ravel() for part in parts], 1).astype(np.float64)
    return np.asarray(lsq_linear(columns, whole.ravel(), bounds=(0.0, 1.0)).x, np.float32)


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Float32 images in [0, 1], each half as large as the one before, down to about `COARSEST`."""
    import cv2

    levels = [image.astype(np.float32) / 255]
    while min(levels[-1].shape[:2]) >= 2 * COARSEST:
        levels.append(cv2.pyrDown(levels[-1]))
    return levels


def _to_size(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(
        cv2.resize(image, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR)
    )


def _vote(matches: np.ndarray, rest: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Per pixel the mean of what the matches around it say of the rest: the line there, at b."""
    slope = _slope(a, rest)
    offset = rest - slope * a
    total = np.zeros((*matches.shape[:2], 3), np.float32)
    for around in AROUND:
        places = continued(matches, around, a.shape)
        rows, columns = places[..., 0], places[..., 1]
        total += slope[rows, columns] * b + offset[rows, columns]
    return total / len(AROUND)


def _slope(a: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Per pixel and channel how the rest goes with a in the patch around: the slope of the
    least-squares line.
    """
    import cv2

    def mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(
            cv2.blur(image, (SLOPE_PATCH, SLOPE_PATCH), borderType=cv2.BORDER_REFLECT)
        )

    about = mean(a)
    variance = mean(a * a) - about**2
    return (mean(a * rest) - about * mean(rest)) / (variance + np.float32(FLAT))


class PatchAnalogy:
    """The colours by an affine map, the rest from where a looks like b, patch by patch: a classical
    image analogy (`patch_analogy`).
    """

    name = "patch-analogy"
    track = "closed"
    needs = "nothing"

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """The analogy of each triplet."""
        answers = []
        for t in triplets:
            panels = to_array(t.a), to_array(t.a_prime), to_array(t.b)
            answers.append(to_image(patch_analogy(*panels)))
        return answers
