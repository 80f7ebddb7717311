"""Samples a second from shards where they lie, beside the local loader.

    python benchmarks/streaming.py        # about a minute on one core

One process reads and decodes every sample of a training set, in turns: by the training loader from
the disk, and by pipelines of WebDataset's own from paths, from a web server on this machine and
from a command's output, without and with the comparison of sums. Medians of the turns are printed,
and their ratio to the loader's.
"""

import argparse
import functools
import http.server
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder has a datagen.py

import webdataset as wds

import lorweb_bench as lb
from datagen.build import build
from datagen.recipe.reading import read_recipe
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.runtime.yaml_files import to_yaml

RECIPE: dict[str, Any] = {
    "name": "streamed",
    "version": "1",
    "seed": 3,
    "source": {
        "kind": "photographs",
        "path": "bundled",
        "assign": {
            "train": ["astronaut", "brick", "grass", "gravel", "ihc"],
            "calibration": ["retina", "camera"],
        },
    },
    "transformations": {"families": ["invert", "sepia", "solarise", "posterise"]},
    "analogies_per_pair": 1,
}
BATCH = 8
Read = Callable[[], int]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server's handler that prints nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def made(folder: Path, items: int, size: int) -> Dataset:
    """A training dataset of so many items of so many pixels."""
    file = folder / "recipe.yaml"
    file.write_text(to_yaml({**RECIPE, "panel": {"square": size}, "splits": {"train": items}}))
    built = build(read_recipe(str(file)), folder / "train")
    assert built is not None
    return built.dataset


def by_the_loader(dataset: Dataset) -> int:
    """Read one pass of the training loader; gives the samples read."""
    loader = lb.training_loader(dataset.path, batch_size=BATCH)
    read = 0
    for batch in loader:
        read += len(batch["records"])
        if read >= dataset.split("train").samples:
            return read
    return read


def plain(urls: list[str]) -> int:
    """Read all samples with WebDataset's reader and our decoder."""
    return _count(wds.WebDataset(urls, shardshuffle=False).map(lb.decode))


def summed(urls: list[str]) -> int:
    """Read all samples with our reader, which compares sums, and our decoder."""
    return _count(wds.DataPipeline(wds.SimpleShardList(urls), lb.read_shards, wds.map(lb.decode)))


def _count(samples: Iterable[Any]) -> int:
    return sum(1 for _ in samples)


def rate(read: Read) -> float:
    """Samples a second."""
    began = time.perf_counter()
    return read() / (time.perf_counter() - began)


def ways(dataset: Dataset, address: str) -> dict[str, Read]:
    """What is compared, by name."""
    paths = lb.shard_urls(dataset.path)
    served = lb.shard_urls(address)
    pipes = [f"pipe:cat {shlex.quote(path)}" for path in paths]
    return {
        "training loader, disk": functools.partial(by_the_loader, dataset),
        "WebDataset, paths": functools.partial(plain, paths),
        "WebDataset, http": functools.partial(plain, served),
        "read_shards, paths": functools.partial(summed, paths),
        "read_shards, http": functools.partial(summed, served),
        "read_shards, pipe": functools.partial(summed, pipes),
    }


def main() -> None:
    """Build, serve, measure in turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = made(Path(folder), options.items, options.size)
        handler = functools.partial(Quiet, directory=str(dataset.path))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            compared = ways(dataset, f"http://127.0.0.1:{server.server_port}")
            rates: dict[str, list[float]] = {name: [] for name in compared}
            for _ in range(options.turns):
                for name, read in compared.items():
                    rates[name].append(rate(read))
            server.shutdown()
    first = statistics.median(next(iter(rates.values())))
    for name, values in rates.items():
        median = statistics.median(values)
        print(f"{name:24} {median:7.1f} samples/s  {median / first:5.2f} of the loader's")


if __name__ == "__main__":
    main()
