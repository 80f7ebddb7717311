"""What a build and the training loader cost, against the least that they could cost.

    python benchmarks/datagen.py                    # all parts, some ten minutes on two cores
    python benchmarks/datagen.py --only encoding    # or any other of PARTS below
    python benchmarks/datagen.py --only plan --photographs FOLDER --before a72402a

Images are crops of the bundled photographs. Everything that is compared is measured in turns in one
run, and medians of the ratios are printed: other work on the machine slows both sides. Where one
process does both sides, the ratio of processor time is printed too, which other work disturbs less.
"""

import argparse
import io
import itertools
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file's own folder: `datagen` is the package, not this file

import numpy as np
from PIL import Image

from datagen.build import build
from datagen.recipe.reading import read_recipe
from datagen.recipe.schema import Recipe
from datagen.sources.bundled import bundled
from datagen.sources.crops import Panel, cut_panel
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.protocol import ROLES
from lorweb_bench.runtime.yaml_files import to_yaml

KINDS = ("colour", "tone")
PARTS = ("encoding", "pairs", "workers", "memory", "loader", "checks", "colours", "plan")
ROOT = Path(__file__).parents[1]
Seconds = tuple[float, float]  # by the clock, of the processor
TRAIN = [
    "astronaut",
    "brick",
    "grass",
    "gravel",
    "hubble_deep_field",
    "ihc",
    "grace_hopper",
]  # 512 pixels and more on each side
CALIBRATION = ["retina", "camera"]


def recipe(folder: Path, items: int, size: int, families: list[str] | None = None) -> Recipe:
    """Training data of single colour and tone transformations, with no panel shared."""
    families = families or [
        family.name for family in library().families.values() if family.kind in KINDS
    ]
    source = {
        "kind": "photographs",
        "path": "bundled",
        "assign": {"train": TRAIN, "calibration": CALIBRATION},
    }
    content = {
        "name": "bench",
        "version": "1",
        "seed": 3,
        "source": source,
        "panel": {"square": size},
    }
    content |= {
        "transformations": {"families": families},
        "splits": {"train": items},
        "analogies_per_pair": 1,
    }
    path = folder / f"{items}-{size}.yaml"
    path.write_text(to_yaml(content))
    return read_recipe(path)


def made(wanted: Recipe, folder: Path, workers: int = 1) -> Dataset:
    """The recipe's dataset, built anew."""
    shutil.rmtree(folder, ignore_errors=True)
    built = build(wanted, folder, workers)
    assert built is not None
    return built.dataset


def timed(run: Callable[[], Any]) -> Seconds:
    """Seconds by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - clock, time.process_time() - processor


def turns(times: int, *sides: Callable[[], Any]) -> list[list[Seconds]]:
    """Each side timed in turns, so many times."""
    rounds = []
    for _ in range(times):
        rounds.append([timed(side) for side in sides])
    return rounds


def ratios(rounds: list[list[Seconds]], above: int = 0, below: int = 1) -> str:
    """The median of a ratio over the rounds, by the clock and by processor time.

    The least and the greatest ratio by the clock stand beside it.
    """
    clock = [seconds[above][0] / seconds[below][0] for seconds in rounds]
    processor = [seconds[above][1] / seconds[below][1] for seconds in rounds]
    spread = f"{min(clock):.2f}-{max(clock):.2f}"
    middle, of_processor = statistics.median(clock), statistics.median(processor)
    return f"{middle:.2f} ({spread} in {len(rounds)} turns; processor {of_processor:.2f})"


def panels(dataset: Dataset) -> Iterator[np.ndarray]:
    """Every image of the training split."""
    for quadruplet in dataset.quadruplets("train"):
        for role in ROLES:
            yield np.array(to_array(getattr(quadruplet, role)))


def encoding(folder: Path, items: int, times: int) -> None:
    """Build time over the time of encoding the same images alone."""
    wanted = recipe(folder, items, 512)
    images = list(panels(made(wanted, folder / "out")))
    rounds = turns(
        times, lambda: made(wanted, folder / "out"), lambda: [encode(image) for image in images]
    )
    print(
        f"build over encoding alone, {items} items of 512 pixels, {len(images)} images: "
        f"{ratios(rounds)}; the goal is 1.5 at most"
    )


def relation(folder: Path, pairs: int, size: int) -> Recipe:
    """A recipe over Relation252K's layout: one task, before and after side by side."""
    group = folder / "relation" / "negative" / "Group1"
    group.mkdir(parents=True, exist_ok=True)
    sources, rows = [source for source in bundled() if min(source.load().shape[:2]) >= size], []
    for i in range(pairs):
        before = cut_panel(sources[i % len(sources)], Panel(square=size), i)
        Image.fromarray(np.hstack([before, 255 - before])).save(
            group / f"{i:04d}.png", compress_level=1
        )
        rows.append({"img_name": f"{i:04d}.png", "edit_instruction": "make it negative"})
    (group / "labels.json").write_text(json.dumps(rows))
    content = {
        "name": "relation",
        "version": "1",
        "seed": 3,
        "source": {"kind": "relation252k", "path": str(folder / "relation")},
    }
    content |= {
        "panel": {"long_edge": size},
        "splits": {"train": "all"},
        "analogies_per_pair": "all",
    }
    (folder / "relation.yaml").write_text(to_yaml(content))
    return read_recipe(folder / "relation.yaml")


