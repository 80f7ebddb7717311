"""What scoring costs: over decoding, per retrieval candidate, with two workers, and in memory as a
suite grows.

    python benchmarks/scoring.py                     # all five, about six minutes on one core
    python benchmarks/scoring.py --only decode       # or workers, retrieval, whole, memory
    python benchmarks/scoring.py --only whole --items 1200

Suites are made of the bundled photographs and the installed transformations. Everything that is
compared is measured in turns in one run, and medians of the ratios are printed: other work on the
machine slows both sides.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder, which has a datagen.py: `datagen` is the package

import cv2
import numpy as np

from datagen.sources.bundled import bundled
from datagen.sources.crops import Panel, cut_panel
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode, resize, to_array
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.metrics.base import Scored, load_metric
from lorweb_bench.predictions.reader import open_predictions
from lorweb_bench.protocol import CANDIDATES
from lorweb_bench.scoring.score import Task, _pieces, _score_batches, score

CLASSIC = ("mse", "psnr", "ssim", "edit_recovery")
SHARD = 64
WIDTH, HEIGHT = 480, 320  # pixels, of a suite like a recipe's
TIMES = 3  # turns of each comparison


def make(folder: Path, items: int, size: int) -> Dataset:
    """A suite of single transformations on crops of the bundled photographs, and predictions beside
    it.

    Half of it is seen and half unseen. A prediction is the answer with a little noise, which is as
    slow to decode as a real one.
    """
    photographs = [source for source in bundled() if min(source.load().shape[:2]) >= size]

    def panel(number: int) -> tuple[str, np.ndarray]:
        source = photographs[number // 2 % len(photographs)]
        return source.name, cut_panel(source, Panel(square=size), number)

    specs = _specs(CANDIDATES)
    names = [spec["id"] for spec in specs]
    return _suite(folder, items, specs, panel, lambda i: names)


def make_like_a_recipe(folder: Path, items: int) -> Dataset:
    """A suite as the recipe `photos` makes one: panels of 480x320, whole photographs, each behind
    20 items.

    The candidates of an item are drawn from 150 transformations, the truth among them.
    """
    sources = bundled()
    count = max(1, items // 20)

    def panel(number: int) -> tuple[str, np.ndarray]:
        index = number // 2 % count if number % 2 else count + number // 2 % count
        image = resize(sources[index % len(sources)].load(), (WIDTH + index, HEIGHT + index))
        return f"photograph {index}", np.ascontiguousarray(image[-HEIGHT:, -WIDTH:])

    specs = _specs(150)
    names = [spec["id"] for spec in specs]

    def candidates(item: int) -> list[str]:
        own = names[item % len(names)]
        drawn = np.random.default_rng(item).permutation([name for name in names if name != own])
        return sorted([own, *drawn[: CANDIDATES - 1].tolist()])

    return _suite(folder, items, specs, panel, candidates)


def _specs(count: int) -> list[dict[str, Any]]:
    """Single transformations of all families in turn."""
    by_family: dict[str, list[dict[str, Any]]] = {}
    for spec in library().singles().values():
        if spec["family"] != "letter":
            by_family.setdefault(spec["family"], []).append(spec)
    turns = zip_longest(*by_family.values())
    return [spec for turn in turns for spec in turn if spec is not None][:count]


def _suite(
    folder: Path,
    items: int,
    specs: list[dict[str, Any]],
    panel: Callable[[int], tuple[str, np.ndarray]],
    candidates: Callable[[int], list[str]],
) -> Dataset:
    """Write a suite and predictions.

    `panel` gives the source and the pixels of a (even) and b (odd).
    """
    rng = np.random.default_rng(0)
    (folder / "predictions").mkdir(parents=True)
    for split, tier, start in (
        ("seen", "seen_single", 0),
        ("unseen", "new_parameters", items // 2),
    ):
        for first in range(0, items // 2, SHARD):
            with ShardWriter(folder / "suite", split, first // SHARD) as shard:
                for i in range(start + first, start + min(first + SHARD, items // 2)):
                    key, spec = f"{i:08x}", specs[i % len(specs)]
                    (a_name, a), (b_name, b) = panel(2 * i), panel(2 * i + 1)
                    panels = {"a": a, "a_prime": library().apply(spec, a)}
                    panels |= {"b": b, "b_prime": library().apply(spec, b)}
                    record = {
                        "id": key,
                        "transformation": spec["id"],
                        "family": spec["family"],
                        "kind": spec["kind"],
                        "tier": tier,
                        "instruction": "",
                        "a_source": f"a-{a_name}",
                        "b_source": f"{b_name} {i % 9}",
                        "licence": "",
                        "attribution": "",
                        "width": b.shape[1],
                        "height": b.shape[0],
                        "hard": False,
                        "candidates": candidates(i),
                    }
                    encoded = {role: (encode(image), "png") for role, image in panels.items()}
                    shard.add(key, encoded, record)
                    _predict(folder / "predictions", key, panels["b_prime"], rng)
    described = {
        "name": "benchmark",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformation_library": "datagen",
        "tiers_relative_to": "0" * 64,
        "transformations": {spec["id"]: {**spec, "tier": "seen_single"} for spec in specs},
    }
    for info in described["transformations"].values():  # type: ignore[attr-defined]
        del info["id"]
    return finish_dataset(folder / "suite", described)


def _predict(folder: Path, key: str, image: np.ndarray, rng: np.random.Generator) -> None:
    """Write an image with a little noise as a prediction."""
    noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).round().astype(np.uint8)
    (folder / f"{key}.png").write_bytes(encode(noisy))


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """How long it takes, in this process's own time: what others do on the machine does not "
    "count."""
    started = clock()
    work()
    return clock() - started


