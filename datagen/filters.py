"""What can be seen: changes, distances between transformations, and which of them a trivial method already solves."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datagen.recipe import FiltersSection
from datagen.transformations.catalogue import Library, steps
from lorweb_bench.images import decode, to_array
from lorweb_bench.methods.trivial import affine_colour_transfer
from lorweb_bench.metrics.clip import NO_DIRECTION, Clip
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.metrics.weights import digest
from lorweb_bench.protocol import HARD_THRESHOLD, ROLES

COARSE = 3_000  # of these, those that choose whom to compare
SKETCH = 24_000  # pixel values that are kept of a transformation's results on all calibration images together
CACHE_BYTES = 256 * 2**20

Spec = Mapping[str, Any]


def levels(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two uint8 arrays of one shape, in levels (0-255)."""
    return float(255.0 * mse(x, y) ** 0.5)


def blank(image: np.ndarray) -> float:
    """The share of an image's pixels (uint8 H x W x 3) that its most common colour has, in steps of 8 levels: 1 is nothing to see."""
    red, green, blue = (image[..., channel].astype(np.uint16) >> 3 for channel in range(3))
    bins = red | green << 5 | blue << 10
    return float(np.bincount(bins.reshape(-1)).max() / bins.size)


def failed(before: np.ndarray, after: np.ndarray, filters: FiltersSection) -> str | None:
    """The name of the first filter of a recipe that a pair does not pass; None when it passes all."""
    change = levels(before, after)
    if change < filters.minimum_change:
        return "minimum_change"
    if change > (filters.maximum_change or 255.0):
        return "maximum_change"
    return "maximum_blank" if blank(after) > filters.maximum_blank else None


def chosen_with(filters: FiltersSection) -> dict[str, str]:
    """The encoder that `clip_direction` chooses items with, by name, and the sha256 of its weights; empty where none does.

    InputError when its packages or weights are not there.
    """
    if filters.clip_direction.model is None:
        return {}
    clip = Clip(filters.clip_direction.model)
    return {clip.name: digest(clip.file())}


def disagree(filters: FiltersSection, files: Mapping[str, tuple[bytes, str]]) -> bool:
    """Whether the changes of the two pairs of an item, its encoded images, have too small a cosine to the recipe's encoder.

    So they do when one of them is no change at all to the encoder. False where the recipe names no encoder.
    """
    wanted = filters.clip_direction
    if wanted.model is None:
        return False
    panels = [to_array(decode(files[role][0], role)) for role in ROLES]
    features = Clip(wanted.model).features(panels).astype(np.float64)
    first, second = features[1] - features[0], features[3] - features[2]
    lengths = np.linalg.norm(first), np.linalg.norm(second)
    return bool(min(lengths) < NO_DIRECTION or first @ second / (lengths[0] * lengths[1]) < wanted.minimum)


