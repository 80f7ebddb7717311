"""What the replies of other people's HTTP servers mean: come back later, or never."""

import contextlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

BUSY = (408, 425, 429, 503, 529)  # statuses of a server that asks to come back later
BROKEN = (409, 500, 502, 504, 520, 522, 524)  # statuses of a failure that may pass


def retry_after(response: "httpx.Response") -> float | None:
    """The seconds that a response asks to wait, given as seconds, milliseconds or a date, or
    None.
    """
    milliseconds = response.headers.get("retry-after-ms", "")
    header = response.headers.get("retry-after", "").strip()
    with contextlib.suppress(ValueError):
        return max(0.0, float(milliseconds) / 1000)
    with contextlib.suppress(ValueError):
        seconds = float(header)
        return max(0.0, seconds) if seconds < float("inf") else None
    with contextlib.suppress(ValueError):
        date = parsedate_to_datetime(header)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max(0.0, (date - datetime.now(UTC)).total_seconds())
    return None


def words_of(response: "httpx.Response") -> str:
    """What a response says, in one line of at most 200 characters: the error's message, or all of
    it.
    """
    words: Any = response.text
    with contextlib.suppress(ValueError, KeyError, TypeError):
        words = response.json()["error"]["message"]
    return " ".join(str(words).split())[:200].rstrip(".") or "it says nothing"