def ratio(
    over: Callable[[], object],
    under: Callable[[], object],
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float, float]:
    """The median ratio of two times, taken in turns, and the medians of both in seconds."""
    pairs = [(seconds(over, clock), seconds(under, clock)) for _ in range(TIMES)]
    return (
        statistics.median(o / u for o, u in pairs),
        statistics.median(o for o, _ in pairs),
        statistics.median(u for _, u in pairs),
    )


def decode(folder: Path, size: int, items: int) -> None:
    """Scoring over decoding: every image that scoring reads is decoded in both, a and a_prime "
    "too."""
    suite = make(folder, items, size)
    opened = open_predictions(folder / "predictions", suite, "benchmark")

    def only_decode() -> None:
        for split in suite.scored_splits:
            for quadruplet in suite.quadruplets(split):
                to_array(opened[quadruplet.key])

    def values() -> None:
        for piece in _pieces(suite, opened, None):
            for _ in _score_batches(Task(suite, CLASSIC, None), piece):
                pass

    of_items, scored, decoded = ratio(values, only_decode)
    whole, all_of_it, _ = ratio(
        lambda: score(folder / "predictions", suite, CLASSIC, name="benchmark"), only_decode
    )
    print(
        f"{size} px, {items} items: decoding {decoded * 1000 / items:.2f} ms an item, scoring "
        f"{scored * 1000 / items:.2f} ms"
    )
    print(
        f"  scoring over decoding {of_items:.2f}; with the report's intervals, "
        f"{all_of_it - scored:.1f} s for any suite, {whole:.2f}"
    )


def retrieval(folder: Path, size: int, items: int) -> None:
    """What a candidate costs: rendered the first time, read from the cache after that, and
    compared.
    """
    suite = make(folder, items, size)
    opened = open_predictions(folder / "predictions", suite, "benchmark")
    batch = [
        Scored(q, to_array(opened[q.key]))
        for split in suite.scored_splits
        for q in suite.quadruplets(split)
    ]
    metric, count = load_metric("retrieval"), items * (CANDIDATES - 1)
    metric.values(batch[:1], suite)  # the library is imported
    first = seconds(lambda: metric.values(batch, suite))
    again = statistics.median(seconds(lambda: metric.values(batch, suite)) for _ in range(TIMES))
    print(
        f"{size} px: a candidate {1e6 * first / count:.0f} us the first time, "
        f"{1e6 * again / count:.0f} us again (from the cache)"
    )


