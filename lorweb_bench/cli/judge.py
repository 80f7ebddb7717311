"""The command judge. Heavy modules are imported when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.protocol import BOOTSTRAP_SEED

if TYPE_CHECKING:
    from lorweb_bench.judging.judgement import Judgement
    from lorweb_bench.reports.report import Score


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option("--suite", required=True, type=click.Path(path_type=Path), help="The suite's folder.")
@click.option(
    "--endpoint",
    "url",
    required=True,
    metavar="URL",
    help="An OpenAI-compatible server, as http://127.0.0.1:8000/v1.",
)
@click.option("--model", required=True, metavar="NAME", help="The model, as the server names it.")
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write.",
)
@click.option(
    "--votes",
    type=click.Path(path_type=Path),
    help="A CSV file of people's votes to compare the judge with.",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Only N items; marked as partial."
)
@click.option("--name", help="The method's name, for a bare folder of images.")
@click.option("--other-name", help="The other method's name, for a bare folder of images.")
@click.option(
    "--resize",
    is_flag=True,
    help="Resize predictions of a wrong size to b's; the judgement says how many.",
)
@click.option(
    "--parallel", type=click.IntRange(1), default=4, show_default=True, help="Requests at a time."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for a request.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Of a request, where the server is busy or fails.",
)
@click.option(
    "--seed", type=int, default=BOOTSTRAP_SEED, show_default=True, help="Of the bootstrap."
)
def judge(
    predictions: Path,
    other: Path | None,
    suite: Path,
    url: str,
    model: str,
    out: Path,
    name: str | None,
    other_name: str | None,
    parallel: int,
    timeout: float,
    attempts: int,
    **settings: Any,
) -> None:
    """Have a vision-language model judge predictions: rate those of one folder, or choose between those of two.

    A key to the server, where it wants one, is read from LORWEB_BENCH_JUDGE_KEY. Answers are kept, and never asked for twice.
    """
    from lorweb_bench.judging.endpoint import Endpoint
    from lorweb_bench.judging.judge import judge as run

    endpoint = Endpoint(url, model, timeout=timeout, parallel=parallel, attempts=attempts)
    _show(
        run(
            predictions, suite, endpoint, other=other, names=(name, other_name), out=out, **settings
        ),
        out,
    )


def _show(judgement: "Judgement", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [judged.method.name for judged in judgement.judged]
    title = f"{' against '.join(names)} on {judgement.suite.name} {judgement.suite.version}, judged by {judgement.judge['model']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("group", no_wrap=True)
    for column in (
        "items",
        *(
            part
            for metric in next(iter(judgement.scores.values()))
            for part in (_short(metric), "95 %")
        ),
    ):
        table.add_column(column, no_wrap=True, justify="right")
    for group, scores in judgement.scores.items():
        if not group.endswith("_hard") and not group.startswith("unseen/"):
            cells = [
                cell
                for score in scores.values()
                for cell in (f"{score.mean:.2f}", _interval(score))
            ]
            table.add_row(group, str(next(iter(scores.values())).samples), *cells)
    Console().print(table, markup=False)
    for note in notes(judgement, names):
        click.echo(note)
    click.echo(f"The judgement is in {out / 'index.html'}.")


def _short(metric: str) -> str:
    return metric.removeprefix("judge_").partition("[")[0]


def _interval(score: "Score") -> str:
    return (
        "too few"
        if score.ci_low is None or score.ci_high is None
        else f"{score.ci_low:.2f}..{score.ci_high:.2f}"
    )


def notes(judgement: "Judgement", names: list[str]) -> list[str]:
    """What stands below the table, a line each."""
    said = []
    if judgement.protocol == "choice":
        said.append(f"1: {names[0]} is preferred in both orders; 0: {names[1]}; 0.5: no preference")
    if position := judgement.position:
        first, consistent = position.first, position.consistent
        said.append(
            f"{names[0]} is chosen in {position.when_first:.0%} where it is shown first, in {position.when_second:.0%} where second"
        )
        said.append(
            f"the picture shown first was chosen in {first:.0%} of answers; both orders agree on {consistent:.0%} of items"
        )
    if judgement.unparsable:
        said.append(
            f"the answers about {len(judgement.unparsable)} of {judgement.items} items cannot be parsed; they are left out"
        )
    said += [f"{judgement.missing} items lack a prediction and count the worst"] * bool(
        judgement.missing
    )
    said += ["the judgement is of a part of the suite"] * judgement.partial
    said += [f"{judgement.resized} predictions were resized"] * bool(judgement.resized)
    if agreed := judgement.agreement:
        known = {
            "agreement": agreed.agreement,
            "kappa": agreed.kappa,
            "between people": agreed.between_people,
        }
        known |= {
            f"correlation in {name}": value for name, value in (agreed.correlation or {}).items()
        }
        shares = (
            ", ".join(f"{what} {value:.2f}" for what, value in known.items() if value is not None)
            or "too little to tell"
        )
        said.append(f"with people, {agreed.votes} votes on {agreed.items} items: {shares}")
    return said
