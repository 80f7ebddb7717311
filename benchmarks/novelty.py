"""How often an analogy is called unlike the training data, by tier of a suite.

    python -P benchmarks/novelty.py --checkpoint lorweb --dataset photos-mini-train \\
      --suite photos-mini

Printed for each tier, for the training dataset's `dev`, and for pairs of two unrelated pictures:
how many analogies, the share beyond the threshold, and how often one is farther from the nearest
trained transformation than one of `dev` is (0.5: no difference, 1: always).
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import lorweb_bench as lb
from reference_model.applying.analogy import AnalogyModel


def farther(distances: np.ndarray, usual: np.ndarray) -> float:
    """How often one of some distances is larger than one of the usual ones."""
    return float((distances[:, None] > usual[None]).mean())


def main() -> None:
    """Measure the distances, and print a line for each group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=Path("lorweb"))
    parser.add_argument("--dataset", type=Path, required=True, help="its training dataset")
    parser.add_argument("--suite", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AnalogyModel(options.checkpoint)
    assert model.known is not None and model.known.threshold is not None

    def distance(a: Image.Image, a_prime: Image.Image, b: Image.Image) -> float:
        found = model.look((a, a_prime), b).distance
        assert found is not None
        return found

    groups: dict[str, list[float]] = defaultdict(list)
    for q in lb.open_dataset(options.dataset).quadruplets("dev"):
        groups["dev"].append(distance(q.a, q.a_prime, q.b))
    suite = lb.open_suite(options.suite)
    for split in suite.scored_splits:
        for q in suite.quadruplets(split):
            groups[q.record.tier].append(distance(q.a, q.a_prime, q.b))
            if split == "seen":
                groups["two unrelated pictures"].append(distance(q.a, q.b, q.b))
    usual = np.array(groups["dev"])
    for name, values in groups.items():
        measured = np.array(values)
        beyond = (measured > model.known.threshold).mean()
        print(f"{len(measured):5} {beyond:6.1%} {farther(measured, usual):5.2f}  {name}")


if __name__ == "__main__":
    main()
