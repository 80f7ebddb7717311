"""Names of files as people write them: one way of matching them for pairs, lists, pins and credits.

A name means the file that is spelled so. Where there is none, it means the one file that differs
only in how accents are encoded (a Mac takes them apart), in upper and lower case, or in the slash
between folders (Windows writes the other one).
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path


def folded(name: str) -> str:
    r"""A name as it is compared: one form of accents, no case, one sort of slash.

    >>> folded("In\\CAFE\u0301.PNG") == folded("in/caf\u00e9.png")
    True
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


class NameIndex:
    """Names to be found again in another spelling."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._by_folded: dict[str, list[str]] = {}
        for name in sorted(self._names):
            self._by_folded.setdefault(folded(name), []).append(name)

    def find(self, name: str) -> str | None:
        """The name that is meant; None where there is none, or several could be meant."""
        if name in self._names:
            return name
        alike = self._by_folded.get(folded(name), [])
        return alike[0] if len(alike) == 1 else None


def find_file(root: Path, name: str) -> Path:
    """The file that a name relative to a folder means.

    Args:
        root: The folder.
        name: A path relative to it, or an absolute one.

    Returns:
        The file as the disk spells it; `root / name` where there is none.
    """
    literal = root / name
    try:
        if literal.exists():
            return literal
        current, parts = _start(root, name)
        for part in parts:
            there = NameIndex(entry.name for entry in current.iterdir()).find(part)
            if there is None:
                return literal
            current /= there
    except (OSError, ValueError):  # no folder, or a name that no file can have
        return literal
    return current


def _start(root: Path, name: str) -> tuple[Path, list[str]]:
    """Where to begin, and the names of folders and file from there on."""
    path = Path(name.replace("\\", "/"))
    if path.is_absolute():
        return Path(path.anchor), list(path.parts[1:])
    start, parts = root, list(path.parts)
    while parts and parts[0] == "..":
        start, parts = start / "..", parts[1:]
    return start, parts