class Calibration:
    """Calibration images, and what transformations do to them. Distances are RMSEs in levels (0-255).

    `pairs` are images (a, b), uint8 H x W x 3, that are in no split. Transformations are compared on the bs, at a fixed
    selection of pixels, so that thousands of results fit into memory whatever the panel's size.
    """

    def __init__(self, library: Library, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        self.library = library
        self.pairs = list(pairs)
        self.images = [b for _, b in pairs]
        share = max(1, SKETCH // len(self.images))
        # A fixed random selection: a regular one would fall in step with tiles, stripes and halftones.
        self._places = [np.sort(np.random.default_rng(i).permutation(image.size)[:share]) for i, image in enumerate(self.images)]
        self._ends = np.cumsum([len(places) for places in self._places])[:-1]
        self._identity = self._sketch(self.images)
        self._results: OrderedDict[str, list[np.ndarray]] = OrderedDict()
        self._keep = max(4, CACHE_BYTES // sum(image.nbytes for image in self.images))
        self._sketches: dict[str, np.ndarray] = {}
        self._blanks: dict[str, float] = {}

    def _sketch(self, results: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([result.reshape(-1)[places] for result, places in zip(results, self._places, strict=True)])

    def _single(self, name: str, spec: Spec) -> list[np.ndarray]:
        if name not in self._results:
            self._results[name] = [self.library.apply(spec, image) for image in self.images]
            if len(self._results) > self._keep:
                self._results.popitem(last=False)
        self._results.move_to_end(name)
        return self._results[name]

    def sketch(self, name: str, spec: Spec) -> np.ndarray:
        """A transformation's results at the selected pixels of all images, flat uint8. `name` is its id."""
        if name not in self._sketches:
            parts = steps(spec)
            if len(parts) == 1:
                results = self._single(name, spec)
            else:
                first = self.library.describe(parts[0]["family"], parts[0]["parameters"])
                results = self._single(first["id"], first)
                for part in parts[1:]:
                    results = [self.library.apply(part, result) for result in results]
            self._sketches[name] = self._sketch(results)
            self._blanks[name] = float(np.median([blank(result[::2, ::2]) for result in results]))
        return self._sketches[name]

    def change(self, name: str, spec: Spec) -> float:
        """How much it changes an image: the median over the images."""
        return self._median(self.sketch(name, spec), self._identity)

    def blank(self, name: str, spec: Spec) -> float:
        """How blank it leaves an image: the median share of the most common colour."""
        self.sketch(name, spec)
        return self._blanks[name]

    def apart(self, name: str, spec: Spec, other: str, other_spec: Spec) -> float:
        """How far two transformations are apart: the median over the images."""
        return self._median(self.sketch(name, spec), self.sketch(other, other_spec))

    def _median(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(
            np.median([levels_flat(one, other) for one, other in zip(np.split(x, self._ends), np.split(y, self._ends), strict=True)])
        )

    def distinct(self, wanted: Mapping[str, Spec], known: Mapping[str, Spec], least: float) -> dict[str, tuple[str, float]]:
        """Of `wanted`, in order, those that are nearer than `least` to one of `known` or to an earlier one that is kept.

        The distance is the RMSE over all images together. Gives for each its nearest and the distance.
        """
        near: dict[str, tuple[str, float]] = {}
        if not wanted:
            return near
        specs = {**known, **wanted}
        names = list(specs)
        matrix = np.stack([self.sketch(name, spec) for name, spec in specs.items()])
        coarse = np.ascontiguousarray(matrix[:, :: max(1, matrix.shape[1] // COARSE)].astype(np.float32))
        norms = (coarse**2).mean(1)
        # Coarse distances only choose whom to measure in whole numbers, which no BLAS can round another way.
        guess = norms[:, None] + norms[None, :] - 2 / coarse.shape[1] * (coarse @ coarse.T)
        for row in range(len(known), len(names)):
            earlier = [i for i in np.flatnonzero(guess[row, :row] < 2.5 * least**2 + 4) if names[i] not in near]
            exact = min(((levels_flat(matrix[row], matrix[i]), names[i]) for i in earlier), default=(least, ""))
            if exact[0] < least:
                near[names[row]] = (exact[1], exact[0])
        return near

    def hard(self, spec: Spec, least_change: float) -> bool:
        """Whether none of copy-b, copy-a-prime and color-transfer has a mean edit recovery of 0.5 on the calibration pairs.

        Pairs on which it changes b by less than `least_change` levels do not count; a transformation without any is not hard.
        """
        recovered = []
        for a, b in self.pairs:
            b_prime = self.library.apply(spec, b)
            if levels(b, b_prime) < least_change:
                continue
            a_prime = self.library.apply(spec, a)
            guesses = (b, a_prime, affine_colour_transfer(a, a_prime, b))
            recovered.append([edit_recovery(guess, b, b_prime) for guess in guesses])
        return bool(recovered) and bool(np.mean(recovered, axis=0).max() < HARD_THRESHOLD)


def levels_flat(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two flat uint8 arrays, in levels, summed in whole numbers."""
    difference = x.astype(np.int32) - y
    return float((int((difference * difference).sum(dtype=np.int64)) / x.size) ** 0.5)
