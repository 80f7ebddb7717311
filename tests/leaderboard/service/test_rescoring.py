"""Scoring everything again: when answers, the version of a suite, or the metrics change.

And what the board shows meanwhile.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from leaderboard.service.suite_intake import catch_up, declare, take
from leaderboard.store.audit import read
from leaderboard.store.store import Store
from leaderboard.store.tables import JobRow, SuiteRow, VerdictRow
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.errors import InputError

Score = Callable[[Store], None]


@pytest.fixture(scope="module")
def other_answers(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small suite with the same images to predict on, but with b as the answer of one item.

    A mistake that was put right.
    """
    folder = tmp_path_factory.mktemp("suites") / "other"
    for split in small_suite.scored_splits:
        for index in range(len(small_suite.split(split).shards)):
            with ShardWriter(folder, split, index) as shard:
                for n, sample in enumerate(small_suite.samples(split, shards=[index])):
                    images = {role: (data, sample.ext) for role, data in sample.images.items()}
                    if n == 0 and index == 0:
                        images["b_prime"] = images["a"]
                    shard.add(sample.key, images, sample.record)
    kept = ("name", "view", "recipe", "transformation_library", "tiers_relative_to")
    manifest = small_suite.manifest.model_dump(mode="json")
    return finish_dataset(
        folder,
        {k: manifest[k] for k in kept}
        | {"version": "2", "transformations": manifest["transformations"]},
    )


def verdicts(store: Store) -> list[tuple[str, str | None]]:
    with store.reading() as session:
        return [
            (row.verdict["suite"]["version"], row.scoring)
            for row in session.scalars(select(VerdictRow).order_by(VerdictRow.id))
        ]


def test_other_answers_score_everything_again(
    board: Store, good_zip: Path, small_suite: Dataset, other_answers: Dataset, score: Score
) -> None:
    assert other_answers.fingerprint == small_suite.fingerprint
    board.add(good_zip, small_suite)
    before = board.entries()[0].report.scores["unseen"]["psnr"].mean
    with pytest.raises(InputError, match="--replace"):
        take(board, other_answers)
    taken = take(board, other_answers, replace=True)
    assert taken.queued == 1 and board.entries() == [], (
        "scores against the old answers are not shown beside new ones"
    )
    score(board)
    (entry,) = board.entries()
    assert entry.suite.version == "2" and entry.report.scores["unseen"]["psnr"].mean != before
    assert [version for version, _ in verdicts(board)] == ["1", "2"]
    assert take(board, other_answers, replace=True).queued == 0, "what is current is not queued"
    assert "small 2" in (board.folder / "site/index.html").read_text()


def test_another_version_number_alone(
    light_board: Store, good_zip: Path, small_suite: Dataset, score: Score, tmp_path: Path
) -> None:
    light_board.add(good_zip, small_suite)
    shutil.copytree(small_suite.path, tmp_path / "suite")
    manifest = json.loads((tmp_path / "suite/dataset.json").read_text())
    (tmp_path / "suite/dataset.json").write_text(json.dumps(manifest | {"version": "1.1"}))
    assert take(light_board, open_suite(tmp_path / "suite"), replace=True).queued == 1
    assert len(light_board.entries()) == 1, "the answers are the same, so the scores hold"
    score(light_board)
    assert [version for version, _ in verdicts(light_board)] == ["1", "1.1"]


