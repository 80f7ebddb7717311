"""The main job, end to end: a list of public commands, each of which goes on where it was stopped."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import click

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, write_atomic
from lorweb_bench.runtime.yaml_files import to_yaml

TRAINED = ("lorweb", "single-lora", "token-control")
TRIVIAL = ("copy-b", "copy-a-prime", "color-transfer", "library-search", "nearest-seen")
WORDS = {
    "lorweb": "A basis of small LoRAs in a frozen tiny base, mixed for each analogy by a light encoder of the pair.",
    "single-lora": "One LoRA with as many weights as LoRWeB in the same frozen base; it sees the pair as context only.",
    "token-control": "The single LoRA that also gets the features LoRWeB is routed by, as prompt tokens.",
    "ceiling": "The tiny base told the true transformation in words: what an adapter on it could reach at best.",
    "copy-b": "Hands b back unchanged.",
    "copy-a-prime": "Hands a' back.",
    "color-transfer": "The affine colour map fitted from a to a', applied to b.",
    "library-search": "The library's transformation that best explains a to a', run on b: what an open book can do.",
    "nearest-seen": "The trained transformation nearest to the truth: a bound that looks at the answers.",
}
Command = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of the demo: a title, and public commands that may run `together` at a time."""

    title: str
    commands: tuple[Command, ...]
    together: int = 1


