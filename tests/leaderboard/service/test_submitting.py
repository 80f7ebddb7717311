"""A submission from its upload to the board, on SQLite and on PostgreSQL.

What the team sees, what everybody sees.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from leaderboard.store.audit import read
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, TeamRow, VerdictRow
from leaderboard.store.teams import grant, revoke, token_hash

Score = Callable[[Store], None]
Post = Callable[..., httpx.Response]


def test_from_upload_to_board(
    board: Store, service: Any, team: str, archives: Any, post: Post, score: Score
) -> None:
    with service.client(team) as client, service.client() as anybody:
        (path,) = archives(1)
        assert client.get("/api/v1/me").json() == {
            "team": "Team One",
            "per_day": 100,
            "left_today": 100,
        }
        sent = post(client, board, path)
        assert sent.status_code == 202, sent.text
        told = sent.json()
        assert (told["status"], told["before"], told["name"], told["bytes"]) == (
            "queued",
            0,
            "method-0.zip",
            path.stat().st_size,
        )
        assert post(client, board, path).status_code == 200, (
            "the same bytes are the same submission"
        )
        assert client.get("/api/v1/me").json()["left_today"] == 99
        assert "has no pages yet" in anybody.get("/").text

        score(board)
        told = client.get(f"/api/v1/submissions/{told['id']}").json()
        assert (
            told["status"] == "accepted"
            and told["finished"]
            and told["verdict"]["level"] == "re-scored"
        )
        assert (
            told["verdict"]["rank"] == [1, 1]
            and told["verdict"]["page"] == "/methods/method-0.html"
        )
        assert told["verdict"]["scores"]["unseen"]["edit_recovery"]["mean"] == 0.0

        index = anybody.get("/")
        assert (
            index.status_code == 200 and "method-0" in index.text and 'href="submit"' in index.text
        )
        assert anybody.get("/", headers={"If-None-Match": index.headers["etag"]}).status_code == 304
        assert anybody.get(told["verdict"]["page"]).status_code == 200
        assert (
            anybody.get("/board.csv").text.startswith("suite,")
            and anybody.get("/.building").status_code == 404
        )
        (entry,) = anybody.get("/api/v1/entries").json()["entries"]
        assert (entry["method"], entry["rank"], entry["sha256"]) == (
            "method-0",
            [1, 1],
            told["sha256"],
        )
    assert (
        not list((board.folder / "uploads").iterdir())
        and board.archive(told["sha256"]).read_bytes() == path.read_bytes()
    )
    actions = [line["action"] for line in read(board)]
    assert actions == ["suite-taken", "team-created", "submitted", "started", "accepted"]


def test_a_private_suite_gives_rounded_means_alone(
    light_board: Store, service: Any, team: str, archives: Any, post: Post, score: Score
) -> None:
    with service.client(team) as client:
        told = post(client, light_board, *archives(1)).json()
        score(light_board)
        verdict = client.get(f"/api/v1/submissions/{told['id']}").json()["verdict"]
    scores = verdict["scores"]
    assert verdict["headline"] == {"metric": "edit_recovery", "places": 2}
    (entry,) = light_board.entries()
    full = entry.report.scores
    assert (
        {"seen", "unseen", "new_family"} <= set(scores)
        and not any("/" in group for group in scores)
        and any("/" in group for group in full)
    )
    for group, of in scores.items():
        for metric, values in of.items():
            places = 1 if metric == "psnr" else 3 if metric == "mse" else 2
            assert values["mean"] == round(full[group][metric].mean, places)
    site = "".join(
        path.read_text()
        for path in (light_board.folder / "site").rglob("*")
        if path.suffix in (".html", ".csv", ".json")
    )
    exact = {
        f"{s.mean!r}" for of in full.values() for s in of.values() if s.mean != round(s.mean, 3)
    }
    assert exact and not any(value in site for value in exact)


def test_a_refused_one_says_why_and_leaves_no_file(
    light_board: Store,
    service: Any,
    team: str,
    good_zip: Path,
    post: Post,
    score: Score,
    tmp_path: Path,
) -> None:
    bad = tmp_path / "bad.zip"
    data = bytearray(good_zip.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    with service.client(team) as client:
        told = post(client, light_board, bad).json()
        score(light_board)
        told = client.get(f"/api/v1/submissions/{told['id']}").json()
        assert (
            told["status"] == "refused" and "damaged" in told["reason"] and told["verdict"] is None
        )
        assert post(client, light_board, bad).json()["status"] == "refused", (
            "the same bytes are not checked again"
        )
        assert client.get("/api/v1/me").json()["left_today"] == 99
    assert (
        light_board.entries() == []
        and not list((light_board.folder / "uploads").iterdir())
        and not (light_board.folder / "submissions").exists()
    )


def test_withdrawn_is_off_the_board_and_off_the_disk(
    board: Store, service: Any, team: str, archives: Any, post: Post, score: Score
) -> None:
    one, two = archives(2)
    with service.client(team) as client, service.client() as anybody:
        told = [post(client, board, path).json() for path in (one, two)]
        withdrawn = client.delete(f"/api/v1/submissions/{told[1]['id']}").json()
        assert withdrawn["status"] == "withdrawn" and not board.upload(withdrawn["sha256"]).exists()
        score(board)
        assert [e["method"] for e in anybody.get("/api/v1/entries").json()["entries"]] == [
            "method-0"
        ]
        assert client.delete(f"/api/v1/submissions/{told[0]['id']}").json()["status"] == "withdrawn"
        assert (
            anybody.get("/api/v1/entries").json()["entries"] == []
            and not board.archive(told[0]["sha256"]).exists()
        )
        score(board)
        assert (
            "method-0" not in anybody.get("/").text
            and anybody.get("/methods/method-0.html").status_code == 404
        )
        assert post(client, board, one).status_code == 202, "it may come back"
        score(board)
        assert [entry.submission.method for entry in board.entries()] == ["method-0"]
    with board.reading() as session:
        assert session.scalar(select(func.count()).select_from(SubmissionRow)) == 1
        assert sorted(session.scalars(select(JobRow.status))) == [
            "accepted",
            "withdrawn",
            "withdrawn",
        ]


def test_what_the_keeper_added_is_not_scored_again(
    light_board: Store,
    service: Any,
    team: str,
    good_zip: Path,
    small_suite: Any,
    post: Post,
    score: Score,
) -> None:
    with service.client(team) as client:
        told = post(client, light_board, good_zip).json()
        light_board.add(good_zip, small_suite)
        score(light_board)
        assert client.get(f"/api/v1/submissions/{told['id']}").json()["status"] == "accepted"
    with light_board.reading() as session:
        assert session.scalar(select(func.count()).select_from(VerdictRow)) == 1


def test_quotas_are_by_team_and_day(board: Store, service: Any, archives: Any, post: Post) -> None:
    paths = archives(4)
    tokens = [grant(board, "Small", per_day=2), grant(board, "Other", per_day=1)]
    with service.client(tokens[0]) as client, service.client(tokens[1]) as other:
        assert [post(client, board, path).status_code for path in paths[:3]] == [202, 202, 429]
        assert "has used its 2 submissions" in post(client, board, paths[2]).json()["detail"]
        assert post(other, board, paths[3]).status_code == 202
        with board.writing() as session:
            for job in session.scalars(select(JobRow)):
                job.day = "2000-01-01"
        assert post(client, board, paths[2]).status_code == 202
    grant(board, "Small", per_day=0)
    with board.reading() as session:
        assert session.scalars(select(TeamRow.per_day).where(TeamRow.name == "Small")).one() == 0


def test_tokens_are_told_once_and_kept_as_hashes(
    light_board: Store, service: Any, tmp_path: Path
) -> None:
    token = grant(light_board, "Team")
    assert re.fullmatch(r"lwb_[\w-]{43}", token)
    with light_board.reading() as session:
        row = session.scalars(select(TeamRow)).one()
        assert row.token_hash == token_hash(token) and token not in str(vars(row))
    assert not any(
        token.encode() in path.read_bytes()
        for path in light_board.folder.rglob("*")
        if path.is_file()
    )
    with service.client(token) as client:
        assert client.get("/api/v1/me").status_code == 200
        newer = grant(light_board, "Team")
        assert client.get("/api/v1/me").status_code == 401
    with service.client(newer) as client:
        assert client.get("/api/v1/me").status_code == 200
        revoke(light_board, "Team")
        answer = client.get("/api/v1/me")
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"


def test_a_closed_suite_takes_nothing(
    light_board: Store, service: Any, team: str, archives: Any, post: Post, small_suite: Any
) -> None:
    from leaderboard.service.suite_intake import take

    take(light_board, small_suite, accepting=False)
    with service.client(team) as client:
        (path,) = archives(1)
        assert post(client, light_board, path).status_code == 404
        assert [suite["accepting"] for suite in client.get("/api/v1/suites").json()] == [False]


def test_health_and_openapi(
    board: Store, service: Any, team: str, archives: Any, post: Post
) -> None:
    with service.client(team) as client:
        assert client.get("/api/v1/health").json()["status"] == "ok"
        post(client, board, *archives(1))
        with board.writing() as session:
            for job in session.scalars(select(JobRow)):
                job.received = job.received.replace(year=2020)
        health = client.get("/api/v1/health").json()
        assert health["queued"] == 1 and health["behind"] and "worker" in health["status"]
        described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) >= {
        f"/api/v1/{name}"
        for name in ("health", "suites", "entries", "me", "submissions", "submissions/{ticket}")
    }
    operations = [o for path in described["paths"].values() for o in path.values()]
    assert all(o.get("summary") and o.get("description") for o in operations)


def test_pages_of_entries(board: Store, service: Any, good_zip: Path, small_suite: Any) -> None:
    board.add(good_zip, small_suite)
    with board.writing() as session:
        first = session.scalars(select(SubmissionRow)).one()
        last = session.scalars(select(VerdictRow)).one()
        for n in range(5):
            kept = {
                c.name: getattr(first, c.name)
                for c in SubmissionRow.__table__.columns
                if c.name not in ("id", "sha256", "method", "last_verdict")
            }
            row = SubmissionRow(sha256=f"{n:064d}", method=f"m{n}", **kept)
            verdict = {
                c.name: getattr(last, c.name)
                for c in VerdictRow.__table__.columns
                if c.name not in ("id", "submission_id")
            }
            made = VerdictRow(submission=row, **verdict)
            session.add_all([row, made])
            session.flush()
            row.last_verdict = made.id
    with service.client() as client:
        seen: list[str] = []
        after: int | None = 0
        while after is not None:
            answer = client.get("/api/v1/entries", params={"limit": 2, "after": after}).json()
            seen += [e["method"] for e in answer["entries"]]
            after = answer["next"]
        assert seen == ["copy-b", "m0", "m1", "m2", "m3", "m4"]
        assert [
            e["method"]
            for e in client.get("/api/v1/entries", params={"method": "m3"}).json()["entries"]
        ] == ["m3"]
        assert client.get("/api/v1/entries", params={"track": "open"}).json() == {
            "entries": [],
            "next": None,
        }


def test_the_log_is_only_added_to(board: Store) -> None:
    grant(board, "A")
    before = list(read(board))
    time.sleep(0.01)
    revoke(board, "A")
    assert list(read(board))[: len(before)] == before and [
        line["action"] for line in read(board, "A")
    ] == ["team-created", "team-revoked"]
