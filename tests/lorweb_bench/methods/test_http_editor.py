"""An editor behind HTTP, against a real server on this machine."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.base import load_method
from lorweb_bench.methods.http_editor import KEY_VARIABLE, HttpEditor, NoPicture


class Handler(BaseHTTPRequestHandler):
    """Inverts the last picture of a request, unless its server has faults left to give."""

    server: Any

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """A picture that an answer only points at."""
        self.server.downloads.append(dict(self.headers))
        self._reply(200, self.server.picture, "image/png")

    def do_POST(self) -> None:
        """One request of either form."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fields, pictures = self._read(body)
        self.server.requests.append((self.path, dict(self.headers), fields, pictures))
        if self.server.faults:
            status, text = self.server.faults.pop(0)
            self._reply(status, text.encode(), "application/json")
            return
        made = io.BytesIO()
        ImageOps.invert(pictures[-1]).save(made, "PNG")
        self.server.picture = made.getvalue()
        encoded = base64.b64encode(made.getvalue()).decode()
        answer: dict[str, Any] = {"image": encoded}
        if self.path.endswith("/images/edits"):
            url = f"http://127.0.0.1:{self.server.server_port}/made.png"
            answer = {"data": [{"url": url} if self.server.points else {"b64_json": encoded}]}
        self._reply(200, json.dumps(answer).encode(), "application/json")

    def _read(self, body: bytes) -> tuple[dict[str, Any], list[Image.Image]]:
        kind = self.headers["Content-Type"]
        if kind.startswith("application/json"):
            fields = json.loads(body)
            data = [base64.b64decode(image) for image in fields.pop("images")]
        else:
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            fields, data = {}, []
            for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
                name = part.get_param("name", header="content-disposition")
                content = part.get_payload(decode=True)
                assert isinstance(content, bytes)
                if name == "image[]":
                    data.append(content)
                else:
                    fields[str(name)] = content.decode()
        return fields, [Image.open(io.BytesIO(x)).convert("RGB") for x in data]

    def _reply(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server on a free port, and an empty cache."""
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path / "cache"))
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.requests, running.faults, running.downloads = [], [], []
    running.points, running.picture = False, b""
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def editor(server: Any, **settings: Any) -> HttpEditor:
    """An editor on the server that waits for next to nothing."""
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return HttpEditor(url, **{"pause": 0.01, "attempts": 3, **settings})


def triplet(n: int, prompt: str | None = None) -> Triplet:
    """Three pictures of noise, 24 x 16."""
    pixels = np.random.default_rng(n).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)
    a, a_prime, b = (Image.fromarray(x) for x in pixels)
    return Triplet(f"k{n}", a, a_prime, b, prompt, seed=n)


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are one, to the last bit."""
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("form", ["openai", "json"])
def test_three_pictures_and_words_go_in_and_a_picture_comes_out(server: Any, form: str) -> None:
    method = editor(server, form=form, model="painter-2", body={"quality": "high"})
    shown = [triplet(1, "invert it"), triplet(2)]
    answers = method.predict(shown)
    assert all(same(x, ImageOps.invert(t.b)) for x, t in zip(answers, shown, strict=True))
    requests = {fields["prompt"]: (path, fields, seen) for path, _, fields, seen in server.requests}
    path, fields, pictures = requests[f"{method.words} The edit: invert it"]
    assert path == ("/v1/images/edits" if form == "openai" else "/v1")
    assert (fields["model"], fields["quality"]) == ("painter-2", "high")
    assert fields.get("seed") == (1 if form == "json" else None)
    t = shown[0]
    assert all(same(x, y) for x, y in zip(pictures, (t.a, t.a_prime, t.b), strict=True))
    assert method.words in requests


def test_an_answer_is_kept_by_its_whole_request_and_paid_for_once(server: Any) -> None:
    first = editor(server).predict([triplet(1)])[0]
    assert same(editor(server).predict([triplet(1)])[0], first)
    assert len(server.requests) == 1
    editor(server, model="another").predict([triplet(1)])
    editor(server).predict([triplet(1, "told")])
    editor(server).predict([triplet(2)])
    assert len(server.requests) == 4


def test_a_busy_or_broken_server_is_asked_again(server: Any) -> None:
    server.faults = [(429, "slow down"), (502, "oops")]
    assert same(editor(server).predict([triplet(1)])[0], ImageOps.invert(triplet(1).b))
    assert len(server.requests) == 3


def test_a_picture_behind_an_address_is_fetched_without_the_key(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    server.points = True
    assert same(editor(server).predict([triplet(1)])[0], ImageOps.invert(triplet(1).b))
    assert server.requests[0][1]["Authorization"] == "Bearer secret"
    assert "Authorization" not in server.downloads[0]
    assert "secret" not in json.dumps(editor(server).describe())


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ((400, '{"error": {"message": "against the rules"}}'), "status 400: against the rules"),
        ((500, "oops"), "3 attempts, the last one: status 500: oops"),
        ((200, '{"data": [{"b64_json": "bm8gcGljdHVyZQ=="}]}'), "the answer of http://127"),
    ],
)
def test_an_item_without_a_picture_costs_only_itself(
    server: Any, fault: tuple[int, str], sentence: str
) -> None:
    server.faults = [fault] * 3
    with pytest.raises(NoPicture, match=sentence):
        editor(server).predict([triplet(1)])
    server.faults = []
    assert same(editor(server).predict([triplet(1)])[0], ImageOps.invert(triplet(1).b))


def test_what_would_fail_for_every_item_ends_the_run_in_one_sentence(server: Any) -> None:
    server.faults = [(401, "no key")]
    with pytest.raises(InputError, match=f"status 401: no key.*put the key into {KEY_VARIABLE}"):
        editor(server).predict([triplet(1)])
    server.faults = [(200, "{}")]
    with pytest.raises(InputError, match=r"no picture in `data\[0\].b64_json`.*form \(openai or"):
        editor(server).predict([triplet(1)])
    with pytest.raises(InputError, match="cannot be reached .*is the server up"):
        HttpEditor("http://127.0.0.1:1/v1", pause=0, attempts=2).predict([triplet(1)])
    for settings, sentence in (
        ({"url": "painter"}, "is no address; give the server's address with --set url="),
        ({"url": "http://me:secret@x"}, f"put the key into {KEY_VARIABLE}"),
        ({"url": "http://x", "form": "opnai"}, "did you mean 'openai'"),
        ({"url": "http://x", "attempts": 0}, "above zero"),
    ):
        with pytest.raises(InputError, match=sentence):
            HttpEditor(**settings)
    with pytest.raises(InputError, match="no server is named; give the server's address"):
        HttpEditor().predict([triplet(1)])


def test_it_is_a_method_by_name_that_says_what_it_asked(server: Any) -> None:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    method = load_method("http-editor", url=url, name="painter", price=0.04)
    assert method.name == "painter"
    assert method.instance.describe()["address"] == url
    assert method.instance.describe()["price_per_picture"] == 0.04