def pairs(folder: Path, count: int, size: int, times: int) -> None:
    """Analogies a second from Relation252K's layout, against encoding four panels for each."""
    wanted = relation(folder, count, size)
    dataset = made(wanted, folder / "out")
    analogies = dataset.split("train").samples
    images = list(itertools.islice(panels(dataset), 400))  # a hundred analogies' panels, in memory
    shutil.rmtree(folder / "out")
    rounds = turns(
        times, lambda: made(wanted, folder / "out"), lambda: [encode(image) for image in images]
    )
    rounds = [[(a[0] / analogies, a[1] / analogies), (b[0] / 100, b[1] / 100)] for a, b in rounds]
    rate = statistics.median(1 / one[0][0] for one in rounds)
    print(
        f"analogies a second from {count} pairs of {size} pixels ({analogies:,} analogies, "
        f"{rate:.0f} a second), over encoding their "
        f"panels each time (no reading, no writing): {ratios(rounds, 1, 0)}; the goal is 10 at "
        "least"
    )


COMMAND = [
    sys.executable,
    "-c",
    "from lorweb_bench.cli.main import main; main()",
    "datagen",
    "build",
]


def workers(folder: Path, items: int, times: int) -> None:
    """Two workers over one by the clock, each build a whole command."""
    recipe(folder, items, 256)

    def by(count: int) -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        words = [
            str(folder / f"{items}-256.yaml"),
            "-o",
            str(folder / "out"),
            "--workers",
            str(count),
        ]
        subprocess.run([*COMMAND, *words], cwd=ROOT, check=True, capture_output=True)

    found = sorted(one / two for (one, _), (two, _) in turns(times, lambda: by(1), lambda: by(2)))
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    spread = f"{found[0]:.2f}-{found[-1]:.2f} in {times} turns"
    print(
        f"one worker over two, {items} items of 256 pixels: {statistics.median(found):.2f} "
        f"({spread}; {load}); the goal is 1.8 at least"
    )


PEAK = (
    "import sys; from benchmarks.datagen import peak; "
    "print(peak(sys.argv[1], sys.argv[2], int(sys.argv[3])))"
)


def peak(kind: str, folder: str, items: int) -> int:
    """The peak memory of this process in KiB after building so many items."""
    if kind == "photographs":
        wanted = recipe(Path(folder), items, 32, ["invert", "flip"])
    else:
        wanted = relation(Path(folder), 150, 32).model_copy(update={"splits": {"train": items}})
    made(wanted, Path(folder) / "out")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory(folder: Path, items: int, times: int) -> None:
    """Peak memory at ten times the samples, each build in a process of its own."""
    for kind in ("photographs", "relation252k"):
        found = []
        for _, count in itertools.product(range(times), (items, 10 * items)):
            command = [sys.executable, "-c", PEAK, kind, str(folder), str(count)]
            done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
            found.append(int(done.stdout))
        few, many = statistics.median(found[::2]), statistics.median(found[1::2])
        print(
            f"peak memory from {kind}, {10 * items:,} items over {items:,}: {many / few:.2f} "
            f"({few / 1024:.0f} MiB); goal 1.1 at most"
        )


