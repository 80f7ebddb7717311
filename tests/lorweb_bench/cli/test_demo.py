"""The demo's plan: what a quick run leaves out, and how long the rest takes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from lorweb_bench.cli import demo
from lorweb_bench.cli.demo import Plan, Step, run_all
from lorweb_bench.cli.main import cli


def commands_of(plan: Plan) -> list[str]:
    lines = []
    for step in plan.steps():
        lines += [" ".join(command) for command in step.commands]
    return lines


def plan(quick: bool, steps: int | None = None) -> Plan:
    return Plan(Path("demo"), None, None, False, steps, 2, quick)


def test_a_quick_run_says_so_wherever_its_numbers_stand() -> None:
    lines = commands_of(plan(quick=True))
    builds = [line for line in lines if line.startswith("datagen build")]
    assert all("-quick" in line for line in builds) and len(builds) == 2
    (board,) = (line for line in lines if line.startswith("leaderboard render"))
    assert "quick run" in board
    assert not any("quick" in line for line in commands_of(plan(quick=False)))


def test_a_quick_run_trains_a_fifth_unless_it_is_told_how_long() -> None:
    trainings = [line for line in commands_of(plan(quick=True)) if line.startswith("train ")]
    assert len(trainings) == 3 and all("training.steps=80" in line for line in trainings)
    told = [line for line in commands_of(plan(True, steps=7)) if line.startswith("train ")]
    assert all("training.steps=7" in line for line in told)


def test_a_quick_run_is_expected_to_take_three_minutes_and_a_whole_one_ten() -> None:
    seconds = [sum(step.seconds for step in plan(quick).steps()) for quick in (True, False)]
    assert 100 < seconds[0] < 210 and 500 < seconds[1] < 630


def test_the_time_left_follows_from_how_long_the_first_steps_took(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(demo.time, "monotonic", lambda: now[0])

    def run(step: Step, *_: object) -> None:
        now[0] += {"done before": 0.1, "slow": 120.0}.get(step.title, 1.0)

    monkeypatch.setattr(demo, "run_step", run)
    run_all([Step("done before", 60, ()), Step("slow", 60, ()), Step("rest", 150, ())], {})
    assert capsys.readouterr().err == "      about 5 min left\n"  # 150 s at half the speed


def test_a_quick_run_of_ones_own_recipes_is_refused(tmp_path: Path) -> None:
    told = CliRunner().invoke(cli, ["demo", "--quick", "--recipes", str(tmp_path)])
    assert told.exit_code != 0 and "leave it out beside --recipes" in str(told.exception)
