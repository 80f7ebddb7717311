"""The one error that a user is meant to read, and the sentences that several such errors share."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """Bad usage or bad input: one sentence that names the file, the value and the way out.

    The command line prints the sentence and exits with 2; it never shows a traceback for it.
    """


def did_you_mean(
    name: str,
    known: Iterable[str],
    otherwise: str = "",
    *,
    shown: Mapping[str, str] | None = None,
) -> str:
    """The end of a sentence about an unknown name: a question with the nearest known one.

    Args:
        name: The name that is not known.
        known: The names that are.
        otherwise: What to say where no known name is near.
        shown: How to show a known name, where it is not shown as it is compared.

    >>> did_you_mean("copy_b", ["copy-b", "copy-a-prime"])
    "did you mean 'copy-b'?"
    >>> did_you_mean("nonsense", ["copy-b"], "there is copy-b.")
    'there is copy-b.'
    """
    import difflib

    near = difflib.get_close_matches(str(name), list(known), 1, cutoff=0.5)
    if not near:
        return otherwise
    return f"did you mean {(shown or {}).get(near[0], near[0])!r}?"


def unknown_name(what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not known: it names the nearest one, or else all there are."""
    known = list(known)
    hint = did_you_mean(name, known, f"there are {', '.join(known)}.")
    return InputError(f"There is no {what} {name!r}; {hint}")


def first_error(error: "ValidationError") -> str:
    """The first thing that pydantic found wrong in a file that a program wrote: `field: why`.

    For files that people write, `lorweb_bench.runtime.settings` says more.
    """
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    why = first["msg"].removeprefix("Value error, ")
    return f"{field}: {why}" if field else why
