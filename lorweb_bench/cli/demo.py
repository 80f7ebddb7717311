"""The main job, end to end: a list of public commands, each of which resumes by itself."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click

from lorweb_bench.errors import InputError
from lorweb_bench.methods.reference_rows import DESCRIPTIONS, TRAINED, WITHOUT_MODEL
from lorweb_bench.runtime.files import contents_of, read_json, remove_leftovers, write_atomic
from lorweb_bench.runtime.yaml_files import to_yaml

# What the demo writes into its folder.
WRITTEN = (
    *("data", "checkpoints", "reports", "submissions", "cards", "board", "board.store", "cache"),
    *("sheet.png", "suite.html", "index.html", "analogies.png", "table.md"),
)
READY_RECIPES = ("photos-mini-train", "photos-mini")
STEPS = 400  # of a training, fewer than the ready configs have: the whole takes ten minutes
# A quick run: a fifth of the training, and fewer items, under names of their own.
QUICK_STEPS = 80
QUICK = (
    ("name=photos-mini-train-quick", "splits={train: 800, dev: 200}"),
    ("name=photos-mini-quick", "splits={seen: 60, unseen: 120}"),
)
QUICK_TITLE = "Leaderboard of a quick run: a fifth of the training, a third of the items"
Command = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One step of the demo.

    Attributes:
        title: What it does.
        seconds: How long it takes on two idle cores.
        commands: Public commands of `lorweb-bench`.
        together: How many of them may run at a time.
        before: What is done first, from what earlier steps left.
    """

    title: str
    seconds: float
    commands: tuple[Command, ...]
    together: int = 1
    before: Callable[[], None] | None = None


@dataclass(frozen=True)
class Row:
    """Something that is scored.

    Attributes:
        name: The name of its folders.
        method: The name of its method.
        options: What `evaluate` is told.
        seed: The seed that it was trained from, 0 where it was not trained.
    """

    name: str
    method: str
    options: Command
    seed: int = 0

    @property
    def trained(self) -> bool:
        """Whether the demo trains it."""
        return self.method in TRAINED


