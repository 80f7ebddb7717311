"""Receiving an archive over the network.

Streamed to a file, bounded in bytes and in time, and kept only when it is whole.
"""

import asyncio
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from leaderboard.service import queue
from leaderboard.store.tables import TeamRow, UploadRow
from lorweb_bench.runtime.files import fsync_folder

IDLE = 30.0  # seconds without a byte
SLOWEST = 32 * 1024  # bytes a second that an upload has to reach
GRACE = 60.0  # seconds before that counts
PART = ".part"
RESERVED = 60.0  # seconds that a reservation holds unless it is renewed
ZIP_HEAD, ZIP_END, ZIP_END_BYTES = b"PK\x03\x04", b"PK\x05\x06", 22


class NoArchive(Exception):
    """What came is no zip archive, or is cut."""


class NoShare(Exception):
    """The team, the address or the disk has no room for another upload now."""


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
class Shares:
    """What one team, or one address, may have of the service at a time."""

    uploads: int = 100  # of all teams
    team_uploads: int = 10
    address_uploads: int = 50
    team_bytes: int = 16 * 2**30  # on their way or waiting to be scored
    free: int = 2**30  # bytes that stay free on the disk, or a twentieth of it if that is less

    def disk_left(self, folder: Path) -> int:
        """Bytes that uploads may still take of the disk that a folder is on."""
        disk = shutil.disk_usage(folder)
        return disk.free - min(self.free, disk.total // 20)


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


def reserve(
    session: Session, team_id: int, address: str, most: int, left: int, shares: Shares
) -> int:
    """Set a part of the team's quota and of the disk aside for an upload that begins.

    Args:
        session: A transaction that writes.
        team_id: Whose upload it is.
        address: Where it comes from.
        most: Bytes that it may have.
        left: Bytes that uploads may still take of the disk.
        shares: What there is to share.

    Returns:
        The number of the reservation, for `renew` and `release`. It expires by itself.

    Raises:
        QuotaUsed: The team has had all its submissions of the day, or they are on their way.
        NoShare: There is no room for another one at the moment.
        OSError: The disk is full (ENOSPC).
    """
    team = session.get_one(TeamRow, team_id, with_for_update=True)
    session.execute(delete(UploadRow).where(UploadRow.expires <= queue.now()))
    if queue.used_today(session, team) >= team.per_day:
        raise queue.QuotaUsed
    everybody, bytes_coming = queue.uploading(session)
    team_uploads, own_bytes = queue.uploading(session, UploadRow.team_id == team_id)
    near, _ = queue.uploading(session, UploadRow.address == address)
    if everybody >= shares.uploads:
        raise NoShare("Too many uploads at once; try again.")
    if team_uploads >= shares.team_uploads or (address and near >= shares.address_uploads):
        raise NoShare("You have too many uploads on their way at once; try again when one ends.")
    if own_bytes + queue.waiting_bytes(session, team_id) + most > max(shares.team_bytes, 2 * most):
        raise NoShare("What your team has in the queue fills its share of the disk; try later.")
    if left - bytes_coming - most < 0:
        raise OSError(errno.ENOSPC, "the disk is nearly full")
    row = UploadRow(team_id=team_id, address=address[:60], bytes=most, expires=_expiry())
    session.add(row)
    session.flush()
    return row.id


def renew(session: Session, upload: int) -> None:
    """Hold a reservation for longer: its upload goes on."""
    session.execute(update(UploadRow).where(UploadRow.id == upload).values(expires=_expiry()))


def release(session: Session, upload: int) -> None:
    """Give back what was set aside."""
    session.execute(delete(UploadRow).where(UploadRow.id == upload))


def _expiry() -> datetime:
    return queue.now() + timedelta(seconds=RESERVED)


def check_archive(path: Path) -> None:
    """NoArchive unless a file begins and ends as a zip archive does; nothing of it is opened.

    A file that was taken by mistake costs no submission so, and no worker's time.
    """
    with path.open("rb") as f:
        head = f.read(len(ZIP_HEAD))
        f.seek(max(0, path.stat().st_size - ZIP_END_BYTES))
        end = f.read()
    if head != ZIP_HEAD or not end.startswith(ZIP_END):
        raise NoArchive


async def receive(
    stream: AsyncIterator[bytes],
    folder: Path,
    most: int,
    patience: Patience,
    alive: Callable[[], None] = lambda: None,
) -> Received:
    """Write what comes to a new file in `folder`.

    Args:
        stream: The chunks of the body.
        folder: Where the file is made.
        most: Bytes that it may have.
        patience: How long it may take.
        alive: Called now and then while bytes come.

    Raises:
        TooLarge, TooSlow, NoArchive, OSError: Then, and when the stream is cut, no file is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(16)}{PART}"
    digest, size, started = hashlib.sha256(), 0, time.monotonic()
    last_sign = started
    source = stream.__aiter__()
    try:
        with path.open("wb") as f:
            while True:
                remaining = started + patience.grace + size / patience.slowest - time.monotonic()
                limit = max(0.001, min(patience.idle, remaining))
                try:
                    chunk = await asyncio.wait_for(anext(source), limit)
                except StopAsyncIteration:
                    break
                except TimeoutError:
                    raise TooSlow from None
                if time.monotonic() - last_sign > RESERVED / 4:
                    last_sign = time.monotonic()
                    await asyncio.to_thread(alive)
                size += len(chunk)
                if size > most:
                    raise TooLarge
                digest.update(chunk)
                f.write(chunk)
            f.flush()
            await asyncio.to_thread(os.fsync, f.fileno())
        check_archive(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Received(digest.hexdigest(), size, path)
