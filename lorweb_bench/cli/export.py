"""The command `export`: a report in a form that other places read."""

from pathlib import Path
from typing import Any

import click

from lorweb_bench.errors import InputError

FORMS = ("eval-results", "every-eval-ever")


@click.command()
@click.argument("report", type=click.Path(path_type=Path))
@click.option(
    "--as",
    "form",
    type=click.Choice(FORMS),
    required=True,
    help="eval-results: for a model repository on the hub. every-eval-ever: for that database.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="A clone of the repository, or a folder to upload to it.",
)
@click.option("--dataset", metavar="OWNER/NAME", help="The suite's dataset repository on the hub.")
@click.option("--revision", metavar="COMMIT", help="The commit of it that was scored.")
@click.option("--url", metavar="URL", help="A page of this result, such as a board's.")
@click.option("--url-name", metavar="NAME", help="What the link to it is called.")
@click.option("--model", metavar="DEVELOPER/NAME", help="The model, for every-eval-ever.")
@click.option("--organization", metavar="NAME", help="Who scored it, for every-eval-ever.")
@click.option(
    "--relationship",
    type=click.Choice(["first_party", "third_party", "collaborative", "other"]),
    default="other",
    show_default=True,
    help="What the scorer is to the model's makers, for every-eval-ever.",
)
def export(report: Path, form: str, output: Path, **given: Any) -> None:
    """Write REPORT in a form that other places read.

    A report of a part of a suite, or of shuffled pairs, is no result and is refused.
    """
    from lorweb_bench.reports.every_eval_ever import Source, write_every_eval_ever
    from lorweb_bench.reports.hub_results import Benchmark, write_eval_results
    from lorweb_bench.reports.report import open_report

    opened = open_report(report)
    if form == "eval-results":
        dataset = _needed(given, "dataset", form)
        links = {name: given[name] for name in ("revision", "url", "url_name")}
        click.echo(str(write_eval_results(opened, Benchmark(dataset, **links), output)))
        return
    organization, model = _needed(given, "organization", form), _needed(given, "model", form)
    source = Source(organization, model, given["relationship"], given["dataset"])
    for path in write_every_eval_ever(opened, source, output):
        click.echo(str(path))


def _needed(given: dict[str, Any], name: str, form: str) -> str:
    if given[name] is None:
        raise InputError(f"--as {form} needs --{name}; see `lorweb-bench export --help`.")
    return str(given[name])
