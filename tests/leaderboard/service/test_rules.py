"""The rules of a board, attacked by somebody who has a token: each attack is a test.

Ownership decides, not bytes; what was accepted counts; probing teaches little; no team makes the
others wait.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from sqlalchemy import select

from leaderboard.board.board import boards
from leaderboard.board.disclosure import told_levels
from leaderboard.service import queue
from leaderboard.service.suite_intake import take
from leaderboard.service.uploads import NoShare, Shares, release, reserve
from leaderboard.store import ladder
from leaderboard.store.audit import read
from leaderboard.store.reference_rows import add_references
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SubmissionRow, SuiteRow, TeamRow, UploadRow
from leaderboard.store.teams import change, grant
from leaderboard.submission.submission import image_name
from leaderboard.submission.verify import verify
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.runtime.files import sha256_file
from lorweb_bench.scoring import evaluate

Post = Callable[..., httpx.Response]
Score = Callable[[Store], None]


@pytest.fixture
def other(light_board: Store) -> str:
    """The token of a second team."""
    return grant(light_board, "Other", per_day=100)


def with_images(archive: Path, path: Path, images: Mapping[str, Image.Image], **card: Any) -> Path:
    """A copy of a submission with other images of some keys, and other fields in its card."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            key = entry.filename.removeprefix("images/").removesuffix(".png")
            if key in images:
                buffer = io.BytesIO()
                images[key].save(buffer, "png")
                data = buffer.getvalue()
            elif entry.filename.endswith(".json"):
                content = json.loads(data)
                if entry.filename == "card.json":
                    content |= card
                elif "method" in card:
                    content["method"] |= {"name": card["method"]}
                data = json.dumps(content).encode()
            new.writestr(entry.filename, data)
    return path


def image_of(archive: Path, key: str) -> Image.Image:
    with zipfile.ZipFile(archive) as opened:
        return Image.open(io.BytesIO(opened.read(image_name(key)))).convert("RGB")


def keys_of(suite: Dataset) -> list[str]:
    return sorted(r.id for split in suite.scored_splits for r in suite.records(split))


def shown(store: Store) -> dict[str, Any]:
    (board,) = boards(store.entries(withdrawn=True))
    return {row.method: row for row in board.rows}


# 1. Ownership, not content.


def test_the_keepers_rows_cannot_be_taken_off_by_posting_their_bytes(
    light_board: Store, service: Any, team: str, small_suite: Dataset, post: Post
) -> None:
    list(add_references(light_board, small_suite))
    before = set(shown(light_board))
    with service.client(team) as client:
        for entry in light_board.entries():
            sent = post(client, light_board, entry.archive)
            assert sent.status_code == 409 and "somebody else's" in sent.json()["detail"]
            found = client.get(
                "/api/v1/submissions", params={"sha256": entry.submission.sha256}
            ).json()
            assert found == []
    assert set(shown(light_board)) == before


def test_posting_anothers_bytes_to_a_second_suite_takes_nothing_off(
    light_board: Store,
    service: Any,
    team: str,
    other: str,
    archives: Any,
    post: Post,
    score: Score,
    small_suite: Dataset,
) -> None:
    (path,) = archives(1)
    with service.client(team) as client:
        assert post(client, light_board, path).status_code == 202
    score(light_board)
    with light_board.writing() as session:
        first = session.scalars(select(SuiteRow)).one()
        session.add(
            SuiteRow(
                fingerprint="e" * 64,
                targets_fingerprint="e" * 64,
                name="second",
                version="1",
                about=first.about,
                accepting=True,
                most_bytes=first.most_bytes,
                path=first.path,
            )
        )
    with service.client(other) as attacker:
        sent = attacker.post(
            "/api/v1/submissions", params={"suite": "e" * 64}, content=path.read_bytes()
        )
        assert sent.status_code == 409
    with light_board.writing() as session:
        attacker_id = session.scalars(select(TeamRow.id).where(TeamRow.name == "Other")).one()
        assert not queue.withdraw(session, sha256_file(path), "Other", attacker_id)
    assert set(shown(light_board)) == {"method-0"}


def test_what_the_keeper_struck_off_is_not_posted_again(
    light_board: Store, service: Any, team: str, archives: Any, post: Post, score: Score
) -> None:
    (path,) = archives(1)
    with service.client(team) as client:
        post(client, light_board, path)
        score(light_board)
        with light_board.writing() as session:
            assert queue.withdraw(session, sha256_file(path), "keeper")
        assert "took this very submission off" in post(client, light_board, path).json()["detail"]
    assert light_board.entries(withdrawn=True) == []


