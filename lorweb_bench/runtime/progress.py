"""Progress on stderr for whatever takes longer than two seconds."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
QUIET_SECONDS = 2.0


def track(work: Iterable[T], total: int | None, what: str) -> Iterator[T]:
    """Hand on `work`, showing on stderr how far it is and the time left once two seconds have passed.

    On a terminal it is a bar; elsewhere a line every half minute, so that logs stay short.
    """
    if not sys.stderr.isatty():
        yield from _lines(work, total, what)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    started, shown = time.monotonic(), False
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=False) as bar:
        task = bar.add_task(what, total=total, visible=False)
        for piece in work:
            yield piece
            shown = shown or time.monotonic() - started > QUIET_SECONDS
            bar.update(task, advance=1, visible=shown)


def _lines(work: Iterable[T], total: int | None, what: str, every: float = 30.0) -> Iterator[T]:
    started = last = time.monotonic()
    for done, piece in enumerate(work, 1):
        yield piece
        now = time.monotonic()
        if now - last >= every:
            left = f", {(now - started) / done * (total - done):.0f} s left" if total else ""
            print(
                f"{what}: {done}{f'/{total}' if total else ''}{left}", file=sys.stderr, flush=True
            )
            last = now
