"""Choose how to fit, on transformations that are not in the suite.

The transformations are of families that the training dataset and the suite leave out, unseen
presets of trained families, and compositions of a trained transformation with such a preset; for
comparison, trained ones too. They are run on the pictures of the training dataset's split `dev`. So
nothing of a suite is looked at.

    python -P benchmarks/fit.py --fit steps=20 --fit steps=20,space=span

With `--crops 2` every fit also gets two crops of the pair, enlarged, as further pairs. Where an
edit moves pixels, or depends on the place, these are pairs of another edit.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.images import to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.metrics.edit_recovery import edit_recovery
from lorweb_bench.runtime.settings import parse_options
from reference_model.method import from_checkpoint

LEAST_CHANGE = 8.0  # RMSE in levels, as the items of a suite change
WORSE = 0.05  # edit_recovery that an item may lose
CROP = 0.75  # side of a crop of the pair
CORNERS = ((0, 0), (1, 1), (1, 0), (0, 1))  # of which crops are taken, by their number


@dataclass(frozen=True)
class Item:
    """An analogy that no training and no suite has shown, and what is right."""

    tier: str
    triplet: Triplet
    b_prime: np.ndarray


def changes(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether an edit is visible."""
    difference = before.astype(np.float32) - after
    return float(np.sqrt(np.square(difference).mean())) >= LEAST_CHANGE


def specs_by_tier(train: Dataset, suite: Dataset) -> dict[str, Callable[[Any], dict[str, Any]]]:
    """By tier, a function that draws a transformation with a random generator."""
    library: Any = train.library()
    taken = {**train.manifest.transformations, **suite.manifest.transformations}
    trained = {info.family for info in train.manifest.transformations.values()}
    families = {info.family for info in taken.values()}
    singles = library.singles().values()
    others = [spec for spec in singles if spec["family"] not in families]
    presets = [s for s in singles if s["family"] in trained and s["id"] not in taken]
    known = [spec for spec in singles if spec["id"] in train.manifest.transformations]

    def composition(random: Any) -> dict[str, Any]:
        while True:
            parts = [known[random.integers(len(known))], presets[random.integers(len(presets))]]
            if parts[0]["family"] != parts[1]["family"]:
                spec: dict[str, Any] = library.compose(
                    *(parts if random.random() < 0.5 else parts[::-1])
                )
                if spec["id"] not in taken:
                    return spec

    return {
        "other_family": lambda random: others[random.integers(len(others))],
        "other_preset": lambda random: presets[random.integers(len(presets))],
        "other_composition": composition,
        "trained": lambda random: known[random.integers(len(known))],
    }


def draw_items(train: Dataset, suite: Dataset, per_tier: int, seed: int) -> list[Item]:
    """Items on the pictures of `dev`, as many in each tier."""
    library, random = train.library(), np.random.default_rng(seed)
    pictures = list(train.quadruplets("dev"))
    items: list[Item] = []
    for tier, draw in specs_by_tier(train, suite).items():
        made = 0
        while made < per_tier:
            spec, shown = draw(random), pictures[random.integers(len(pictures))]
            a, b = np.asarray(shown.a), np.asarray(shown.b)
            a_prime, b_prime = library.apply(spec, a), library.apply(spec, b)
            if changes(a, a_prime) and changes(b, b_prime):
                key = f"{tier}-{made}"
                triplet = Triplet(key, shown.a, to_image(a_prime), shown.b, None, made)
                items.append(Item(tier, triplet, b_prime))
                made += 1
    return items


def crop(picture: Image.Image, corner: tuple[int, int]) -> Image.Image:
    """The part of a picture at a corner, enlarged to the picture's size."""
    width, height = picture.size
    left, top = (round((1 - CROP) * n * side) for n, side in zip(corner, picture.size, strict=True))
    box = (left, top, left + round(CROP * width), top + round(CROP * height))
    return picture.resize(picture.size, Image.Resampling.BICUBIC, box=box)


def with_crops(items: Sequence[Item], count: int) -> list[Item]:
    """The items with so many crops of their pair as further pairs."""
    found = []
    for item in items:
        pair = item.triplet.pairs[0]
        further = tuple((crop(pair[0], c), crop(pair[1], c)) for c in CORNERS[:count])
        found.append(replace(item, triplet=replace(item.triplet, further_pairs=further)))
    return found


def recoveries(model: str, items: Sequence[Item], fit: dict[str, Any] | None) -> np.ndarray:
    """edit_recovery of each item."""
    method = from_checkpoint(model, fit=fit)
    answers: list[Any] = []
    for start in range(0, len(items), method.batch_size):
        part = items[start : start + method.batch_size]
        answers += method.predict([item.triplet for item in part])
    pairs = zip(answers, items, strict=True)
    values = [edit_recovery(np.asarray(x), np.asarray(i.triplet.b), i.b_prime) for x, i in pairs]
    return np.array(values)


def main() -> None:
    """Print a row for the router and for each way to fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", default="photos-mini-train")
    parser.add_argument("--suite", default="photos-mini")
    parser.add_argument("--model", default="lorweb")
    parser.add_argument("--items", type=int, default=20, help="in each tier")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--crops", type=int, default=0, help="of the pair, 0 to 4")
    parser.add_argument("--fit", action="append", default=[], help="steps=20,space=span")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    train, suite = open_dataset(arguments.train), open_dataset(arguments.suite)
    items = draw_items(train, suite, arguments.items, arguments.seed)
    tiers = np.array([item.tier for item in items])
    router = recoveries(arguments.model, items, None)
    shown = with_crops(items, arguments.crops)
    for words in ("", *arguments.fit):
        started = time.process_time()
        fit = dict(parse_options(words.split(","))) if words else None
        values = router if fit is None else recoveries(arguments.model, shown, fit)
        seconds = (time.process_time() - started) / len(items)
        gain = values - router
        means = ", ".join(f"{t} {values[tiers == t].mean():.3f}" for t in dict.fromkeys(tiers))
        print(
            f"{words or 'router'}: {means}; all {values.mean():.3f}, gain {gain.mean():+.3f} "
            f"(standard error {gain.std(ddof=1) / len(gain) ** 0.5:.3f}), better "
            f"{np.mean(gain > 0):.0%}, worse by more than {WORSE} {np.mean(gain < -WORSE):.1%}, "
            f"{seconds:.2f} s an item",
            flush=True,
        )


if __name__ == "__main__":
    main()
