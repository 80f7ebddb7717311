"""What a stranger may try over the network.

Nothing gets in, nothing gets out, nothing stands still for ever.
"""

import asyncio
import concurrent.futures
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SuiteRow, TeamRow
from leaderboard.store.teams import grant

Post = Callable[..., httpx.Response]
SQL = [
    "' OR '1'='1",
    "'; DROP TABLE jobs; --",
    "1 UNION SELECT token_hash FROM teams",
    "%00",
    "\\",
    '" OR ""="',
    "0; DELETE FROM teams",
]


def counts(store: Store) -> tuple[int, int, int]:
    with store.reading() as session:
        return tuple(
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in (TeamRow, JobRow, SuiteRow)
        )  # type: ignore[return-value]


def raw(
    port: int, data: bytes, trickle: bytes = b"", pause: float = 0.01, seconds: float = 20.0
) -> tuple[bytes, float]:
    """Send bytes, then others one by one, and read until the other side closes.

    What came, and after how long it was closed.
    """
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        answer = b""
        try:
            s.sendall(data)
            for byte in trickle:
                s.sendall(bytes([byte]))
                time.sleep(pause)
                s.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    answer += s.recv(65536)
                s.settimeout(seconds)
            while part := s.recv(65536):
                answer += part
        except (ConnectionError, BrokenPipeError):
            pass
    return answer, time.monotonic() - started


def head(token: str, store: Store, *lines: str, path: str = "") -> bytes:
    with store.reading() as session:
        suite = session.scalars(select(SuiteRow.fingerprint)).one()
    path = path or f"/api/v1/submissions?suite={suite}"
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *lines, "", ""]
    ).encode()


@pytest.fixture
def uploads(light_board: Store) -> Iterator[Path]:
    """The folder of what is received.

    In the end there is nothing left in it that no job waits for.
    """
    folder = light_board.folder / "uploads"
    yield folder
    with light_board.reading() as session:
        wanted = set(session.scalars(select(JobRow.sha256).where(JobRow.status == "queued")))
    assert {path.name for path in folder.glob("*")} == {f"{digest}.zip" for digest in wanted}


def test_another_teams_submission_is_not_there(
    board: Store, service: Any, team: str, archives: Any, post: Post
) -> None:
    other = grant(board, "Other", per_day=10)
    (path,) = archives(1)
    with service.client(team) as client, service.client(other) as stranger:
        told = post(client, board, path).json()
        for verb in ("GET", "DELETE"):
            assert stranger.request(verb, f"/api/v1/submissions/{told['id']}").status_code == 404
        assert stranger.get("/api/v1/submissions").json() == []
        assert stranger.get("/api/v1/submissions", params={"sha256": told["sha256"]}).json() == []
        stolen = post(stranger, board, path)
        assert stolen.status_code == 409 and "Team One" not in stolen.text
        assert (
            client.get(f"/api/v1/submissions/{told['id']}").json()["status"] == "queued"
            and board.upload(told["sha256"]).is_file()
        )


@pytest.mark.parametrize(
    "token", ["", "lwb_", "lwb_" + "A" * 43, "x" * 5000, "Bearer", "lwb_' OR '1'='1"]
)
def test_no_token_no_way_in(
    light_board: Store,
    service: Any,
    team: str,
    token: str,
    archives: Any,
    post: Post,
    uploads: Path,
) -> None:
    with service.client(token) as client:
        for verb, path in (
            ("GET", "me"),
            ("GET", "submissions"),
            ("GET", "submissions/x"),
            ("DELETE", "submissions/x"),
        ):
            assert client.request(verb, f"/api/v1/{path}").status_code == 401
        assert post(client, light_board, *archives(1)).status_code == 401


