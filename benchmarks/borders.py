"""Tell whether a method's pictures show the grid of the base's tokens.

    python -P benchmarks/borders.py demo/reports/ceiling demo/data/photos-mini

The mean step of brightness between neighbouring pixels across the borders of blocks, over that
inside of blocks: of the predictions, and of the true answers. Without a grid the two are alike.
"""

import argparse
from pathlib import Path

import numpy as np

from lorweb_bench.data.dataset import open_suite
from lorweb_bench.data.images import decode


def steps_of(picture: np.ndarray, block: int) -> tuple[float, float]:
    """Sums over both directions of the mean step across borders of blocks, and inside of them."""
    across, inside = 0.0, 0.0
    for turned in (picture, picture.transpose(1, 0, 2)):
        steps = np.abs(np.diff(turned.astype(float), axis=1)).mean((0, 2))
        is_border = np.arange(1, len(steps) + 1) % block == 0
        across += float(steps[is_border].mean())
        inside += float(steps[~is_border].mean())
    return across, inside


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("report", type=Path)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--block", type=int, default=16, help="pixels of a token's side")
    given = parser.parse_args()
    suite = open_suite(given.suite)
    sums = {"predictions": np.zeros(2), "truth": np.zeros(2)}
    for split in suite.scored_splits:
        for item in suite.quadruplets(split):
            path = given.report / "predictions" / f"{item.key}.png"
            predicted = np.asarray(decode(path.read_bytes(), str(path)))
            sums["predictions"] += steps_of(predicted, given.block)
            sums["truth"] += steps_of(np.asarray(item.b_prime), given.block)
    for name, (across, inside) in sums.items():
        print(f"{name:12} across borders over inside: {across / inside:.3f}")


if __name__ == "__main__":
    main()