def bare(dataset: Dataset, wanted: int) -> None:
    """Decode images as they come in the shards, with tarfile and Pillow alone."""
    done = 0
    for entry in dataset.split("train").shards:
        with tarfile.open(dataset.path / entry.path, "r:") as tar:
            for member in tar:
                if not member.name.endswith(".json"):
                    data = tar.extractfile(member).read()  # type: ignore[union-attr]
                    np.asarray(Image.open(io.BytesIO(data)))
                    done += 1
                    if done == wanted:
                        return


def loader(folder: Path, items: int, times: int) -> None:
    """Loader throughput over bare decoding of as many images, in one process."""
    from lorweb_bench.data.loader import training_loader

    for size in (128, 512):
        dataset = made(recipe(folder, items, size), folder / f"loaded-{size}")
        batches = dataset.split("train").samples // 8

        def load(dataset: Dataset = dataset, batches: int = batches) -> None:
            for _ in itertools.islice(training_loader(dataset.path, 8), batches):
                pass

        rounds = turns(
            times, lambda dataset=dataset, batches=batches: bare(dataset, 32 * batches), load
        )  # type: ignore[misc]
        print(
            f"loader over bare decoding, {batches} batches of 8 at {size} pixels: "
            f"{ratios(rounds)}; the goal is 0.9 at least"
        )


def checks(folder: Path, count: int, times: int) -> None:
    """Checking photographs for the second time over the first, and finding copies among 5,000."""
    from datagen.planning.source_roles import read_photographs
    from datagen.sources.check_cache import FRESH
    from datagen.sources.photographs import without_near_duplicates
    from datagen.sources.source import Source
    from lorweb_bench.suites.near_duplicates import SourceDigest

    sources, photos = bundled(), folder / "photos"
    photos.mkdir()
    for i in range(count):
        crop = cut_panel(sources[i % len(sources)], Panel(square=256), i)
        Image.fromarray(crop).resize((1200, 900)).save(photos / f"{i:05d}.jpg", quality=90)
    time.sleep(FRESH + 1)
    os.environ["LORWEB_BENCH_CACHE"] = str(folder / "cache")
    wanted = recipe(folder, 8, 256)
    source = wanted.source.model_copy(update={"path": str(photos), "assign": {}})
    wanted = wanted.model_copy(update={"source": source})

    def read(recheck: bool) -> None:
        again = source.model_copy(update={"recheck": recheck})
        read_photographs(wanted.model_copy(update={"source": again}))

    rounds = turns(times, lambda: read(True), lambda: read(False))
    print(
        f"checking {count} photographs of 1200 x 900 again over the first time: "
        f"{ratios(rounds, 1, 0)}; the goal is 0.1 at most"
    )
    random = np.random.default_rng(0)
    many = []
    for i in range(5_000):
        thumbnail = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        hashes = [int(value) for value in random.integers(0, 2**63, 2)]
        digest = SourceDigest(hashes[0], hashes[1], thumbnail).to_text()
        many.append(Source(f"p{i}", "", "", bundled, "", digest, i))
    rounds = turns(times, lambda: without_near_duplicates(many))
    seconds = statistics.median(one[0][1] for one in rounds)
    print(
        f"copies among 5,000 photographs, once they are decoded: {seconds:.1f} s of the processor"
    )


def colours(times: int) -> None:
    """Decoding what is sRGB, over decoding it without a look at its colours."""
    from PIL import ImageCms

    from lorweb_bench.data import images

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    managed = images.to_srgb

    def decode_many(data: bytes, to_srgb: Callable[..., Any]) -> None:
        images.to_srgb = to_srgb
        for _ in range(300):
            images.decode_array(data, "picture")

    for form, profile in itertools.product(("PNG", "JPEG"), (b"", srgb)):
        buffer = io.BytesIO()
        panel = cut_panel(bundled()[0], Panel(square=64), 0)
        Image.fromarray(panel).save(buffer, form, icc_profile=profile)
        data = buffer.getvalue()
        rounds = turns(
            5 * times,
            lambda data=data: decode_many(data, lambda image, info: (image, "")),
            lambda data=data: decode_many(data, managed),
        )  # type: ignore[misc]
        images.to_srgb = managed
        what = "with the profile of sRGB" if profile else "without a profile"
        print(
            f"decoding a {form} of 64 pixels {what}, over the same with colours left alone: "
            f"{ratios(rounds, 1, 0)}; the goal is 1.02 at most"
        )


