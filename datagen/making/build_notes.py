"""What a build left out: sentences for people, and counts for the manifest."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 12  # sentences of one filter that are printed; the manifest has all counts


class Note(str):
    """A sentence; `filter` names what left the thing out, and is empty where nothing was left out."""

    filter: str

    def __new__(cls, text: str, filter: str = "") -> "Note":
        """The sentence `text`, counted in the manifest under `filter`; signs in names of files that would steer a terminal are shown."""
        note = super().__new__(
            cls,
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text),
        )
        note.filter = filter
        return note


@dataclass(frozen=True)
class Dropped:
    """An item that could not be made, and the filter that the last attempt failed."""

    filter: str


def left_out(notes: Iterable[Note]) -> dict[str, int]:
    """How often each filter left something out, by its name."""
    return dict(sorted(Counter(note.filter for note in notes if note.filter).items()))


def told(notes: Iterable[Note]) -> list[str]:
    """The sentences to print: all that leave nothing out, and of each filter the first ones and how many more there are."""
    counts: Counter[str] = Counter()
    lines = []
    for note in notes:
        counts[note.filter] += 1
        if not note.filter or counts[note.filter] <= SHOWN:
            lines.append(str(note))
    lines += [
        f"{name}: {count - SHOWN} more were left out"
        for name, count in counts.items()
        if name and count > SHOWN
    ]
    return lines
