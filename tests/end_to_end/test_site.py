"""The documentation as a site: it builds without a warning, and the modules it names exist."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = re.compile(r"`((?:lorweb_bench|datagen|reference_model|leaderboard)(?:\.[a-z_]\w*)+)`")


def test_the_site_builds_with_no_broken_link_and_every_name_of_the_api_is_found(
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    reference = (site / "api" / "lorweb_bench" / "index.html").read_text()
    assert 'id="lorweb_bench.data.dataset.open_suite"' in reference


ENTRY_POINTS = re.compile(r"group `([\w.]+)`")  # named like a module, and none


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_modules_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(MODULE.findall(text)) - set(ENTRY_POINTS.findall(text))
    missing = [name for name in named if not _is_there(name)]
    assert named and not missing


def _is_there(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of its parent module."""
    if importlib.util.find_spec(name) is not None:
        return True
    parent, _, attribute = name.rpartition(".")
    return hasattr(importlib.import_module(parent), attribute)


def test_files_that_contributing_names_are_there() -> None:
    named = re.findall(
        r"`((?:lorweb_bench|datagen|reference_model|tests|docs)/[\w/.-]+)`",
        (ROOT / "CONTRIBUTING.md").read_text(),
    )
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
