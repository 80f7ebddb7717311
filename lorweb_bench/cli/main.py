"""The command line: a table of commands, each imported on use."""

import errno
import importlib
import itertools
import os
import sys
from typing import Any

import click

from lorweb_bench.errors import InputError, did_you_mean

# command -> (module:attribute, short help), so that `--help` imports nothing.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("lorweb_bench.cli.demo:demo", "The main job, end to end, on the bundled tiny model."),
    "datagen": (
        "datagen.cli:datagen",
        "Build datasets and suites; show the transformation library.",
    ),
    "inspect": (
        "lorweb_bench.cli.data:inspect",
        "Show what a dataset holds: counts, tiers, a contact sheet.",
    ),
    "verify": (
        "lorweb_bench.cli.data:verify",
        "Check every byte of a dataset against its manifest.",
    ),
    "publish": (
        "lorweb_bench.cli.data:publish",
        "Write a suite's public view, which gives nothing away.",
    ),
    "leaks": ("lorweb_bench.cli.data:leaks", "Find what a training dataset shares with a suite."),
    "train": (
        "reference_model.cli:train",
        "Train the reference model, or print its size with --dry-run.",
    ),
    "pretrain-tiny": (
        "reference_model.cli:pretrain_tiny",
        "Pretrain the tiny base that ships with the project.",
    ),
    "apply": ("reference_model.cli:apply", "Apply a checkpoint to A, A_PRIME, B."),
    "ui": ("reference_model.cli:ui", "Try analogies in the browser: three pictures in, b' out."),
    "known-pairs": (
        "reference_model.cli:known_pairs",
        "Store in a checkpoint what it was trained on, as it sees it.",
    ),
    "compose": (
        "reference_model.cli:compose",
        "Write the LoRA of one analogy as a file for other tools.",
    ),
    "import-lorweb": (
        "reference_model.cli:import_lorweb",
        "Make a checkpoint of a released LoRWeB.",
    ),
    "push": (
        "reference_model.push_cli:push",
        "Put a checkpoint or a composed LoRA on the hub.",
    ),
    "inspect-model": (
        "reference_model.cli:inspect_model",
        "Show the coefficients of a checkpoint, and what each element does.",
    ),
    "oracle": (
        "reference_model.cli:oracle",
        "Find what is reachable for each transformation, and where it is lost.",
    ),
    "methods": (
        "lorweb_bench.cli.scoring:methods",
        "List what can be scored, and what each needs.",
    ),
    "predict": ("lorweb_bench.cli.scoring:predict", "Run a method on a suite."),
    "score": ("lorweb_bench.cli.scoring:score", "Score predictions against a suite."),
    "evaluate": ("lorweb_bench.cli.scoring:evaluate", "Predict, then score."),
    "compare": (
        "lorweb_bench.cli.scoring:compare",
        "Compare reports, paired by item, with intervals.",
    ),
    "figure": (
        "lorweb_bench.cli.scoring:figure",
        "Draw the same items across methods.",
    ),
    "results": (
        "lorweb_bench.cli.results:results",
        "Stack reports into one table, as CSV or Parquet.",
    ),
    "export": (
        "lorweb_bench.cli.export:export",
        "Write a report in the form of the hub, or of Every Eval Ever.",
    ),
    "judge": ("lorweb_bench.cli.judge:judge", "Have a vision-language model judge predictions."),
    "leaderboard": ("leaderboard.cli:leaderboard", "Pack, verify, store and render a leaderboard."),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order that the help shows."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        command.name = cmd_name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command line, or fail with the nearest command's name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS, "see `lorweb-bench --help`.")
            ctx.fail(f"There is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands in the help without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lorweb-bench", prog_name="lorweb-bench")
def cli() -> None:
    """Visual analogies: build datasets, score any method, train a model, run a leaderboard."""


# What the machine refuses, not a fault of ours.
OUTSIDE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
)


def _lacking(error: ModuleNotFoundError, args: list[str]) -> str | None:
    """The sentence for a command whose packages an extra brings; None where that is not why."""
    from lorweb_bench.runtime.extras import explain_missing

    words = list(itertools.takewhile(lambda word: not word.startswith("-"), args[:2]))
    words = words if words[:1] in (["datagen"], ["leaderboard"]) else words[:1]
    return explain_missing(error, f"`{' '.join(['lorweb-bench', *words])}`")


def main(args: list[str] | None = None) -> Any:
    """Run the command line: exit code 0, 2 for bad usage or bad input, 130 on Ctrl-C."""
    try:
        code = cli.main(args=args, prog_name="lorweb-bench", standalone_mode=False)
        sys.stdout.flush()
    except InputError as e:
        click.echo(f"Error: {e}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as e:
        if (sentence := _lacking(e, sys.argv[1:] if args is None else args)) is None:
            raise
        click.echo(f"Error: {sentence}", err=True)
        sys.exit(2)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else the interpreter complains at its exit
        sys.exit(1)
    except OSError as e:
        if e.errno not in OUTSIDE:
            raise
        click.echo(f"Error: {e.filename or 'the output'}: {e.strerror}.", err=True)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)
