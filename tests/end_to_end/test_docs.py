"""The documentation is true: its commands run, its files are as shown, its tables are the code's.

A block ```sh is run line by line; a command that ends with `&` keeps running until the page ends. A
block whose first line is a comment with a file name (`# mine.yaml`) is written to that file. A
block ```sh that begins with `# needs …` or `# takes …` is not run, but its commands and options
must exist. One that begins with `# with assets/…` is run where reference_model has these weights.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from lorweb_bench import protocol
from lorweb_bench.cli.main import cli

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN = (
    "datasets",
    "scoring",
    "hub",
    "methods",
    "board",
    "service",
    "training",
    "lora-space",
    "method",
)  # in this order: each page goes on where the last one ended
PAGES = tuple(sorted(path.stem for path in DOCS.glob("*.md")))
MODEL = ROOT / "reference_model"
WITH = "# with "  # an asset that ships; the block is left out where that is not there
NOT_RUN = ("# needs ", "# takes ")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w./-]+\.(?:py|yaml|toml))")

# One process per page, because torch and SciPy take seconds to import. It does what a shell would,
# without pipes, and with `export` as the only use of variables.
PLAY = """
import atexit, json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, str(Path.cwd()))
from lorweb_bench.cli.main import main
for kind, *rest in json.loads(sys.stdin.read()):
    if kind == "write":
        Path(rest[0]).parent.mkdir(parents=True, exist_ok=True)
        Path(rest[0]).write_text(rest[1])
        continue
    print("$", *rest, flush=True)
    if rest[0] == "export":
        os.environ.update([rest[1].split("=", 1)])
        continue
    if kind == "start":
        started = subprocess.Popen([sys.executable, "-m", "lorweb_bench", *rest[1:]])
        atexit.register(started.kill)
        continue
    if rest[0] != "lorweb-bench":
        program = sys.executable if rest[0] == "python" else rest[0]
        code = subprocess.run([program, *rest[1:]]).returncode
    else:
        try:
            code = main(rest[1:])
        except SystemExit as e:
            code = e.code
    if code:
        sys.exit(f"ended with {code}")
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the line that it begins at."""

    language: str
    text: str
    line: int

    @property
    def first(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def file(self) -> str | None:
        named = FILE.fullmatch(self.first)
        return named[1] if named else None

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a shell block, as words."""
        joined = self.text.replace("\\\n", " ")
        lines = (shlex.split(line, comments=True) for line in joined.splitlines())
        return [words for words in lines if words]


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text()
    for match in FENCE.finditer(text):
        yield Block(match[1], match[2], text[: match.start()].count("\n") + 1)


def lacks(block: Block) -> bool:
    """Whether a block runs with weights that ship, and these are not there."""
    return (
        block.first.startswith(WITH)
        and not (MODEL / block.first.removeprefix(WITH) / "config.json").exists()
    )


