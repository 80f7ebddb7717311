"""Sorting more lines than fit into memory: sorted runs in temporary files, merged."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

RUN = 50_000  # lines that are sorted in memory


def sorted_lines(lines: Iterable[str], run: int = RUN) -> Iterator[str]:
    """The lines in order. A line has no line break in it; equal ones come next to each other."""
    with ExitStack() as stack:
        files: list[IO[str]] = []
        held: list[str] = []
        for line in lines:
            held.append(line)
            if len(held) == run:
                file = stack.enter_context(
                    tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")
                )
                file.writelines(f"{one}\n" for one in sorted(held))
                file.seek(0)
                files.append(file)
                held.clear()
        runs: list[Iterable[str]] = [(line[:-1] for line in file) for file in files]
        yield from heapq.merge(*runs, sorted(held))
