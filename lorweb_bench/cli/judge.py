"""The command judge. Heavy modules are imported when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.cli.options import key_values, resize_option
from lorweb_bench.protocol import BOOTSTRAP_SEED

if TYPE_CHECKING:
    from lorweb_bench.judging.judgement import Agreement, Judgement
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
@resize_option
@click.option(
    "--body",
    multiple=True,
    callback=key_values,
    metavar="KEY=VALUE",
    help="A field of the request, as max_tokens=4096; null leaves it out, as seed=null.",
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Ask each question N times, which shows the judge's own noise.",
)
@click.option(
    "--anchors",
    type=click.IntRange(0),
    default=8,
    show_default=True,
    help="Show the judge known pictures of N items: the truth, b, another edit.",
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
    help="Requests per question where the server fails.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that a question may take where the server asks to wait.",
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
    patience: float,
    body: dict[str, Any],
    **settings: Any,
) -> None:
    """Have a vision-language model judge predictions: rate those of one folder, or choose between
    those of two.

    A key to the server, where it wants one, is read from LORWEB_BENCH_JUDGE_KEY. Answers are kept,
    and never asked for twice.
    """
    from lorweb_bench.judging.endpoint import Endpoint
    from lorweb_bench.judging.judge import judge as run

    endpoint = Endpoint(
        url,
        model,
        timeout=timeout,
        parallel=parallel,
        attempts=attempts,
        patience=patience,
        body=body,
    )
    judgement = run(
        predictions, suite, endpoint, other=other, names=(name, other_name), out=out, **settings
    )
    _show(judgement, out)


def _show(judgement: "Judgement", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [judged.method.name for judged in judgement.judged]
    suite = f"{judgement.suite.name} {judgement.suite.version}"
    title = f"{' against '.join(names)} on {suite}, judged by {judgement.judge['model']}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("group", no_wrap=True)
    table.add_column("items", no_wrap=True, justify="right")
    for metric in next(iter(judgement.scores.values())):
        table.add_column(_short(metric), no_wrap=True, justify="right")
        table.add_column("95 %", no_wrap=True, justify="right")
    for group, scores in judgement.scores.items():
        if not group.endswith("_hard") and not group.startswith("unseen/"):
            cells = [str(next(iter(scores.values())).samples)]
            for score in scores.values():
                cells += [f"{score.mean:.2f}", _interval(score)]
            table.add_row(group, *cells)
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
    """The lines below the table."""
    from lorweb_bench.judging.anchors import anchor_notes

    lines = []
    if judgement.protocol == "choice":
        lines.append(
            f"1: {names[0]} is preferred in both orders; 0: {names[1]}; 0.5: no preference"
        )
    if position := judgement.position:
        lines.append(
            f"{names[0]} is chosen in {position.when_first:.0%} where it is shown first, "
            f"in {position.when_second:.0%} where second"
        )
        lines.append(
            f"the picture shown first was chosen in {position.first:.0%} of answers; "
            f"both orders agree on {position.consistent:.0%} of items"
        )
    lines += anchor_notes(judgement.anchors)
    if noise := judgement.noise:
        deviations = ", ".join(f"{name} {value:.2f}" for name, value in noise.deviation.items())
        lines.append(
            f"asked {noise.repeats} times, the judge says the same in {noise.same:.0%} of "
            "questions; "
            f"standard deviation within a question: {deviations}"
        )
    lines += _left_out(judgement)
    if judgement.missing:
        lines.append(f"{judgement.missing} items lack a prediction and count the worst")
    if judgement.partial:
        lines.append("the judgement is of a part of the suite")
    if judgement.resized:
        lines.append(f"{judgement.resized} predictions were resized")
    if agreement := judgement.agreement:
        lines.append(_people(agreement))
    return lines


def _left_out(judgement: "Judgement") -> list[str]:
    lines = []
    if judgement.unparsable:
        cut = f"; {judgement.cut} answers were cut at the limit of tokens" if judgement.cut else ""
        lines.append(
            f"the answers about {len(judgement.unparsable)} of {judgement.items} items cannot be "
            "parsed; "
            f"they are left out{cut}"
        )
    if judgement.failed:
        first_keys = ", ".join(list(judgement.failed)[:5]) + (
            ", …" if len(judgement.failed) > 5 else ""
        )
        reason = next(iter(judgement.failed.values()))
        lines.append(
            f"{len(judgement.failed)} of {judgement.items} items have no answer and are left out "
            f"({first_keys}); "
            f"the first: {reason}; the same command asks for them again"
        )
    served = judgement.judge.get("served", {})
    if len(served) > 1:
        lines.append(f"the server answered under several model names: {', '.join(served)}")
    return lines


def _people(agreement: "Agreement") -> str:
    values = {
        "agreement": agreement.agreement,
        "kappa": agreement.kappa,
        "between people": agreement.between_people,
    }
    for name, value in (agreement.correlation or {}).items():
        values[f"correlation in {name}"] = value
    shares = [f"{name} {value:.2f}" for name, value in values.items() if value is not None]
    words = ", ".join(shares) or "too little to tell"
    return f"with people, {agreement.votes} votes on {agreement.items} items: {words}"