@dataclass(frozen=True)
class Plan:
    """Where the demo writes and what it runs: one training seed, or three with `full`."""

    folder: Path
    recipes: Path
    photos: Path | None
    full: bool
    training_steps: int | None
    workers: int

    @property
    def train(self) -> Path:
        """The training dataset."""
        return self.folder / "data" / "photos-mini-train"

    @property
    def suite(self) -> Path:
        """The suite, in its full view."""
        return self.folder / "data" / "photos-mini"

    @property
    def seeds(self) -> range:
        """Training seeds."""
        return range(3 if self.full else 1)

    def run_name(self, method: str, seed: int) -> str:
        """The folder name of one training run."""
        return method if seed == 0 else f"{method}-seed{seed}"

    def rows(self) -> dict[str, tuple[str, Command]]:
        """Everything that is scored: folder name -> (method name, what `evaluate` is told)."""
        found: dict[str, tuple[str, Command]] = {}
        for seed in self.seeds:
            for method in TRAINED:
                name = self.run_name(method, seed)
                found[name] = (method, ("--method", str(self.folder / "checkpoints" / name)))
        found["ceiling"] = ("ceiling", ("--method", "ceiling", "--prompt", "instruction"))
        return found | {name: (name, ("--method", name)) for name in TRIVIAL}

    def steps(self) -> Iterator[Step]:
        """The steps, in order."""
        yield from self._data()
        yield from self._training()
        yield from self._board()

    def _data(self) -> Iterator[Step]:
        recipes, data = self.recipes, self.folder / "data"
        own = ("--set", f"source.path={self.photos}") if self.photos else ()
        build = ("datagen", "build", "--workers", str(self.workers))
        relative = ("--set", f"tiers.relative_to={self.train}")
        yield Step(
            "build the training dataset",
            ((*build, str(recipes / "photos-mini-train.yaml"), "-o", str(self.train), *own),),
        )
        yield Step(
            "build the suite",
            ((*build, str(recipes / "photos-mini.yaml"), "-o", str(self.suite), *relative, *own),),
        )
        public = ("publish", str(self.suite), "-o", str(data / "photos-mini-public"))
        sheet = (
            "inspect",
            str(self.suite),
            "-o",
            str(self.folder / "sheet.png"),
            "--html",
            str(self.folder / "suite.html"),
        )
        checks = (
            ("verify", str(self.suite)),
            ("leaks", str(self.train), str(self.suite)),
            public,
            sheet,
        )
        yield Step(
            "verify the suite, search it for leaks, publish it, draw it",
            checks,
            together=self.workers,
        )

    def _training(self) -> Iterator[Step]:
        configs, commands = files("reference_model") / "configs", []
        for seed in self.seeds:
            for method in TRAINED:
                settings = {
                    "dataset": str(self.train),
                    "training.seed": seed,
                    "training.threads": 1,
                }
                if self.training_steps:
                    settings["training.steps"] = self.training_steps
                changes = [
                    part for key, value in settings.items() for part in ("--set", f"{key}={value}")
                ]
                out = self.folder / "checkpoints" / self.run_name(method, seed)
                commands.append(
                    ("train", str(configs / f"tiny-{method}.yaml"), "-o", str(out), *changes)
                )
        # Three one-thread runs on two cores do more than two-thread runs one after the other.
        yield Step("train LoRWeB, the single LoRA and the control", tuple(commands), together=3)

    def _board(self) -> Iterator[Step]:
        suite, submissions, store = (
            ("--suite", str(self.suite)),
            self.folder / "submissions",
            self.folder / "board.store",
        )
        reports = {name: self.folder / "reports" / name for name in self.rows()}
        evaluate = tuple(
            ("evaluate", *told, *suite, "-o", str(reports[name]))
            for name, (_, told) in self.rows().items()
        )
        yield Step("predict and score nine kinds of method", evaluate, together=self.workers)
        pack: list[Command] = [
            ("leaderboard", "suite", str(self.suite), "--store", str(store), "--standing", "public")
        ]
        add: list[Command] = []
        for name, (method, _) in self.rows().items():
            archive, card = (
                str(submissions / f"{name}.zip"),
                str(self.folder / "cards" / f"{name}.yaml"),
            )
            # The reference rows are what the keeper of a board has run, which is said by the keeper's own report.
            own = () if method in TRAINED else ("--reproduction", str(reports[name]))
            pack.append(
                (
                    "leaderboard",
                    "pack",
                    str(reports[name] / "predictions"),
                    *suite,
                    "--card",
                    card,
                    "-o",
                    archive,
                )
            )
            add.append(("leaderboard", "add", archive, *suite, "--store", str(store), *own))
        yield Step("pack each as a submission", tuple(pack), together=self.workers)
        yield Step("verify and re-score each submission", tuple(add), together=self.workers)
        site = (
            "leaderboard",
            "render",
            "--store",
            str(store),
            "-o",
            str(self.folder / "board"),
            "--gallery",
            str(self.suite),
        )
        yield Step("render the leaderboard", (site,))

    def write_cards(self) -> None:
        """Write the card of every submission."""
        for name, (method, _) in self.rows().items():
            config = self.folder / "checkpoints" / name / "config.json"
            card = to_yaml(card_of(method, self.seed_of(name), config))
            write_atomic(self.folder / "cards" / f"{name}.yaml", card.encode())

    def seed_of(self, name: str) -> int:
        """The training seed of a row."""
        return int(name.rpartition("-seed")[2]) if "-seed" in name else 0


def card_of(method: str, training_seed: int, config: Path) -> dict[str, object]:
    """What the demo declares of a method, as docs/example-card.yaml."""
    trained = method in TRAINED
    trainable = read_json(config)["trainable_parameters"] if trained else 0
    return {
        "method": method,
        "authors": [{"name": "lorweb-bench"}],
        "links": {"paper": "https://arxiv.org/abs/2602.15727"} if method == "lorweb" else {},
        "base_model": "lorweb-bench tiny base" if trained or method == "ceiling" else "none",
        "parameters": {"trainable": trainable, "total": trainable},
        "hardware": "CPU",
        "track": "closed",
        "training_data": [],
        "prompt_mode": "instruction" if method == "ceiling" else "none",
        "seeds": [0, training_seed] if trained else [0],
        "licence": "Apache-2.0",
        "description": WORDS[method],
    }


