"""An image editor behind HTTP, closed or self-hosted: several pictures and words in, one out.

Two forms are spoken. `openai` is the images API of OpenAI and its like: a multipart form with the
pictures a, a', b as `image[]` and the words as `prompt`. `json` is one plain JSON object, which a
server of twenty lines can answer. Every answer is kept in the user's cache by its whole request,
so that a run that is stopped, or made again, pays for no picture twice.
"""

import base64
import binascii
import hashlib
import io
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lorweb_bench.data.images import decode, encode, resize
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.cache import cache_folder
from lorweb_bench.runtime.files import canonical_json, write_atomic
from lorweb_bench.runtime.http_replies import BROKEN, BUSY, retry_after, words_of

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "LORWEB_BENCH_EDITOR_KEY"  # the environment variable with the server's API key
FORMS = ("openai", "json")
WORDS = (
    "The first picture was edited, and the second picture is the result. Make the same edit to the "
    "third picture, leave everything else in it as it is, and show the third picture, edited."
)
NO_KEY = (401, 403)
FOR_EVERY_ITEM = (402, 404, 405)  # statuses that would come for every other picture too
LONGEST_PAUSE = 60.0  # seconds between two attempts
WAY_OUT = "give the server's address with --set url=https://…/v1"


class NoPicture(Exception):
    """The server has no picture for one item; the text says why."""