def installed(pyproject: str) -> Iterator[list[str]]:
    """What `pip install -e .` leaves of a page's own package: metadata with entry points."""
    import tomllib

    project = tomllib.loads(pyproject)["project"]
    place = f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    groups = [
        f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    yield [
        "write",
        f"{place}/METADATA",
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
    ]
    yield ["write", f"{place}/entry_points.txt", "\n\n".join(groups) + "\n"]


def steps(page: str) -> Iterator[list[str]]:
    """What running a page does, in order."""
    pyproject = ""
    for block in blocks(DOCS / f"{page}.md"):
        if block.file is not None:
            yield ["write", block.file, block.text]
            pyproject = block.text if block.file == "pyproject.toml" else pyproject
        elif block.language == "sh" and not block.first.startswith(NOT_RUN):
            if lacks(block):
                continue
            for words in block.commands:
                if words == ["pip", "install", "-e", "."]:
                    yield from installed(pyproject)
                    continue
                assert words[0] in ("lorweb-bench", "python", "git", "export"), (
                    f"{page}.md, line {block.line}: {words[0]} is not run here"
                )
                yield ["start", *words[:-1]] if words[-1] == "&" else ["run", *words]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one folder that all pages run in; a file `failed` in it stops later pages."""
    return tmp_path_factory.mktemp("docs")


@pytest.mark.parametrize("page", RUN)
def test_every_command_of_a_page_runs(page: str, folder: Path) -> None:
    if (folder / "failed").exists():
        pytest.skip(f"{(folder / 'failed').read_text()}.md failed, and this page goes on from it")
    (folder / "failed").write_text(page)
    own = {
        "LORWEB_BENCH_CACHE": "cache",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    who = {
        f"GIT_{role}_{what}": "docs@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **own, **who, "PYTHONPATH": str(folder)}
    play, script = [sys.executable, "-c", PLAY], json.dumps(list(steps(page)))
    done = subprocess.run(
        play, cwd=folder, env=environment, input=script, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, f"{page}.md\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    (folder / "failed").unlink()
    if left_out := [block.first for block in blocks(DOCS / f"{page}.md") if lacks(block)]:
        pytest.skip(
            f"all of the page ran but {len(left_out)} blocks "
            f"{left_out[0].removeprefix('# ')}, which is not there"
        )


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *(DOCS / f"{page}.md" for page in PAGES)],
    ids=lambda path: path.stem,
)
def test_commands_and_options_are_those_of_the_command_line(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"there is no {path.name} yet")
    for block in blocks(path):
        if block.language not in ("", "sh"):
            continue
        for words in block.commands:
            if words[0] == "lorweb-bench":
                check_spelling(words[1:], f"{path.name}, line {block.line}")


def check_spelling(words: list[str], where: str) -> None:
    """The command exists, and so does every option that it is given."""
    command: click.Command = cli
    context = click.Context(cli, info_name="lorweb-bench")
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{where}: there is no command {words[0]!r} in {command.name}"
        command, words = found, words[1:]
    known = {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h", "--version"}
    given = {word.partition("=")[0] for word in words if re.match(r"-{1,2}[a-z]", word)}
    assert given <= known, (
        f"{where}: {command.name} has no option {', '.join(sorted(given - known))}"
    )


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *(DOCS / f"{page}.md" for page in PAGES)],
    ids=lambda path: path.stem,
)
def test_links_lead_somewhere(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"there is no {path.name} yet")
    prose = FENCE.sub("", path.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        place, _, anchor = target.partition("#")
        if not re.match(r"[a-z]+:", target):
            page = path.parent / place if place else path
            assert page.exists(), f"{path.name} links to {target}, which is not there"
            assert not anchor or anchor in anchors(page), (
                f"{path.name} links to {target}, which has no such heading"
            )


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page() -> None:
    index = (DOCS / "index.md").read_text()
    assert [page for page in PAGES if page != "index" and f"({page}.md)" not in index] == []


def test_the_page_on_recipes_is_current() -> None:
    from datagen.recipe.page import page

    assert (DOCS / "recipes.md").read_text() == page(), (
        "make it anew: lorweb-bench datagen recipes --page > docs/recipes.md"
    )


def test_the_page_on_transformations_is_current() -> None:
    from datagen.transformations import library
    from datagen.transformations.page import page

    assert (DOCS / "transformations.md").read_text() == page(library()), (
        "make it anew: lorweb-bench datagen transformations --page > docs/transformations.md"
    )


def test_every_field_on_disk_stands_in_formats() -> None:
    from lorweb_bench.data.manifest import Manifest, ShardEntry, SplitInfo, TransformationInfo
    from lorweb_bench.data.samples import Record
    from lorweb_bench.data.shard_format import Item, Sidecar
    from lorweb_bench.judging.judgement import Agreement, Judged, Judgement, Position
    from lorweb_bench.predictions.format import Cost, PredictionsManifest
    from lorweb_bench.reports.report import Report, Score

    judging = (Judgement, Judged, Position, Agreement)
    models = (
        Manifest,
        SplitInfo,
        ShardEntry,
        TransformationInfo,
        Record,
        Sidecar,
        Item,
        PredictionsManifest,
        Cost,
        Report,
        Score,
        *judging,
    )
    page = (DOCS / "formats.md").read_text()
    fields = {
        name for model in models for name, field in model.model_fields.items() if not field.exclude
    }
    assert sorted(name for name in fields if f"`{name}`" not in page) == []


def test_every_setting_of_a_training_stands_in_training() -> None:
    page = (DOCS / "training.md").read_text()
    settings = {
        "config": "TrainConfig AdapterConfig TrainingConfig",
        "training/flow": "Times",
        "training/pretraining": "PretrainingConfig Phase",
    }
    fields = {
        name
        for module, classes in settings.items()
        for name in annotated(MODEL / f"{module}.py", classes.split())
    }
    assert sorted(name for name in fields if f"`{name}`" not in page) == []


def annotated(source: Path, classes: list[str]) -> Iterator[str]:
    """The fields of some classes, read from the source, which is quicker than importing it."""
    found = {
        node.name: node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    for name in classes:
        yield from (
            f.target.id
            for f in found[name].body
            if isinstance(f, ast.AnnAssign) and isinstance(f.target, ast.Name)
        )


def test_every_method_and_metric_stands_in_its_table() -> None:
    from lorweb_bench.methods.listing import list_methods
    from lorweb_bench.metrics.base import TABLE, load_metric

    methods, numbers = (DOCS / "methods.md").read_text(), (DOCS / "numbers.md").read_text()
    assert [method.name for method in list_methods() if f"| `{method.name}` |" not in methods] == []
    for metric in map(load_metric, TABLE):
        better = "higher" if metric.higher_is_better else "lower"
        row = f"| `{metric.identity}` | {better} | {metric.worst:g} |"
        assert row in numbers, f"numbers.md has no row {row}"


def test_every_option_of_a_baseline_stands_in_methods_with_its_default() -> None:
    source = {
        node.name: node
        for node in ast.parse((MODEL / "baselines.py").read_text()).body
        if isinstance(node, ast.ClassDef)
    }
    rows = dict(
        re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "methods.md").read_text(), re.MULTILINE)
    )
    for name in ("PipelineBaseline", "Kontext", "VisualCloze"):
        made = next(
            node
            for node in source[name].body
            if isinstance(node, ast.FunctionDef) and node.name == "__init__"
        )
        options = [argument.arg for argument in made.args.args[1:]]
        defaults = dict(
            zip(
                options[::-1], [ast.literal_eval(d) for d in made.args.defaults[::-1]], strict=False
            )
        )
        assert set(options) <= set(rows)
        for option, default in defaults.items():
            shown = str(default).lower() if isinstance(default, bool | str) else f"{default:g}"
            assert option == "weights" or shown in rows[option], (
                f"methods.md: {option} is {rows[option]}, the code says {default}"
            )


def test_the_constants_in_numbers_are_those_of_the_code() -> None:
    from lorweb_bench.stats.bootstrap import RESAMPLES
    from lorweb_bench.stats.clusters import MAX_SHARED
    from lorweb_bench.stats.significance import FLIPS, LEVEL

    own = {
        name: getattr(protocol, name)
        for name in ("CANDIDATES", "HARD_THRESHOLD", "PSNR_CAP", "CONFIDENCE", "MIN_CLUSTERS")
    }
    own |= {
        "BOOTSTRAP_SEED": protocol.BOOTSTRAP_SEED,
        "RESAMPLES": RESAMPLES,
        "MAX_SHARED": MAX_SHARED,
        "FLIPS": FLIPS,
        "LEVEL": LEVEL,
    }
    page = (DOCS / "numbers.md").read_text()
    assert [
        name
        for name, value in own.items()
        if f"| `{name}` | {value if isinstance(value, int) else f'{value:g}'} |" not in page
    ] == []