# 3. Probing teaches little.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts with the headline alone: a probe needs a hundred of them."""
    whole = evaluate.score
    monkeypatch.setattr(
        evaluate, "score", lambda *a, **named: whole(*a, **named | {"metrics": ["edit_recovery"]})
    )


def probe(
    store: Store,
    suite: Dataset,
    archive: Path,
    folder: Path,
    tell: Callable[[Path], dict[str, Any] | None],
) -> dict[str, tuple[str | None, bool | None]]:
    """Spoil one image per submission, and see in which of the told means the score falls.

    Gives back, for each item, the tier that the attacker names and whether it is hard; None where
    nothing was learned.
    """
    base = tell(with_images(archive, folder / "base.zip", {}, method="probe", version="base"))
    assert base is not None
    found: dict[str, tuple[str | None, bool | None]] = {}
    tiers = [group for group in base if group not in ("seen", "unseen") and "_hard" not in group]
    for key in keys_of(suite):
        spoilt = {key: ImageOps.invert(image_of(archive, key))}
        path = with_images(
            archive, folder / f"{key}.zip", spoilt, method="probe", version=f"without {key}"
        )
        said = tell(path)
        if said is None:
            found[key] = None, None
            continue
        drops = {
            group: base[group]["edit_recovery"]["mean"] - said[group]["edit_recovery"]["mean"]
            for group in base
        }
        tier = max(tiers, key=lambda group: drops[group])
        hard = any(drops[group] > 0 for group in drops if group.endswith("_hard"))
        found[key] = (tier if drops[tier] > 0 else None), hard
    return found


def learned(suite: Dataset, found: Mapping[str, tuple[str | None, bool | None]]) -> int:
    """How many items' tiers the attacker knows."""
    truth = {r.id: r.tier for split in suite.scored_splits for r in suite.records(split)}
    return sum(found[key][0] == tier for key, tier in truth.items())


def honest(suite: Dataset, archive: Path, path: Path) -> Path:
    """A submission that is right by half: the mean of b and the answer, so that it can fall."""
    images = {
        q.key: Image.blend(q.b, q.b_prime, 0.5)
        for split in suite.scored_splits
        for q in suite.quadruplets(split)
        if q.b_prime is not None
    }
    return with_images(archive, path, images, method="probe", version="0")


