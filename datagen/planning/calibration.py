"""Calibration images: what transformations do to them.

They tell which transformations are visible, which are alike, and which a trivial method solves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from cachetools import LRUCache

from datagen.making.build_notes import ItemFailure, failing_items
from datagen.making.filters import blank, levels
from datagen.making.panels import cut, fit
from datagen.planning.seeding import draw
from datagen.planning.source_roles import Pool, Roles, panel_of
from datagen.recipe.library import library_of
from datagen.recipe.schema import Recipe
from lorweb_bench.data.composition import is_composed_id, steps_of
from lorweb_bench.errors import InputError
from lorweb_bench.methods.baselines import affine_colour_transfer
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.protocol import HARD_THRESHOLD
from lorweb_bench.runtime.workers import run_pieces

CALIBRATION_PAIRS = 12
OWN_IMAGES = 24  # of a suite's bs, on which its transformations must differ
COARSE = 3_000  # of a sketch's pixel values, those that choose whom to compare
SKETCH = 24_000  # pixel values that are kept of a transformation's results on all images together
RIVALS = 160  # the transformations most like one
CACHE_BYTES = 256 * 2**20

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Sketch:
    """What a transformation does to the calibration images.

    Attributes:
        pixels: Its results at a fixed selection of pixels, flat uint8, image after image.
        blank: The median share of the most common colour in its results.
        failure: Why it could not run on an image; empty where it ran. One that could not run
            counts as no change at all.
    """

    pixels: np.ndarray
    blank: float
    failure: str = ""


class Calibration:
    """Calibration images, and what transformations do to them.

    Transformations are compared on the bs, at a fixed selection of pixels, so that thousands of
    results fit into memory whatever the panel's size. Distances are RMSEs in levels (0-255).

    Args:
        library: What a recipe calls its transformations.
        pairs: Images (a, b), uint8 H x W x 3, that are in no split.
        workers: Processes that share what is asked for in bulk; no result depends on their number.
        sketches: Sketches by id that need not be made again.
    """

    def __init__(
        self,
        library: str,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        workers: int = 1,
        sketches: Mapping[str, Sketch] = MappingProxyType({}),
    ) -> None:
        self.library = library
        self.pairs = list(pairs)
        self.workers = workers
        self.images = [b for _, b in pairs]
        share = max(1, SKETCH // len(self.images))
        # A fixed random selection: a regular one would fall in step with tiles and halftones.
        self._selections = [
            np.sort(np.random.default_rng(i).permutation(image.size)[:share])
            for i, image in enumerate(self.images)
        ]
        self._ends = np.cumsum([len(selection) for selection in self._selections])[:-1]
        self._identity = np.concatenate(
            [self.select(image, number) for number, image in enumerate(self.images)]
        )
        self._singles: LRUCache[tuple[str, int], np.ndarray] = LRUCache(
            CACHE_BYTES, getsizeof=lambda result: result.nbytes
        )
        self._sketches: dict[str, Sketch] = dict(sketches)

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker's copy has the sketches of single transformations and makes the others."""
        singles = {
            name: sketch for name, sketch in self._sketches.items() if not is_composed_id(name)
        }
        return Calibration, (self.library, self.pairs, 1, singles)

    def measure(self, specs: Mapping[str, Spec], about: str) -> None:
        """Sketch transformations that will be asked for, in all workers.

        Args:
            specs: Transformations by id.
            about: What the progress on stderr says.
        """
        waiting = [(name, spec) for name, spec in specs.items() if name not in self._sketches]
        sketches = run_pieces(self._sketch_named, waiting, self.workers, describe=about)
        for (name, _), sketch in zip(waiting, sketches, strict=True):
            self._sketches[name] = sketch

    def _sketch_named(self, named: tuple[str, Spec]) -> Sketch:
        return self.sketch(*named)

    def sketch(self, name: str, spec: Spec) -> Sketch:
        """What a transformation, by its id, does to the images."""
        if name not in self._sketches:
            try:
                with failing_items("it fails on an image"):
                    self._sketches[name] = self._run_and_sketch(name, spec)
            except ItemFailure as failure:
                self._sketches[name] = Sketch(self._identity, 1.0, str(failure))
        return self._sketches[name]

    def known_sketch(self, name: str) -> Sketch | None:
        """The sketch of a transformation that was made or learned before; None of others."""
        return self._sketches.get(name)

    def learn(self, name: str, sketch: Sketch) -> None:
        """Keep a sketch that a worker made."""
        self._sketches[name] = sketch

    def _run_and_sketch(self, name: str, spec: Spec) -> Sketch:
        library, parts = library_of(self.library), steps_of(spec)
        first = library.describe(parts[0]["family"], parts[0]["parameters"])
        pixels, blanks = [], []
        for number in range(len(self.images)):
            result = self.single(name if len(parts) == 1 else first["id"], parts[0], number)
            for part in parts[1:]:
                result = library.apply(part, result)
            pixels.append(self.select(result, number))
            blanks.append(blank(result[::2, ::2]))
        return Sketch(np.concatenate(pixels), float(np.median(blanks)))

    def single(self, name: str, spec: Spec, number: int) -> np.ndarray:
        """What a single transformation, by its id, makes of one of the images."""
        result = self._singles.get((name, number))
        if result is None:
            result = library_of(self.library).apply(spec, self.images[number])
            if result.nbytes <= CACHE_BYTES:
                self._singles[name, number] = result
        return result

    def select(self, result: np.ndarray, number: int) -> np.ndarray:
        """The pixels of a result on one of the images that a sketch keeps."""
        return result.reshape(-1)[self._selections[number]]

    def by_image(self, sketch: Sketch) -> list[np.ndarray]:
        """The pixels of a sketch, image by image."""
        return np.split(sketch.pixels, self._ends)

    def change(self, name: str, spec: Spec) -> float:
        """How much a transformation changes an image: the median over the images."""
        return self._median(self.sketch(name, spec).pixels, self._identity)

    def blank(self, name: str, spec: Spec) -> float:
        """How blank a transformation leaves an image: the median share of one colour."""
        return self.sketch(name, spec).blank

    def distance(self, name: str, spec: Spec, other: str, other_spec: Spec) -> float:
        """How far two transformations are apart: the median over the images."""
        return self._median(self.sketch(name, spec).pixels, self.sketch(other, other_spec).pixels)

    def _median(self, x: np.ndarray, y: np.ndarray) -> float:
        images = zip(np.split(x, self._ends), np.split(y, self._ends), strict=True)
        return float(np.median([flat_levels(image, other) for image, other in images]))

    def too_near(
        self, wanted: Mapping[str, Spec], known: Mapping[str, Spec], least: float
    ) -> dict[str, tuple[str, float]]:
        """Find the transformations that are too like a known one, or an earlier one.

        Args:
            wanted: Transformations by id, in the order in which they are taken.
            known: Transformations that are taken already.
            least: The least distance of two that are both taken: the RMSE over all images
                together.

        Returns:
            For each of `wanted` that is too near, the nearest one taken and the distance.
        """
        near: dict[str, tuple[str, float]] = {}
        if not wanted:
            return near
        specs = {**known, **wanted}
        names = list(specs)
        matrix = np.stack([self.sketch(name, spec).pixels for name, spec in specs.items()])
        coarse = _coarse(matrix).astype(np.float32)
        norms = (coarse**2).mean(1)
        # Coarse distances only choose whom to measure in whole numbers, which no BLAS rounds.
        scale = 2 / coarse.shape[1]
        guess = norms[None, :] + norms[len(known) :, None]
        guess -= scale * (coarse[len(known) :] @ coarse.T)
        for row in range(len(known), len(names)):
            close = np.flatnonzero(guess[row - len(known), :row] < 2.5 * least**2 + 4)
            earlier = [int(i) for i in close if names[i] not in near]
            distances = [(flat_levels(matrix[row], matrix[i]), names[i]) for i in earlier]
            distance, other = min(distances, default=(least, ""))
            if distance < least:
                near[names[row]] = (other, distance)
        return near

    def nearest(
        self, wanted: Sequence[str], specs: Mapping[str, Spec]
    ) -> dict[str, tuple[str, ...]]:
        """For each of `wanted` the 160 transformations most like it.

        Returns:
            Ids of `specs` by wanted id, the nearest first.
        """
        self.measure(specs, "looking for rivals")
        names = np.array(sorted(specs))
        matrix = np.stack([self.sketch(name, specs[name]).pixels for name in names])
        coarse = _coarse(matrix).astype(np.float64)  # sums of whole numbers, exact in any order
        norms, rivals = (coarse**2).sum(1), {}
        for name in wanted:
            row = int(np.searchsorted(names, name))
            order = np.argsort(norms - 2 * (coarse @ coarse[row]), kind="stable")
            rivals[name] = tuple(names[order[order != row][:RIVALS]].tolist())
        return rivals

    def hard(self, specs: Mapping[str, Spec], least_change: float) -> dict[str, bool]:
        """Whether transformations are hard: no trivial method has a mean edit recovery of 0.5.

        The trivial methods are copy-b, copy-a-prime and color-transfer.

        Args:
            specs: Transformations by id.
            least_change: Pairs on which b changes by fewer levels do not count; a transformation
                without any other is not hard.
        """
        tried = run_pieces(
            partial(self._is_hard, least_change),
            list(specs.values()),
            self.workers,
            describe="trying the trivial methods",
        )
        return dict(zip(specs, tried, strict=True))

    def _is_hard(self, least_change: float, spec: Spec) -> bool:
        library, recovered = library_of(self.library), []
        for a, b in self.pairs:
            try:
                with failing_items("it fails"):
                    b_prime, a_prime = library.apply(spec, b), library.apply(spec, a)
            except ItemFailure:
                continue
            if levels(b, b_prime) < least_change:
                continue
            guesses = (b, a_prime, affine_colour_transfer(a, a_prime, b))
            recovered.append([edit_recovery(guess, b, b_prime) for guess in guesses])
        return bool(recovered) and bool(np.mean(recovered, axis=0).max() < HARD_THRESHOLD)