PLAN = """
import hashlib, sys, time
import cv2
cv2.setNumThreads(1)
from datagen.build import make_plan
from datagen.planning.source_roles import share_out
from datagen.recipe.reading import read_recipe
from lorweb_bench.runtime.files import canonical_json
recipe = read_recipe("photos-train", sys.argv[1:])
roles = share_out(recipe)
begin = time.process_time()
plan = make_plan(recipe, roles, None)
seconds = time.process_time() - begin
chosen = canonical_json([dict(plan.transformations), list(map(str, plan.notes))])
print(seconds, hashlib.sha256(chosen.encode()).hexdigest(), len(plan.transformations))
"""


def plan(folder: Path, given: argparse.Namespace) -> None:
    """The plan of `photos-train` at this checkout, over that at an earlier commit."""
    before, share = given.before, given.share
    archive = subprocess.run(["git", "archive", before], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder / "before", filter="data")
    settings = [
        f"source.path={Path(given.photographs).absolute()}",
        f"panel.long_edge={given.long_edge}",
        f"transformations.compositions.count={round(1500 * share)}",
        f"transformations.compositions.of_three={round(300 * share)}",
    ]

    def planned(root: Path) -> tuple[float, str, str]:
        """Seconds of the processor, a digest of what was chosen, and how much that is."""
        command = [sys.executable, "-P", "-c", PLAN, *settings]
        environment = os.environ | {"PYTHONPATH": str(root)}
        run = subprocess.run(
            command, cwd=root, env=environment, check=True, capture_output=True, text=True
        )
        seconds, digest, count = run.stdout.split()
        return float(seconds), digest, count

    rounds = [(planned(folder / "before"), planned(ROOT)) for _ in range(given.times)]
    if len(digests := {digest for turn in rounds for _, digest, _ in turn}) > 1:
        raise SystemExit(f"the plans differ: {', '.join(sorted(digests))}")
    found = sorted(now[0] / then[0] for then, now in rounds)
    seconds = []
    for side in (0, 1):
        seconds.append(statistics.median(turn[side][0] for turn in rounds))
    print(
        f"the plan of photos-train, panels up to {given.long_edge} pixels, {rounds[0][0][2]} "
        f"transformations, over that at {before}: {statistics.median(found):.2f} "
        f"({found[0]:.2f}-{found[-1]:.2f} in {len(found)} turns; "
        f"{seconds[1]:.0f} s of the processor and {seconds[0]:.0f} s); the goal is 0.5 at most"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--times", type=int, default=3, help="turns of each comparison")
    parser.add_argument("--photographs", help="of `plan`: a folder of a hundred or more")
    parser.add_argument("--before", default="a72402a", help="of `plan`: the commit to compare with")
    parser.add_argument("--share", type=float, default=1.0, help="of `plan`: of the compositions")
    parser.add_argument("--long-edge", type=int, default=512, help="of `plan`: pixels of a panel")
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], None]] = {
        "encoding": lambda folder: encoding(folder, 256, given.times),
        "pairs": lambda folder: pairs(folder, 150, 128, given.times),
        "workers": lambda folder: workers(folder, 512, given.times),
        "memory": lambda folder: memory(folder, 600, given.times),
        "loader": lambda folder: loader(folder, 256, 2 * given.times + 1),
        "checks": lambda folder: checks(folder, 200, given.times),
        "colours": lambda _: colours(given.times),
    }
    if given.photographs:
        parts["plan"] = lambda folder: plan(folder, given)
    elif given.only == "plan":
        parser.error("--only plan needs --photographs FOLDER")
    for name, part in parts.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
    main()
