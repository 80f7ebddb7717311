"""Time from `pip install` to a first own score and a first own picture, in a bare environment.

    python benchmarks/first_score.py             # the base install, a method of one's own scored
    python benchmarks/first_score.py --picture   # the extra `model`, a picture of one's own

A wheel is built from this repository, and a new environment in a temporary folder installs it from
the package index with the pinned versions. Each step is printed with its seconds by the clock, and
with those of the processor, which other work on the machine disturbs less.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHOD = """
class Mine:
    name = "mine"

    def predict(self, triplets):
        return [t.b for t in triplets]
"""
PICTURES = """
from PIL import Image, ImageOps
from datagen.sources.scenes.compose import scene
for name, seed in (("a", 1), ("b", 2)):
    Image.fromarray(scene(seed, 256, 256)).save(f"{name}.png")
ImageOps.invert(Image.open("a.png")).save("a_prime.png")
"""


@contextmanager
def timed(step: str, steps: dict[str, float]) -> Iterator[None]:
    """Keep and print how many seconds a step took, by the clock and of the processor."""
    began, used = time.perf_counter(), _processor()
    yield
    steps[step] = time.perf_counter() - began
    print(f"{steps[step]:7.1f} s {_processor() - used:7.1f} s  {step}", flush=True)


def _processor() -> float:
    """The seconds of the processor that ended children took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(folder: Path, *words: str) -> None:
    """Run a command in a folder; a failure ends the script with what it said."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def first_score(folder: Path, wheel: Path, steps: dict[str, float]) -> None:
    """Install the base, build the small suite, and score a method of one's own on it."""
    pip, command = str(folder / "env/bin/pip"), str(folder / "env/bin/lorweb-bench")
    constraints = str(ROOT / "constraints.txt")
    with timed("python -m venv env && pip install lorweb-bench", steps):
        run(folder, sys.executable, "-m", "venv", "env")
        run(folder, pip, "install", "-q", "-c", constraints, str(wheel))
    train, suite = "photos-mini-train", "photos-mini"
    with timed(f"lorweb-bench datagen build {train} -o {train}", steps):
        run(folder, command, "datagen", "build", train, "-o", train)
    with timed(f"lorweb-bench datagen build {suite} -o {suite}", steps):
        relative = ("--set", f"tiers.relative_to={train}")
        run(folder, command, "datagen", "build", suite, "-o", suite, *relative)
    (folder / "mine.py").write_text(METHOD)
    with timed("lorweb-bench evaluate --method mine.py:Mine", steps):
        scored = ("--suite", "photos-mini", "-o", "report")
        run(folder, command, "evaluate", "--method", "mine.py:Mine", *scored)


def first_picture(folder: Path, wheel: Path, steps: dict[str, float]) -> None:
    """Install the extra `model`, and complete an analogy of one's own with the shipped model."""
    pip, command = str(folder / "env/bin/pip"), str(folder / "env/bin/lorweb-bench")
    with timed("python -m venv env && pip install 'lorweb-bench[model]'", steps):
        run(folder, sys.executable, "-m", "venv", "env")
        named = f"lorweb-bench[model] @ {wheel.as_uri()}"
        run(folder, pip, "install", "-q", "-c", str(ROOT / "constraints.txt"), named)
    (folder / "pictures.py").write_text(PICTURES)
    run(folder, str(folder / "env/bin/python"), "pictures.py")
    with timed("lorweb-bench apply --model lorweb a.png a_prime.png b.png", steps):
        shown = ("a.png", "a_prime.png", "b.png", "-o", "b_prime.png")
        run(folder, command, "apply", "--model", "lorweb", *shown)


def main() -> None:
    """Build the wheel, then time the steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", action="store_true", help="Time a first own picture instead.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, steps = Path(name), dict[str, float]()
        wheels = folder / "wheels"
        run(ROOT, sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), ".")
        (wheel,) = wheels.glob("*.whl")
        way, what = (first_picture, "picture") if options.picture else (first_score, "score")
        way(folder, wheel, steps)
        total = sum(steps.values())
        print(f"{total:7.1f} s {_processor():7.1f} s  to a first own {what}", flush=True)


if __name__ == "__main__":
    main()