def test_other_metrics_score_again_when_a_worker_starts(
    light_board: Store,
    good_zip: Path,
    small_suite: Dataset,
    score: Score,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    light_board.add(good_zip, small_suite)
    assert catch_up(light_board) == 0
    with monkeypatch.context() as patch:
        patch.setattr(
            "leaderboard.service.suite_intake.environment", lambda: {"lorweb-bench": "99"}
        )
        assert catch_up(light_board) == 1 and catch_up(light_board) == 0, "queued once"
    with light_board.reading() as session:
        assert session.scalars(select(SuiteRow.scoring)).one() != verdicts(light_board)[0][1]
    score(light_board)  # of today's version: the queued job is done, and nothing more is
    assert (
        len(verdicts(light_board)) == 2
        and len({scoring for _, scoring in verdicts(light_board)}) == 1
    )


def test_new_submissions_come_before_old_ones(
    light_board: Store, good_zip: Path, small_suite: Dataset, team: str
) -> None:
    from leaderboard.service import queue

    light_board.add(good_zip, small_suite)
    assert take(light_board, small_suite, again=True).queued == 1
    with light_board.writing() as session:
        queue.enqueue(session, 1, small_suite.fingerprint, "a" * 64, 1, "new.zip")
    with light_board.writing() as session:
        first = queue.claim(session, "me")
        assert first is not None and first.kind == "score"


def test_reproduced_stays_where_the_answers_stay(
    light_board: Store, good_zip: Path, small_suite: Dataset, other_answers: Dataset, score: Score
) -> None:
    first = light_board.add(good_zip, small_suite)
    light_board.add(good_zip, small_suite, reproduction=first.verdict.report)
    take(light_board, small_suite, again=True)
    score(light_board)
    assert light_board.entries()[0].verdict.level == "reproduced"
    take(light_board, other_answers, replace=True)
    score(light_board)
    assert light_board.entries()[0].verdict.level == "re-scored", (
        "against other answers the keeper's run confirms nothing"
    )


def test_what_was_withdrawn_is_not_scored_again(
    light_board: Store,
    good_zip: Path,
    small_suite: Dataset,
    copies: Path,
    write_card: Any,
    tmp_path: Path,
) -> None:
    from leaderboard.service import queue

    light_board.add(good_zip, small_suite)
    other = pack(copies, small_suite, write_card(seeds=[0, 7]), tmp_path / "other.zip")
    digest = light_board.add(other, small_suite).verdict.sha256
    with light_board.writing() as session:
        assert queue.withdraw(session, str(digest), "keeper")
    assert take(light_board, small_suite, again=True).queued == 1
    with light_board.reading() as session:
        assert digest not in session.scalars(select(JobRow.sha256)).all()


def test_a_public_suite_shows_all(
    light_board: Store,
    service: Any,
    team: str,
    good_zip: Path,
    small_suite: Dataset,
    post: Any,
    score: Score,
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "public")
    take(store, small_suite, accepting=True, standing="public")
    assert declare(store, small_suite, "public") == "public"
    store.add(good_zip, small_suite)
    score(store)
    site = store.folder / "site"
    assert list(site.glob("gallery/*/*.png")) and list(site.glob("gallery/*.html"))


def test_what_is_retired_is_shown_with_the_next_rendering(
    light_board: Store, archives: Any, small_suite: Dataset, service: Any, score: Score
) -> None:
    """A private item is retired before it is shown.

    No picture, no kind and no exact value before that, all of them after.
    """
    light_board.add(archives(1)[0], small_suite)
    with light_board.reading() as session:
        true = (
            session.scalars(select(VerdictRow))
            .one()
            .verdict["report"]["scores"]["unseen"]["psnr"]["mean"]
        )
    site, client = light_board.folder / "site", service.client()

    def told() -> float:
        (entry,) = client.get("/api/v1/entries").json()["entries"]
        return float(entry["scores"]["unseen"]["psnr"]["mean"])

    score(light_board)
    assert (
        not list(site.glob("gallery/**/*.png"))
        and "by kind of" not in (site / "methods/method-0.html").read_text()
    )
    assert told() == round(true, 1) != true
    assert declare(light_board, small_suite, "retired") == "private"
    score(light_board)
    assert (
        list(site.glob("gallery/**/*.png"))
        and "by kind of" in (site / "methods/method-0.html").read_text()
    )
    assert told() == true
    assert [
        line["actor"]
        for line in read(light_board, small_suite.fingerprint)
        if line["action"] == "suite-retired"
    ] == ["keeper"]


def test_a_retired_suite_takes_nothing(light_board: Store, small_suite: Dataset) -> None:
    take(light_board, small_suite, accepting=False)
    declare(light_board, small_suite, "retired")
    with pytest.raises(InputError, match="is retired"):
        take(light_board, small_suite, accepting=True)
