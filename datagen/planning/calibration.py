"""Calibration images: what transformations do to them, how far they are apart, and which of them a trivial method already solves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from datagen.making.filters import blank, levels
from datagen.making.kept import Kept
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
SKETCH = 24_000  # pixel values that are kept of a transformation's results on all calibration images together
RIVALS = 160  # the transformations most like one
CACHE_BYTES = 256 * 2**20

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Sketch:
    """What a transformation does to the calibration images: its results at a fixed selection of pixels, and how blank they are."""

    pixels: np.ndarray  # flat uint8, the images one after the other
    blank: float  # the median share of the most common colour


class Calibration:
    """Calibration images, and what transformations do to them. Distances are RMSEs in levels (0-255).

    `pairs` are images (a, b), uint8 H x W x 3, that are in no split; `library` is what a recipe calls its transformations.
    Transformations are compared on the bs, at a fixed selection of pixels, so that thousands of results fit into memory whatever
    the panel's size. `workers` processes share what is asked for in bulk; no result depends on their number. What `known` holds is
    not found out again.
    """

    def __init__(
        self,
        library: str,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        workers: int = 1,
        known: Mapping[str, Sketch] = MappingProxyType({}),
    ) -> None:
        self.library = library
        self.pairs = list(pairs)
        self.workers = workers
        self.images = [b for _, b in pairs]
        share = max(1, SKETCH // len(self.images))
        # A fixed random selection: a regular one would fall in step with tiles, stripes and halftones.
        self._places = [
            np.sort(np.random.default_rng(i).permutation(image.size)[:share])
            for i, image in enumerate(self.images)
        ]
        self._ends = np.cumsum([len(places) for places in self._places])[:-1]
        self._identity = self._selected(self.images)
        self._results: Kept[str, list[np.ndarray]] = Kept(
            CACHE_BYTES, lambda results: sum(result.nbytes for result in results)
        )
        self._sketches: dict[str, Sketch] = dict(known)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy for a worker knows what single transformations do, and finds out about compositions by itself."""
        singles = {
            name: sketch for name, sketch in self._sketches.items() if not is_composed_id(name)
        }
        return Calibration, (self.library, self.pairs, 1, singles)

    def measure(self, specs: Mapping[str, Spec], about: str) -> None:
        """Run transformations, by id, that will be asked for, in all workers; progress stands on stderr as `about`."""
        waiting = [(name, spec) for name, spec in specs.items() if name not in self._sketches]
        for (name, _), sketch in zip(
            waiting, run_pieces(self._measured, waiting, self.workers, describe=about), strict=True
        ):
            self._sketches[name] = sketch

    def _measured(self, named: tuple[str, Spec]) -> Sketch:
        return self.sketch(*named)

    def sketch(self, name: str, spec: Spec) -> Sketch:
        """What a transformation does to the images; `name` is its id."""
        if name not in self._sketches:
            parts = steps_of(spec)
            results = self._single(name, spec) if len(parts) == 1 else self._composition(parts)
            blankness = float(np.median([blank(result[::2, ::2]) for result in results]))
            self._sketches[name] = Sketch(self._selected(results), blankness)
        return self._sketches[name]

    def learn(self, name: str, sketch: Sketch) -> None:
        """Keep what a worker found out."""
        self._sketches[name] = sketch

    def _selected(self, results: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(
            [
                result.reshape(-1)[places]
                for result, places in zip(results, self._places, strict=True)
            ]
        )

    def _single(self, name: str, spec: Spec) -> list[np.ndarray]:
        return self._results.get(
            name, lambda: [library_of(self.library).apply(spec, image) for image in self.images]
        )

    def _composition(self, parts: Sequence[Spec]) -> list[np.ndarray]:
        library = library_of(self.library)
        first = library.describe(parts[0]["family"], parts[0]["parameters"])
        results = self._single(first["id"], first)
        for part in parts[1:]:
            results = [library.apply(part, result) for result in results]
        return results

    def change(self, name: str, spec: Spec) -> float:
        """How much it changes an image: the median over the images."""
        return self._median(self.sketch(name, spec).pixels, self._identity)

    def blank(self, name: str, spec: Spec) -> float:
        """How blank it leaves an image: the median share of the most common colour."""
        return self.sketch(name, spec).blank

    def apart(self, name: str, spec: Spec, other: str, other_spec: Spec) -> float:
        """How far two transformations are apart: the median over the images."""
        return self._median(self.sketch(name, spec).pixels, self.sketch(other, other_spec).pixels)

    def _median(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(
            np.median(
                [
                    levels_flat(one, other)
                    for one, other in zip(
                        np.split(x, self._ends), np.split(y, self._ends), strict=True
                    )
                ]
            )
        )

    def distinct(
        self, wanted: Mapping[str, Spec], known: Mapping[str, Spec], least: float
    ) -> dict[str, tuple[str, float]]:
        """Of `wanted`, in order, those that are nearer than `least` to one of `known` or to an earlier one that is kept.

        The distance is the RMSE over all images together. Gives for each its nearest and the distance.
        """
        near: dict[str, tuple[str, float]] = {}
        if not wanted:
            return near
        specs = {**known, **wanted}
        names = list(specs)
        matrix = np.stack([self.sketch(name, spec).pixels for name, spec in specs.items()])
        coarse = _coarse(matrix).astype(np.float32)
        norms = (coarse**2).mean(1)
        # Coarse distances only choose whom to measure in whole numbers, which no BLAS can round another way.
        guess = norms[:, None] + norms[None, :] - 2 / coarse.shape[1] * (coarse @ coarse.T)
        for row in range(len(known), len(names)):
            earlier = [
                i
                for i in np.flatnonzero(guess[row, :row] < 2.5 * least**2 + 4)
                if names[i] not in near
            ]
            exact = min(
                ((levels_flat(matrix[row], matrix[i]), names[i]) for i in earlier),
                default=(least, ""),
            )
            if exact[0] < least:
                near[names[row]] = (exact[1], exact[0])
        return near

    def nearest(
        self, wanted: Sequence[str], specs: Mapping[str, Spec]
    ) -> dict[str, tuple[str, ...]]:
        """For each of `wanted` the ids of the 160 transformations of `specs` that are most like it, the nearest first."""
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
        """By id, whether none of copy-b, copy-a-prime and color-transfer has a mean edit recovery of 0.5 on the calibration pairs.

        Pairs on which it changes b by less than `least_change` levels do not count; a transformation without any is not hard.
        """
        tried = run_pieces(
            partial(self._hard, least_change),
            list(specs.values()),
            self.workers,
            describe="trying the trivial methods",
        )
        return dict(zip(specs, tried, strict=True))

    def _hard(self, least_change: float, spec: Spec) -> bool:
        library, recovered = library_of(self.library), []
        for a, b in self.pairs:
            b_prime = library.apply(spec, b)
            if levels(b, b_prime) < least_change:
                continue
            a_prime = library.apply(spec, a)
            guesses = (b, a_prime, affine_colour_transfer(a, a_prime, b))
            recovered.append([edit_recovery(guess, b, b_prime) for guess in guesses])
        return bool(recovered) and bool(np.mean(recovered, axis=0).max() < HARD_THRESHOLD)


def calibrate(recipe: Recipe, roles: Roles, workers: int = 1) -> Calibration:
    """Calibration pairs from the sources of that role: a photograph and a scene where there are both, never twice one source.

    Scenes are taken by their number, so that more scenes change nothing. InputError when there are not two sources.
    """
    pool = roles.needed("calibration")
    if len(pool.photographs) + len(pool.scenes) < 2:
        raise InputError(
            "The role calibration has one source and needs two or more, an a and a b; give it a greater share."
        )
    size, pictures = panel_of(recipe), _pictures(recipe, pool, 2 * CALIBRATION_PAIRS, "calibration")
    if size.long_edge is not None:
        pictures = [
            fit(picture, (pictures[i - i % 2].shape[1], pictures[i - i % 2].shape[0]))
            for i, picture in enumerate(pictures)
        ]
    # Every other pair is turned, so that photographs and scenes both serve as b.
    pairs = [
        (pictures[i], pictures[i + 1]) if i % 4 else (pictures[i + 1], pictures[i])
        for i in range(0, len(pictures), 2)
    ]
    return Calibration(recipe.transformations.library, pairs, workers)


def own_images(recipe: Recipe, roles: Roles, workers: int = 1) -> Calibration:
    """Images of a suite's own bs, to see which transformations they cannot tell apart: of as many sources as the number allows."""
    pictures = _pictures(recipe, roles.needed("b"), OWN_IMAGES, "own")
    return Calibration(
        recipe.transformations.library, [(picture, picture) for picture in pictures], workers
    )


def _pictures(recipe: Recipe, pool: Pool, count: int, word: str) -> list[np.ndarray]:
    """Seeded panels of a pool's sources in turn, photographs and scenes by turns where it has both."""
    kinds = [kind for kind in (pool.photographs, pool.scenes) if kind]
    turns = [(kinds[i % len(kinds)], i // len(kinds)) for i in range(count)]
    sources = [kind[turn % len(kind)] for kind, turn in turns]
    return [
        cut(source, recipe, int.from_bytes(draw(recipe.seed, word, source.name, i)[:6]))
        for i, source in enumerate(sources)
    ]


def _coarse(sketches: np.ndarray) -> np.ndarray:
    """Some three thousand values of each sketch (a row), which lie next to each other in memory."""
    return np.ascontiguousarray(sketches[:, :: max(1, sketches.shape[1] // COARSE)])


def levels_flat(x: np.ndarray, y: np.ndarray) -> float:
    """The RMSE of two flat uint8 arrays, in levels, summed in whole numbers."""
    difference = x.astype(np.int32) - y
    return float((int((difference * difference).sum(dtype=np.int64)) / x.size) ** 0.5)
