"""A classical image analogy from patches, after Hertzmann et al., "Image Analogies", SIGGRAPH 2001: no learning, one pair.

From coarse to fine, every pixel of b gets the place in a whose surroundings look most like its own, and the answer there is
made of what a_prime has at that place. The coarse levels search all of a in a k-d tree over principal components of the
patches; the finer ones take over the coarser match. On every level the match that continues a neighbour's is preferred where
it is nearly as near (Ashikhmin's coherence, the paper's kappa).

The paper copies the pixel of a_prime. Here b differs from a by more than a texture, so a match stands for the line that
takes a to a_prime around it (as in a guided filter), and a pixel gets the mean of what the matches around it say.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from lorweb_bench.images import to_array, to_image
from lorweb_bench.quadruplet import Triplet

PATCH = 5  # side of a patch of a or b, pixels
COARSER_PATCH = 3  # side of a patch of what is known of the answer from the coarser level
COMPONENTS = 16  # principal components that patches are compared by
SEARCHED = 96 * 96  # pixels of the largest level that is searched as a whole
COARSEST = 16  # least side of the coarsest level, pixels
KAPPA = 0.5  # how much further a coherent match may be on the coarsest searched level; halved on each finer one
SLOPE_PATCH = 9  # side of the patch that the line from a to a_prime is fitted in, pixels
FLAT = 1e-3  # variance, of images in [0, 1], under which a patch of a is flat and the line is level
ROUNDS = 2  # of coherence on each level
AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


def patch_analogy(a: np.ndarray, a_prime: np.ndarray, b: np.ndarray) -> np.ndarray:
    """b_prime for uint8 H x W x 3 images: a and a_prime of one size, the result of b's. The same input gives the same bytes."""
    levels = [_pyramid(image) for image in (a, a_prime, b)]
    depth = min(len(pyramid) for pyramid in levels)
    answer: np.ndarray | None = None
    matches: np.ndarray | None = None
    for level in reversed(range(depth)):
        here_a, here_a_prime, here_b = (pyramid[level] for pyramid in levels)
        coarse = None if answer is None else (_to_size(levels[1][level + 1], here_a), _to_size(answer, here_b))
        known, asked = _features(here_a, here_b, coarse)
        if matches is None or asked.shape[0] * asked.shape[1] <= SEARCHED:
            matches = _search(known, asked)
        else:
            matches = _finer(matches, known.shape[:2], asked.shape[:2])
        matches = _cohere(matches, known, asked, KAPPA * 2.0 ** (level - depth + 1))
        answer = _vote(matches, here_a_prime, here_a, here_b)
    assert answer is not None
    return (answer * 255).round().clip(0, 255).astype(np.uint8)


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Float32 images in [0, 1], each half as large as the one before, down to about `COARSEST`."""
    import cv2

    levels = [image.astype(np.float32) / 255]
    while min(levels[-1].shape[:2]) >= 2 * COARSEST:
        levels.append(cv2.pyrDown(levels[-1]))
    return levels


def _to_size(image: np.ndarray, like: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.resize(image, (like.shape[1], like.shape[0]), interpolation=cv2.INTER_LINEAR))


def _features(a: np.ndarray, b: np.ndarray, coarse: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel of a and of b the principal components of its patch, and of the coarser answer's; float32 H x W x components.

    a is brought to b's mean and spread in each channel first, as the paper does with luminance.
    """
    scale = b.std((0, 1)) / np.maximum(a.std((0, 1)), 1e-3)
    both = [_patches((a - a.mean((0, 1))) * scale + b.mean((0, 1)), PATCH), _patches(b, PATCH)]
    if coarse is not None:
        both = [np.concatenate([own, _patches(image, COARSER_PATCH)], 2) for own, image in zip(both, coarse, strict=True)]
    flat = both[0].reshape(-1, both[0].shape[2])
    centre = flat.mean(0)
    _, axes = np.linalg.eigh((flat - centre).T.astype(np.float64) @ (flat - centre))
    axes = axes[:, ::-1][:, :COMPONENTS].astype(np.float32)
    known, asked = ((own - centre) @ axes for own in both)
    return known, asked


