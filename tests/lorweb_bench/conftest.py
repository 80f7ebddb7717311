"""Shared by the tests of the contract: a dataset of tiny random panels, and a server that judges by
rule.
"""

import base64
import csv
import hashlib
import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.questions import rating_question
from lorweb_bench.protocol import ROLES, SUITE_SPLITS
from lorweb_bench.scoring.evaluate import evaluate, predict

WIDTH, HEIGHT = 12, 10
TRANSFORMATIONS = {"invert": "invert", "hue_shift-degrees_60": "hue_shift"}


def panel(name: str, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Random pixels that depend on the name alone."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def sample(
    key: str, ext: str = "png", **labels: Any
) -> tuple[str, dict[str, tuple[bytes, str]], dict[str, Any]]:
    """What `ShardWriter.add` takes, for a key: four random panels and a record."""
    transformation = sorted(TRANSFORMATIONS)[zlib.crc32(key.encode()) % 2]
    record = {
        "id": key,
        "transformation": transformation,
        "family": TRANSFORMATIONS[transformation],
        "kind": "colour",
        "tier": "seen_single",
    }
    record |= {
        "instruction": "do it",
        "a_source": f"a-{key}",
        "b_source": f"b-{key}",
        "licence": "CC0-1.0",
        "attribution": "nobody",
    }
    record |= {"width": WIDTH, "height": HEIGHT, **labels}
    return key, {role: (encode(panel(f"{key} {role}"), ext), ext) for role in ROLES}, record


def write(
    folder: Path, keys: Mapping[str, Sequence[str]], shard_size: int = 4, **fields: Any
) -> Dataset:
    """Write and finish a dataset with these keys by split, so many in a shard."""
    for split, names in keys.items():
        for start in range(0, len(names), shard_size):
            with ShardWriter(folder, split, start // shard_size) as shard:
                for key in names[start : start + shard_size]:
                    shard.add(*sample(key))
    described = {
        name: {
            "family": family,
            "kind": "colour",
            "parameters": {},
            "instruction": "do it",
            "tier": "seen_single",
            "deterministic": True,
        }
        for name, family in TRANSFORMATIONS.items()
    }
    manifest = {
        "name": "tiny",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformations": described,
        **fields,
    }
    return finish_dataset(folder, manifest)


@pytest.fixture(name="panel", scope="session")
def _panel() -> Callable[..., np.ndarray]:
    return panel


@pytest.fixture(name="sample", scope="session")
def _sample() -> Callable[..., Any]:
    return sample


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Dataset]:
    """`write_dataset(folder, {"train": keys}, shard_size=4, **manifest fields)`."""
    return write


@pytest.fixture
def tiny(tmp_path: Path) -> Dataset:
    """A dataset of 10 training samples in three shards and 3 dev samples."""
    return write(
        tmp_path / "tiny", {"train": [f"t{i}" for i in range(10)], "dev": ["d0", "d1", "d2"]}
    )


Answer = tuple[int, Any]  # a status and a body: text of the model, or the whole response


class Judge(ThreadingHTTPServer):
    """A server that speaks the chat protocol. `rule` answers, where there is one, else `answer`;
    `asked` keeps every request, `at_once` the most at a time.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rule: Callable[[dict[str, Any]], Answer] | None = None
        self.asked: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.retry_after: str | None = "0"
        self.lock, self.here, self.at_once = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""

    @staticmethod
    def pictures(body: dict[str, Any]) -> dict[str, np.ndarray]:
        """The pictures of a request, by the name that stands before each."""
        parts, found = body["messages"][1]["content"], {}
        for before, part in zip(parts, parts[1:], strict=False):
            if part["type"] == "image_url":
                head, _, data = part["image_url"]["url"].partition(",")
                assert head == "data:image/png;base64"
                name = before["text"].removeprefix("Picture ").removesuffix(":")
                found[name] = np.asarray(
                    Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
                ).astype(float)
        return found

    @staticmethod
    def share_of(messages: Any, parts: int) -> int:
        """A number below `parts` that goes by the content of a request: which ones a test's server
        treats badly.
        """
        return int(hashlib.sha256(json.dumps(messages).encode()).hexdigest(), 16) % parts

    def answer(self, body: dict[str, Any]) -> Answer:
        """Consistent where the attempt is near b; the better of two is the one nearer to b, and of
        equal ones the first.
        """
        seen = self.pictures(body)
        if "C" in seen:
            away = far(seen["C"], seen["B"])
            numbers = {"accuracy": 10 if away else 2, "consistency": max(1, 10 - round(away / 8))}
            return 200, json.dumps({"change": "something <b>bold</b>", **numbers})
        better = 1 if far(seen["C1"], seen["B"]) <= far(seen["C2"], seen["B"]) else 2
        return 200, json.dumps({"change": "something", "better": better})


class Handler(BaseHTTPRequestHandler):
    server: Judge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.headers_seen.append(dict(self.headers))
            self.server.here += 1
            self.server.at_once = max(self.server.at_once, self.server.here)
        status, said = (self.server.rule or self.server.answer)(body)
        with self.server.lock:
            self.server.here -= 1
        whole = (
            {"choices": [{"message": {"role": "assistant", "content": said}}]}
            if isinstance(said, str)
            else said
        )
        content = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Length", str(len(content)))
        if status in (429, 503) and self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path / "cache"))
    made = Judge()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def endpoint(server: Judge) -> Endpoint:
    return Endpoint(server.url, "tiny-judge", timeout=60, attempts=3, pause=0.01)


@pytest.fixture(scope="session")
def made(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made(method)`: its predictions, made once."""
    folder = tmp_path_factory.mktemp("judged")

    def make(method: str) -> Path:
        predict(method, small_suite, folder / method)
        return folder / method

    return make


@pytest.fixture(scope="session")
def questions_on_copies(small_suite: Dataset) -> dict[str, Any]:
    """The messages about each item where b itself is the prediction; a few items of the small suite
    have the same pictures.
    """
    quadruplets = [q for split in SUITE_SPLITS for q in small_suite.quadruplets(split)]
    return {q.key: rating_question(q, q.b).messages for q in quadruplets}


@pytest.fixture(scope="session")
def keys(small_suite: Dataset) -> list[str]:
    """Of the small suite, sorted."""
    return sorted(record.id for split in SUITE_SPLITS for record in small_suite.records(split))


@pytest.fixture(scope="session")
def write_votes() -> Callable[..., Path]:
    """`write_votes(path, rows)`: a CSV file with a header."""

    def write(path: Path, rows: list[dict[str, Any]]) -> Path:
        with path.open("w", newline="") as f:
            writer = csv.DictWriter(f, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def report_with_base(suite_with_base: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of copy-a-prime on the suite with a declared base."""
    folder = tmp_path_factory.mktemp("reports") / "copy-a-prime"
    evaluate("copy-a-prime", suite_with_base, ["edit_recovery", "retrieval"], out=folder)
    return folder