def whole(folder: Path, size: int, items: int) -> None:
    """All metrics over decoding, on a suite like a recipe's: the first scoring, and those of other
    methods.
    """
    suite = make_like_a_recipe(folder, items)
    metrics = (*CLASSIC, "retrieval")
    rng = np.random.default_rng(1)
    kinds: dict[str, Callable[[Quadruplet], np.ndarray]] = {
        "the answer": lambda q: to_array(q.b_prime or q.b),
        "half of the edit": lambda q: to_array(q.b) / 2 + to_array(q.b_prime or q.b) / 2,
        "b": lambda q: to_array(q.b).astype(float),
        "a_prime": lambda q: to_array(q.a_prime).astype(float),
    }
    for kind, image in kinds.items():
        (folder / kind).mkdir()
        for split in suite.scored_splits:
            for q in suite.quadruplets(split):
                _predict(folder / kind, q.key, image(q), rng)

    def decoding(predictions: Path) -> None:
        opened = open_predictions(predictions, suite, "benchmark")
        for split in suite.scored_splits:
            for quadruplet in suite.quadruplets(split):
                to_array(opened[quadruplet.key])

    def scoring(predictions: Path) -> None:
        opened = open_predictions(predictions, suite, "benchmark")
        for piece in _pieces(suite, opened, None):
            for _ in _score_batches(Task(suite, metrics, None), piece):
                pass

    load_metric("retrieval")
    library()
    decoded = seconds(lambda: decoding(folder / "predictions"))
    first = seconds(lambda: scoring(folder / "predictions"))
    print(
        f"{WIDTH}x{HEIGHT}, {items} items: decoding {1000 * decoded / items:.1f} ms an item; "
        f"the first scoring over decoding {first / decoded:.2f}"
    )
    for kind in kinds:
        ratio_of_kind, _, _ = ratio(
            lambda kind=kind: scoring(folder / kind), lambda kind=kind: decoding(folder / kind)
        )
        print(f"  a later one, where the predictions are {kind} with noise: {ratio_of_kind:.2f}")


def workers(folder: Path, size: int, items: int) -> None:
    """Two processes over one, with all metrics, candidates not kept: the work that is worth sharing
    out.
    """
    suite = make(folder, items, size)
    os.environ["LORWEB_BENCH_CACHE"] = ""
    places = (folder / "predictions", suite.path)
    runs = [lambda n=n: score(*places, name="benchmark", workers=n) for n in (1, 2)]
    faster, one, two = ratio(runs[0], runs[1], time.perf_counter)
    load = f"{os.cpu_count()} cores, at a load of {os.getloadavg()[0]:.0f}"
    told = f"{faster:.2f} times as fast on {load}"
    print(f"{size} px, {items} items: one process {one:.1f} s, two {two:.1f} s, {told}")


def peak(folder: Path) -> float:
    """Peak memory of a process that scores a folder, in MB."""
    code = "import sys; from benchmarks.scoring import score_here; score_here(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    return float(done.stdout.split()[-1])


def score_here(folder: str) -> None:
    """Score with the classic metrics, and print the peak memory of this process in MB."""
    score(
        Path(folder) / "predictions",
        open_suite(Path(folder) / "suite"),
        CLASSIC,
        name="benchmark",
        out=Path(folder) / "report",
    )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(folder: Path, size: int, items: int) -> None:
    """Peak memory as the suite grows: a report holds one row per item, and images a batch at a
    time.
    """
    found = {}
    for times in (1, 2, 4):
        make(folder / str(times), items * times, size)
        found[items * times] = peak(folder / str(times))
    print(
        f"{size} px: "
        + ", ".join(f"{count} items {megabytes:.0f} MB" for count, megabytes in found.items())
    )


PARTS: dict[str, tuple[Callable[[Path, int, int], None], tuple[tuple[int, int], ...]]] = {
    "decode": (decode, ((64, 128), (256, 32), (384, 16))),
    "retrieval": (retrieval, ((64, 16), (256, 8))),
    "whole": (whole, ((480, 120),)),
    "workers": (workers, ((128, 960),)),
    "memory": (memory, ((256, 64),)),
}


def cases(
    only: str | None, wanted: int | None
) -> Iterator[tuple[str, Callable[[Path, int, int], None], int, int]]:
    """What is to be measured."""
    for name, (work, sizes) in PARTS.items():
        if only in (None, name):
            yield from ((name, work, size, wanted or items) for size, items in sizes)


def main() -> None:
    """Print a line or two for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--items", type=int, help="How many, in place of each part's own number.")
    given = parser.parse_args()
    cv2.setNumThreads(1)  # one thread on both sides of a comparison
    for name, work, size, items in cases(given.only, given.items):
        with tempfile.TemporaryDirectory(prefix="lorweb-bench-scoring-") as folder:
            os.environ["LORWEB_BENCH_CACHE"] = f"{folder}/cache"
            print(f"{name}: ", end="", flush=True)
            work(Path(folder), size, items)


if __name__ == "__main__":
    main()
