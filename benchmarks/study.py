"""Run the study of docs/study.md: where does a basis of LoRAs generalise, and where does it fail?

    python -P benchmarks/study.py list
    python -P benchmarks/study.py run --folder study --jobs 2

`run` makes the datasets, trains every arm that is missing, scores it, and writes a file of results
for each to benchmarks/results/study. It can be stopped at any time and goes on at the next start.
Everything is done with public commands; each file of results holds those that made it. `list`
prints what there is to run and what is there. study_report.py says what the results are.
"""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from datagen.planning.compositions import by_seed
from datagen.planning.seeding import draw as digest
from lorweb_bench.reports.report import PER_SAMPLE, read_per_sample
from lorweb_bench.runtime.files import write_atomic
from lorweb_bench.runtime.yaml_files import to_yaml

RESULTS = Path(__file__).parent / "results" / "study"
ORACLES = RESULTS / "oracles"
RECIPES = Path(__file__).parents[1] / "datagen" / "recipes"
METRIC = "edit_recovery"
LOG = "build.log"
BUILDING = Lock()
TRAINING_LOCKS: defaultdict[str, Lock] = defaultdict(Lock)  # by name
SEEDS = (0, 1, 2)
DRAWS = (0, 1, 2)  # of nested subsets of families
ALL = 31  # trained families
FAMILY_COUNTS = (4, 8, 16, ALL)
STEPS = 1200  # of every training, in batches of 8
TRANSFORMATIONS = 5  # of each tier, that bounds are searched for
GROUPS = ("seen", "unseen", "new_parameters", "new_composition", "new_family", "new_to_base")

# Each arm: the ready config, and what is changed in it.
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lorweb": ("tiny-lorweb", ()),
    "token-control": ("tiny-token-control", ()),
    "single-lora": ("tiny-single-lora", ()),
    "frozen-router": ("tiny-lorweb", ("adapter.router=frozen",)),
    "uniform-gates": ("tiny-lorweb", ("adapter.router=uniform",)),
    "permuted-features": ("tiny-lorweb", ("adapter.features=permuted",)),
    "frozen-basis": ("tiny-lorweb", ("adapter.basis=frozen",)),
    "basis-and-token": ("tiny-lorweb", ("adapter.tokens_beside=1",)),
    "one-element": ("tiny-lorweb", ("adapter.elements=1", "adapter.rank=32", "adapter.alpha=32")),
    "four-elements": ("tiny-lorweb", ("adapter.elements=4", "adapter.rank=8", "adapter.alpha=8")),
    "16-elements": ("tiny-lorweb", ("adapter.elements=16", "adapter.rank=2", "adapter.alpha=2")),
}
MAIN = ("lorweb", "token-control", "single-lora")  # arms that are trained at every T
DECISIVE = ("frozen-router", "frozen-basis")  # arms that could refute the claim
FITS = (5, 10, 20, 40)
FIRST = ("", "hidden", "fit20", "mean", "nearest")  # ways that come first, at all families
# Ways to run a checkpoint: the arms that they apply to, and what the command is told.
WAYS: dict[str, tuple[Sequence[str], tuple[str, ...]]] = {
    "": (tuple(ARMS), ()),
    "hidden": (MAIN, ("fit.steps=0",)),
    **{f"fit{steps}": (MAIN, (f"fit.steps={steps}",)) for steps in FITS},
    "mean": (("lorweb",), ("mix=mean",)),
    "nearest": (("lorweb",), ("mix=nearest",)),
}


@dataclass(frozen=True)
class Training:
    """One training: an arm on one base, with so many families, of one draw and seed."""

    base: str
    families: int
    draw: int
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        draw = "" if self.families == ALL else f"-draw{self.draw}"
        return f"{Path(self.base).name}-t{self.families:02}{draw}-{self.arm}-seed{self.seed}"

    @property
    def dataset(self) -> str:
        """The name of its training dataset."""
        draw = "" if self.families == ALL else f"-draw{self.draw}"
        return f"train-t{self.families:02}{draw}"


def trainings(base: str, narrow: str | None) -> list[Training]:
    """All trainings, in the order in which they are run: what gives a first answer comes first."""
    main = [Training(base, ALL, 0, arm, seed) for seed in SEEDS for arm in MAIN]
    others: list[Training] = []
    for seed in SEEDS:
        others += [Training(base, ALL, 0, arm, seed) for arm in DECISIVE]
        for arm in MAIN:
            others += [Training(base, n, DRAWS[seed], arm, seed) for n in FAMILY_COUNTS[:-1]]
        rest = [arm for arm in ARMS if arm not in (*MAIN, *DECISIVE)]
        others += [Training(base, ALL, 0, arm, seed) for arm in rest]
    ends = []
    for families in (FAMILY_COUNTS[0], ALL) if narrow else ():
        for seed, arm in ((seed, arm) for seed in SEEDS for arm in MAIN):
            draw = 0 if families == ALL else DRAWS[seed]
            ends.append(Training(str(narrow), families, draw, arm, seed))
    return [*main, *others, *ends]