def _patches(image: np.ndarray, side: int) -> np.ndarray:
    """Per pixel its square surroundings, weighted by a Gaussian, edges repeated; H x W x (side * side * 3)."""
    half = side // 2
    padded = np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect" if min(image.shape[:2]) > half else "edge")
    height, width = image.shape[:2]
    shifted = []
    for y in range(side):
        for x in range(side):
            weight = np.exp(-((y - half) ** 2 + (x - half) ** 2) / (2 * max(half, 1) ** 2)) / side
            shifted.append(padded[y : y + height, x : x + width] * np.float32(weight))
    return np.concatenate(shifted, 2)


def _search(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The place (row, column) in a that is nearest to each pixel of b; integers H x W x 2."""
    from scipy.spatial import cKDTree

    tree = cKDTree(known.reshape(-1, known.shape[2]), balanced_tree=False, compact_nodes=False)
    found = tree.query(asked.reshape(-1, asked.shape[2]), eps=1.0)[1]
    return np.stack(np.unravel_index(found, known.shape[:2]), 1).reshape(*asked.shape[:2], 2)


def _finer(matches: np.ndarray, known: tuple[int, ...], asked: tuple[int, ...]) -> np.ndarray:
    """The matches of the next finer level, twice as large: those of the coarser one, continued."""
    rows, columns = np.indices(asked)
    taken = matches[np.minimum(rows // 2, matches.shape[0] - 1), np.minimum(columns // 2, matches.shape[1] - 1)]
    return _inside(2 * taken + np.stack([rows % 2, columns % 2], 2), known)


def _inside(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack([places[..., 0].clip(0, shape[0] - 1), places[..., 1].clip(0, shape[1] - 1)], -1)


def _continued(matches: np.ndarray, offset: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Per pixel the place that continues the match of the neighbour at `offset`; at the edge that of the pixel itself."""
    own = np.moveaxis(np.indices(matches.shape[:2]), 0, 2)
    neighbour = _inside(own + np.array(offset), matches.shape)
    return _inside(matches[neighbour[..., 0], neighbour[..., 1]] - (neighbour - own), shape)


def _distances(places: np.ndarray, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    difference = known[places[..., 0], places[..., 1]] - asked
    return np.einsum("ijk,ijk->ij", difference, difference)


def _cohere(matches: np.ndarray, known: np.ndarray, asked: np.ndarray, kappa: float) -> np.ndarray:
    """Matches that continue a neighbour's, where these are at most 1 + kappa times as far; in later rounds, where nearer."""
    best = _distances(matches, known, asked)
    for turn in range(ROUNDS):
        slack = np.float32((1 + kappa) ** 2 if turn == 0 else 1.0)
        chosen, distance = matches, np.full_like(best, np.inf)
        for offset in AROUND:
            if offset != (0, 0):
                places = _continued(matches, offset, known.shape)
                far = _distances(places, known, asked)
                nearer = far < distance
                chosen, distance = np.where(nearer[..., None], places, chosen), np.where(nearer, far, distance)
        taken = distance < best * slack
        matches, best = np.where(taken[..., None], chosen, matches), np.where(taken, distance, best)
    return matches


def _vote(matches: np.ndarray, a_prime: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Per pixel the mean of what the matches around it say: a_prime there, and what b differs from a there times the slope."""
    slope = _slope(a, a_prime)
    offset = a_prime - slope * a
    total = np.zeros((*matches.shape[:2], 3), np.float32)
    for around in AROUND:
        places = _continued(matches, around, a.shape)
        rows, columns = places[..., 0], places[..., 1]
        total += slope[rows, columns] * b + offset[rows, columns]
    return total / len(AROUND)


def _slope(a: np.ndarray, a_prime: np.ndarray) -> np.ndarray:
    """Per pixel and channel how a_prime goes with a in the patch around: the slope of the least-squares line."""
    import cv2

    def mean(image: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.blur(image, (SLOPE_PATCH, SLOPE_PATCH), borderType=cv2.BORDER_REFLECT))

    about = mean(a)
    variance = mean(a * a) - about**2
    return (mean(a * a_prime) - about * mean(a_prime)) / (variance + np.float32(FLAT))


class PatchAnalogy:
    """What a_prime has where a looks like b, patch by patch: a classical image analogy (`patch_analogy`)."""

    name = "patch-analogy"
    track = "closed"
    needs = "nothing"

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """The analogy of each triplet."""
        return [to_image(patch_analogy(*(to_array(image) for image in (t.a, t.a_prime, t.b)))) for t in triplets]
