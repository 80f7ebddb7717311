"""Commands: methods, predict, score, evaluate, compare. Heavy modules are imported when a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import BOOTSTRAP_SEED, PREDICT_SEED, PROMPT_MODES, TRACKS

if TYPE_CHECKING:
    from lorweb_bench.report import Report

SUITE = click.option("--suite", required=True, type=click.Path(path_type=Path), help="The suite's folder.")
OUT = click.option("-o", "--output", "out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
METHOD = click.option("--method", required=True, metavar="SPEC", help="A name, module:attribute, file.py:attribute, or checkpoint folder.")
METRICS = click.option("--metrics", metavar="A,B,…", help="Which metrics; by default all that need no downloaded weights.")
WORKERS = click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
ENGINE = click.option("--engine", type=click.Choice(["local", "ray"]), default="local", show_default=True, help="Where pieces run.")
PREDICTING = (
    click.option("--prompt", type=click.Choice(PROMPT_MODES), default="none", show_default=True, help="What text a method is given."),
    click.option(
        "--pairs", type=click.Choice(["true", "shuffled"]), default="true", show_default=True, help="The item's own pair, or another's."
    ),
    click.option("--seed", type=int, default=PREDICT_SEED, show_default=True, help="What each item's seed is made from."),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="Only N items; marked as partial and never ranked."),
    click.option(
        "--track", type=click.Choice(TRACKS), help="closed: adapted on the suite's training dataset only. By default the method's."
    ),
)


def _predicting(command: Any) -> Any:
    for option in reversed(PREDICTING):
        command = option(command)
    return command


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise click.BadParameter(f"{value!r} is no part; give I/N, from 1/N to N/N.")
    return int(index), int(count)


def _names(metrics: str | None) -> list[str] | None:
    return None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]


@click.command()
def methods() -> None:
    """List what can be scored, what each needs, and whether that is there.

    Besides these, a method can be module:attribute, path/to/file.py:attribute, or a checkpoint folder.
    """
    from rich.console import Console
    from rich.table import Table

    from lorweb_bench.methods import list_methods

    table = Table("method", "what it does", "needs", "here")
    for info in list_methods():
        table.add_row(info.name, info.what, info.needs, info.missing or "yes")
    Console().print(table, markup=False)


@click.command()
@METHOD
@SUITE
@OUT
@_predicting
@click.option("--shard", callback=_part, metavar="I/N", help="Only the I-th of N parts; all parts may share one folder.")
@WORKERS
@ENGINE
def predict(method: str, suite: Path, out: Path, **settings: Any) -> None:
    """Run a method on a suite, or on its public view. Running it again resumes."""
    from lorweb_bench.evaluate import predict as run

    made = run(method, suite, out, **settings)
    if made is None:
        click.echo(f"This part is in {out}; the run that completes the folder writes its predictions.json.")
    else:
        click.echo(f"{made.samples} predictions of {made.method.name} in {out}{', a part of the suite' if made.partial else ''}.")


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@SUITE
@OUT
@METRICS
@click.option("--name", help="The method's name, for a bare folder of images.")
@click.option("--resize", is_flag=True, help="Resize predictions of a wrong size to b's; the report says how many.")
@click.option("--seed", type=int, default=BOOTSTRAP_SEED, show_default=True, help="Of the bootstrap.")
@WORKERS
@ENGINE
def score(predictions: Path, suite: Path, out: Path, metrics: str | None, **settings: Any) -> None:
    """Score predictions against a suite: a folder that predict wrote, or a bare folder of <key>.png, .jpg or .webp."""
    from lorweb_bench.evaluate import score as run

    _show(run(predictions, suite, _names(metrics), out=out, **settings), out)


@click.command()
@METHOD
@SUITE
@OUT
@METRICS
@_predicting
@WORKERS
@ENGINE
def evaluate(method: str, suite: Path, out: Path, metrics: str | None, **settings: Any) -> None:
    """Predict, then score; the predictions stay in OUTPUT/predictions. Running it again resumes."""
    from lorweb_bench.evaluate import evaluate as run

    _show(run(method, suite, _names(metrics), out=out, **settings), out)


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
def compare(reports: tuple[Path, ...]) -> None:
    """Compare reports of one suite: paired by item, per group, with intervals."""
    from lorweb_bench.compare import compare_reports

    if len(reports) < 2:
        raise InputError("A comparison needs two reports or more.")
    click.echo(compare_reports(reports))


def _show(report: "Report", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    groups = [name for name in report.scores if not name.endswith("_hard") and not name.startswith("unseen/")]
    title = f"{report.method.name} on {report.suite.name} {report.suite.version}"
    table = Table("group", "items", *report.metrics, title=title)
    for group in groups:
        scores = report.scores[group]
        cells = [_cell(scores[m].mean, scores[m].ci_low, scores[m].ci_high) for m in report.metrics]
        table.add_row(group, str(next(iter(scores.values())).samples), *cells)
    console = Console()
    console.print(table, markup=False)
    notes = [f"chance in {metric}: {value:.3g}" for metric, value in report.chance.items()]
    notes += [f"{report.missing} predictions are missing and count the worst value"] * bool(report.missing)
    notes += ["the predictions are of a part of the suite"] * report.partial
    notes += [f"{report.resized} predictions were resized"] * bool(report.resized)
    notes += ["shown the pair of another transformation"] * (report.pairs == "shuffled")
    for note in notes:
        click.echo(note)
    click.echo(f"The report is in {out / 'index.html'}.")


def _cell(mean: float, low: float | None, high: float | None) -> str:
    return f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"