def run_step(step: Step, environment: dict[str, str], number: int, count: int) -> None:
    """Run the commands of a step, passing on what they print; InputError names the first that failed."""
    click.echo(f"[{number}/{count}] {step.title}", err=True)
    started = time.monotonic()
    failed = threading.Event()
    with ThreadPoolExecutor(step.together) as pool:
        results = [
            pool.submit(run_command, command, environment, failed) for command in step.commands
        ]
        try:
            for result in results:
                result.result()
        except BaseException:
            failed.set()
            raise
    click.echo(f"      done in {time.monotonic() - started:.0f} s", err=True)


# What a command of the demo runs: the public command line, which ends with the demo even where that was killed.
CHILD = "from lorweb_bench.cli.demo import child; child()"


def child() -> None:
    """Run the command line in a process of the demo; where the demo is gone, end within a second."""
    from lorweb_bench.cli.main import main

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    main(sys.argv[1:])


def run_command(command: Command, environment: dict[str, str], stop: threading.Event) -> None:
    """One public command as a process of its own; its last words are shown, and its progress where it stands alone."""
    if stop.is_set():
        return
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    last = ""
    try:
        for line in process.stdout:
            last = line.strip() or last
            if " left" in line:
                click.echo(f"      {line.rstrip()}", err=True)
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code:
        stop.set()
        raise InputError(
            f"`lorweb-bench {' '.join(command[:3])} …` ended with {code}: {last.removeprefix('Error: ')}"
        )


def summary(plan: Plan) -> None:
    """Write the door `index.html`, the picture and the table, and print the table."""
    from lorweb_bench.cli.demo_page import write_door

    click.echo(
        write_door(
            plan.folder, plan.suite, {name: plan.folder / "reports" / name for name in plan.rows()}
        )
    )
    click.echo(f"Look at {plan.folder / 'index.html'}")


def claim(folder: Path) -> None:
    """Take the demo's folder; InputError when it holds something else."""
    known = {
        "data",
        "checkpoints",
        "reports",
        "submissions",
        "cards",
        "board",
        "board.store",
        "cache",
        "sheet.png",
        "suite.html",
    }
    known |= {"index.html", "analogies.png", "table.md"}
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with -o.")
    if folder.is_dir() and (
        strange := sorted(p.name for p in folder.iterdir() if p.name not in known)
    ):
        raise InputError(
            f"{folder} holds something else ({strange[0]}); name an empty or a new folder with -o."
        )
    folder.mkdir(parents=True, exist_ok=True)


@click.command()
@click.option(
    "-o",
    "--output",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for everything it makes.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    help="Photographs of your own instead of the bundled ones.",
)
@click.option(
    "--recipes",
    type=click.Path(path_type=Path),
    help="Folder with a photos-mini-train.yaml and a photos-mini.yaml of your own.",
)
@click.option("--full", is_flag=True, help="Three training seeds.")
@click.option("--steps", type=click.IntRange(1), help="Training steps of each adapter.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
def demo(
    output: Path,
    photos: Path | None,
    recipes: Path | None,
    full: bool,
    steps: int | None,
    workers: int,
) -> None:
    """Make analogies, train a reference model, score nine kinds of method, and render a leaderboard: a quarter of an hour on two cores."""
    folder = output.resolve()
    claim(folder)
    own = Path(str(files("datagen"))) / "recipes"
    plan = Plan(
        folder,
        (recipes or own).resolve(),
        photos.resolve() if photos else None,
        full,
        steps,
        workers,
    )
    environment = {
        **os.environ,
        "LORWEB_BENCH_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    run_all(list(plan.steps()), plan, environment)
    summary(plan)


def run_all(steps: Sequence[Step], plan: Plan, environment: dict[str, str]) -> None:
    """Run every step in order; the cards are written once the checkpoints they describe are there."""
    for number, step in enumerate(steps, 1):
        if step.title.startswith("pack"):
            plan.write_cards()
        run_step(step, environment, number, len(steps))
