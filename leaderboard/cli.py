"""Commands: leaderboard pack, verify, add, render.

Heavy modules are imported when a command runs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leaderboard.service.admin_cli import ADMIN_COMMANDS
from leaderboard.service.cli import COMMANDS
from leaderboard.service.options import DATABASE, STORE
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import SUMMARY_GROUPS

if TYPE_CHECKING:
    from leaderboard.store.suites import Standing
    from leaderboard.submission.verify import Verdict
    from lorweb_bench.reports.report import Report

FOLDER = click.Path(path_type=Path)
ARCHIVE = click.argument("submission", metavar="SUBMISSION.zip", type=FOLDER)
SUITE = click.option(
    "--suite", required=True, type=FOLDER, help="The suite's folder, in the full view."
)
WORKERS = click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that score."
)
REPRODUCTION = click.option(
    "--reproduction",
    metavar="REPORT",
    type=FOLDER,
    help="Your own report of the same method; where it agrees the level is `reproduced`.",
)
TRAINING = click.option(
    "--training",
    metavar="DATASET",
    type=FOLDER,
    multiple=True,
    help=(
        "A training dataset that the card declares, or its dataset.json: searched for what the "
        "suite calls new."
    ),
)
SHOWN = ("edit_recovery", "retrieval")


class Board(click.Group):
    """A group whose commands say in one sentence what a database does.

    It is full, locked or gone.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and tell a failure of the database in one sentence."""
        try:
            return super().invoke(ctx)
        except Exception as e:
            if type(e).__module__ != "sqlalchemy.exc" or not hasattr(
                e, "orig"
            ):  # SQLAlchemy is not imported for --help
                raise
            reason = " ".join(str(e.orig).split())[:200]
            raise InputError(
                f"The board's database cannot be used ({reason}); what was recorded is there, run "
                "the command again."
            ) from None


@click.group(cls=Board, context_settings={"help_option_names": ["-h", "--help"]})
def leaderboard() -> None:
    """Pack submissions, verify and re-score them, keep them, and render the board.

    A submission is evidence: no score is taken from it, the board computes them from the images.
    """


@leaderboard.command()
@click.argument("predictions", type=FOLDER)
@click.option(
    "--suite", required=True, type=FOLDER, help="The suite that was predicted, in either view."
)
@click.option(
    "--card",
    required=True,
    metavar="CARD.yaml",
    type=FOLDER,
    help="What you declare of the method; as docs/example-card.yaml.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="SUBMISSION.zip",
    type=FOLDER,
    help="The archive to write.",
)
def pack(predictions: Path, suite: Path, card: Path, output: Path) -> None:
    """Pack complete predictions and a card into one archive."""
    from leaderboard.submission.submission import pack as run
    from lorweb_bench.data.dataset import open_suite

    run(predictions, open_suite(suite), card, output)
    click.echo(f"Packed {output}, {output.stat().st_size / 1e6:.1f} MB.")


@leaderboard.command()
@ARCHIVE
@SUITE
@REPRODUCTION
@TRAINING
@click.option(
    "-o",
    "--output",
    metavar="VERDICT.json",
    type=FOLDER,
    help="The verdict; by default SUBMISSION.verdict.json beside it.",
)
@WORKERS
def verify(
    submission: Path,
    suite: Path,
    reproduction: Path | None,
    training: tuple[Path, ...],
    output: Path | None,
    workers: int,
) -> None:
    """Check a submission and score it from its images; write the verdict.

    A refused one exits with 2.
    """
    from leaderboard.submission.verify import verify as run
    from lorweb_bench.data.dataset import open_suite
    from lorweb_bench.runtime.files import write_json

    verdict = run(submission, open_suite(suite), _report(reproduction), workers, training)
    output = output or submission.with_suffix(".verdict.json")
    try:
        write_json(output, verdict.model_dump(mode="json"))
    except OSError as e:
        raise InputError(
            f"The verdict cannot be written to {output} ({e.strerror}); name a place with -o."
        ) from None
    _print(verdict, submission)
    click.echo(f"The verdict is in {output}.")


@leaderboard.command()
@ARCHIVE
@SUITE
@STORE
@DATABASE
@REPRODUCTION
@TRAINING
@click.option("--team", metavar="NAME", help="The team that owns it; without it you do.")
@WORKERS
def add(
    submission: Path,
    suite: Path,
    store: Path,
    database: str | None,
    reproduction: Path | None,
    training: tuple[Path, ...],
    team: str | None,
    workers: int,
) -> None:
    """Verify a submission and record it in a store.

    Adding the same archive again changes nothing.
    """
    from leaderboard.board.run_groups import takes_the_place_of
    from leaderboard.store.store import Store
    from lorweb_bench.data.dataset import open_suite

    board = Store(store, database)
    opened, reproduced = open_suite(suite), _report(reproduction)
    added = board.add(submission, opened, reproduced, workers, training, team)
    _print(added.verdict, submission)
    click.echo(f"{submission} is {'now' if added.new else 'already'} in {store}.")
    if added.new and (old := takes_the_place_of(board.entries(), added.verdict.sha256)):
        click.echo(
            f"It takes the place of {old.submission.sha256[:12]} of "
            f"{old.verdict.decided.date()}, the same method, version and seeds; "
            "a card with another version or other seeds would stand beside it."
        )


@leaderboard.command()
@ARCHIVE
@click.option(
    "--method",
    required=True,
    metavar="SPEC",
    help="The method, as for `predict`: a name, file.py:attribute, or a checkpoint.",
)
@SUITE
@STORE
@DATABASE
@WORKERS
def reproduce(
    submission: Path, method: str, suite: Path, store: Path, database: str | None, workers: int
) -> None:
    """Run the method of a submission yourself.

    Where your scores agree with its images, it is recorded as `reproduced`.
    """
    from leaderboard.store.reference_rows import reproduce as run
    from leaderboard.store.store import Store
    from lorweb_bench.data.dataset import open_suite

    _print(
        run(submission, open_suite(suite), Store(store, database), method, workers).verdict,
        submission,
    )


@leaderboard.command()
@SUITE
@STORE
@DATABASE
@WORKERS
def references(suite: Path, store: Path, database: str | None, workers: int) -> None:
    """Run the trivial methods and bounds that stand in every table, and record them.

    What is there stays.
    """
    from leaderboard.store.reference_rows import add_references, references_of
    from leaderboard.store.store import Store
    from lorweb_bench.data.dataset import open_suite
    from lorweb_bench.methods.reference_rows import OPEN_BOOK

    opened = open_suite(suite)
    for name, added in add_references(Store(store, database), opened, workers):
        click.echo(f"{name} is {'already' if added is None else 'now'} in {store}.")
    if OPEN_BOOK not in references_of(opened):
        click.echo(
            f"{OPEN_BOOK} is left out: the public library holds none of the families behind the "
            "suite's unseen items."
        )


@leaderboard.command()
@click.argument("suite", type=FOLDER)
@STORE
@DATABASE
@click.option(
    "--standing",
    type=click.Choice(["private", "public", "retired"]),
    help="What holds from now on.",
)
@click.option(
    "--accept/--close",
    "accepting",
    default=None,
    help="Whether the service takes submissions to it.",
)
@click.option(
    "--replace",
    is_flag=True,
    help=(
        "Take its answers, labels and version instead of those in the store; score everything "
        "again."
    ),
)
@click.option("--rescore", is_flag=True, help="Have a worker score everything on it again.")
def suite(
    suite: Path,
    store: Path,
    database: str | None,
    standing: "Standing | None",
    accepting: bool | None,
    **how: bool,
) -> None:
    """Say what may be shown of a suite, and whether the service takes submissions to it.

    Of a private one (the default) no item is shown, of a public one all. A private suite is retired
    before it is shown; a retired one takes no more submissions.
    """
    from leaderboard.service.suite_intake import declare, take
    from leaderboard.store.store import Store
    from lorweb_bench.data.dataset import open_suite

    if standing is None and accepting is None and not any(how.values()):
        raise InputError(
            "Say what to do with the suite: --standing, --accept, --close, --replace or --rescore."
        )
    opened, board = open_suite(suite), Store(store, database)
    if accepting is not None or any(how.values()):
        intake = take(
            board, opened, accepting, how["replace"], how["rescore"], standing or "private"
        )
        takes = "takes" if intake.accepting else "takes no"
        click.echo(
            f"{opened.name} {opened.version} {takes} submissions in {store}; {intake.queued} wait "
            "to be scored again."
        )
    if standing is not None:
        before = declare(board, opened, standing)
        click.echo(
            f"{opened.name} {opened.version} is {standing} in "
            f"{store}{'' if before == standing else f'; it was {before}'}."
        )


@leaderboard.command()
@STORE
@DATABASE
@click.option(
    "-o", "--output", required=True, metavar="SITE", type=FOLDER, help="The folder of the site."
)
@click.option(
    "--gallery",
    "galleries",
    metavar="SUITE",
    type=FOLDER,
    multiple=True,
    help="Show items of this public or retired suite, answers included.",
)
@click.option(
    "--title",
    default="Leaderboard of visual analogies",
    show_default=True,
    help="The title of the board.",
)
@click.option(
    "--note",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file with a word of the keeper's; it stands above the tables.",
)
def render(
    store: Path,
    database: str | None,
    output: Path,
    galleries: tuple[Path, ...],
    title: str,
    note: Path | None,
) -> None:
    """Render the board as a static site, with tables as CSV and JSON."""
    from leaderboard.board.render import render as run
    from leaderboard.store.store import Store
    from lorweb_bench.data.dataset import open_suite

    run(
        Store(store, database, create=False),
        output,
        [open_suite(path) for path in galleries],
        title,
        _read_note(note) if note else "",
    )
    click.echo(f"The board is in {output / 'index.html'}.")


def _read_note(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8 ({error.reason}); save it as such") from error


def _report(path: Path | None) -> "Report | None":
    from lorweb_bench.reports.report import open_report

    return open_report(path) if path else None


def _print(verdict: "Verdict", submission: Path) -> None:
    if not verdict.accepted or verdict.report is None:
        raise InputError(f"{submission} is refused: {verdict.reasons[0]}")
    report = verdict.report
    click.echo(
        f"Accepted, {verdict.level}: {report.method.name} on {report.suite.name} "
        f"{report.suite.version}."
    )
    for reason in verdict.reasons:
        click.echo(reason)
    for group in reversed(SUMMARY_GROUPS):
        for metric in SHOWN:
            if metric in report.scores.get(group, {}):
                score = report.scores[group][metric]
                interval = (
                    "" if score.ci_low is None else f"  [{score.ci_low:.3f}, {score.ci_high:.3f}]"
                )
                click.echo(f"  {group:12}{metric:16}{score.mean:8.3f}{interval}")


for command in (*COMMANDS, *ADMIN_COMMANDS):
    leaderboard.add_command(command)
