"""Benchmarks find the packages from anywhere, although some share a name with a package."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


def test_their_names_are_the_ones_of_the_docs() -> None:
    said = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
    assert {script.name for script in SCRIPTS} >= {"datagen.py", "leaderboard.py", "scoring.py"}
    assert [
        script.name
        for script in SCRIPTS
        if script.name != "pin.py" and f"benchmarks/{script.name}" not in said
    ] == []


@pytest.mark.parametrize("name", ["datagen", "leaderboard", "scoring"])
def test_a_script_finds_the_packages_from_anywhere(name: str, tmp_path: Path) -> None:
    script = next(script for script in SCRIPTS if script.stem == name)
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
