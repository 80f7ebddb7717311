"""HTTP as browsers, proxies and programs expect it: HEAD, missing pages, policies, CORS."""

import contextlib
import gzip
import json
import logging
import socket
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from leaderboard.service import monitoring, queue
from leaderboard.service.monitoring import JsonLines, Metrics, health_of
from leaderboard.service.rendering import render_store
from leaderboard.service.uploads import Shares
from leaderboard.store.store import Store
from leaderboard.store.tables import WorkerRow
from lorweb_bench.data.dataset import Dataset


@pytest.fixture
def rendered(light_board: Store, archives: Any, small_suite: Dataset) -> Store:
    light_board.add(archives(1)[0], small_suite)
    render_store(light_board, light_board.folder / "site", "A board")
    return light_board


def raw(port: int, text: str, body: bytes = b"") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(text.replace("\n", "\r\n").encode() + body)
        answer = b""
        while part := s.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "path", ["/", "/board.json", "/submit", "/api/v1/health", "/api/v1/suites", "/api/v1/entries"]
)
def test_head_has_the_headers_of_get_and_no_body(path: str, rendered: Store, service: Any) -> None:
    with service.client() as client:
        got, headed = client.get(path), client.head(path)
        assert headed.status_code == got.status_code == 200 and headed.content == b""
        assert headed.headers["content-type"] == got.headers["content-type"]


def test_what_is_not_there_is_a_page_and_json_in_the_api(rendered: Store, service: Any) -> None:
    with service.client() as client:
        for path in ("/nothing", "/methods/gone.html", "/methods", "/suites/", "/.building"):
            answer = client.get(path)
            assert answer.status_code == 404 and "<h1>Not found</h1>" in answer.text, path
            assert 'href="/"' in answer.text and "content-security-policy" in answer.headers
        answer = client.get("/api/v1/nothing")
        assert answer.status_code == 404 and answer.json()["detail"].startswith("The API has")


def test_every_answer_has_a_policy_in_its_headers(rendered: Store, service: Any) -> None:
    with service.client() as client:
        for path in ("/", "/submit", "/api/v1/health", "/board.json", "/nothing"):
            policy = client.get(path).headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy, path
        assert "script-src 'sha256-" in client.get("/").headers["content-security-policy"]
        assert "connect-src 'self'" in client.get("/submit").headers["content-security-policy"]


@pytest.mark.parametrize(
    "lengths",
    [
        "Content-Length: 5\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\nContent-Length: 5",
        "Content-Length: 5\nContent-Length: 6",
        "Transfer-Encoding: chunked\nTransfer-Encoding: chunked",
    ],
)
def test_two_lengths_are_refused(lengths: str, light_board: Store, service: Any) -> None:
    head = f"POST /api/v1/submissions?suite={'0' * 64} HTTP/1.1\nHost: x\n{lengths}\n\n"
    answer = raw(service.port, head, b"5\r\nhello\r\n0\r\n\r\n")
    assert answer.split(b" ")[1] == b"400", answer


@pytest.mark.parametrize(
    "path", ["/methods", "/suites", "/api/v1/suites/", "/submit/", "//evil.org"]
)
def test_no_redirect_is_made_from_a_host(path: str, rendered: Store, service: Any) -> None:
    answer = raw(
        service.port, f"GET {path} HTTP/1.1\nHost: evil.example.org\nConnection: close\n\n"
    )
    assert b"evil.example.org" not in answer and b"location:" not in answer.lower()
    assert answer.split(b" ")[1] == b"404"


def test_the_board_is_for_all_to_read_small_and_with_a_version(
    rendered: Store, service: Any
) -> None:
    with service.client() as client:
        for path in ("/board.json", "/board.csv", "/api/v1/entries", "/api/v1/suites"):
            answer = client.get(path, headers={"Origin": "https://paper.example.org"})
            assert answer.headers["access-control-allow-origin"] == "*", path
        assert "access-control-allow-origin" not in client.get("/api/v1/me").headers
        with client.stream("GET", "/board.json", headers={"Accept-Encoding": "gzip"}) as answer:
            packed = b"".join(answer.iter_raw())
            assert answer.headers["content-encoding"] == "gzip"
        content = json.loads(gzip.decompress(packed))
        assert content["format_version"] == 1 and len(content["revision"]) == 16
        same = client.get("/board.json", headers={"If-None-Match": answer.headers["etag"]})
        assert same.status_code == 304


