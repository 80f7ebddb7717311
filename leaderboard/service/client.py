"""The client of a service.

Uploads a submission, waits for its verdict, and takes up the waiting where it was broken off.
"""

import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_before_delay, wait_exponential

from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MANIFEST
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.runtime.progress import track

CHUNK = 256 * 1024
PATIENCE = 300.0  # seconds that a board which cannot be reached is tried again for
POLL = 1.0
MOST_MANIFEST = 2**20
AGAIN = (408, 502, 503, 504, 507)
Answer = dict[str, Any]


class Busy(Exception):
    """The board cannot serve the request at the moment."""


@dataclass
class Client:
    """A board's address and a team's token.

    `patience`: seconds that a board which cannot be reached is tried again for.
    """

    address: str
    token: str
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            self.http = httpx.Client(
                base_url=self.address.rstrip("/"),
                headers=headers,
                timeout=60.0,
                follow_redirects=False,
            )
            if self.http.base_url.scheme not in ("http", "https") or not self.http.base_url.host:
                raise ValueError("no http or https address")
        except (ValueError, httpx.InvalidURL) as e:
            raise InputError(
                f"{self.address!r} is no address of a board ({e}); give one as "
                "https://board.example.org."
            ) from None

    def submit(self, path: Path) -> Answer:
        """Upload an archive, or find that the board has it already.

        InputError says why the board does not take it.
        """
        digest = sha256_file(path) if path.is_file() else None
        if digest is None:
            raise InputError(
                f"{path} is no file; a submission is the zip that `lorweb-bench leaderboard "
                "pack` writes."
            )
        if (earlier := self.find(digest)) and earlier["status"] not in ("failed", "withdrawn"):
            return earlier
        me = self._ask("GET", "/api/v1/me")
        if me["left_today"] == 0:
            raise InputError(
                f"{me['team']} has used its {me['per_day']} submissions of this day (UTC); try "
                "again tomorrow."
            )
        query = {"suite": self._suite(path), "name": path.name[:200]}
        return self._ask("POST", "/api/v1/submissions", params=query, upload=path)

    def find(self, digest: str) -> Answer | None:
        """The team's submission of an archive, or None."""
        answers: list[Answer] = self._ask("GET", "/api/v1/submissions", params={"sha256": digest})
        return answers[0] if answers else None

    def wait(
        self,
        told: Answer,
        say: Callable[[str], None] = lambda _: None,
        limit: float = math.inf,
    ) -> Answer:
        """Wait until a submission is accepted, refused, failed or withdrawn.

        Args:
            told: The submission, as it stood last.
            say: Told in a sentence where it stands, whenever that changes.
            limit: Seconds to wait at most.

        Returns:
            The submission as it ended, or as it stands when the limit is over.
        """
        ends, last = time.monotonic() + limit, ""
        while told["status"] in ("queued", "running"):
            if (now := _where(told)) != last:
                say(now)
                last = now
            if time.monotonic() + POLL > ends:
                break
            time.sleep(POLL)
            told = self._ask("GET", f"/api/v1/submissions/{told['id']}")
        return told

    def withdraw(self, digest: str) -> Answer:
        """Withdraw an archive. InputError when the team has not submitted it."""
        earlier = self.find(digest)
        if earlier is None:
            raise InputError(
                "Your team has not submitted this archive to that board, so there is nothing to "
                "withdraw."
            )
        return self._ask("DELETE", f"/api/v1/submissions/{earlier['id']}")

    def _suite(self, path: Path) -> str:
        """The fingerprint of the suite that an archive is for."""
        try:
            with zipfile.ZipFile(path) as archive, archive.open(MANIFEST) as f:
                return str(json.loads(f.read(MOST_MANIFEST))["suite"]["fingerprint"])
        except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as e:
            raise InputError(
                f"{path} is not what `lorweb-bench leaderboard pack` writes ({e})."
            ) from None

    def _ask(
        self,
        method: str,
        path: str,
        params: dict[str, str] | None = None,
        upload: Path | None = None,
    ) -> Any:
        """Ask, again and again while the board cannot be reached or says that it is busy."""
        patient = Retrying(
            retry=retry_if_exception_type((httpx.TransportError, Busy)),
            wait=wait_exponential(multiplier=0.5, max=10.0),
            stop=stop_before_delay(self.patience),
            reraise=True,
        )
        try:
            return self._checked(patient(self._once, method, path, params, upload))
        except (httpx.TransportError, Busy) as e:
            raise InputError(
                f"{self.address} did not answer as it should ({str(e) or type(e).__name__}); "
                "start the same command again later."
            ) from None

    def _once(
        self, method: str, path: str, params: dict[str, str] | None, upload: Path | None
    ) -> httpx.Response:
        """Ask once. Busy where the board says that another time is better."""
        whole: dict[str, Any] = {}
        if upload is not None:
            size = upload.stat().st_size
            headers = {"Content-Length": str(size), "Content-Type": "application/zip"}
            whole = {"content": _chunks(upload, size), "headers": headers}
        answer = self.http.request(method, path, params=params, **whole)
        if answer.status_code in AGAIN:
            raise Busy(_detail(answer))
        return answer

    def _checked(self, answer: httpx.Response) -> Any:
        try:
            content = answer.json()
        except ValueError:
            raise InputError(
                f"{self.address} does not answer like a board (status {answer.status_code}); "
                "check the address."
            ) from None
        if answer.is_error:
            raise InputError(f"{self.address}: {_detail(answer)}")
        return content


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as f:
        yield from track(iter(lambda: f.read(CHUNK), b""), -(-size // CHUNK), "uploading")


def _where(told: Answer) -> str:
    """Where an open submission stands, in a sentence."""
    if told["status"] == "running":
        return "It is being scored."
    before = told["before"] or 0
    return "It is next." if not before else f"It waits, with {before} before it."


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
    return (
        detail
        if isinstance(detail, str)
        else f"status {answer.status_code}: {json.dumps(detail)[:200]}"
    )
