"""The keeper's commands: what they list, what they put right, and backup and restore."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import select

from leaderboard.board.board import boards
from leaderboard.service.rendering import render_store
from leaderboard.store.audit import read
from leaderboard.store.backup import back_up, restore
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, TeamRow
from leaderboard.store.teams import change, grant
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file

Post = Callable[..., httpx.Response]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", *map(str, words)])
    return int(ended.value.code or 0)


@pytest.fixture
def at(light_board: Store) -> tuple[str, Path]:
    return "--store", light_board.folder


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_teams_queue_and_submissions_are_listed(
    light_board: Store,
    service: Any,
    team: str,
    archives: Any,
    post: Post,
    score: Any,
    at: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = archives(2)
    with service.client(team) as client:
        post(client, light_board, first)
        score(light_board)
        post(client, light_board, second)
    capsys.readouterr()
    assert run("teams", *at, "--json") == 0
    (told,) = lines(capsys)
    assert told["team"] == "Team One" and told["used_today"] == 2 and told["waiting"] == 1
    assert run("queue", *at, "--json") == 0
    (job,) = lines(capsys)
    assert (job["team"], job["name"], job["status"]) == ("Team One", second.name, "queued")
    assert run("submissions", *at, "--json", "--team", "Team One") == 0
    (row,) = lines(capsys)
    assert row["method"] == "method-0" and row["state"] == "re-scored"
    assert run("queue", *at) == 0 and "Team One" in capsys.readouterr().out
    assert run("submissions", *at, "--team", "Team on") == 2
    assert "did you mean 'Team One'?" in capsys.readouterr().err
    assert run("submissions", *at, "--flagged") == 0
    assert "no such submission" in capsys.readouterr().out


def test_a_team_is_renamed_and_its_quota_raised_without_a_new_token(
    light_board: Store, service: Any, team: str, at: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("set-team", "Team One", *at, "--per-day", 7, "--rename", "Ada") == 0
    with service.client(team) as client:
        assert client.get("/api/v1/me").json() == {"team": "Ada", "per_day": 7, "left_today": 7}
    assert run("set-team", "Ada", *at) == 2
    for name in ("keeper", "Ad a", "ada"):
        grant(light_board, "Other") if name == "keeper" else None
        assert run("set-team", "Other", *at, "--rename", name) == 2
    assert run("set-team", "Ada", *at, "--block") == 0
    with service.client(team) as client:
        assert client.get("/api/v1/me").status_code == 403
    capsys.readouterr()
    assert run("log", *at, "--team", "Ada") == 0
    told = lines(capsys)
    assert [line["action"] for line in told] == ["team-created", "team-changed", "team-changed"]


def test_an_entry_is_moved_with_all_of_its_name(
    light_board: Store, good_zip: Path, renamed: Any, small_suite: Dataset, tmp_path: Path, at: Any
) -> None:
    grant(light_board, "Ada")
    for seed in (1, 2):
        path = renamed(good_zip, tmp_path / f"{seed}.zip", method="theirs", seeds=[0, seed])
        light_board.add(path, small_suite)
    digest = sha256_file(tmp_path / "1.zip")[:10]
    assert run("move", digest, *at, "--team", "Ada") == 0
    assert {entry.team for entry in light_board.entries()} == {"Ada"}
    assert run("move", digest, *at) == 0
    assert {entry.team for entry in light_board.entries()} == {None}
    assert run("move", "zzz", *at) == run("move", "0" * 64, *at) == 2


def test_a_card_is_edited_but_not_what_makes_the_row(
    light_board: Store,
    good_zip: Path,
    small_suite: Dataset,
    example_card: dict[str, Any],
    tmp_path: Path,
    at: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    light_board.add(good_zip, small_suite)
    digest = sha256_file(good_zip)
    card = tmp_path / "card.yaml"
    fresh = example_card | {"authors": [{"name": "Grace"}], "licence": "MIT"}
    card.write_text(yaml.safe_dump(fresh))
    assert run("edit-card", digest, card, *at) == 0
    (entry,) = light_board.entries()
    assert entry.verdict.card is not None and entry.verdict.card.authors[0].name == "Grace"
    card.write_text(yaml.safe_dump(fresh | {"seeds": [0, 9]}))
    assert run("edit-card", digest, card, *at) == 2
    assert "makes the row" in capsys.readouterr().err


def test_a_job_that_failed_waits_again(
    light_board: Store, service: Any, team: str, archives: Any, post: Post, score: Any, at: Any
) -> None:
    (path,) = archives(1)
    with service.client(team) as client:
        ticket = post(client, light_board, path).json()["id"]
    with light_board.writing() as session:
        job = session.scalars(select(JobRow)).one()
        job.status, job.attempts, job.reason = "failed", 3, "the keeper's disk was slow"
    assert run("requeue", ticket, *at) == 0
    score(light_board)
    assert [entry.submission.method for entry in light_board.entries()] == ["method-0"]
    assert run("requeue", ticket, *at) == run("requeue", "nothing", *at) == 2


def filled(store: Store, archives: Any, suite: Dataset) -> Store:
    grant(store, "Ada", per_day=3)
    for n, path in enumerate(archives(2)):
        store.add(path, suite, team="Ada" if n else None)
    return store


def test_a_backup_is_restored_into_either_database(
    board: Store, archives: Any, small_suite: Dataset, postgres: str, tmp_path: Path
) -> None:
    filled(board, archives, small_suite)
    counts = back_up(board, tmp_path / "board.tar")
    assert counts["submissions"] == 2 and counts["teams"] == 1 and counts["files"] == 3
    for name, url in (("sqlite", None), ("postgresql", postgres)):
        if url is not None and url == board.url:
            continue
        folder = tmp_path / f"restored-{name}"
        assert restore(tmp_path / "board.tar", folder, url) == counts
        again = Store(folder, url)
        same = [entry.verdict.model_dump() for entry in board.entries()]
        assert [entry.verdict.model_dump() for entry in again.entries()] == same
        assert list(read(again)) == list(read(board))
        assert "method-0" in render_store(again, folder / "site", "A board").read_text()
        change(again, "Ada", per_day=4)
        grant(again, "Another")  # whose number is a new one
        with again.reading() as session:
            assert len(session.scalars(select(TeamRow)).all()) == 2
        with pytest.raises(InputError, match="not empty"):
            restore(tmp_path / "board.tar", folder, url)
        again.database.engine.dispose()


def test_backup_and_restore_as_commands(
    light_board: Store,
    archives: Any,
    small_suite: Dataset,
    at: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled(light_board, archives, small_suite)
    assert run("backup", *at, "-o", tmp_path / "board.tar") == 0
    assert "2 submissions" in capsys.readouterr().out
    assert run("restore", tmp_path / "board.tar", "--store", tmp_path / "again") == 0
    (board,) = boards(Store(tmp_path / "again").entries())
    assert {row.team for row in board.rows} == {"Ada", "the keeper"}


def test_what_is_no_backup_or_damaged_is_refused(
    light_board: Store, archives: Any, small_suite: Dataset, tmp_path: Path
) -> None:
    filled(light_board, archives, small_suite)
    back_up(light_board, tmp_path / "board.tar")
    data = (tmp_path / "board.tar").read_bytes()
    (tmp_path / "text.tar").write_text("hello")
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    spoilt = bytearray(data)
    with tarfile.open(tmp_path / "board.tar") as tar:
        member = next(m for m in tar.getmembers() if m.name.startswith("submissions/"))
        spoilt[member.offset_data + 100] ^= 1
    (tmp_path / "spoilt.tar").write_bytes(spoilt)
    for n, (name, why) in enumerate(
        (
            ("text.tar", "no backup"),
            ("empty.tar", "no backup"),
            ("absent.tar", "no backup"),
            ("spoilt.tar", "not what its name says"),
        )
    ):
        with pytest.raises(InputError, match=why):
            restore(tmp_path / name, tmp_path / f"into-{n}")


def test_a_suspicious_score_is_flagged(
    light_board: Store,
    small_suite: Dataset,
    truth: Any,
    good_zip: Path,
    tmp_path: Path,
    at: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tests.leaderboard.service.test_rules import with_images

    path = with_images(good_zip, tmp_path / "all.zip", truth, method="too-good")
    light_board.add(path, small_suite)
    assert run("submissions", *at, "--flagged", "--json") == 0
    (row,) = lines(capsys)
    assert row["method"] == "too-good" and "are the answers known?" in row["flag"]
    with light_board.reading() as session:
        assert session.scalars(select(SubmissionRow.flag)).one() is not None
