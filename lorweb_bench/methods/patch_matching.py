"""Patches of two images and where they match: features, search, and matches that continue their
neighbours'.
"""

from typing import Any

import numpy as np

PATCH = 5  # side of a patch of a or b, pixels
COARSER_PATCH = 3  # side of a patch of what is known of the answer from the coarser level
COMPONENTS = 16  # principal components that patches are compared by
OWN = 3  # a pixel of a is answered from places that are further off, pixels
NEIGHBOURS = 16  # nearest places among which one that is further off is sought
ROUNDS = 2  # of coherence on each level
AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


def features(
    a: np.ndarray, b: np.ndarray, coarse: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel of a and of b the principal components of its patch, and of the coarser answer's;
    float32 H x W x components.

    a is brought to b's mean and spread in each channel first, as the paper does with luminance.
    """
    scale = b.std((0, 1)) / np.maximum(a.std((0, 1)), 1e-3)
    both = [_patches((a - a.mean((0, 1))) * scale + b.mean((0, 1)), PATCH), _patches(b, PATCH)]
    if coarse is not None:
        both = [
            np.concatenate([patches, _patches(image, COARSER_PATCH)], 2)
            for patches, image in zip(both, coarse, strict=True)
        ]
    flat = both[0].reshape(-1, both[0].shape[2])
    centre = flat.mean(0)
    _, axes = np.linalg.eigh((flat - centre).T.astype(np.float64) @ (flat - centre))
    axes = axes[:, ::-1][:, :COMPONENTS].astype(np.float32)
    a_features, b_features = ((patches - centre) @ axes for patches in both)
    return a_features, b_features


def placed(patches: tuple[np.ndarray, np.ndarray], weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The features with the place of each pixel beside them, from 0 at the top left to `weight`
    spreads of the first's.
    """
    spread = weight * float(np.sqrt(patches[0].var((0, 1)).sum()))
    at = [
        np.moveaxis(np.indices(image.shape[:2]), 0, 2) / image.shape[:2] * spread
        for image in patches
    ]
    a_placed, b_placed = (
        np.concatenate([image, positions.astype(np.float32)], 2)
        for image, positions in zip(patches, at, strict=True)
    )
    return a_placed, b_placed


def _patches(image: np.ndarray, side: int) -> np.ndarray:
    """Per pixel its square surroundings, weighted by a Gaussian, edges repeated.

    H x W x (side * side * 3).
    """
    half = side // 2
    padded = np.pad(
        image,
        ((half, half), (half, half), (0, 0)),
        mode="reflect" if min(image.shape[:2]) > half else "edge",
    )
    height, width = image.shape[:2]
    shifted = []
    for y in range(side):
        for x in range(side):
            weight = np.exp(-((y - half) ** 2 + (x - half) ** 2) / (2 * max(half, 1) ** 2)) / side
            shifted.append(padded[y : y + height, x : x + width] * np.float32(weight))
    return np.concatenate(shifted, 2)


def _tree(known: np.ndarray) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(known.reshape(-1, known.shape[2]), balanced_tree=False, compact_nodes=False)


def search(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The place (row, column) in a that is nearest to each pixel of b; integers H x W x 2."""
    nearest = _tree(known).query(asked.reshape(-1, asked.shape[2]), eps=1.0)[1]
    return np.stack(np.unravel_index(nearest, known.shape[:2]), 1).reshape(*asked.shape[:2], 2)


def search_elsewhere(known: np.ndarray) -> np.ndarray:
    """The place in a that is nearest to each pixel of a itself, more than `OWN` pixels off where
    there is one among the nearest.
    """
    count = min(NEIGHBOURS, known.shape[0] * known.shape[1])
    flat = known.reshape(-1, known.shape[2])
    nearest = _tree(known).query(flat, k=range(1, count + 1), eps=1.0)[1]
    places = np.stack(np.unravel_index(nearest, known.shape[:2]), 2)
    positions = np.moveaxis(np.indices(known.shape[:2]), 0, 2).reshape(-1, 1, 2)
    off = np.abs(places - positions).max(2) > OWN
    chosen = np.where(off.any(1), off.argmax(1), count - 1)
    return places[np.arange(len(places)), chosen].reshape(*known.shape[:2], 2)


def finer(matches: np.ndarray, known: tuple[int, ...], asked: tuple[int, ...]) -> np.ndarray:
    """The matches of the next finer level, twice as large: those of the coarser one, continued."""
    rows, columns = np.indices(asked)
    coarse = matches[
        np.minimum(rows // 2, matches.shape[0] - 1), np.minimum(columns // 2, matches.shape[1] - 1)
    ]
    return _inside(2 * coarse + np.stack([rows % 2, columns % 2], 2), known)


def _inside(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(
        [places[..., 0].clip(0, shape[0] - 1), places[..., 1].clip(0, shape[1] - 1)], -1
    )


def continued(matches: np.ndarray, offset: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """Per pixel the place that continues the match of the neighbour at `offset`.

    At the edge that of the pixel itself.
    """
    positions = np.moveaxis(np.indices(matches.shape[:2]), 0, 2)
    neighbour = _inside(positions + np.array(offset), matches.shape)
    return _inside(matches[neighbour[..., 0], neighbour[..., 1]] - (neighbour - positions), shape)


def _distances(places: np.ndarray, known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    difference = known[places[..., 0], places[..., 1]] - asked
    return np.einsum("ijk,ijk->ij", difference, difference)


def cohere(matches: np.ndarray, known: np.ndarray, asked: np.ndarray, kappa: float) -> np.ndarray:
    """Matches that continue a neighbour's, where these are at most 1 + kappa times as far.

    In later rounds, where nearer.
    """
    best = _distances(matches, known, asked)
    for turn in range(ROUNDS):
        slack = np.float32((1 + kappa) ** 2 if turn == 0 else 1.0)
        chosen, distance = matches, np.full_like(best, np.inf)
        for offset in AROUND:
            if offset != (0, 0):
                places = continued(matches, offset, known.shape)
                far = _distances(places, known, asked)
                nearer = far < distance
                chosen, distance = (
                    np.where(nearer[..., None], places, chosen),
                    np.where(nearer, far, distance),
                )
        improved = distance < best * slack
        matches = np.where(improved[..., None], chosen, matches)
        best = np.where(improved, distance, best)
    return matches