def ready_recipe() -> dict[str, Any]:
    """The content of the recipe photos-mini-train, with what it extends."""
    from datagen.recipe.reading import find_recipe, read_recipe

    recipe = read_recipe(find_recipe("photos-mini-train"))
    return recipe.model_dump(mode="json", exclude_unset=True)


def chosen_families(count: int, number: int, families: Sequence[str]) -> list[str]:
    """The first `count` families in the order of a draw, so that fewer are nested in more."""
    order = sorted(families, key=lambda name: digest(number, "study", name))
    return sorted(order[:count])


def recipe_of(training: Training) -> dict[str, Any]:
    """The recipe of a training dataset with fewer families, and as many items.

    It holds out what the full one holds out: values of its own families, and those of the held-out
    pairs that both belong to it.
    """
    content = ready_recipe()
    families = content["transformations"]["families"]
    chosen = chosen_families(training.families, training.draw, families)
    tiers = content["tiers"]
    held_out = by_seed(content["seed"], combinations(sorted(families), 2))
    held_out = held_out[: tiers["new_composition"]["family_pairs"]]
    values = {name: rows for name, rows in tiers["new_parameters"].items() if name in chosen}
    tiers["new_parameters"] = values
    within = [pair for pair in held_out if set(pair) <= set(chosen)]
    tiers["new_composition"] = {"family_pairs": len(within)}
    content["transformations"]["families"] = chosen
    return {**content, "name": f"photos-mini-{training.dataset}"}


def command(*words: str) -> list[str]:
    """A public command."""
    return [sys.executable, "-P", "-m", "lorweb_bench", *words]


def as_typed(words: Sequence[str]) -> str:
    """A public command as one types it."""
    return " ".join(["lorweb-bench", *words[4:]])


