"""Bounds by search: what an open book of the library can do, and how near an item comes to what was
trained on.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lorweb_bench.data.composition import steps_of
from lorweb_bench.data.images import pixel_hash, to_array, to_image
from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.candidates import Renderer
from lorweb_bench.metrics.pixel import mse
from lorweb_bench.protocol import SEEN_TIERS
from lorweb_bench.runtime.files import canonical_json

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import Dataset

BEAM = 2  # library-search: single transformations that are tried as a part of a composition
FAMILIES = 4  # library-search: families of the other part whose every preset is then tried
NEAREST = 5  # nearest-seen: singles whose compositions are tried
MEMORY = 256 << 20  # bytes of rendered images that are kept at hand

Spec = Mapping[str, Any]


class LibrarySearch:
    """The library's transformation that best explains a to a_prime by MSE, run on b: what an open
    book can do.

    Every single preset is tried. Where none is exact, compositions follow greedily: each of the
    best singles (of different families) as the first and as the second step; the other step is one
    preset of every family, then every preset of the families that came nearest.
    """

    name = "library-search"
    track = "closed"
    needs = "the transformation library that the suite names, with singles()"

    def __init__(self, library: str | None = None) -> None:
        """`library` is the name of an installed one; by default the suite's."""
        self._name = library
        self._found: dict[str, tuple[Spec, ...]] = {}

    def prepare(self, suite: "Dataset") -> None:
        """Load the library and list its singles; InputError when it cannot be listed."""
        name = self._name or suite.manifest.transformation_library or "datagen"
        library = load_library(name)
        if not hasattr(library, "singles"):
            raise InputError(
                f"library-search needs a library that lists its transformations; {name!r} has no "
                "singles()."
            )
        self._library, self._renderer = library, Renderer(library, MEMORY)
        self._singles: dict[str, Spec] = library.singles()
        self._families: dict[str, list[str]] = {}
        for identifier, spec in self._singles.items():
            self._families.setdefault(spec["family"], []).append(identifier)

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """For each triplet the explanation of its pair, run on b."""
        results = []
        for t in triplets:
            result = to_array(t.b)
            for step in self.explain(to_array(t.a), to_array(t.a_prime)):
                result = self._library.apply(step, result)
            results.append(to_image(result))
        return results

    def explain(self, a: np.ndarray, a_prime: np.ndarray) -> tuple[Spec, ...]:
        """The one or two single transformations, in order, that bring a nearest to a_prime (uint8 H
        x W x 3).
        """
        digest, pair = pixel_hash(a), pixel_hash(a) + pixel_hash(a_prime)
        if pair not in self._found:
            self._found[pair] = tuple(
                self._singles[name] for name in self._search(a, a_prime, digest)
            )
        return self._found[pair]

    def _search(self, a: np.ndarray, a_prime: np.ndarray, digest: str) -> tuple[str, ...]:
        """The names of the one or two singles that bring a nearest to a_prime."""
        errors = {name: mse(self._run(name, a, digest), a_prime) for name in self._singles}
        best = min(errors, key=errors.__getitem__)
        answer: tuple[str, ...] = (best,)
        error = errors[best]
        of_families = (min(names, key=errors.__getitem__) for names in self._families.values())
        leaders = sorted(of_families, key=errors.__getitem__)
        for part, is_first in product(leaders[:BEAM], (True, False)):
            if error == 0.0:
                break
            partner, partner_error = self._best_partner(part, is_first, a, a_prime, digest)
            if partner_error < error:
                answer, error = ((part, partner) if is_first else (partner, part)), partner_error
        return answer

    def _best_partner(
        self, part: str, is_first: bool, a: np.ndarray, a_prime: np.ndarray, digest: str
    ) -> tuple[str, float]:
        """The single that composes best with `part`, which runs first or second, and its error.

        One preset of every family is tried, then every preset of the families that came nearest.
        """

        def error_with(name: str) -> float:
            first, second = (part, name) if is_first else (name, part)
            result = self._library.apply(self._singles[second], self._run(first, a, digest))
            return mse(result, a_prime)

        middle = [names[len(names) // 2] for names in self._families.values()]
        errors = {name: error_with(name) for name in middle}
        for name in sorted(errors, key=errors.__getitem__)[:FAMILIES]:
            for preset in self._families[self._singles[name]["family"]]:
                if preset not in errors:
                    errors[preset] = error_with(preset)
        partner = min(errors, key=errors.__getitem__)
        return partner, errors[partner]

    def _run(self, name: str, image: np.ndarray, digest: str) -> np.ndarray:
        return self._renderer.run(name, self._singles[name], image, digest)


class NearestSeen:
    """The trained transformation whose result on b is nearest to b_prime: is the item really new?

    It looks at the answer, and so needs the full view. Every trained single is tried, and every
    trained composition that holds one of the five nearest singles; an item's own transformation,
    where it was trained on, is always among them.
    """

    name = "nearest-seen"
    track = "closed"
    needs = "the suite's full view, and its transformation library"
    needs_full_view = True

    def prepare(self, suite: "Dataset") -> None:
        """List the trained transformations of the manifest; InputError when there are none."""
        trained = {
            name: info
            for name, info in suite.manifest.transformations.items()
            if info.trained or info.tier in SEEN_TIERS
        }
        if not trained:
            raise InputError(
                f"{suite.path} names no trained transformations, which nearest-seen chooses from."
            )
        self._specs: dict[str, Spec] = {name: info.spec for name, info in trained.items()}
        self._steps = {name: steps_of(spec) for name, spec in self._specs.items()}
        self._holding: dict[str, list[str]] = {}
        for name, steps in self._steps.items():
            for step in steps if len(steps) > 1 else ():
                self._holding.setdefault(canonical_json(step), []).append(name)
        self._library = suite.library()
        self._renderer = Renderer(self._library, MEMORY)

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """Refused: without the answer there is nothing to be nearest to."""
        raise InputError("nearest-seen looks at the answers, so it needs the suite's full view.")

    def predict_quadruplets(
        self, quadruplets: Sequence[Quadruplet], suite: "Dataset"
    ) -> list[Image.Image]:
        """The nearest trained result for each item."""
        return [to_image(self._nearest(q)) for q in quadruplets]

    def _nearest(self, q: Quadruplet) -> np.ndarray:
        if q.b_prime is None:
            raise InputError(
                "nearest-seen looks at the answers, so it needs the suite's full view."
            )
        b, b_prime = to_array(q.b), to_array(q.b_prime)
        digest = pixel_hash(b)
        transformation = q.record.transformation
        if (
            transformation in self._specs
            and mse(result := self._run(transformation, b, digest), b_prime) == 0.0
        ):
            return result
        errors = {
            name: mse(self._run(name, b, digest), b_prime)
            for name, steps in self._steps.items()
            if len(steps) == 1
        }
        near = sorted(errors, key=errors.__getitem__)[:NEAREST]
        for single in near:
            for name in self._holding.get(canonical_json(self._steps[single][0]), ()):
                if name not in errors:
                    errors[name] = mse(self._run(name, b, digest), b_prime)
        return self._run(min(errors, key=errors.__getitem__), b, digest)

    def _run(self, name: str, b: np.ndarray, digest: str) -> np.ndarray:
        first, *rest = self._steps[name]
        result = self._renderer.run(canonical_json(first), first, b, digest)
        for step in rest:
            result = self._library.apply(step, result)
        return result
