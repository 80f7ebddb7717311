"""Fonts for sheets: Pillow's own, and an installed one for text that has other letters.

Pillow's own font draws plain Latin letters, the same everywhere. Text in other letters is drawn in
the first installed font that has them all; where there is none, a sentence in its place says so.
"""

import os
import sys
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MISSING = "\uffff"  # no font has it: what is drawn for it is what is drawn for any missing letter
MOST = 400  # font files that are looked into
STYLES = ("bold", "italic", "oblique", "condensed", "mono", "serif", "light")


@lru_cache(maxsize=64)
def plain_font(size: int) -> Font:
    """Pillow's own font in a size in pixels."""
    return ImageFont.load_default(size)


def font_and_text(text: str, size: int) -> tuple[Font, str]:
    """A font that has all letters of a text, and the text, or what is drawn in its place.

    Args:
        text: The text.
        size: The size of the font in pixels.
    """
    letters = frozenset(sign for sign in text if not sign.isspace())
    if not letters - _common():
        return plain_font(size), text
    path = _font_file(letters)
    if path is not None:
        return ImageFont.truetype(path, size), text
    lacking = sorted({_script(sign) for sign in letters - _common()})
    return plain_font(size), f"(text in {', '.join(lacking)}, which no installed font has)"


@lru_cache(maxsize=1)
def _common() -> frozenset[str]:
    """The letters of Pillow's own font, of those that text in English has."""
    font = plain_font(13)
    signs = [chr(code) for code in (*range(33, 127), *range(0xA1, 0x100), *range(0x2010, 0x2027))]
    return frozenset(sign for sign in signs if _has(font, sign))


def _has(font: Font, sign: str) -> bool:
    return _drawn(font, sign) != _drawn(font, MISSING)


def _drawn(font: Font, sign: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(sign)
    return mask.size, bytes(mask)


@lru_cache(maxsize=256)
def _font_file(letters: frozenset[str]) -> str | None:
    """The first installed font that has all of some letters; None where none has."""
    for path in _installed():
        try:
            font = ImageFont.truetype(path, 13)
            if all(_has(font, sign) for sign in letters):
                return path
        except (OSError, ValueError):  # no font, or one that Pillow cannot read
            continue
    return None


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    """The font files of the system, upright ones without serifs first."""
    home = Path.home()
    folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".fonts"]
    folders += [home / ".local/share/fonts"]
    if sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        folders = [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    files: list[Path] = []
    for folder in folders:
        for kind in ("ttf", "ttc", "otf"):
            files += folder.rglob(f"*.{kind}")

    def order(file: Path) -> tuple[int, str]:
        return sum(style in file.name.lower() for style in STYLES), file.as_posix()

    return tuple(str(file) for file in sorted(files, key=order)[:MOST])


def _script(sign: str) -> str:
    """The letters that a sign is one of, in words: `Hebrew letters`."""
    name = unicodedata.name(sign, "unknown signs").split()
    if name[0] == "CJK":
        return "Chinese letters"
    return f"{name[0].capitalize()} letters" if "LETTER" in name else "other signs"