def run_logged(words: Sequence[str], log: Path) -> None:
    """Run a command; what it says goes to a file, and an error stops the study."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = log.read_text().strip().splitlines()[-1:]
        raise SystemExit(
            f"{' '.join(words[4:8])} … ended with {done.returncode}: {tail}; see {log}"
        )


def build_suite(folder: Path) -> Path:
    """Build the full training dataset and the suite, which is relative to it; returns the suite."""
    data = folder / "data"
    full, suite = data / f"train-t{ALL:02}", data / "photos-mini"
    relative = ("--set", f"tiers.relative_to={full}")
    run_logged(command("datagen", "build", "photos-mini-train", "-o", str(full)), data / LOG)
    build = command("datagen", "build", "photos-mini", "-o", str(suite), *relative)
    run_logged(build, data / LOG)
    return suite


def build_dataset(training: Training, folder: Path) -> None:
    """Build the dataset of a training with fewer families; one training at a time."""
    data = folder / "data"
    with BUILDING:
        if training.families != ALL:
            recipe = data / f"{training.dataset}.yaml"
            write_atomic(recipe, to_yaml(recipe_of(training)))
            output = str(data / training.dataset)
            run_logged(command("datagen", "build", str(recipe), "-o", output), data / LOG)


def steps_of(
    training: Training, ways: Sequence[str], folder: Path, suite: Path
) -> Iterator[tuple[str, list[str], Path]]:
    """What there is to do for a training: names of results, the commands, and their output."""
    config, changes = ARMS[training.arm]
    checkpoint = folder / "checkpoints" / training.name
    settings = [
        f"base={training.base}",
        f"dataset={folder / 'data' / training.dataset}",
        f"training.seed={training.seed}",
        f"training.steps={STEPS}",
        "training.threads=1",
        *changes,
    ]
    options = [word for setting in settings for word in ("--set", setting)]
    yield "", command("train", config, "-o", str(checkpoint), *options), checkpoint
    for way, (arms, told) in WAYS.items():
        if way not in ways or training.arm not in arms:
            continue
        name = training.name + (f"+{way}" if way else "")
        report = folder / "reports" / name
        options = [word for setting in told for word in ("--set", setting)]
        evaluate = ("evaluate", "--method", str(checkpoint), "--suite", str(suite), *options)
        yield name, command(*evaluate, "-o", str(report), "--metrics", METRIC), report


def result_path(name: str) -> Path:
    """Where the results of a training run in some way are kept."""
    return RESULTS / f"{name}.json"


def train(training: Training, folder: Path, suite: Path) -> None:
    """Train, where that is not done yet; never twice at a time."""
    with TRAINING_LOCKS[training.name]:
        build_dataset(training, folder)
        _, words, _ = next(steps_of(training, (), folder, suite))
        run_logged(words, folder / "logs" / f"{training.name}.log")


def run_training(training: Training, ways: Sequence[str], folder: Path, suite: Path) -> None:
    """Train, score every one of some ways that has no results yet, and keep the results."""
    todo = list(steps_of(training, ways, folder, suite))
    missing = [name for name, _, _ in todo if name and not result_path(name).exists()]
    if not missing:
        return
    log = folder / "logs" / f"{training.name}.log"
    done = [as_typed(todo[0][1])]
    started = time.monotonic()
    train(training, folder, suite)
    for name, words, report in todo[1:]:
        if name not in missing:
            continue
        run_logged(words, log)
        keep(name, training, report, [*done, as_typed(words)], folder)
        shutil.rmtree(report / "predictions", ignore_errors=True)
    print(f"{training.name}: done in {time.monotonic() - started:.0f} s", flush=True)


def run_oracle(training: Training, folder: Path, suite: Path) -> None:
    """Train, find what is reachable with the checkpoint, and keep it."""
    kept = ORACLES / f"{training.name}.json"
    if kept.exists():
        return
    train(training, folder, suite)
    checkpoint = folder / "checkpoints" / training.name
    output = folder / "oracles" / training.name
    words = ("oracle", str(checkpoint), "--suite", str(suite), "-o", str(output))
    asked = command(*words, "--transformations", str(TRANSFORMATIONS))
    run_logged(asked, folder / "logs" / f"{training.name}+oracle.log")
    keep_oracle(training, output, as_typed(asked), folder)


def keep_oracle(training: Training, output: Path, asked: str, folder: Path) -> None:
    """Write the bounds and gaps of every item of an oracle."""
    content = json.loads((output / "oracle.json").read_text())
    with (output / "oracle.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    values = {}
    for word in content["words"]:
        values[word] = {row["key"]: round(float(row[word]), 4) for row in rows}
    about = about_training(training, [asked], folder)
    about |= {"suite": content["suite"], "settings": content["settings"], "values": values}
    write_result(ORACLES / f"{training.name}.json", about)


def run_all(wanted: Sequence[Training], folder: Path, suite: Path, jobs: int) -> None:
    """Run what is missing, some at a time: first answers first, then bounds, then other ways."""
    with ThreadPoolExecutor(jobs) as pool:
        runs = []
        for training in wanted:
            ways = FIRST if training.families == ALL else ("",)
            runs.append(pool.submit(run_training, training, ways, folder, suite))
        with_basis = [training for training in wanted if training.arm == "lorweb"]
        for training in sorted(with_basis, key=lambda training: training.families, reverse=True):
            runs.append(pool.submit(run_oracle, training, folder, suite))
        for training in wanted:
            runs.append(pool.submit(run_training, training, tuple(WAYS), folder, suite))
        for run in runs:
            run.result()


def keep(
    name: str, training: Training, report: Path, commands: Sequence[str], folder: Path
) -> None:
    """Write the results of one report: its scores by group, and the value of every item."""
    content = json.loads((report / "report.json").read_text())
    table = read_per_sample(report / PER_SAMPLE)
    scores = {}
    for group in GROUPS:
        if group in content["scores"]:
            scores[group] = {
                k: content["scores"][group][METRIC][k] for k in ("mean", "ci_low", "ci_high")
            }
    values = dict(zip(map(str, table["key"]), np.round(table[METRIC], 4).tolist(), strict=True))
    about = about_training(training, commands, folder)
    about |= {"name": name, "way": name.partition("+")[2]}
    about |= {"suite": content["suite"], "scores": scores, "values": dict(sorted(values.items()))}
    write_result(result_path(name), about)
    write_labels(table)


def write_result(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results, its folder with it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(content, separators=(",", ":")) + "\n")


def about_training(training: Training, commands: Sequence[str], folder: Path) -> dict[str, Any]:
    """What a file of results says of the training, and the commands that made it."""
    return {
        "name": training.name,
        "base": Path(training.base).name,
        "families": training.families,
        "draw": training.draw,
        "arm": training.arm,
        "seed": training.seed,
        "commands": [re.sub(re.escape(str(folder)), "study", words) for words in commands],
    }


def write_labels(table: Any) -> None:
    """Write once what the items of the suite are: the same for all results."""
    path = RESULTS / "items.json"
    if not path.exists():
        columns = ("key", "split", "tier", "kind", "family", "transformation", "hard")
        sources = ("a_source", "b_source")
        labels = {name: np.asarray(table[name]).tolist() for name in (*columns, *sources)}
        write_result(path, labels)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("list", "run"))
    parser.add_argument("--folder", type=Path, default=Path("study"), help="for data and logs")
    parser.add_argument("--base", default="tiny", help="the base that knows the world")
    parser.add_argument("--narrow", help="the base that knows the trained families alone")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    parser.add_argument("--only", default="", help="trainings whose name holds this")
    settings = parser.parse_args()
    wanted = trainings(settings.base, settings.narrow)
    wanted = [training for training in wanted if settings.only in training.name]
    if settings.what == "list":
        for training in wanted:
            ways = [way for way, (arms, _) in WAYS.items() if training.arm in arms]
            names = [training.name + (f"+{way}" if way else "") for way in ways]
            there = sum(result_path(name).exists() for name in names)
            print(f"{there}/{len(names)}  {training.name}")
    else:
        suite = build_suite(settings.folder)
        run_all(wanted, settings.folder, suite, settings.jobs)


if __name__ == "__main__":
    main()
