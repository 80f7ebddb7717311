"""Asking a model behind an OpenAI-compatible endpoint, with bounded waits and every answer kept.

Several requests run at a time; the replies come in the order of the questions. An answer belongs to
the endpoint, the request and the model name that the server gives back, and all three are kept with
it. A question that the server refuses or fails on gets a reply that says so; only what would go
wrong for every question (no server, no key, a field that it does not take) ends the run.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorweb_bench.errors import InputError
from lorweb_bench.judging.questions import Question, QuestionId, parse, schema
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import canonical_json
from lorweb_bench.runtime.http_replies import BROKEN, BUSY, retry_after, words_of

if TYPE_CHECKING:
    import anyio
    import httpx

KEY_VARIABLE = "LORWEB_BENCH_JUDGE_KEY"  # the environment variable with the server's API key
TRIES = 3  # answers asked for, each with a seed of its own, until one can be parsed
FIELDS = {
    "temperature": 0,
    "seed": 0,
    "max_tokens": 1024,
}  # of a request, unless `body` changes them
FIXED = ("model", "messages", "stream")  # fields that `body` cannot set
NO_KEY = (401, 403)
LONGEST_PAUSE = 60.0  # seconds between two tries where the server does not say how long to wait
ANNOUNCED = 5.0  # seconds; a longer pause is announced on stderr
GIVE_UP = 8  # questions in a row that the endpoint failed on


class QuestionFailed(Exception):
    """The endpoint has no answer to one question; the text says why."""


class TryAgain(Exception):
    """A request failed in a way that may pass.

    Attributes:
        busy: Whether the server asks to come back later. Such tries are bounded by time alone.
        after: The seconds that the server asks to wait, or None.
        unreachable: Whether no connection came about.
    """

    def __init__(
        self, reason: str, busy: bool = False, after: float | None = None, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.busy, self.after, self.unreachable = busy, after, unreachable


@dataclass(frozen=True)
class Answer:
    """What a server said to one request.

    Attributes:
        text: The words of the first choice, empty where it gave none.
        served: The model's name as the server gives it back, or None.
        finish: Why the server stopped (`stop`, `length`, ...), or None.
        reasoning: The train of thought, where the server sends it apart from the text.
        tokens: How many tokens the answer took, where the server counts them.
    """

    text: str
    served: str | None = None
    finish: str | None = None
    reasoning: str = ""
    tokens: int | None = None

    @property
    def cut(self) -> bool:
        """Whether the server stopped at its limit of tokens."""
        return self.finish == "length"


@dataclass(frozen=True)
class Reply:
    """What came of a question.

    Attributes:
        about: Which question it was.
        repeat: Which of several askings this one is, from 0.
        numbers: The numbers of the answer by name, or None where it cannot be parsed.
        answer: The last answer, or None where there is none.
        failure: Why there is no answer, or None.
        remembered: Whether the answer was kept from an earlier run.
    """

    about: QuestionId
    repeat: int = 0
    numbers: dict[str, int] | None = None
    answer: Answer | None = None
    failure: str | None = None
    remembered: bool = False

    @property
    def key(self) -> str:
        """The key of the item that was asked about."""
        return self.about.key


@dataclass
class Endpoint:
    """An OpenAI-compatible server and how to ask it.

    Answers are kept in the user's cache, so that the same server is not asked the same thing twice.
    The server's API key is read from `LORWEB_BENCH_JUDGE_KEY` and written nowhere.

    Attributes:
        url: The server's address up to `/v1`.
        model: The model, as the server names it.
        timeout: Seconds for one request.
        parallel: Requests at a time.
        attempts: Requests per question where the server fails. Where it asks to wait, `patience`
            counts.
        pause: Seconds before the second attempt, doubled for each further one up to a minute.
        patience: Seconds that one question may take, all waits included.
        body: Fields of the request to set, or, with None, to leave out. By default `temperature` is
            0, `max_tokens` 1024, and `seed` counts up from 0 where an answer is asked for again.
    """

    url: str
    model: str
    timeout: float = 120.0
    parallel: int = 4
    attempts: int = 5
    pause: float = 1.0
    patience: float = 600.0
    body: Mapping[str, Any] = field(default_factory=dict)
    _structured: bool = True  # until the server says that it knows no JSON schema
    _announced: float = 0.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(
                f"{self.url!r} is no endpoint; give its address, as http://127.0.0.1:8000/v1."
            )
        if fixed := [name for name in FIXED if name in self.body]:
            raise InputError(
                f"The field {fixed[0]!r} of a request is set by the judge itself; leave it out of "
                "--body."
            )
        self.url = self.url.rstrip("/").removesuffix("/chat/completions")
        self._structured = self.body.get("response_format", True) is not None

    @property
    def address(self) -> str:
        """The URL without a name and a password that it may hold."""
        scheme, _, rest = self.url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"

    def fields(self, draw: int = 0) -> dict[str, Any]:
        """The fields of a request besides model, messages and response format; `draw` moves the
        seed.
        """
        fields = {**FIELDS, **self.body}
        fields.pop("response_format", None)
        if isinstance(fields["seed"], int):
            fields["seed"] += draw
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def token_limit(self) -> int | None:
        """The most tokens of an answer that a request asks for, or None where it leaves that "
        "open."""
        fields = self.fields()
        return fields.get("max_tokens", fields.get("max_completion_tokens"))

    def ask_all(
        self,
        questions: Iterable[Question],
        repeats: int = 1,
        accepted: Set[str | None] | None = None,
    ) -> Iterator[Reply]:
        """Ask each question `repeats` times.

        Args:
            questions: What to ask.
            repeats: How often to ask each question, each time with other seeds.
            accepted: The model names, as the server gives them back, whose kept answers still
                count. None accepts every kept answer.

        Yields:
            A reply to each question and repeat, in order.

        Raises:
            InputError: The endpoint cannot be reached, refuses every request, does not take a
                field, or fails on many questions in a row.
        """
        try:
            import anyio
            import httpx
            from anyio.from_thread import start_blocking_portal
        except ImportError:
            raise InputError("The judge needs httpx: pip install 'lorweb-bench[judge]'.") from None
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=self.parallel)
        failed_in_a_row = 0
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(
                httpx.AsyncClient(headers=headers, limits=limits)
            ) as client,
        ):
            slots = portal.call(anyio.Semaphore, self.parallel)
            waiting: deque[Any] = deque()
            for question in questions:
                for repeat in range(repeats):
                    waiting.append(
                        portal.start_task_soon(self._ask, client, slots, question, repeat, accepted)
                    )
                while len(waiting) >= 4 * self.parallel:  # the pictures of so many are in memory
                    reply = waiting.popleft().result()
                    failed_in_a_row = self._count_failures(reply, failed_in_a_row)
                    yield reply
            while waiting:
                reply = waiting.popleft().result()
                failed_in_a_row = self._count_failures(reply, failed_in_a_row)
                yield reply

    def _count_failures(self, reply: Reply, in_a_row: int) -> int:
        in_a_row = in_a_row + 1 if reply.failure else 0
        if in_a_row == GIVE_UP:
            raise InputError(
                f"{self.address} failed on {GIVE_UP} questions in a row ({reply.failure}); "
                "its earlier answers are kept, so mend that and run the same command again."
            )
        return in_a_row

    async def _ask(
        self,
        client: "httpx.AsyncClient",
        slots: "anyio.Semaphore",
        question: Question,
        repeat: int,
        accepted: Set[str | None] | None,
    ) -> Reply:
        """Ask until an answer can be parsed, at most `TRIES` times.

        A cut answer would be cut again.
        """
        reply = Reply(question.about, repeat)
        async with slots:
            deadline = time.monotonic() + self.patience
            for draw in range(repeat * TRIES, (repeat + 1) * TRIES):
                request = {
                    "model": self.model,
                    "messages": question.messages,
                    **self.fields(draw),
                }
                path = answer_path({"endpoint": self.address, "draw": draw, "request": request})
                answer = read_answer(path)
                remembered = answer is not None and (accepted is None or answer.served in accepted)
                if answer is None or not remembered:
                    try:
                        answer = await self._answer(client, request, question, deadline)
                    except QuestionFailed as error:
                        return Reply(question.about, repeat, None, reply.answer, str(error))
                    keep_answer(path, answer)
                numbers = numbers_in(answer, question)
                reply = Reply(question.about, repeat, numbers, answer, None, remembered)
                if numbers is not None or answer.cut:
                    break
        return reply

    async def _answer(
        self,
        client: "httpx.AsyncClient",
        request: dict[str, Any],
        question: Question,
        deadline: float,
    ) -> Answer:
        """The answer to one request, by JSON schema where the server knows that, else in words
        alone.
        """
        if self._structured:
            form = {"name": question.protocol, "schema": schema(question.protocol), "strict": True}
            by_schema = {"type": "json_schema", "json_schema": form}
            response = await self._post(client, {**request, "response_format": by_schema}, deadline)
            if response.is_success:
                return read_response(response)
            self._refuse_field(response, request)
            if is_filtered(response):
                raise QuestionFailed(self._refusal(response))
        response = await self._post(client, request, deadline)
        if not response.is_success:
            self._refuse_field(response, request)
            raise QuestionFailed(self._refusal(response))
        self._structured = False
        return read_response(response)

    async def _post(
        self, client: "httpx.AsyncClient", request: dict[str, Any], deadline: float
    ) -> "httpx.Response":
        """Post until there is an answer, or a refusal of this one question.

        Raises:
            QuestionFailed: The attempts, or the time of the question, are used up.
            InputError: The server cannot be reached, or refuses whatever it is asked.
        """
        import anyio

        failures, pause = 0, self.pause
        while True:
            try:
                return await self._post_once(client, request, deadline - time.monotonic())
            except TryAgain as error:
                failures += not error.busy
                if failures >= self.attempts:
                    if error.unreachable:
                        raise InputError(
                            f"{self.address} cannot be reached ({error}); is the server up?"
                        ) from None
                    raise QuestionFailed(
                        f"{self.attempts} attempts, the last one: {error}"
                    ) from None
                wait = pause if error.after is None else error.after
                if time.monotonic() + wait > deadline:
                    raise QuestionFailed(
                        f"no answer within {self.patience:g} s, which --patience sets; "
                        f"the server would have to be waited for {wait:.0f} s more: {error}"
                    ) from None
                self._announce(wait, error)
            await anyio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _post_once(
        self, client: "httpx.AsyncClient", request: dict[str, Any], left: float
    ) -> "httpx.Response":
        """One request, in at most the `left` seconds: a response with an answer, or one that
        refuses the question.
        """
        import httpx

        timeout = httpx.Timeout(max(0.001, min(self.timeout, left)), pool=None)
        try:
            response = await client.post(
                f"{self.url}/chat/completions", json=request, timeout=timeout
            )
        except httpx.TransportError as error:
            raise TryAgain(
                f"{type(error).__name__} {error}".strip(),
                unreachable=isinstance(error, httpx.ConnectError),
            ) from None
        reason = f"status {response.status_code}: {words_of(response)}"
        if response.is_success:
            if first_choice(response) is None:
                raise TryAgain(reason)
            return response
        if response.status_code in BUSY and "insufficient_quota" not in response.text:
            raise TryAgain(reason, busy=True, after=retry_after(response))
        if response.status_code in BROKEN or response.status_code > 504:
            raise TryAgain(reason, after=retry_after(response))
        if response.status_code in (401, 402, 404, 405, 429) or (
            response.status_code == 403 and not is_filtered(response)
        ):
            hint = f"; put the key into {KEY_VARIABLE}" if response.status_code in NO_KEY else ""
            raise InputError(f"{self.address}: {self._refusal(response)}{hint}.")
        return response

    def _refusal(self, response: "httpx.Response") -> str:
        return (
            f"the server refuses the request (status {response.status_code}): {words_of(response)}"
        )

    def _refuse_field(self, response: "httpx.Response", request: Mapping[str, Any]) -> None:
        """InputError with the way round where the server does not take a field of the request."""
        name = refused_field(response, request)
        if name is None:
            return
        instead = (
            ", or move it with --body max_tokens=null --body max_completion_tokens=1024"
            if name == "max_tokens"
            else f", or set another value with --body {name}=VALUE"
        )
        raise InputError(
            f"{self.address} does not take {name} = {request[name]!r} (status "
            f"{response.status_code}: "
            f"{words_of(response)}); leave it out with --body {name}=null{instead}."
        )

    def _announce(self, wait: float, error: TryAgain) -> None:
        """Say on stderr that a long pause begins, at most once in ten seconds."""
        now = time.monotonic()
        if wait >= ANNOUNCED and now - self._announced > 10.0:
            self._announced = now
            print(
                f"judging: the server is asked again in {wait:.0f} s ({error})",
                file=sys.stderr,
                flush=True,
            )