def test_sql_in_every_parameter(board: Store, service: Any, team: str, archives: Any) -> None:
    before = counts(board)
    (path,) = archives(1)
    with service.client(team) as client:
        for text in SQL:
            for name in ("suite", "track", "prompt_mode", "method", "after", "limit"):
                answer = client.get("/api/v1/entries", params={name: text})
                assert answer.status_code == 422 or answer.json() == {"entries": [], "next": None}
            for name in ("sha256", "limit"):
                assert client.get("/api/v1/submissions", params={name: text}).status_code == 422
            assert (
                client.post("/api/v1/submissions", params={"suite": text}, content=b"x").status_code
                == 422
            )
            for verb in ("GET", "DELETE"):
                assert client.request(
                    verb, f"/api/v1/submissions/{httpx.QueryParams({'a': text})}"
                ).status_code in (404, 405, 422)
        assert counts(board) == before
        with board.reading() as session:
            suite = session.scalars(select(SuiteRow.fingerprint)).one()
        told = client.post(
            "/api/v1/submissions",
            params={"suite": suite, "name": SQL[1]},
            content=path.read_bytes(),
        ).json()
        assert told["name"] == SQL[1] and counts(board) == (before[0], before[1] + 1, before[2])


def test_a_race_for_the_last_of_a_quota(
    board: Store, service: Any, archives: Any, post: Post
) -> None:
    token = grant(board, "Racers", per_day=3)
    paths = archives(12)

    def send(path: Path) -> int:
        with service.client(token) as client:
            return post(client, board, path).status_code

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(send, paths))
    assert sorted(codes) == [202] * 3 + [429] * 9
    with board.reading() as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 3
    assert len(list((board.folder / "uploads").iterdir())) == 3, "what was not queued is not kept"


def test_a_race_of_the_same_bytes_is_one_job(
    board: Store, service: Any, team: str, archives: Any, post: Post
) -> None:
    (path,) = archives(1)

    def send(_: int) -> tuple[int, str]:
        with service.client(team) as client:
            answer = post(client, board, path)
            return answer.status_code, answer.json()["id"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(send, range(8)))
    assert (
        sorted(code for code, _ in sent) == [200] * 7 + [202]
        and len({ticket for _, ticket in sent}) == 1
    )
    assert counts(board)[1] == 1 and [p.suffix for p in (board.folder / "uploads").iterdir()] == [
        ".zip"
    ]


def test_bodies_that_are_too_large(
    light_board: Store, service: Any, team: str, uploads: Path
) -> None:
    with light_board.reading() as session:
        suite, most = session.execute(select(SuiteRow.fingerprint, SuiteRow.most_bytes)).one()

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(65536)

    answer, _ = raw(service.port, head(team, light_board, f"Content-Length: {most + 1}") + b"x")
    assert b" 413 " in answer and f"{most:,} bytes".encode() in answer
    with (
        service.client(team) as client,
        contextlib.suppress(httpx.TransportError),
    ):  # closed while more was being sent
        assert (
            client.post(
                "/api/v1/submissions", params={"suite": suite}, content=endless()
            ).status_code
            == 413
        )
    assert counts(light_board)[1] == 0


def test_chunked_without_length_is_taken_within_bounds(
    light_board: Store, service: Any, team: str, archives: Any, uploads: Path
) -> None:
    (path,) = archives(1)
    with service.client(team) as client, light_board.reading() as session:
        suite = session.scalars(select(SuiteRow.fingerprint)).one()
        data = path.read_bytes()
        sent = client.post(
            "/api/v1/submissions",
            params={"suite": suite},
            content=(data[i : i + 1000] for i in range(0, len(data), 1000)),
        )
        assert sent.status_code == 202 and sent.json()["bytes"] == len(data)


def test_lengths_that_are_no_lengths(
    light_board: Store, service: Any, team: str, uploads: Path
) -> None:
    for line in (
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
    ):
        answer, _ = raw(service.port, head(team, light_board, line) + b"hello")
        assert answer.split(b" ")[1] in (b"400", b"413", b"408"), (line, answer)
    assert counts(light_board)[1] == 0