def calibrate(recipe: Recipe, roles: Roles, workers: int = 1) -> Calibration:
    """Make the calibration pairs from the sources of that role.

    A pair is a photograph and a scene where there are both, and never one source twice. Scenes are
    taken by their number, so that more scenes change nothing.

    Raises:
        InputError: There are not two sources.
    """
    pool = roles.needed("calibration")
    if len(pool.photographs) + len(pool.scenes) < 2:
        raise InputError(
            "The role calibration has one source and needs two or more, an a and a b; "
            "give it a greater share."
        )
    pictures = _cut_panels(recipe, pool, 2 * CALIBRATION_PAIRS, "calibration")
    pairs = []
    for i in range(0, len(pictures), 2):
        first, second = pictures[i], pictures[i + 1]
        if panel_of(recipe).long_edge is not None:
            second = fit(second, (first.shape[1], first.shape[0]))
        # Every other pair is turned, so that photographs and scenes both serve as b.
        pairs.append((first, second) if i % 4 else (second, first))
    return Calibration(recipe.transformations.library, pairs, workers)


def own_images(recipe: Recipe, roles: Roles, workers: int = 1) -> Calibration:
    """Images of a suite's own bs, which show the transformations that it cannot tell apart.

    They are of as many sources as their number allows.
    """
    pictures = _cut_panels(recipe, roles.needed("b"), OWN_IMAGES, "own")
    pairs = [(picture, picture) for picture in pictures]
    return Calibration(recipe.transformations.library, pairs, workers)


def _cut_panels(recipe: Recipe, pool: Pool, count: int, word: str) -> list[np.ndarray]:
    """Seeded panels of a pool's sources in turn, of photographs and scenes by turns."""
    kinds = [kind for kind in (pool.photographs, pool.scenes) if kind]
    panels = []
    for i in range(count):
        kind = kinds[i % len(kinds)]
        source = kind[i // len(kinds) % len(kind)]
        seed = int.from_bytes(draw(recipe.seed, word, source.name, i)[:6])
        panels.append(cut(source, recipe, seed))
    return panels


def _coarse(sketches: np.ndarray) -> np.ndarray:
    """Some three thousand values of each sketch (a row), next to each other in memory."""
    return np.ascontiguousarray(sketches[:, :: max(1, sketches.shape[1] // COARSE)])


def flat_levels(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two flat uint8 arrays, in levels, summed in whole numbers."""
    difference = x.astype(np.int32) - y
    return float((int((difference * difference).sum(dtype=np.int64)) / x.size) ** 0.5)