def numbers_in(answer: Answer, question: Question) -> dict[str, int] | None:
    """The numbers of an answer; of its reasoning where the server put all of it there."""
    numbers = parse(answer.text, question.protocol)
    if numbers is None and not answer.text.strip() and not answer.cut:
        numbers = parse(answer.reasoning, question.protocol)
    return numbers


def first_choice(response: "httpx.Response") -> dict[str, Any] | None:
    """The first choice of a response, or None where the response holds none."""
    try:
        choice = response.json()["choices"][0]
        return choice if isinstance(choice["message"], dict) else None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def read_response(response: "httpx.Response") -> Answer:
    """The answer of a successful response.

    Raises:
        QuestionFailed: The model, or a filter around it, refuses to answer.
    """
    choice = first_choice(response) or {"message": {}}
    message, payload = choice["message"], response.json()
    content = message.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        content = "".join(str(part.get("text", "")) for part in parts)
    text = content if isinstance(content, str) else ""
    if choice.get("finish_reason") == "content_filter" or (message.get("refusal") and not text):
        words = " ".join(str(message.get("refusal") or "content filter").split())
        raise QuestionFailed(f"the model refuses to answer: {words[:200]}")
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    usage = payload.get("usage") if isinstance(payload.get("usage"), dict) else {}
    tokens = usage.get("completion_tokens")
    served, finish = payload.get("model"), choice.get("finish_reason")
    return Answer(
        text=text,
        served=served if isinstance(served, str) else None,
        finish=finish if isinstance(finish, str) else None,
        reasoning=reasoning if isinstance(reasoning, str) else "",
        tokens=tokens if isinstance(tokens, int) else None,
    )