@dataclass(frozen=True)
class Plan:
    """Where the demo writes, and what it runs.

    Attributes:
        folder: The demo's folder.
        recipes: A folder of recipes in place of the ready ones, or None.
        photos: A folder of photographs in place of the bundled ones, or None.
        full: Whether three seeds are trained, not one.
        training_steps: Training steps of each adapter, or None for those of its config.
        workers: Processes.
        quick: Whether it is a first look, on fewer items and with less training.
    """

    folder: Path
    recipes: Path | None
    photos: Path | None
    full: bool
    training_steps: int | None
    workers: int
    quick: bool = False

    @property
    def train(self) -> Path:
        """The training dataset."""
        return self.folder / "data" / "photos-mini-train"

    @property
    def suite(self) -> Path:
        """The suite, in its full view."""
        return self.folder / "data" / "photos-mini"

    def rows(self) -> list[Row]:
        """Everything that is scored: trained methods, the ceiling, and the trivial ones."""
        rows = []
        for seed in range(3 if self.full else 1):
            for method in TRAINED:
                name = method if seed == 0 else f"{method}-seed{seed}"
                checkpoint = str(self.folder / "checkpoints" / name)
                rows.append(Row(name, method, ("--method", checkpoint), seed))
        ceiling = ("--method", "ceiling", "--prompt", "instruction")
        rows.append(Row("ceiling", "ceiling", ceiling))
        return rows + [Row(name, name, ("--method", name)) for name in WITHOUT_MODEL]

    def steps(self) -> list[Step]:
        """The steps, in order."""
        return [*self._data_steps(), self._training_step(), *self._board_steps()]

    def report(self, row: Row) -> Path:
        """The folder of a row's report."""
        return self.folder / "reports" / row.name

    def _data_steps(self) -> list[Step]:
        photos = ("--set", f"source.path={self.photos}") if self.photos else ()
        relative = ("--set", f"tiers.relative_to={self.train}")
        fewer_train, fewer = map(self._fewer_items, (0, 1))
        less = 0.25 if self.quick else 1.0
        build = ("datagen", "build", "--workers", str(self.workers))
        train, suite = map(self._recipe, READY_RECIPES)
        public = str(self.folder / "data" / "photos-mini-public")
        sheet, page = str(self.folder / "sheet.png"), str(self.folder / "suite.html")
        checks = (
            ("verify", str(self.suite)),
            ("leaks", str(self.train), str(self.suite)),
            ("publish", str(self.suite), "-o", public),
            ("inspect", str(self.suite), "-o", sheet, "--html", page),
        )
        return [
            Step(
                "build the training dataset",
                45 * less,
                ((*build, train, "-o", str(self.train), *photos, *fewer_train),),
            ),
            Step(
                "build the suite",
                45 * less,
                ((*build, suite, "-o", str(self.suite), *relative, *photos, *fewer),),
            ),
            Step(
                "verify the suite, search it for leaks, publish it, draw it",
                19,
                checks,
                together=self.workers,
            ),
        ]

    def _fewer_items(self, which: int) -> Command:
        """What a quick run changes in the recipe of the training dataset (0) or the suite (1)."""
        settings = QUICK[which] if self.quick else ()
        return tuple(word for setting in settings for word in ("--set", setting))

    def _recipe(self, name: str) -> str:
        return name if self.recipes is None else str(self.recipes / f"{name}.yaml")

    def _training_step(self) -> Step:
        commands: list[Command] = []
        steps = self.training_steps or (QUICK_STEPS if self.quick else STEPS)
        for row in self.rows():
            if not row.trained:
                continue
            settings = [f"dataset={self.train}", f"training.seed={row.seed}", "training.threads=1"]
            settings.append(f"training.steps={steps}")
            options = [word for setting in settings for word in ("--set", setting)]
            checkpoint = str(self.folder / "checkpoints" / row.name)
            commands.append(("train", f"tiny-{row.method}", "-o", checkpoint, *options))
        # Three one-thread runs on two cores do more than two-thread runs one after the other.
        title = "train LoRWeB, the single LoRA and the control"
        seconds = ((10 if self.quick else 22) + 0.19 * steps) * len(commands)
        return Step(title, seconds, tuple(commands), together=3)

    def _board_steps(self) -> list[Step]:
        suite = ("--suite", str(self.suite))
        store = ("--store", str(self.folder / "board.store"))
        evaluate: list[Command] = []
        pack: list[Command] = []
        add: list[Command] = []
        pack.append(("leaderboard", "suite", str(self.suite), *store, "--standing", "public"))
        # The slowest first, so that it is not left over when all else is done.
        for row in sorted(self.rows(), key=lambda row: row.method != "library-search"):
            report = self.report(row)
            archive = str(self.folder / "submissions" / f"{row.name}.zip")
            card = str(self._card(row))
            # Reference rows are what the keeper of a board has run: the keeper's report says so.
            reproduction = () if row.trained else ("--reproduction", str(report))
            evaluate.append(("evaluate", *row.options, *suite, "-o", str(report)))
            predictions = str(report / "predictions")
            pack.append(("leaderboard", "pack", predictions, *suite, "--card", card, "-o", archive))
            add.append(("leaderboard", "add", archive, *suite, *store, *reproduction))
        site = str(self.folder / "board")
        render: Command = (
            *("leaderboard", "render", *store, "-o", site),
            *("--gallery", str(self.suite)),
            *("--note", str(self.folder / "note.txt")),
        )
        if self.quick:
            render = (*render, "--title", QUICK_TITLE)
        together, scoring = self.workers, 16.0 * len(evaluate) * (0.33 if self.quick else 1.0)
        return [
            Step("predict and score nine kinds of method", scoring, tuple(evaluate), together),
            Step("pack each as a submission", 5, tuple(pack), together, before=self._write_cards),
            Step("verify and re-score each submission", scoring / 7, tuple(add), together),
            Step("render the leaderboard", 5, (render,), before=self._write_note),
        ]

    def _card(self, row: Row) -> Path:
        return self.folder / "cards" / f"{row.name}.yaml"

    def _write_cards(self) -> None:
        """Write the card of every submission, from the checkpoints."""
        for row in self.rows():
            config = self.folder / "checkpoints" / row.name / "config.json"
            write_atomic(self._card(row), to_yaml(card_of(row, config)))

    def _write_note(self) -> None:
        """Write what the run says of the paper's claim, for the board."""
        from lorweb_bench.cli.demo_page import board_note

        reports = {row.name: self.report(row) for row in self.rows()}
        write_atomic(self.folder / "note.txt", board_note(reports))


