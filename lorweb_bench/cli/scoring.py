"""The commands `methods`, `predict`, `score`, `evaluate` and `compare`.

Heavy modules are imported when a command runs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lorweb_bench.cli.options import key_values, part, resize_option
from lorweb_bench.protocol import BOOTSTRAP_SEED, MAX_EXEMPLARS, PREDICT_SEED, PROMPT_MODES, TRACKS

if TYPE_CHECKING:
    from lorweb_bench.reports.report import Report, Score

SUITE = click.option(
    "--suite", required=True, type=click.Path(path_type=Path), help="The suite's folder."
)
OUT = click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path),
    help="The folder to write.",
)
METHOD = click.option(
    "--method",
    required=True,
    metavar="SPEC",
    help="A name, module:attribute, file.py:attribute, or checkpoint folder.",
)
METRICS = click.option(
    "--metrics",
    metavar="A,B,…",
    help="Which metrics; by default all that need no downloaded weights.",
)
SKIP = click.option(
    "--skip-unavailable",
    is_flag=True,
    help="Leave out metrics whose weights or packages are not there; the report says why.",
)
SHUFFLED = click.option(
    "--shuffled",
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="A report of the same method with --pairs shuffled; what it lost stands beside.",
)


def _statements(
    context: click.Context, parameter: click.Parameter, given: str | None
) -> list[str] | None:
    if given is None:
        return None
    statements = (statement.strip() for statement in given.split(","))
    return [statement for statement in statements if statement]


TRAINED_ON = click.option(
    "--trained-on",
    callback=_statements,
    metavar="DATASET,…",
    help="What the method was trained on: datasets, or nothing. The track follows from it.",
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes."
)
ENGINE = click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where pieces run.",
)


PREDICTING = (
    click.option(
        "--prompt",
        type=click.Choice(PROMPT_MODES),
        default="none",
        show_default=True,
        help="What text a method is given.",
    ),
    click.option(
        "--pairs",
        type=click.Choice(["true", "shuffled"]),
        default="true",
        show_default=True,
        help="The item's own pair, or another's.",
    ),
    click.option(
        "--exemplars",
        type=click.IntRange(1, MAX_EXEMPLARS),
        default=1,
        show_default=True,
        metavar="K",
        help="How many of an item's pairs are shown.",
    ),
    click.option(
        "--seed",
        type=int,
        default=PREDICT_SEED,
        show_default=True,
        help="What each item's seed is made from.",
    ),
    click.option(
        "--limit",
        type=click.IntRange(1),
        metavar="N",
        help="Only N items; marked as partial and never ranked.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(1),
        metavar="N",
        help="Triplets that the method gets at once; by default its own.",
    ),
    click.option(
        "--set",
        "options",
        multiple=True,
        callback=key_values,
        metavar="KEY=VALUE",
        help="An option that the method is made with.",
    ),
    click.option(
        "--track",
        type=click.Choice(TRACKS),
        help="closed: adapted on the suite's training dataset only. By default the method's.",
    ),
    click.option(
        "--allow-missing",
        is_flag=True,
        help="Leave out items that the method has no answer to; they count the worst.",
    ),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Make all predictions anew, also those of an earlier run.",
    ),
)


def _predicting(command: Any) -> Any:
    for option in reversed(PREDICTING):
        command = option(command)
    return command


def _names(metrics: str | None) -> list[str] | None:
    return (
        None if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    )


@click.command()
def methods() -> None:
    """List what can be scored, what each needs, and whether that is there.

    Besides these, a method can be module:attribute, path/to/file.py:attribute, or a checkpoint
    folder.
    """
    from lorweb_bench.methods.listing import list_methods

    listed = list_methods()
    width = max(len(info.name) for info in listed) + 2
    for info in listed:
        click.echo(
            f"{info.name:{width}}{'can be run here' if info.missing is None else info.missing}"
        )
        for line in (info.what, f"needs {info.needs}" if info.needs else ""):
            if line:
                click.echo(f"{'':{width}}{line}")


@click.command()
@METHOD
@SUITE
@OUT
@_predicting
@click.option(
    "--shard",
    callback=part,
    metavar="I/N",
    help="Only the I-th of N parts; all parts may share one folder.",
)
@WORKERS
@ENGINE
def predict(method: str, suite: Path, out: Path, **settings: Any) -> None:
    """Run a method on a suite, or on its public view. Running it again resumes."""
    from lorweb_bench.scoring.evaluate import predict as run

    prediction = run(method, suite, out, **settings)
    if prediction is None:
        click.echo(
            f"This part is in {out}; the run that completes the folder writes its predictions.json."
        )
    else:
        part_of = ", a part of the suite" if prediction.partial else ""
        click.echo(
            f"{prediction.samples} predictions of {prediction.method.name} in {out}{part_of}."
        )
        if prediction.unanswered:
            names = ", ".join(list(prediction.unanswered)[:5])
            names += ", …" if len(prediction.unanswered) > 5 else ""
            reason = next(iter(prediction.unanswered.values()))
            click.echo(
                f"{len(prediction.unanswered)} items have no answer ({names}); the first: {reason}."
            )


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@SUITE
@OUT
@METRICS
@click.option("--name", help="The method's name, for a bare folder of images.")
@click.option(
    "--prompt",
    type=click.Choice(PROMPT_MODES),
    help="The prompt mode, for a bare folder of images; none by default.",
)
@click.option(
    "--track",
    type=click.Choice(TRACKS),
    help="The track, for a bare folder of images; open by default.",
)
@resize_option
@click.option(
    "--allow-missing",
    is_flag=True,
    help="Score the folder of a run that is not finished; what is missing counts the worst.",
)
@SKIP
@SHUFFLED
@TRAINED_ON
@click.option(
    "--seed", type=int, default=BOOTSTRAP_SEED, show_default=True, help="Of the bootstrap."
)
@WORKERS
@ENGINE
def score(predictions: Path, suite: Path, out: Path, metrics: str | None, **settings: Any) -> None:
    """Score predictions against a suite.

    PREDICTIONS is a folder that predict wrote, or a bare folder of <key>.png, .jpg or .webp.
    """
    from lorweb_bench.scoring.evaluate import score as run

    _show(run(predictions, suite, _names(metrics), out=out, **settings), out)


@click.command()
@METHOD
@SUITE
@OUT
@METRICS
@SKIP
@SHUFFLED
@TRAINED_ON
@_predicting
@WORKERS
@ENGINE
def evaluate(method: str, suite: Path, out: Path, metrics: str | None, **settings: Any) -> None:
    """Predict, then score; the predictions stay in OUTPUT/predictions. Running it again resumes."""
    from lorweb_bench.scoring.evaluate import evaluate as run

    _show(run(method, suite, _names(metrics), out=out, **settings), out)


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--metric", help="Which metric; by default edit_recovery where all have it.")
@click.option(
    "--trainings",
    is_flag=True,
    help="Take reports of one method as its trainings from several seeds, and as one together.",
)
@click.option(
    "--seed",
    type=int,
    default=BOOTSTRAP_SEED,
    show_default=True,
    help="Of the bootstrap and the sign flips.",
)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TABLE",
    help="Also write a table, .csv, .md or .tex, of all metrics or the one of --metric.",
)
def compare(
    reports: tuple[Path, ...],
    metric: str | None,
    trainings: bool,
    seed: int,
    out: Path | None,
) -> None:
    """Compare reports, or judgements, of one suite: paired by item, per group, with intervals."""
    from lorweb_bench.compare.compare import compare_all_metrics, compare_reports
    from lorweb_bench.compare.showing import write_comparisons
    from lorweb_bench.compare.tables import table_format

    if out is None:
        click.echo(compare_reports(reports, metric, seed, trainings))
        return
    table_format(out)  # a wrong ending is told before anything is computed
    if metric is None:
        comparisons = compare_all_metrics(reports, seed, trainings)
    else:
        comparisons = [compare_reports(reports, metric, seed, trainings)]
    write_comparisons(out, comparisons)
    click.echo(comparisons[0])
    click.echo(f"The table of {', '.join(c.metric for c in comparisons)} is in {out}.")


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FIGURE",
    help="The file to write: .png or .pdf.",
)
@click.option("--suite", type=click.Path(path_type=Path), help="By default the first report's.")
@click.option(
    "--predictions",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Those of each report, in order; by default beside the report, or as its command says.",
)
@click.option("--keys", metavar="KEY,…", help="Which items.")
@click.option(
    "--choose",
    metavar="WORD,…",
    default="best,median,worst",
    show_default=True,
    help="Else, which items of each tier, by the first report.",
)
@click.option("--tier", "tiers", metavar="TIER,…", help="Which tiers; by default the unseen ones.")
@click.option("--metric", help="What chooses and is shown; by default edit_recovery.")
def figure(
    reports: tuple[Path, ...],
    out: Path,
    suite: Path | None,
    predictions: tuple[Path, ...],
    keys: str | None,
    choose: str,
    tiers: str | None,
    metric: str | None,
) -> None:
    """Draw the same items across methods: a, a′, b, what each method made, and the truth."""
    from lorweb_bench.compare.figure import write_figure

    drawn_keys = write_figure(
        reports,
        out,
        suite=suite,
        predictions=predictions,
        keys=_names(keys) or (),
        choose=_names(choose) or (),
        tiers=_names(tiers) or (),
        metric=metric,
    )
    click.echo(f"{len(drawn_keys)} items are in {out}: {', '.join(drawn_keys)}.")


def _show(report: "Report", out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from lorweb_bench.reports.bars import digits
    from lorweb_bench.reports.report import headline_of

    title = f"{report.method.name} on {report.suite.name} {report.suite.version}"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    headline = headline_of(report.metrics)
    table.add_column("group", no_wrap=True)
    names = [metric.partition("[")[0] for metric in report.metrics]
    headings = {
        m: name if names.count(name) == 1 else m
        for m, name in zip(report.metrics, names, strict=True)
    }
    table.add_column("items", no_wrap=True, justify="right")
    for column in report.metrics:
        table.add_column(headings[column], overflow="fold", justify="right")
        if column == headline:
            table.add_column("95 %", no_wrap=True)
    places = {}
    for metric in report.metrics:
        means = (scores[metric].mean for scores in report.scores.values())
        places[metric] = digits(metric, means)
    for group, scores in report.scores.items():
        if not group.endswith("_hard") and not group.startswith("unseen/"):
            cells = [
                cell
                for metric in report.metrics
                for cell in _cells(scores[metric], metric == headline, places[metric])
            ]
            table.add_row(group, str(scores[report.metrics[0]].samples), *cells)
    Console().print(table, markup=False)
    for note in _notes(report, headline, headings, places):
        click.echo(note)
    click.echo(f"The report is in {out / 'index.html'}.")


def _notes(
    report: "Report",
    headline: str | None,
    headings: Mapping[str, str],
    places: Mapping[str, int],
) -> list[str]:
    """What has to be known beside the table, one line each."""
    from lorweb_bench.reports.report import plain

    headline_drop = ((report.shuffled or {}).get("unseen") or {}).get(headline or "")
    notes = (
        [
            f"shuffled pairs lose {plain(headline_drop['drop'] or 0.0, places[headline])} "
            f"of {headline} on unseen"
        ]
        if headline_drop and headline
        else []
    )
    notes += [f"chance in {metric}: {value:.3g}" for metric, value in report.chance.items()]
    if report.missing:
        notes.append(
            f"{report.missing} predictions are missing and count the worst value{_missing(report)}"
        )
    notes += ["the predictions are of a part of the suite"] * report.partial
    notes += [report.unpinned] if report.unpinned else []
    notes += [f"{name} is {metric}" for metric, name in headings.items() if name != metric]
    notes += [
        f"{metric} was not computed: {reason}" for metric, reason in report.not_computed.items()
    ]
    notes += [f"{report.resized} predictions were resized ({report.resize})"] * bool(report.resized)
    notes += ["shown the pair of another transformation"] * (report.pairs == "shuffled")
    return notes


def _missing(report: "Report") -> str:
    """The first keys without a prediction, in brackets."""
    table = report.per_sample or {}
    if "missing" not in table:
        return ""
    keys = [str(key) for key in table["key"][table["missing"]]]
    return f" ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''})"


def _cells(score: "Score", interval: bool, places: int) -> list[str]:
    from lorweb_bench.reports.report import plain

    if not interval:
        return [plain(score.mean, places)]
    low, high = score.ci_low, score.ci_high
    return [
        plain(score.mean, places),
        "too few"
        if low is None or high is None
        else f"{plain(low, places)}..{plain(high, places)}",
    ]
