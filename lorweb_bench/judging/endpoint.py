"""Asking a model behind an endpoint: several requests at a time, answers in order, bounded retries, every answer kept by content."""

import contextlib
import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorweb_bench.errors import InputError
from lorweb_bench.judging.questions import Question, parse, schema
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import canonical_json

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "LORWEB_BENCH_JUDGE_KEY"  # where the endpoint asks for a key
TRIES = 3  # answers asked for, each with a seed of its own, until one can be parsed
MAX_TOKENS = 1024
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)  # what may pass
LONGEST_PAUSE = 60.0  # seconds, also where the server asks for more
GIVE_UP = 8  # questions in a row that the endpoint failed on


class Failed(Exception):
    """A request that was tried as often as allowed."""


@dataclass(frozen=True)
class Reply:
    """What came of a question: `numbers` (None: the answer cannot be parsed), the answer itself, and why there is none."""

    key: str
    numbers: dict[str, int] | None
    answer: str
    failure: str | None = None


@dataclass
class Endpoint:
    """An OpenAI-compatible server: `url` up to `/v1`, the name of a model, seconds per request, requests at once and per question.

    Answers are kept in the user's cache by a digest of all that was asked (model, words, pictures, seed), so that nothing is
    asked twice; the key to the server is read from `LORWEB_BENCH_JUDGE_KEY` and kept nowhere.
    """

    url: str
    model: str
    timeout: float = 120.0
    parallel: int = 4
    attempts: int = 5
    pause: float = 1.0  # seconds before the second attempt; doubled for each further one
    _structured: bool = True  # until the server says that it knows no JSON schema

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"{self.url!r} is no endpoint; give its address, as http://127.0.0.1:8000/v1."
            )
        self.url = self.url.rstrip("/").removesuffix("/chat/completions")

    @property
    def address(self) -> str:
        """The URL without a name and a password that it may hold."""
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    def ask_all(self, questions: Iterable[Question]) -> Iterator[Reply]:
        """A reply to each question, in order. InputError when the endpoint cannot be reached, refuses, or fails again and again."""
        try:
            import httpx
            from anyio.from_thread import start_blocking_portal
        except ImportError:
            raise InputError("The judge needs httpx: pip install 'lorweb-bench[judge]'.") from None
        key = os.environ.get(KEY_VARIABLE)
        settings: dict[str, Any] = {
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            "limits": httpx.Limits(max_connections=self.parallel),
            "timeout": httpx.Timeout(self.timeout, pool=None),
        }
        in_a_row = 0
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(httpx.AsyncClient(**settings)) as client,
        ):
            waiting: deque[Any] = deque()
            for question in questions:
                waiting.append(portal.start_task_soon(self._ask, client, question))
                if len(waiting) >= 4 * self.parallel:  # the pictures of so many are in memory
                    in_a_row = self._count(reply := waiting.popleft().result(), in_a_row)
                    yield reply
            while waiting:
                in_a_row = self._count(reply := waiting.popleft().result(), in_a_row)
                yield reply

    def _count(self, reply: Reply, in_a_row: int) -> int:
        in_a_row = in_a_row + 1 if reply.failure else 0
        if in_a_row == GIVE_UP:
            raise InputError(
                f"{self.url} failed on {GIVE_UP} questions in a row ({reply.failure}); what it answered is kept."
            )
        return in_a_row

    async def _ask(self, client: "httpx.AsyncClient", question: Question) -> Reply:
        answer = ""
        for seed in range(TRIES):
            body = {
                "model": self.model,
                "messages": question.messages,
                "temperature": 0,
                "seed": seed,
                "max_tokens": MAX_TOKENS,
            }
            place = kept_at(body)
            kept = read_answer(place)
            if kept is None:
                try:
                    kept = await self._answer(client, body, question)
                except Failed as e:
                    return Reply(question.key, None, answer, str(e))
                keep_answer(place, kept)
            answer = kept
            if (numbers := parse(answer, question.protocol)) is not None:
                return Reply(question.key, numbers, answer)
        return Reply(question.key, None, answer)

    async def _answer(
        self, client: "httpx.AsyncClient", body: dict[str, Any], question: Question
    ) -> str:
        if self._structured:
            form = {"name": question.protocol, "schema": schema(question.protocol), "strict": True}
            response = await self._post(
                client, {**body, "response_format": {"type": "json_schema", "json_schema": form}}
            )
            if isinstance(response, str):
                return response
        response = await self._post(client, body)  # asked in words alone
        if not isinstance(response, str):
            raise InputError(
                f"{self.url} refuses the request (status {response.status_code}): {_words(response)}."
            )
        self._structured = False
        return response

    async def _post(
        self, client: "httpx.AsyncClient", body: dict[str, Any]
    ) -> "str | httpx.Response":
        """The answer, or the response that says that the request is not understood. Failed after the last attempt."""
        import anyio
        import httpx

        reason, pause = "", self.pause
        for attempt in range(self.attempts):
            if attempt:
                await anyio.sleep(min(pause, LONGEST_PAUSE))
                pause = self.pause * 2**attempt
            try:
                response = await client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TransportError as e:
                reason = f"{type(e).__name__} {e}".strip()
                if isinstance(e, httpx.ConnectError) and attempt + 1 == self.attempts:
                    raise InputError(
                        f"{self.url} cannot be reached ({e}); is the server up?"
                    ) from None
                continue
            if response.status_code in (400, 415, 422):
                return response
            if response.is_success and (answer := _content(response)) is not None:
                return answer
            if not response.is_success and response.status_code not in BUSY:
                hint = (
                    f"; put the key into {KEY_VARIABLE}"
                    if response.status_code in (401, 403)
                    else ""
                )
                raise InputError(
                    f"{self.url} refuses the request (status {response.status_code}): {_words(response)}{hint}."
                )
            reason = f"status {response.status_code}: {_words(response)}"
            asked = response.headers.get("retry-after", "")
            pause = float(asked) if asked.isdecimal() else pause
        raise Failed(f"{self.attempts} attempts, the last one: {reason}")


def _content(response: "httpx.Response") -> str | None:
    """The text of the first choice, empty where the model gave none; None where the response is no answer at all."""
    try:
        content = response.json()["choices"][0]["message"].get("content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _words(response: "httpx.Response") -> str:
    return " ".join(response.text.split())[:200] or "it says nothing"


def kept_at(body: Mapping[str, Any]) -> Path | None:
    """Where the answer to a request is kept, or None where there is no cache."""
    root = cache_folder()
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    return None if root is None else root / "judge" / digest[:2] / f"{digest}.json"


def read_answer(place: Path | None) -> str | None:
    """The answer kept there, or None where there is none that is whole."""
    if place is None:
        return None
    try:
        answer = json.loads(place.read_bytes())["answer"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return answer if isinstance(answer, str) else None


def keep_answer(place: Path | None, answer: str) -> None:
    """Keep an answer: whole or not at all. A full or read-only disk costs another question, not the result."""
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"answer": answer}))
        temporary.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