def card_of(row: Row, config: Path) -> dict[str, object]:
    """What the demo declares of a method, as docs/example-card.yaml."""
    trainable = read_json(config)["trainable_parameters"] if row.trained else 0
    uses_base = row.trained or row.method == "ceiling"
    return {
        "method": row.method,
        "authors": [{"name": "lorweb-bench"}],
        "links": {"paper": "https://arxiv.org/abs/2602.15727"} if row.method == "lorweb" else {},
        "base_model": "lorweb-bench tiny base" if uses_base else "none",
        "parameters": {"trainable": trainable, "total": trainable},
        "hardware": "CPU",
        "track": "closed",
        "training_data": [],
        "prompt_mode": "instruction" if row.method == "ceiling" else "none",
        "seeds": [0, row.seed] if row.trained else [0],
        "licence": "Apache-2.0",
        "description": DESCRIPTIONS[row.method],
    }


def run_step(step: Step, environment: dict[str, str], number: int, count: int) -> None:
    """Run the commands of a step; InputError names the first that failed."""
    click.echo(f"[{number}/{count}] {step.title}", err=True)
    started = time.monotonic()
    if step.before is not None:
        step.before()
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


# What runs a command: the public command line, which ends with the demo even if that is killed.
CHILD = "from lorweb_bench.cli.demo import child; child()"


def child() -> None:
    """Run the command line in a process of the demo, which ends soon after the demo does."""
    from lorweb_bench.cli.main import main

    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    main(sys.argv[1:])


def run_command(command: Command, environment: dict[str, str], stop: threading.Event) -> None:
    """Run one public command as a process; its progress is shown, and its last line if it fails."""
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
            f"`lorweb-bench {' '.join(command[:3])} …` ended with {code}: "
            f"{last.removeprefix('Error: ')}"
        )


def summary(plan: Plan) -> None:
    """Write `index.html`, the picture and the table, and print the table."""
    from lorweb_bench.cli.demo_page import write_demo_page

    reports = {row.name: plan.report(row) for row in plan.rows()}
    click.echo(write_demo_page(plan.folder, plan.suite, reports, plan.quick))
    click.echo(f"Look at {plan.folder / 'index.html'}")


def claim(folder: Path) -> None:
    """Take the demo's folder; InputError when it holds something else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder with -o.")
    foreign = [path.name for path in contents_of(folder) if path.name not in WRITTEN]
    if foreign:
        raise InputError(
            f"{folder} holds something else ({foreign[0]}); name an empty or a new folder with -o."
        )
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)


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
@click.option(
    "--quick", is_flag=True, help="A first board in three minutes: less training, fewer items."
)
@click.option("--steps", type=click.IntRange(1), help="Training steps of each adapter.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Processes.")
def demo(
    output: Path,
    photos: Path | None,
    recipes: Path | None,
    full: bool,
    quick: bool,
    steps: int | None,
    workers: int,
) -> None:
    """Make analogies, train a model, score nine kinds of method, and render a leaderboard.

    It takes ten minutes on two cores, and goes on where it was stopped.
    """
    if quick and recipes:
        raise InputError("--quick changes the ready recipes; leave it out beside --recipes.")
    folder = output.resolve()
    claim(folder)
    plan = Plan(
        folder,
        recipes.resolve() if recipes else None,
        photos.resolve() if photos else None,
        full,
        steps,
        workers,
        quick,
    )
    environment = {
        **os.environ,
        "LORWEB_BENCH_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    run_all(plan.steps(), environment)
    summary(plan)


def run_all(steps: Sequence[Step], environment: dict[str, str]) -> None:
    """Run every step in order, and say how long the rest will take at this machine's speed."""
    taken = expected = 0.0  # of the steps that had something to do
    for number, step in enumerate(steps, 1):
        started = time.monotonic()
        run_step(step, environment, number, len(steps))
        seconds = time.monotonic() - started
        if seconds > step.seconds / 10:
            taken, expected = taken + seconds, expected + step.seconds
        rest = sum(later.seconds for later in steps[number:])
        if expected and rest * taken > 60 * expected:
            click.echo(f"      about {rest * taken / expected / 60:.0f} min left", err=True)
