"""Progress of training on stderr, with the time left and the loss."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress:
    """A progress bar; where stderr is no terminal, a plain line every five percent.

    Nothing where it is not `shown`.
    """

    def __init__(self, what: str, total: int, done: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.done, self.shown = what, total, done, shown
        self.first, self.started = done, time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        self.bar = (
            Bar(*columns, console=Console(stderr=True)) if shown and sys.stderr.isatty() else None
        )
        self.task = (
            self.bar.add_task(what, total=total, completed=done, loss="") if self.bar else None
        )

    def __enter__(self) -> "Progress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, loss: float) -> None:
        """One step done, with the loss to show."""
        self.done += 1
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, advance=1, loss=f"loss {loss:.4f}")
        elif self.shown and (self.done % max(1, self.total // 20) == 0 or self.done == self.total):
            left = (
                (time.monotonic() - self.started)
                / (self.done - self.first)
                * (self.total - self.done)
            )
            print(
                f"{self.what}: {self.done}/{self.total}, loss {loss:.4f}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )


def bars_on_terminals_alone() -> None:
    """Leave out the bars of transformers and diffusers where stderr is no terminal.

    In a log they are lines of their own.
    """
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    if not sys.stderr.isatty():
        of_diffusers.disable_progress_bar()
        of_transformers.disable_progress_bar()
