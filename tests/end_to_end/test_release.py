"""A release: the lock is that of the pinned versions, the workflow publishes with provenance, the
image holds what it needs; and, slowly, wheel and sdist run in a bare environment.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorweb_bench.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", re.MULTILINE)

CUDA = ("triton", "cuda-bindings", "cuda-pathfinder", "cuda-toolkit")


def pins(name: str) -> dict[str, str]:
    found = PIN.findall((ROOT / name).read_text())
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return content


def test_the_lock_has_the_tested_versions() -> None:
    locked, tested = pins("requirements.lock"), pins("constraints.txt")
    assert {name for name in locked if locked[name] != tested.get(name, locked[name])} == set()
    # What comes besides: CUDA's libraries with torch, and what a package asks for on its own.
    others = {name for name in locked.keys() - tested.keys() if not name.startswith("nvidia")}
    assert others <= {*CUDA, "opentelemetry-api", "setuptools"}


def test_every_package_of_the_lock_has_sums_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert len(blocks) > 80
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "index" not in text


def test_the_lock_covers_the_base_install_and_every_extra_of_users() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ("model", "training", "metrics", "judge", "leaderboard", "ray")
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = (re.match(r"[\w.-]+", line) for line in wanted)
    normal = {re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name}
    assert normal - pins("requirements.lock").keys() == set()


def test_the_release_is_published_without_a_token_and_with_attestations() -> None:
    release = workflow("release.yml")
    publish = release["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["needs"] == "build"
    action = next(s for s in publish["steps"] if s["uses"].startswith("pypa/"))
    assert action["with"]["attestations"] is True
    assert "password" not in action["with"]
    assert release["permissions"] == {"contents": "read"}
    built = [step.get("run", "") for step in release["jobs"]["build"]["steps"]]
    assert any(".ci/check-release" in line for line in built)
    checked = [step.get("run", "") for step in workflow("ci.yml")["jobs"]["release"]["steps"]]
    assert ".ci/check-release" in checked


def test_the_image_for_a_gpu_holds_what_it_needs() -> None:
    text = re.sub(r"\\\n\s*", " ", (ROOT / "deploy/gpu.Dockerfile").read_text())
    lines = [line.split(" ", 1) for line in text.splitlines() if line and line[0] != "#"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name, rest in lines:
        if name == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), f"{source} is not there to copy"
                assert f"!{source}" in ignored, f"{source} is not sent to the build"
    last = dict(lines)
    assert last["USER"] == "lorweb", "nothing runs as root"
    assert json.loads(last["ENTRYPOINT"]) == ["lorweb-bench"]
    assert "--require-hashes -r requirements.lock" in text
    assert "train" in COMMANDS  # the command of the comment at its top


@pytest.mark.slow
def test_wheel_and_sdist_run_in_a_bare_environment(tmp_path: Path) -> None:
    """Needs a package index, and minutes: `make release` is the same."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [ROOT / ".ci/check-release", tmp_path / "dist"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "wheel and sdist install and run in a bare environment" in done.stdout
    assert {path.suffix for path in (tmp_path / "dist").iterdir()} == {".whl", ".gz"}
