"""What scoring costs: over decoding, per retrieval candidate, with two workers, and in memory as the suite grows.

    python benchmarks/scoring.py                     # all four, about four minutes on one core
    python benchmarks/scoring.py --only decode       # or workers, retrieval, memory

Suites are made of the bundled photographs and the installed transformations; everything that is compared is measured in
turns in one run, and medians of the ratios are printed: other work on the machine slows both sides.
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
from pathlib import Path

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder, which has a datagen.py: `datagen` is the package

import cv2
import numpy as np

from datagen.sources.bundled import bundled
from datagen.sources.crops import Panel, cut_panel
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.metrics.base import Scored, load_metric
from lorweb_bench.predictions.reader import open_predictions
from lorweb_bench.protocol import CANDIDATES
from lorweb_bench.scoring.score import Task, _pieces, _score_batches, score

CLASSIC = ("mse", "psnr", "ssim", "edit_recovery")
SHARD = 64
TIMES = 3  # turns of each comparison


def make(folder: Path, items: int, size: int) -> Dataset:
    """A suite of single transformations on crops of the bundled photographs, half seen and half unseen, and predictions beside it.

    A prediction is the answer with a little noise, which is as slow to decode as a real one.
    """
    specs = [spec for spec in library().singles().values() if spec["family"] != "letter"][
        :CANDIDATES
    ]
    names = [spec["id"] for spec in specs]
    photographs = [source for source in bundled() if min(source.load().shape[:2]) >= size]
    rng = np.random.default_rng(0)
    (folder / "predictions").mkdir(parents=True)
    for split, tier, start in (
        ("seen", "seen_single", 0),
        ("unseen", "new_parameters", items // 2),
    ):
        for first in range(0, items // 2, SHARD):
            with ShardWriter(folder / "suite", split, first // SHARD) as shard:
                for i in range(start + first, start + min(first + SHARD, items // 2)):
                    key, spec, source = (
                        f"{i:08x}",
                        specs[i % len(specs)],
                        photographs[i % len(photographs)],
                    )
                    a, b = (
                        cut_panel(source, Panel(square=size), seed) for seed in (2 * i, 2 * i + 1)
                    )
                    panels = {
                        "a": a,
                        "a_prime": library().apply(spec, a),
                        "b": b,
                        "b_prime": library().apply(spec, b),
                    }
                    record = {
                        "id": key,
                        "transformation": spec["id"],
                        "family": spec["family"],
                        "kind": spec["kind"],
                        "tier": tier,
                    }
                    record |= {
                        "instruction": "",
                        "a_source": f"a-{source.name}",
                        "b_source": f"{source.name} {i % 9}",
                        "licence": "",
                    }
                    record |= {
                        "attribution": "",
                        "width": size,
                        "height": size,
                        "hard": False,
                        "candidates": names,
                    }
                    shard.add(
                        key,
                        {role: (encode(image), "png") for role, image in panels.items()},
                        record,
                    )
                    noisy = np.clip(panels["b_prime"] + rng.normal(0, 4, a.shape), 0, 255).astype(
                        np.uint8
                    )
                    (folder / "predictions" / f"{key}.png").write_bytes(encode(noisy))
    known = {
        s["id"]: {k: v for k, v in s.items() if k != "id"} | {"tier": "seen_single"} for s in specs
    }
    described = {
        "name": "benchmark",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformations": known,
    }
    return finish_dataset(
        folder / "suite",
        {**described, "transformation_library": "datagen", "tiers_relative_to": "0" * 64},
    )


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """How long it takes, in this process's own time: what others do on the machine does not count."""
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
    """Scoring over decoding: every image that scoring reads is decoded in both, a and a_prime too."""
    suite = make(folder, items, size)
    opened = open_predictions(folder / "predictions", suite, "benchmark")

    def only_decode() -> None:
        for split in suite.scored_splits:
            for quadruplet in suite.quadruplets(split):
                to_array(opened[quadruplet.key])

    def values() -> None:
        for piece in _pieces(suite, opened, None):
            for _ in _score_batches(Task(suite, CLASSIC, False), piece):
                pass

    of_items, scored, decoded = ratio(values, only_decode)
    whole, all_of_it, _ = ratio(
        lambda: score(folder / "predictions", suite, CLASSIC, name="benchmark"), only_decode
    )
    print(
        f"{size} px, {items} items: decoding {decoded * 1000 / items:.2f} ms an item, scoring {scored * 1000 / items:.2f} ms"
    )
    print(
        f"  scoring over decoding {of_items:.2f}; with the report's intervals, {all_of_it - scored:.1f} s for any suite, {whole:.2f}"
    )


def retrieval(folder: Path, size: int, items: int) -> None:
    """What a candidate costs: rendered the first time, read from the cache after that, and compared."""
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
        f"{size} px: a candidate {1e6 * first / count:.0f} us the first time, {1e6 * again / count:.0f} us again (from the cache)"
    )


def workers(folder: Path, size: int, items: int) -> None:
    """Two processes over one, with all metrics, candidates not kept: the work that is worth sharing out."""
    suite = make(folder, items, size)
    os.environ["LORWEB_BENCH_CACHE"] = ""
    places = (folder / "predictions", suite.path)
    runs = [lambda n=n: score(*places, name="benchmark", workers=n) for n in (1, 2)]
    faster, one, two = ratio(runs[0], runs[1], time.perf_counter)
    told = f"{faster:.2f} times as fast on {os.cpu_count()} cores, at a load of {os.getloadavg()[0]:.0f}"
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
    """Peak memory as the suite grows: a report holds one row per item, and images a batch at a time."""
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
    "workers": (workers, ((128, 960),)),
    "memory": (memory, ((256, 64),)),
}


def cases(only: str | None) -> Iterator[tuple[str, Callable[[Path, int, int], None], int, int]]:
    """What is to be measured."""
    for name, (work, sizes) in PARTS.items():
        if only in (None, name):
            yield from ((name, work, size, items) for size, items in sizes)


def main() -> None:
    """Print a line or two for each measurement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=list(PARTS))
    given = parser.parse_args()
    cv2.setNumThreads(1)  # one thread on both sides of a comparison
    for name, work, size, items in cases(given.only):
        with tempfile.TemporaryDirectory(prefix="lorweb-bench-scoring-") as folder:
            os.environ["LORWEB_BENCH_CACHE"] = f"{folder}/cache"
            print(f"{name}: ", end="", flush=True)
            work(Path(folder), size, items)


if __name__ == "__main__":
    main()