class HttpEditor:
    """An editor behind HTTP (OpenAI's images API, or plain JSON), told to repeat the pair's edit.

    Its API key is read from LORWEB_BENCH_EDITOR_KEY and written nowhere.
    """

    name = "http-editor"
    version = "1"
    track = "open"
    batch_size = 16
    needs = "a server, the extra judge"

    def __init__(
        self,
        url: str = "",
        model: str = "",
        form: str = "openai",
        name: str = "http-editor",
        words: str = WORDS,
        size: str = "",
        timeout: float = 300.0,
        attempts: int = 5,
        pause: float = 1.0,
        parallel: int = 4,
        price: float = 0.0,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        """Name a server and how to ask it.

        Args:
            url: up to `/v1` for the form `openai`, the whole address for `json`.
            model: as the server names it; left out of the request where it is empty.
            form: `openai` or `json`.
            name: the method's name in reports.
            words: what it is told, before an item's own prompt.
            size: `WIDTHxHEIGHT` to ask for; the server's own choice where it is empty.
            timeout: seconds for one request.
            attempts: requests for a picture where the server fails or is busy.
            pause: seconds before the second attempt, doubled for each further one.
            parallel: requests at a time.
            price: of one picture, in the server's currency, for the record.
            body: further fields of the request, e.g. `{"quality": "high"}`.
        """
        if url and not url.startswith(("http://", "https://")):
            raise InputError(f"{name}: {url!r} is no address; {WAY_OUT}")
        if "@" in url.partition("://")[2].partition("/")[0]:
            raise InputError(
                f"{name}: the address holds a name or a password, which predictions would keep; "
                f"put the key into {KEY_VARIABLE}"
            )
        if form not in FORMS:
            raise unknown_name("form of an HTTP editor", form, FORMS)
        if attempts < 1 or parallel < 1 or timeout <= 0:
            raise InputError(f"{name}: attempts, parallel and timeout must be above zero")
        self.url, self.model, self.form, self.name = url.rstrip("/"), model, form, name
        self.words, self.size, self.timeout = words, size, timeout
        self.attempts, self.pause, self.parallel = attempts, pause, parallel
        self.price, self.body = price, dict(body or {})

    def describe(self) -> dict[str, Any]:
        """What predictions.json records: the server, the model, the words, a picture's price."""
        fields = ("model", "form", "words", "size", "body")
        described = {name: getattr(self, name) for name in fields if getattr(self, name)}
        return {"address": self.url, **described, "price_per_picture": self.price}

    def prepare(self, suite: Any) -> None:
        """Check that a server is named; InputError otherwise."""
        if not self.url:
            raise InputError(f"{self.name}: no server is named; {WAY_OUT}")

    def predict(self, triplets: Sequence[Triplet]) -> list[Image.Image]:
        """One picture per triplet, of the size of its b.

        Raises:
            NoPicture: the server has none for an item. The harness then asks for each by itself;
                what was answered is kept.
            InputError: the server would refuse or fail on every item.
        """
        self.prepare(None)
        try:
            import httpx
        except ImportError:
            raise InputError(
                f"{self.name} needs httpx: pip install 'lorweb-bench[judge]'."
            ) from None
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with (
            httpx.Client(headers=headers, timeout=self.timeout) as client,
            ThreadPoolExecutor(self.parallel) as pool,
        ):
            return list(pool.map(lambda t: self._answer(client, t), triplets))

    def _answer(self, client: "httpx.Client", triplet: Triplet) -> Image.Image:
        pictures = [encode(x, "png") for x in (triplet.a, triplet.a_prime, triplet.b)]
        fields = self._fields(triplet)
        kept = self._kept(fields, pictures)
        data = _read(kept)
        is_new = data is None
        if data is None:
            data = self._ask(client, fields, pictures)
        try:
            image = decode(data, f"the answer of {self.url}")
        except InputError as error:
            raise NoPicture(str(error)) from None
        if is_new and kept is not None:
            with suppress(OSError):  # a full disk costs another request, not the result
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(kept, data)
        resized: Image.Image = resize(image, triplet.b.size)
        return resized

    def _fields(self, triplet: Triplet) -> dict[str, Any]:
        """The fields of a request beside the pictures."""
        prompt = f"{self.words} The edit: {triplet.prompt}" if triplet.prompt else self.words
        fields: dict[str, Any] = {"prompt": prompt}
        if self.model:
            fields["model"] = self.model
        if self.size:
            fields["size"] = self.size
        if self.form == "json":
            fields["seed"] = triplet.seed
        return {**fields, **self.body}

    def _kept(self, fields: Mapping[str, Any], pictures: Sequence[bytes]) -> Path | None:
        """Where the answer to a request is kept, or None where there is no cache."""
        root = cache_folder()
        if root is None:
            return None
        digests = [hashlib.sha256(picture).hexdigest() for picture in pictures]
        asked = canonical_json([self.url, self.form, dict(fields), digests])
        digest = hashlib.sha256(asked.encode()).hexdigest()
        return root / "editor" / digest[:2] / f"{digest}.image"

    def _ask(
        self, client: "httpx.Client", fields: Mapping[str, Any], pictures: Sequence[bytes]
    ) -> bytes:
        """The bytes of an answer, asked for until there is one.

        Raises:
            NoPicture: the server refuses this item, or the attempts are used up.
            InputError: it would refuse or fail on every item.
        """
        import httpx

        pause, reason = self.pause, ""
        for attempt in range(self.attempts):
            wait = pause
            try:
                response = self._post(client, fields, pictures)
            except httpx.TransportError as error:
                reason = f"{type(error).__name__} {error}".strip()
                if isinstance(error, httpx.ConnectError) and attempt + 1 == self.attempts:
                    raise InputError(
                        f"{self.url} cannot be reached ({reason}); is the server up?"
                    ) from None
            else:
                if response.is_success:
                    return self._picture(client, response)
                reason = f"status {response.status_code}: {words_of(response)}"
                self._refuse_if_final(response, reason)
                asked = retry_after(response)
                wait = pause if asked is None else min(asked, LONGEST_PAUSE)
            if attempt + 1 < self.attempts:
                time.sleep(wait)
                pause = min(2 * pause, LONGEST_PAUSE)
        raise NoPicture(f"{self.attempts} attempts, the last one: {reason}")

    def _refuse_if_final(self, response: "httpx.Response", reason: str) -> None:
        """Raise where the same request would not be answered another time either."""
        status = response.status_code
        if status in (*NO_KEY, *FOR_EVERY_ITEM) or "insufficient_quota" in response.text:
            hint = f"; put the key into {KEY_VARIABLE}" if status in NO_KEY else ""
            raise InputError(f"{self.url} refuses the request ({reason}){hint}.")
        if status not in (*BUSY, *BROKEN):
            raise NoPicture(reason)

    def _post(
        self, client: "httpx.Client", fields: Mapping[str, Any], pictures: Sequence[bytes]
    ) -> "httpx.Response":
        if self.form == "json":
            images = [base64.b64encode(picture).decode() for picture in pictures]
            return client.post(self.url, json={**fields, "images": images})
        names = ("a.png", "a_prime.png", "b.png")
        files = [
            ("image[]", (name, io.BytesIO(picture), "image/png"))
            for name, picture in zip(names, pictures, strict=True)
        ]
        data = {name: str(value) for name, value in fields.items()}
        address = f"{self.url.removesuffix('/images/edits')}/images/edits"
        return client.post(address, data=data, files=files)

    def _picture(self, client: "httpx.Client", response: "httpx.Response") -> bytes:
        """The bytes of the picture in a successful response: base64 in it, or behind its URL."""
        try:
            content = response.json()
            if self.form == "json":
                return base64.b64decode(content["image"], validate=True)
            first = content["data"][0]
            if first.get("b64_json"):
                return base64.b64decode(first["b64_json"], validate=True)
            url = str(first["url"])
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, binascii.Error):
            place = "`image`" if self.form == "json" else "`data[0].b64_json` or `data[0].url`"
            raise InputError(
                f"{self.url}: its answer holds no picture in {place}; choose another --set "
                f"form ({' or '.join(FORMS)}) or mend the server"
            ) from None
        if not url.startswith(("http://", "https://")):
            raise NoPicture(f"the picture is at {url[:60]!r}, which is no web address")
        # The picture may lie with another host, which has no business with the key.
        import httpx

        fetched = httpx.get(url, timeout=self.timeout, follow_redirects=True)
        if not fetched.is_success:
            raise NoPicture(f"status {fetched.status_code} of the picture's own address")
        return fetched.content


def _read(path: Path | None) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError:
        return None
