"""What a log shows of long work: little, with the time left and what it was told to note."""

import io
import os
import pty
import time

import pytest

from lorweb_bench.runtime import progress
from lorweb_bench.runtime.progress import Progress, listening, track


def test_quick_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(5), 5, "counting")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err == ""


def test_a_log_gets_a_line_every_half_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in track(range(6), 6, "counting"):
        now[0] += 20
    assert capsys.readouterr().err.splitlines() == [
        "counting: 2/6, 80 s left",
        "counting: 4/6, 40 s left",
        "counting: 6/6",
    ]


def test_work_with_notes_ends_with_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 10, done=8) as work:
        work.advance("loss 0.5")
        work.advance("loss 0.4")
    assert capsys.readouterr().err == "training: 10/10, loss 0.4\n"


def test_another_process_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 1, shown=False) as work:
        work.advance("loss 0.5")
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with io.TextIOWrapper(io.FileIO(follower, "w"), write_through=True) as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert sum(1 for _ in track(range(3), 3, "counting [b]")) == 3
    shown = read_all(leader)
    assert "counting [b]" in shown and "3/3" in shown


def test_of_nested_work_a_terminal_shows_the_outermost_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with io.TextIOWrapper(io.FileIO(follower, "w"), write_through=True) as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        for _ in track(range(2), 2, "predicting"):
            list(track(range(3), 3, "sampling"))
    shown = read_all(leader)
    assert "predicting" in shown and "sampling" not in shown


def test_a_listener_hears_of_every_piece_inside_its_block_and_of_none_after_it() -> None:
    heard: list[tuple[str, int, int | None]] = []
    with listening(lambda *piece: heard.append(piece)):
        list(track("ab", 2, "fitting"))
    list(track("ab", 2, "fitting"))
    assert heard == [("fitting", 1, 2), ("fitting", 2, 2)]


def read_all(leader: int) -> str:
    """All that was written to the other side of a terminal, which is closed by now."""
    parts = []
    try:
        while part := os.read(leader, 100_000):
            parts.append(part)
    except OSError:  # how Linux says that there is nothing left
        pass
    os.close(leader)
    return b"".join(parts).decode()
