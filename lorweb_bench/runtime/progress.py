"""Progress on stderr for whatever takes longer than two seconds."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")
QUIET_SECONDS = 2.0
LINE_SECONDS = 30.0

# Called with what is done, how many pieces are, and of how many (None: nobody knows).
Listener = Callable[[str, int, int | None], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a function how far work inside the block is, as well as stderr.

    Args:
        listener: called after every piece of work, in the thread that does it.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def track(work: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Hand on `work` and show on stderr how far it is.

    Args:
        work: any iterable.
        total: how many pieces it has, where that is known: it gives the time left.
        what: what is being done, e.g. "predicting".
    """
    with Progress(what, total) as progress:
        for piece in work:
            yield piece
            progress.advance()


class Progress:
    """How far some work is, on stderr, once it has taken two seconds.

    On a terminal it is a bar with the time left, the outermost of nested ones alone; elsewhere a
    line every half minute, so that logs stay short. A note, such as a loss, stands behind it; work
    that has notes ends with a line.

    Args:
        what: what is being done, e.g. "training".
        total: how many pieces of work there are, None where nobody knows.
        done: how many of them were done before, by a run that was stopped.
        shown: False where another process shows it.
    """

    _has_bar = False  # a terminal shows one at a time

    def __init__(self, what: str, total: int | None, done: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.done, self.shown = what, total, done, shown
        self.first, self.started = done, time.monotonic()
        self.last_line, self.note = self.started, ""
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if self.shown and sys.stderr.isatty() and not Progress._has_bar:
            Progress._has_bar = True
            self.bar = _new_bar()
            self.bar.start()
            self.task = self.bar.add_task(
                self.what, total=self.total, completed=self.done, note="", visible=False
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
            Progress._has_bar = False
        elif self.shown and kind is None and self.note:
            self._print_line(time.monotonic())

    def advance(self, note: str = "") -> None:
        """One more piece of work is done; `note` is shown behind it."""
        self.done += 1
        self.note = note
        now = time.monotonic()
        if (listener := _listener.get()) is not None:
            listener(self.what, self.done, self.total)
        if self.bar is not None:
            visible = now - self.started > QUIET_SECONDS
            self.bar.update(self.task, advance=1, note=note, visible=visible)
        elif self.shown and now - self.last_line >= LINE_SECONDS:
            self._print_line(now)

    def _print_line(self, now: float) -> None:
        self.last_line = now
        line = f"{self.what}: {self.done}"
        if self.total:
            line += f"/{self.total}"
        if self.note:
            line += f", {self.note}"
        if self.total and self.done < self.total:
            seconds = (now - self.started) / max(1, self.done - self.first)
            line += f", {seconds * (self.total - self.done):.0f} s left"
        print(line, file=sys.stderr, flush=True)


def _new_bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        disable=False,
    )
