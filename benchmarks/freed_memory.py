"""Measure what it costs to give freed memory back to the kernel, on the tiny base.

    python -P benchmarks/freed_memory.py

Each row runs twice, in processes of their own, one after the other: as the package does it, and as
glibc does by default. Both get the processor's seconds, of which the kernel's, and the peak.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from lorweb_bench.data.images import to_image
from lorweb_bench.data.samples import Triplet
from reference_model.method import from_checkpoint

ITEMS = 32
WAYS = {"predict": None, "fit of 20 steps": {"steps": 20}}
DEFAULT = {"MALLOC_TRIM_THRESHOLD_": "131072"}  # glibc's own; with it the package sets nothing


def triplets() -> list[Triplet]:
    """Items of 128 pixels whose pair is a negative."""
    random = np.random.default_rng(0)
    found = []
    for number in range(ITEMS):
        coarse = random.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
        a, b = coarse.repeat(16, 1).repeat(16, 2)
        found.append(Triplet(str(number), to_image(a), to_image(255 - a), to_image(b), seed=number))
    return found


def measure(way: str) -> None:
    """Print user and kernel seconds, and the peak in MB, of this process."""
    torch.set_num_threads(1)
    method, items = from_checkpoint("lorweb", fit=WAYS[way]), triplets()
    method.predict(items[:2])
    before = resource.getrusage(resource.RUSAGE_SELF)
    method.predict(items)
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime, after.ru_maxrss / 1e3)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", choices=tuple(WAYS), help=argparse.SUPPRESS)
    asked = parser.parse_args().measure
    if asked:
        measure(asked)
        return
    started = time.monotonic()
    print(f"{ITEMS} items, seconds of the processor (of the kernel), peak in MB")
    for way in WAYS:
        for name, settings in (("kept", {}), ("given back", DEFAULT)):
            user, system, peak = subprocess.run(
                [sys.executable, "-P", __file__, "--measure", way],
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.split()[-3:]
            total = float(user) + float(system)
            print(f"{way:18}{name:12}{total:8.1f} ({float(system):.1f}){float(peak):8.0f}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