def is_filtered(response: "httpx.Response") -> bool:
    """Whether an error says that a content filter stopped the question."""
    text = response.text.lower()
    return any(words in text for words in ("content_filter", "content management", "moderation"))


def refused_field(response: "httpx.Response", request: Mapping[str, Any]) -> str | None:
    """The field of the request that an error names as not taken, or None where it names none."""
    names = [name for name in request if name not in ("model", "messages", "response_format")]
    try:
        error = response.json()["error"]
        parameter, words = error.get("param"), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        parameter, words = None, response.text
    if parameter in names:
        return str(parameter)
    named = [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
    return named[0] if named else None


def answer_path(asked: Mapping[str, Any]) -> Path | None:
    """Where the answer to a request is kept, or None where there is no cache."""
    root = cache_folder()
    digest = hashlib.sha256(canonical_json(asked).encode()).hexdigest()
    return None if root is None else root / "judge" / digest[:2] / f"{digest}.json"


def read_answer(place: Path | None) -> Answer | None:
    """The answer that is kept in a file, or None where there is none that is whole."""
    if place is None:
        return None
    try:
        fields = json.loads(place.read_bytes())
        answer = Answer(**fields)
    except (OSError, ValueError, TypeError):
        return None
    return answer if isinstance(answer.text, str) else None


def keep_answer(place: Path | None, answer: Answer) -> None:
    """Keep an answer: whole or not at all.

    A full or read-only disk costs another question, not the result.
    """
    if place is None:
        return
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(answer)))
        temporary.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