def test_the_probe_that_told_every_tier_tells_none(
    quick: None, light_board: Store, small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    """With rounded means alone one spoilt image per submission told the tier of every item."""
    grant(light_board, "Prober", per_day=1000)
    start = honest(small_suite, good_zip, tmp_path / "start.zip")

    def tell_by_rule(path: Path) -> dict[str, Any] | None:
        light_board.add(path, small_suite, team="Prober")
        with light_board.reading() as session:
            row = session.scalars(
                select(SubmissionRow).where(SubmissionRow.sha256 == sha256_file(path))
            ).one()
        if row.held is not None:
            return None
        (entry,) = [e for e in boards_entries(light_board) if e.submission.id == row.id]
        scores: dict[str, Any] = entry.report.model_dump()["scores"]
        return scores

    def tell_rounded(path: Path) -> dict[str, Any] | None:
        report = verify(path, small_suite).report
        assert report is not None
        return {
            group: {m: {"mean": round(s.mean, 2)} for m, s in of.items()}
            for group, of in report.scores.items()
            if "/" not in group
        }

    (tmp_path / "rounded").mkdir()
    (tmp_path / "rule").mkdir()
    items = len(keys_of(small_suite))
    before = learned(
        small_suite, probe(light_board, small_suite, start, tmp_path / "rounded", tell_rounded)
    )
    after = learned(
        small_suite, probe(light_board, small_suite, start, tmp_path / "rule", tell_by_rule)
    )
    assert before >= 0.9 * items, "the attack works where it is let"
    assert after == 0, "and says nothing here"


def boards_entries(store: Store) -> list[Any]:
    (board,) = boards(store.entries(withdrawn=True))
    return [run for row in board.rows for run in row.runs]


def test_the_ladder_tells_steps_and_not_the_way_down(
    quick: None, light_board: Store, small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    """A team's better submissions are told, others are held; and no more than it may have."""
    grant(light_board, "Climber", per_day=1000)
    change(light_board, "Climber", releases=4)
    held = []
    for n, share in enumerate((0.1, 0.5, 0.2, 0.7, 0.95, 1.0)):
        images = {
            q.key: Image.blend(q.b, q.b_prime, share)
            for split in small_suite.scored_splits
            for q in small_suite.quadruplets(split)
            if q.b_prime is not None
        }
        path = with_images(
            good_zip, tmp_path / f"{n}.zip", images, method="climber", version=str(n)
        )
        light_board.add(path, small_suite, team="Climber")
        with light_board.reading() as session:
            held.append(
                session.scalars(
                    select(SubmissionRow.held).where(SubmissionRow.sha256 == sha256_file(path))
                ).one()
            )
    assert held[0] is None and held[1] is None and held[2] == "step" and held[3] is None
    assert held[5] in ("spent", "step", "near")
    (board,) = boards(light_board.entries(withdrawn=True))
    assert "2" in {row.entry.submission.version for row in board.held}, "listed, without scores"
    assert any(line["action"] == "flagged" for line in read(light_board)), "1.00 is suspicious"


def test_the_bound_that_the_docs_state(small_suite: Dataset, good_zip: Path) -> None:
    """Counted by hand: with R of k told, each in 2^L ways, at most log2(sum of C(k, r) 2^(L r))."""
    assert ladder.bits(3, 3, 1.0) == pytest.approx(np.log2((1 + 2) ** 3))
    assert ladder.bits(1000, 10, 200.0) < 10 * 200 + 10 * np.log2(1000)
    report = verify(good_zip, small_suite).report
    assert report is not None
    levels = told_levels(report)
    assert 150 < levels < 200, "bits of one submission that is told, as the docs say"
    assert ladder.bits(1000, 10, levels) < 2100 < 1200 * np.log2(5)
    assert ladder.overfitting(ladder.bits(100, 10, levels), 10_000, 2.0) > 0


def test_two_teams_do_not_share_a_ladder(
    light_board: Store, small_suite: Dataset, good_zip: Path, renamed: Any, tmp_path: Path
) -> None:
    for name in ("One", "Two"):
        grant(light_board, name)
        path = renamed(good_zip, tmp_path / f"{name}.zip", method=f"of {name}")
        assert light_board.add(path, small_suite, team=name).new
    rows = shown(light_board)
    assert {row.team for row in rows.values()} == {"One", "Two"}
    assert rows["of Two"].same_images == "of One", "the same images under another name"


# 4. No choosing of the best.


def test_a_withdrawn_run_stays_in_the_mean_and_is_said(
    light_board: Store, small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    take(light_board, small_suite)
    with light_board.writing() as session:
        session.scalars(select(SuiteRow)).one().standing = "public"
    grant(light_board, "Choosers", per_day=9)
    paths = []
    for seed, share in ((1, 0.2), (2, 0.8)):
        images = {
            q.key: Image.blend(q.b, q.b_prime, share)
            for split in small_suite.scored_splits
            for q in small_suite.quadruplets(split)
            if q.b_prime is not None
        }
        paths.append(
            with_images(
                good_zip, tmp_path / f"{seed}.zip", images, method="chosen", seeds=[0, seed]
            )
        )
        light_board.add(paths[-1], small_suite, team="Choosers")
    before = shown(light_board)["chosen"].score("unseen").mean
    with light_board.writing() as session:
        team_id = session.scalars(select(TeamRow.id)).one()
        assert queue.withdraw(session, sha256_file(paths[0]), "Choosers", team_id)
    row = shown(light_board)["chosen"]
    assert row.score("unseen").mean == before, "the low run is not chosen away"
    assert row.remarks == ["1 of 2 runs withdrawn, and counted"]
    with light_board.writing() as session:
        assert queue.withdraw(session, sha256_file(paths[1]), "Choosers", team_id)
    (board,) = boards(light_board.entries(withdrawn=True))
    assert not board.rows and [row.method for row in board.withdrawn] == ["chosen"]


def test_a_seed_named_twice_is_one_seed(
    light_board: Store, small_suite: Dataset, good_zip: Path, renamed: Any, tmp_path: Path
) -> None:
    for n, seeds in enumerate(([0], [0, 0], [0, 0, 0])):
        path = renamed(good_zip, tmp_path / f"{n}.zip", method="one-run", seeds=seeds)
        light_board.add(path, small_suite)
    (board,) = boards(light_board.entries())
    (row,) = board.rows
    assert len(row.runs) == 1 and row.remarks == ["2 earlier submissions replaced"]


def test_runs_with_the_very_same_images_count_once(
    light_board: Store, small_suite: Dataset, good_zip: Path, renamed: Any, tmp_path: Path
) -> None:
    """Otherwise a run that is good by luck is posted under five seeds and narrows its interval."""
    for seed in range(3):
        path = renamed(good_zip, tmp_path / f"{seed}.zip", method="again", seeds=[0, seed + 1])
        light_board.add(path, small_suite)
    row = shown(light_board)["again"]
    assert len(row.runs) == 1 and row.remarks == ["2 of 3 runs repeat another's images"]


# 5. Fair shares.


def test_what_is_no_archive_costs_no_submission(
    light_board: Store, service: Any, team: str, good_zip: Path, tmp_path: Path
) -> None:
    suite = suite_of_board(light_board)
    data = good_zip.read_bytes()
    with service.client(team) as client:
        before = client.get("/api/v1/me").json()["left_today"]
        for content in (b"", b"hello", bytes(5000), data[:-30], b"x" + data, data[:2000]):
            sent = client.post("/api/v1/submissions", params={"suite": suite}, content=content)
            assert sent.status_code == 400 and "no zip archive" in sent.json()["detail"]
        assert client.get("/api/v1/me").json()["left_today"] == before
    assert not list((light_board.folder / "uploads").iterdir())
    with light_board.reading() as session:
        assert session.scalars(select(JobRow)).all() == []
        assert session.scalars(select(UploadRow)).all() == []


def suite_of_board(store: Store) -> str:
    with store.reading() as session:
        return session.scalars(select(SuiteRow.fingerprint)).one()


def test_quota_slots_and_disk_are_set_aside_when_an_upload_begins(board: Store) -> None:
    grant(board, "Narrow", per_day=2)
    grant(board, "Wide", per_day=100)
    with board.reading() as session:
        narrow, wide = session.scalars(select(TeamRow.id).order_by(TeamRow.id))
    shares = Shares(uploads=6, team_uploads=3, address_uploads=5, team_bytes=1000)

    def begin(team: int, address: str = "10.0.0.1", most: int = 100, left: int = 10**9) -> int:
        with board.writing() as session:
            return reserve(session, team, address, most, left, shares)

    first, _ = begin(narrow), begin(narrow)
    with pytest.raises(queue.QuotaUsed):
        begin(narrow)
    with board.writing() as session:
        release(session, first)
    begin(narrow)
    for _ in range(3):
        begin(wide)
    with pytest.raises(NoShare, match="too many uploads"):
        begin(wide)
    with pytest.raises(OSError, match="nearly full"):
        begin_alone(board, wide, shares, left=400)
    with board.writing() as session:
        session.execute(UploadRow.__table__.delete().where(UploadRow.team_id == wide))
    begin(wide, most=400)
    begin(wide, most=400)
    with pytest.raises(NoShare, match="its share of the disk"):
        begin(wide, most=400)


def begin_alone(store: Store, team: int, shares: Shares, left: int) -> None:
    with store.writing() as session:
        session.execute(UploadRow.__table__.delete().where(UploadRow.team_id == team))
        session.flush()
        reserve(session, team, "10.0.0.2", 300, left, shares)


def test_one_address_has_its_share_alone(light_board: Store) -> None:
    tokens = [grant(light_board, f"Team {n}", per_day=9) for n in range(3)]
    assert len(tokens) == 3
    shares = Shares(address_uploads=2)
    with light_board.writing() as session:
        for team in (1, 2):
            reserve(session, team, "10.0.0.1", 10, 10**9, shares)
        with pytest.raises(NoShare):
            reserve(session, 3, "10.0.0.1", 10, 10**9, shares)
        reserve(session, 3, "10.0.0.2", 10, 10**9, shares)


def test_a_team_with_many_waiting_makes_nobody_else_wait(board: Store) -> None:
    grant(board, "Flood", per_day=100)
    grant(board, "Patient", per_day=100)
    suite = suite_of_board(board)
    with board.writing() as session:
        flood, patient = session.scalars(select(TeamRow.id).order_by(TeamRow.id))
        for n in range(20):
            queue.enqueue(session, flood, suite, f"{n:064x}", 10, "flood.zip")
        late, _ = queue.enqueue(session, patient, suite, "f" * 64, 10, "patient.zip")
        last = session.scalars(select(JobRow).where(JobRow.team_id == flood)).all()[-1]
        assert queue.ahead_of(session, late) == 1 and queue.ahead_of(session, last) == 20
    taken = []
    for n in range(4):
        with board.writing() as session:
            job = queue.claim(session, f"worker-{n}")
            assert job is not None
            taken.append(job.team_id)
    assert taken[:2] == [flood, patient], "teams take turns"


def test_a_blocked_team_is_turned_away_and_its_jobs_rest(
    light_board: Store, service: Any, team: str, archives: Any, post: Post
) -> None:
    first, second = archives(2)
    with service.client(team) as client:
        assert post(client, light_board, first).status_code == 202
        change(light_board, "Team One", blocked=True)
        assert post(client, light_board, second).status_code == 403
        with light_board.writing() as session:
            assert queue.claim(session, "worker") is None
        change(light_board, "Team One", blocked=False)
        assert client.get("/api/v1/me").status_code == 200
    with light_board.writing() as session:
        assert queue.claim(session, "worker") is not None
