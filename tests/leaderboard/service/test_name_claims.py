"""A method's name on a board belongs to one team: nobody takes the place of another's row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboard.service.queue import withdraw
from leaderboard.store.name_claims import skeleton, taken
from leaderboard.store.store import Store
from leaderboard.store.teams import grant
from lorweb_bench.data.dataset import Dataset


def test_another_teams_name_is_refused_and_ones_own_is_not(
    board: Store,
    service: Any,
    score: Callable[[Store], None],
    post: Callable[..., Any],
    renamed: Callable[..., Path],
    good_zip: Path,
    small_suite: Dataset,
    tmp_path: Path,
) -> None:
    tokens = [grant(board, name, per_day=9) for name in ("First", "Second")]
    first = renamed(good_zip, tmp_path / "first.zip", method="ours", seeds=[0, 1])
    theirs = renamed(good_zip, tmp_path / "theirs.zip", method="OURS", seeds=[0, 2])
    again = renamed(good_zip, tmp_path / "again.zip", method="ours", seeds=[0, 3])
    reference = renamed(good_zip, tmp_path / "reference.zip", seeds=[0, 4])
    keepers = renamed(good_zip, tmp_path / "keepers.zip", method="Keepers", seeds=[0, 5])
    board.add(renamed(good_zip, tmp_path / "added.zip", method="keepers"), small_suite)

    def ended(token: str, path: Path) -> tuple[str, str]:
        with service.client(token) as client:
            ticket = post(client, board, path).json()["id"]
            score(board)
            told = client.get(f"/api/v1/submissions/{ticket}").json()
        return told["status"], told["reason"] or ""

    assert ended(tokens[0], first)[0] == "accepted"
    assert ended(tokens[1], theirs) == (
        "refused",
        "The name ours, which OURS looks like, belongs to another team on this board; "
        "give your method another one.",
    )
    assert ended(tokens[0], again)[0] == "accepted", "a second run of its own"
    assert ended(tokens[1], keepers)[1].startswith(
        "The name keepers, which Keepers looks like, belongs to the keeper"
    )
    assert ended(tokens[1], reference)[1].startswith(
        "copy-b is the name of a reference row, which the keeper runs"
    )
    assert sorted(entry.submission.method for entry in board.entries()) == [
        "keepers",
        "ours",
        "ours",
    ]
    with board.writing() as session:
        for entry in board.entries():
            if entry.submission.method == "ours":
                assert withdraw(session, entry.submission.sha256, "First", entry.submission.team_id)
    later = renamed(good_zip, tmp_path / "later.zip", method="ours", seeds=[0, 5])
    assert ended(tokens[1], later)[0] == "refused", "a name stays its team's after withdrawal"
    assert (
        ended(tokens[0], renamed(good_zip, tmp_path / "back.zip", method="ours", seeds=[0, 6]))[0]
        == "accepted"
    )


@pytest.mark.parametrize(
    "name",
    ["copy_b", "Copy B", "copyb", "COPY-B", "c0py-b", "library search", "cei1ing", "nearest.seen"],
)
def test_names_that_look_like_a_reference_row_are_the_keepers(
    name: str, light_board: Store
) -> None:
    with light_board.writing() as session:
        assert "is the name of a reference row" in (taken(session, name, 1) or "")
        assert taken(session, name, None) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("model-1", "model-l"),
        ("model-1", "modeI-1"),
        ("LoRA 0", "lora-O"),
        ("our method", "our-method"),
        ("modern", "modem"),
        ("wave", "vvave"),
        ("naïve", "naive"),
    ],
)
def test_names_that_look_alike_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


def test_names_that_a_reader_can_tell_apart_do_not() -> None:
    names = ["lorweb", "lorweb-fit", "lora-fit", "single-lora", "method-1", "method-2", "method-10"]
    assert len(set(map(skeleton, names))) == len(names)
