"""What a build left out: sentences for people, and counts for the manifest."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SHOWN = 12  # sentences of one filter that are printed; the manifest has all counts


@dataclass(frozen=True)
class LeftOut:
    """A file, row, pair or transformation that a build does not use, and why.

    Attributes:
        name: What it is called: a file's name relative to the source, a row, a transformation's id.
        reason: The rest of the sentence that begins with the name.
        filter: What the manifest counts it under. `unreadable` marks a file that is broken; every
            other filter is a choice, which `on_bad: fail` does not stop at.
    """

    name: str
    reason: str
    filter: str = "unreadable"

    def __str__(self) -> str:
        """The whole sentence, with signs that would steer a terminal written out."""
        return printable(f"{self.name}: {self.reason}")


Note = str | LeftOut  # a plain sentence leaves nothing out


@dataclass(frozen=True)
class Dropped:
    """A planned item that could not be made.

    Attributes:
        filter: The filter that its last attempt failed; `failed` where code raised an error.
        reason: What failed on what, in a sentence; empty for a filter.
    """

    filter: str
    reason: str = ""


class ItemFailure(Exception):
    """Code that makes one item raised an error; the text says what failed on what, and how."""


@contextlib.contextmanager
def failing_items(what: str) -> Iterator[None]:
    """Turn an error into an `ItemFailure`, which costs one item and not the build.

    Args:
        what: The start of the sentence, such as "invert fails on p1".

    A lack of memory or of space on disk is not the item's fault, and passes as it is.
    """
    try:
        yield
    except (MemoryError, OSError, ItemFailure):
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise ItemFailure(f"{what} ({type(error).__name__}: {lines[0][:200]})") from error


def printable(text: str) -> str:
    r"""Write out every sign that a terminal would not show as itself.

    >>> printable("a\nb.png")
    'a\\nb.png'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )


def left_out(notes: Iterable[Note]) -> dict[str, int]:
    """Count what each filter left out, by the filter's name."""
    counts = Counter(note.filter for note in notes if isinstance(note, LeftOut))
    return dict(sorted(counts.items()))


def sentences(notes: Iterable[Note]) -> list[str]:
    """The sentences to print.

    Plain sentences all appear. Of each filter the first `SHOWN` appear, then how many more it left
    out.
    """
    counts: Counter[str] = Counter()
    lines = []
    for note in notes:
        if isinstance(note, str):
            lines.append(printable(note))
            continue
        counts[note.filter] += 1
        if counts[note.filter] <= SHOWN:
            lines.append(str(note))
    for name, count in counts.items():
        if count > SHOWN:
            lines.append(f"{name}: {count - SHOWN} more were left out")
    return lines