def test_slow_headers_are_closed(light_board: Store, service: Any, team: str) -> None:
    for data in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        answer, took = raw(service.port, data)
        assert answer == b"" and took < 5
    _, took = raw(service.port, b"GET / HTTP/1.1\r\n", b"X-A: b\r\n" * 200)
    assert took < 8, "a header each moment does not keep it open"
    _, took = raw(service.port, b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
    assert took < 8, "nor does it after a request"


def test_slow_bodies_are_closed(light_board: Store, service: Any, team: str, uploads: Path) -> None:
    answer, took = raw(service.port, head(team, light_board, "Content-Length: 100000") + b"PK")
    assert b" 408 " in answer and took < 6
    answer, took = raw(service.port, head(team, light_board, "Content-Length: 100000"), b"P" * 1000)
    assert b" 408 " in answer and took < 20, "a trickle is too slow in all"
    answer, took = raw(
        service.port, head("wrong", light_board, "Content-Length: 100000"), b"P" * 400
    )
    assert b" 401 " in answer and took < 8, "nor does a body that nobody reads keep it open"
    assert counts(light_board)[1] == 0


def test_many_slow_ones_do_not_keep_others_out(light_board: Store, service: Any, team: str) -> None:
    async def crawl() -> float:
        lines = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(150)]
        for _, writer in lines:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        async with httpx.AsyncClient(base_url=service.address) as client:
            assert (await client.get("/api/v1/health")).status_code == 200
        took = time.monotonic() - started
        for reader, writer in lines:
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
        return took

    assert asyncio.run(crawl()) < 5


def test_a_reader_that_does_not_read_is_closed(
    light_board: Store, service: Any, until: Any
) -> None:
    (light_board.folder / "site" / "large.bin").write_bytes(bytes(30_000_000))
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as s:
        s.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: service.server.server_state.connections)
        until(lambda: not service.server.server_state.connections, 10)


def test_cut_uploads_leave_nothing(
    light_board: Store,
    service: Any,
    team: str,
    archives: Any,
    post: Post,
    until: Any,
    uploads: Path,
) -> None:
    (path,) = archives(1)
    data = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        with socket.create_connection(("127.0.0.1", service.port)) as s:
            s.sendall(
                head(team, light_board, f"Content-Length: {len(data)}")
                + data[: int(share * len(data))]
            )
    until(lambda: not list(uploads.glob("*")))
    assert counts(light_board)[1] == 0
    with service.client(team) as client:
        assert post(client, light_board, path).status_code == 202, "and the whole one is taken"


def test_paths_lead_nowhere(light_board: Store, service: Any, team: str) -> None:
    (light_board.folder / "secret.txt").write_text("secret")
    for path in (
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/methods/../../secret.txt",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/.building",
    ):
        answer, _ = raw(
            service.port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        assert (
            b"secret" not in answer.split(b"\r\n\r\n", 1)[1]
            and b"root:" not in answer
            and b" 404 " in answer
        ), path
    for path in ("/board.sqlite", "/uploads/", "/submissions/"):
        with service.client() as client:
            assert client.get(path).status_code == 404


def test_markup_in_every_field_stays_text(
    light_board: Store,
    service: Any,
    team: str,
    good_zip: Path,
    renamed: Any,
    post: Post,
    score: Any,
    tmp_path: Path,
) -> None:
    markup = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
    card = dict.fromkeys(("version", "base_model", "hardware", "licence", "description"), markup)
    card |= {
        "authors": [{"name": markup, "affiliation": markup}],
        "training_data": [{"name": markup}],
        "method": "m",
    }
    path = renamed(good_zip, tmp_path / "markup.zip", **card)
    with service.client(team) as client:
        with light_board.reading() as session:
            suite = session.scalars(select(SuiteRow.fingerprint)).one()
        told = client.post(
            "/api/v1/submissions",
            params={"suite": suite, "name": markup},
            content=path.read_bytes(),
        ).json()
        score(light_board)
        told = client.get(f"/api/v1/submissions/{told['id']}").json()
        assert told["status"] == "accepted", told
        for page in ("/", told["verdict"]["page"], "/submit"):
            answer = client.get(page)
            assert "<script>alert" not in answer.text and "<img src=x" not in answer.text
            assert (
                "default-src 'none'" in answer.text
                and answer.headers["x-content-type-options"] == "nosniff"
            )
        assert client.get("/api/v1/entries").headers["content-type"] == "application/json"


def test_methods_and_paths_that_do_not_exist(light_board: Store, service: Any, team: str) -> None:
    with service.client(team) as client:
        for verb in ("PUT", "PATCH", "DELETE", "POST", "OPTIONS", "TRACE"):
            assert client.request(verb, "/").status_code in (404, 405)
            assert client.request(verb, "/api/v1/entries").status_code in (404, 405)
        assert (
            client.get("/api/v1/nothing").status_code == 404
            and client.get("/docs").status_code == 404
        )
