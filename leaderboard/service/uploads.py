"""Receiving an archive over the network.

Streamed to a file, bounded in bytes and in time, and kept only when it is whole.
"""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from lorweb_bench.runtime.files import fsync_folder

IDLE = 30.0  # seconds without a byte
SLOWEST = 32 * 1024  # bytes a second that an upload has to reach
GRACE = 60.0  # seconds before that counts
PART = ".part"


class TooLarge(Exception):
    """More bytes came than a submission to the suite can have."""


class TooSlow(Exception):
    """Nothing came for too long, or too little in all."""


@dataclass(frozen=True)
class Patience:
    """How long an upload may take: see IDLE, SLOWEST and GRACE."""

    idle: float = IDLE
    slowest: float = SLOWEST
    grace: float = GRACE


@dataclass(frozen=True)
class Received:
    """A whole archive.

    Its digest and size, and the file that it lies in until `keep` gives it its name.
    """

    sha256: str
    bytes: int
    path: Path

    def keep(self, place: Path) -> None:
        """Move it to its place. The bytes are on the disk before the name is."""
        self.path.replace(place)
        fsync_folder(place.parent)


async def receive(
    stream: AsyncIterator[bytes], folder: Path, most: int, patience: Patience
) -> Received:
    """Write what comes to a new file in `folder`.

    TooLarge, TooSlow, OSError (a full disk) and a cut stream leave no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(16)}{PART}"
    digest, size, started = hashlib.sha256(), 0, time.monotonic()
    source = stream.__aiter__()
    try:
        with path.open("wb") as f:
            while True:
                left = started + patience.grace + size / patience.slowest - time.monotonic()
                try:
                    chunk = await asyncio.wait_for(
                        anext(source), max(0.001, min(patience.idle, left))
                    )
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise TooSlow from None
                size += len(chunk)
                if size > most:
                    raise TooLarge
                digest.update(chunk)
                f.write(chunk)
            f.flush()
            await asyncio.to_thread(os.fsync, f.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Received(digest.hexdigest(), size, path)
