"""What a log shows of long work: little, with the time left and what it was told to note."""

import io
import os
import pty
import time

import pytest

from lorweb_bench.runtime import progress
from lorweb_bench.runtime.progress import Progress, track


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
        shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "counting [b]" in shown and "3/3" in shown
