"""The demo end to end on small recipes: every step is the public command, and a demo that was
killed ends in the same report.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TRAIN = """
name: photos-mini-train
version: "1"
seed: 7
source:
  {kind: photographs, path: bundled, scenes: 80,
   shares: {train: 0.3, dev: 0.1, calibration: 0.1, a: 0.25, b: 0.25}}
panel: {square: 32}
transformations:
  families: [hue_shift, grayscale, tint, invert, gamma, flip, rotate, pixelate, border, lines]
  compositions: {count: 30}
tiers:
  new_family: [solarise, mirror_half, emboss]
  new_parameters: {hue_shift: [{degrees: 180}], gamma: [{value: 2.4}]}
  new_composition: {family_pairs: 6}
splits: {train: 48, dev: 8}
analogies_per_pair: 1
"""
SUITE = """
name: photos-mini
version: "1"
seed: 7
source:
  {kind: photographs, path: bundled, scenes: 80,
   shares: {train: 0.3, dev: 0.1, calibration: 0.1, a: 0.25, b: 0.25}}
panel: {square: 32}
tiers:
  new_family: [solarise, mirror_half, emboss]
  new_parameters: {hue_shift: [{degrees: 180}], gamma: [{value: 2.4}]}
  new_composition: {family_pairs: 6}
  transformations: 4
splits: {seen: 8, unseen: 12}
analogies_per_pair: 1
"""
ROWS = {
    "lorweb",
    "single-lora",
    "token-control",
    "ceiling",
    "copy-b",
    "copy-a-prime",
    "color-transfer",
    "library-search",
    "nearest-seen",
}


def demo(folder: Path, recipes: Path) -> subprocess.Popen[str]:
    """Start the demo with two training steps."""
    command = [
        sys.executable,
        "-m",
        "lorweb_bench",
        "demo",
        "-o",
        str(folder),
        "--recipes",
        str(recipes),
        "--steps",
        "2",
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "photos-mini-train.yaml").write_text(TRAIN)
    (folder / "photos-mini.yaml").write_text(SUITE)
    return folder


@pytest.fixture(scope="module")
def made(recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of an undisturbed demo, and what it printed."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    process = demo(folder, recipes)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return folder, out


def scores(folder: Path) -> dict[str, Any]:
    """The scores of every report below a folder, by method."""
    reports = [
        json.loads(path.read_text()) for path in sorted(folder.glob("reports/*/report.json"))
    ]
    return {report["method"]["name"]: report["scores"] for report in reports}


def test_every_row_is_scored_and_the_trivial_one_is_zero(made: tuple[Path, str]) -> None:
    found = scores(made[0])
    assert found.keys() == ROWS
    assert all(group["edit_recovery"]["mean"] == 0 for group in found["copy-b"].values())


def test_the_first_page_the_board_and_the_table_are_there(made: tuple[Path, str]) -> None:
    folder, printed = made
    page = (folder / "index.html").read_text()
    assert all(name in page and name in printed for name in ROWS)
    assert (folder / "board" / "index.html").stat().st_size and (
        folder / "analogies.png"
    ).stat().st_size
    assert (folder / "table.md").read_text().count("| lorweb |") == 2


def test_a_killed_demo_started_again_ends_in_the_same_reports(
    made: tuple[Path, str], recipes: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    for seconds in (6, 14):
        process = demo(folder, recipes)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(2)  # what it had started ends with it
    process = demo(folder, recipes)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    assert scores(folder) == scores(made[0])


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, recipes: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    process = demo(tmp_path, recipes)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "thesis.tex" in err and "Traceback" not in err