def test_health_sees_a_stopped_worker_a_long_queue_and_a_full_disk(
    board: Store, service: Any, team: str, archives: Any, post: Any, monkeypatch: Any
) -> None:
    with service.client(team) as client:
        assert client.get("/api/v1/health").json()["problems"] == []
        post(client, board, archives(1)[0])
        told = client.get("/api/v1/health").json()
        assert told["problems"] == ["no worker is running"] and told["workers"] == 0
        assert client.get("/api/v1/health", params={"strict": True}).status_code == 503
        assert client.get("/api/v1/health").status_code == 200
        with board.writing() as session:
            session.add(WorkerRow(holder="alive", seen=queue.now()))
            session.add(WorkerRow(holder="gone", seen=queue.now() - timedelta(seconds=300)))
        told = client.get("/api/v1/health").json()
        assert told["problems"] == [] and told["workers"] == 1
        monkeypatch.setattr(monitoring, "LONG", 0)
        assert "the queue is long: 1 wait" in client.get("/api/v1/health").json()["problems"]
    full = Shares(free=2**60)
    monkeypatch.setattr(Shares, "disk_left", lambda *_: -1)
    assert "the disk is nearly full" in health_of(board, full).problems


def test_metrics_are_what_prometheus_reads(
    light_board: Store, service: Any, team: str, archives: Any, post: Any, port: Callable[[], int]
) -> None:
    number = port()
    metrics = Metrics(light_board)
    metrics.serve("127.0.0.1", number)
    metrics.observe("GET", 200, 0.01)
    with service.client(team) as client:
        post(client, light_board, archives(1)[0])
        assert client.get("/metrics").status_code == 404, "not on the open port"
    text = urllib.request.urlopen(f"http://127.0.0.1:{number}/metrics").read().decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(found["lorweb_bench_board_queued_jobs"]) == 1
    assert float(found["lorweb_bench_board_database_up"]) == 1
    assert float(found["lorweb_bench_board_workers"]) == 0
    assert float(found['lorweb_bench_board_submissions{status="queued"}']) == 1
    assert float(found['lorweb_bench_board_requests_total{method="GET",status="200"}']) == 1


def test_a_log_line_is_a_json_object() -> None:
    record = logging.makeLogRecord(
        {"name": "lorweb_bench.worker", "levelname": "INFO", "msg": "%s: scored", "args": ("t",)}
    )
    record.ticket = "t"
    told = json.loads(JsonLines().format(record))
    assert told["message"] == "t: scored" and told["ticket"] == "t" and told["level"] == "info"


def test_one_address_does_not_take_all_connections(
    light_board: Store, service: Any, monkeypatch: Any, until: Any
) -> None:
    from leaderboard.service import server
    from tests.leaderboard.service.conftest import QuickProtocol

    monkeypatch.setattr(server, "LOOPBACK", ())
    monkeypatch.setattr(QuickProtocol, "per_address", 3)
    held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(3)]
    try:
        until(lambda: len(service.server.server_state.connections) == 3)
        late = socket.create_connection(("127.0.0.1", service.port), timeout=5)
        with late, contextlib.suppress(ConnectionResetError):
            assert late.recv(1) == b""
    finally:
        for one in held:
            one.close()
    until(lambda: not service.server.server_state.connections)
    with service.client() as client:
        assert client.get("/api/v1/health").status_code == 200


def test_the_store_is_no_part_of_the_pages(rendered: Store, service: Any) -> None:
    assert isinstance(rendered.folder, Path)
    with service.client() as client:
        assert client.get("/..%2fboard.sqlite").status_code == 404


def test_the_public_list_of_what_waits_is_refused_or_withdrawn(
    board: Store,
    service: Any,
    team: str,
    archives: Any,
    post: Any,
    score: Any,
    good_zip: Path,
    renamed: Any,
    tmp_path: Path,
) -> None:
    first, second = archives(2)
    taken = renamed(good_zip, tmp_path / "taken.zip", seeds=[0, 4])  # a reference row's name
    with service.client(team) as client, service.client() as anybody:
        gone = post(client, board, first).json()
        post(client, board, taken)
        score(board)
        client.delete(f"/api/v1/submissions/{gone['id']}")
        post(client, board, second)
        told = anybody.get("/api/v1/queue").json()
        assert [(one["status"], one["team"]) for one in told] == [
            ("queued", "Team One"),
            ("refused", "Team One"),
            ("withdrawn", "Team One"),
        ]
        page = anybody.get("/queue").text
        assert page.count("Team One") >= 3 and "refused" in page and "withdrawn" in page
        assert "reference row" not in page, "why is told to the team alone"
