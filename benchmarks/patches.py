"""Measure what the classical methods recover on photographs that are in no suite.

And what patch-analogy costs by size.

    python benchmarks/patches.py                # some two minutes on one free core
    python benchmarks/patches.py --families     # every family in a line

The photographs are bundled ones in colour that the demo's suite leaves to training, `dev` and
calibration. The families are those of the demo's training dataset, with three presets each; a and b
are two photographs. Edits under 8 levels RMSE are left out, as in a suite.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder, which has a datagen.py: `datagen` is the package

import numpy as np

from datagen.recipe.reading import read_recipe
from datagen.sources.bundled import bundled
from datagen.sources.crops import Panel, cut_panel
from datagen.transformations import library
from lorweb_bench.methods.baselines import affine_colour_transfer
from lorweb_bench.methods.image_analogies import patch_analogy

PHOTOGRAPHS = ("grace_hopper", "hubble_deep_field", "ihc", "motorcycle_left", "retina")
PER_FAMILY, SIZE, SIZES, LEAST = 3, 64, (64, 128, 256, 512), 8.0
Item = tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def items() -> Iterator[Item]:
    """The family, a, a_prime, b and b_prime of each item."""
    own = [source for source in bundled() if source.name in PHOTOGRAPHS]
    families = read_recipe("photos-mini-train").transformations.families
    for f, family in enumerate(families):
        specs = [spec for spec in library().singles().values() if spec["family"] == family]
        for turn in range(PER_FAMILY):
            first = (turn + f) % len(own)
            sources = own[first], own[(first + 1 + turn % (len(own) - 1)) % len(own)]
            a, b = (
                cut_panel(source, Panel(square=SIZE), 2 * turn + i)
                for i, source in enumerate(sources)
            )
            a_prime, b_prime = (
                library().apply(specs[turn % len(specs)], image) for image in (a, b)
            )
            if np.sqrt(error(b, b_prime)) >= LEAST:
                yield family, a, a_prime, b, b_prime


def error(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.square(x.astype(float) - y).mean())


def recovered(method: Callable[..., np.ndarray], item: Item) -> float:
    """`edit_recovery` of one item."""
    _, a, a_prime, b, b_prime = item
    return float(np.clip(1 - error(method(a, a_prime, b), b_prime) / error(b, b_prime), -1, 1))


def main() -> None:
    """Print the table, then the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--families", action="store_true", help="Every family in a line.")
    shown = parser.parse_args().families
    chosen = list(items())
    for name, method in (
        ("color-transfer", affine_colour_transfer),
        ("patch-analogy", patch_analogy),
    ):
        by_family: dict[str, list[float]] = {}
        for item in chosen:
            by_family.setdefault(item[0], []).append(recovered(method, item))
        means = {family: float(np.mean(values)) for family, values in by_family.items()}
        print(
            f"{name}: edit_recovery {np.mean(list(means.values())):.3f}, "
            f"mean of {len(means)} families, {len(chosen)} items",
            flush=True,
        )
        if shown:
            print("  " + ", ".join(f"{family} {value:.2f}" for family, value in means.items()))
    source = next(source for source in bundled() if source.name == PHOTOGRAPHS[0])
    for size in SIZES:
        a, b = (cut_panel(source, Panel(square=size), seed) for seed in (0, 1))
        times = []
        for _ in range(3):
            started = time.process_time()
            patch_analogy(a, 255 - a, b)
            times.append(time.process_time() - started)
        print(f"patch-analogy at {size} px: {np.median(times):.2f} s of one core", flush=True)


if __name__ == "__main__":
    main()
