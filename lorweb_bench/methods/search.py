"""Bounds by search: what an open book of the library can do, and how near an item comes to what was trained on."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lorweb_bench.data.composition import steps_of
from lorweb_bench.data.images import pixel_hash, to_array, to_image
from lorweb_bench.data.samples import Quadruplet, Triplet
from lorweb_bench.data.transformation_library import TransformationLibrary, load_library
from lorweb_bench.errors import InputError
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


@dataclass
class Renderer:
    """Runs single transformations, remembering what it rendered of the images seen last (analogies share their panels)."""

    library: TransformationLibrary
    budget: int = MEMORY
    _kept: "OrderedDict[str, dict[str, np.ndarray]]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def run(self, name: str, spec: Spec, image: np.ndarray, digest: str) -> np.ndarray:
        """`spec` run on an image; `name` stands for the spec and `digest` for the image."""
        of_image = self._kept.setdefault(digest, {})
        self._kept.move_to_end(digest)
        if name in of_image:
            return of_image[name]
        result = self.library.apply(spec, image)
        while self._bytes + result.nbytes > self.budget and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= sum(array.nbytes for array in dropped.values())
        if self._bytes + result.nbytes <= self.budget:
            of_image[name] = result
            self._bytes += result.nbytes
        return result


class LibrarySearch:
    """The library's transformation that best explains a to a_prime by MSE, run on b: what an open book can do.

    Every single preset is tried. Where none is exact, compositions follow greedily: each of the best singles (of different
    families) as the first and as the second step; the other step is one preset of every family, then every preset of the
    families that came nearest.
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
                f"library-search needs a library that lists its transformations; {name!r} has no singles()."
            )
        self._library, self._renderer = library, Renderer(library)
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
        """The one or two single transformations, in order, that bring a nearest to a_prime (uint8 H x W x 3)."""
        digest, pair = pixel_hash(a), pixel_hash(a) + pixel_hash(a_prime)
        if pair not in self._found:
            self._found[pair] = tuple(
                self._singles[name] for name in self._search(a, a_prime, digest)
            )
        return self._found[pair]

    def _search(self, a: np.ndarray, a_prime: np.ndarray, digest: str) -> tuple[str, ...]:
        def once(name: str) -> np.ndarray:
            return self._renderer.run(name, self._singles[name], a, digest)

        def then(name: str, image: np.ndarray) -> np.ndarray:
            return self._library.apply(self._singles[name], image)

        errors = {name: mse(once(name), a_prime) for name in self._singles}
        best, error = min(errors, key=errors.__getitem__), min(errors.values())
        answer: tuple[str, ...] = (best,)
        leaders = sorted(
            (min(names, key=errors.__getitem__) for names in self._families.values()),
            key=errors.__getitem__,
        )
        for part in leaders[:BEAM]:
            for first in (True, False):
                if error == 0.0:
                    return answer
                start = once(part)
                tried: dict[str, float] = {}

                def attempt(
                    names: Iterable[str],
                    first: bool = first,
                    part: str = part,
                    start: np.ndarray = start,
                    tried: Any = tried,
                ) -> None:
                    for name in names:
                        if name not in tried:
                            tried[name] = mse(
                                then(name, start) if first else then(part, once(name)), a_prime
                            )

                attempt(names[len(names) // 2] for names in self._families.values())
                nearest = sorted(tried, key=tried.__getitem__)[:FAMILIES]
                attempt(
                    name
                    for near in nearest
                    for name in self._families[self._singles[near]["family"]]
                )
                other = min(tried, key=tried.__getitem__)
                if tried[other] < error:
                    answer, error = ((part, other) if first else (other, part)), tried[other]
        return answer


class NearestSeen:
    """The trained transformation whose result on b is nearest to b_prime: is the item really new?

    It looks at the answer, and so needs the full view. Every trained single is tried, and every trained composition that
    holds one of the five nearest singles; an item's own transformation, where it was trained on, is always among them.
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
        self._renderer = Renderer(self._library)

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
        own = q.record.transformation
        if own in self._specs and mse(result := self._run(own, b, digest), b_prime) == 0.0:
            return result
        errors = {
            name: mse(self._run(name, b, digest), b_prime)
            for name, steps in self._steps.items()
            if len(steps) == 1
        }
        near = sorted(errors, key=errors.__getitem__)[:NEAREST]
        for name in dict.fromkeys(
            c
            for single in near
            for c in self._holding.get(canonical_json(self._steps[single][0]), ())
        ):
            errors[name] = mse(self._run(name, b, digest), b_prime)
        return self._run(min(errors, key=errors.__getitem__), b, digest)

    def _run(self, name: str, b: np.ndarray, digest: str) -> np.ndarray:
        first, *rest = self._steps[name]
        result = self._renderer.run(canonical_json(first), first, b, digest)
        for step in rest:
            result = self._library.apply(step, result)
        return result
