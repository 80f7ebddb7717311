"""The commands of the service, as processes.

From a suite to a verdict, and what they say when something is wrong.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leaderboard.store.store import Store
from lorweb_bench.cli.main import main

Capture = pytest.CaptureFixture[str]


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", *map(str, words)])
    return int(ended.value.code or 0)


def test_the_whole_way(
    small_suite_path: Path,
    archives: Any,
    good_zip: Path,
    port: Any,
    spawn: Any,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    store, token, address = tmp_path / "store", tmp_path / "ada.token", f"http://127.0.0.1:{port()}"
    at, to = ("--store", store), ("--to", address, "--token-file", token)
    assert run("suite", small_suite_path, *at, "--accept") == 0
    assert run("team", "Ada", *at, "--per-day", "3", "-o", token) == 0
    assert token.stat().st_mode & 0o777 == 0o600 and token.read_text().startswith("lwb_")
    assert token.read_text().strip() not in capsys.readouterr().out
    (path,) = archives(1)
    spawn("serve", *at, "--port", address.rpartition(":")[2])
    assert run("submit", path, *to, "--no-wait") == 0
    assert "is queued, with 0 before it" in capsys.readouterr().out
    spawn("worker", *at)
    assert run("submit", path, *to) == 0
    said = capsys.readouterr().out
    assert (
        "Accepted, re-scored." in said
        and "edit_recovery" in said
        and f"{address}/methods/method-0.html" in said
    )
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:-9])
    assert run("submit", tmp_path / "cut.zip", *to) == 2
    assert "is not what `lorweb-bench leaderboard pack` writes" in capsys.readouterr().err
    assert run("submit", path, *to, "--withdraw") == 0 and "is withdrawn" in capsys.readouterr().out
    assert (
        run("submit", good_zip, *to, "--withdraw") == 2
        and "nothing to withdraw" in capsys.readouterr().err
    )
    assert (
        run("log", *at, "--subject", "Ada") == 0
        and '"action": "team-created"' in capsys.readouterr().out
    )


def test_what_is_wrong_is_one_sentence(
    small_suite_path: Path,
    good_zip: Path,
    port: Any,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: Any,
) -> None:
    monkeypatch.delenv("LORWEB_BENCH_TOKEN", raising=False)
    store, token = tmp_path / "store", tmp_path / "token"
    Store(store)
    token.write_text("lwb_x")
    at, nobody = ("--store", store), f"http://127.0.0.1:{port()}"
    for words in (
        ("team", "<b>", *at),
        ("team", "Ada", "--revoke", *at),
        ("team", "Ada", *at, "-o", token),
        ("withdraw", "f" * 64, *at),
        ("log", "--store", tmp_path / "absent"),
        ("suite", small_suite_path, *at),
        ("submit", good_zip, "--to", nobody),
        ("submit", good_zip, "--to", nobody, "--token-file", token, "--patience", "0"),
        ("submit", good_zip, "--to", "nowhere", "--token-file", token),
        ("submit", good_zip, "--to", nobody, "--token-file", tmp_path / "absent"),
        ("submit", tmp_path / "absent.zip", "--to", nobody, "--token-file", token),
        ("worker", *at, "--database", "nonsense"),
        ("serve", *at, "--database", "postgresql://keeper:geheim@127.0.0.1:9/x", "--wait", "0"),
    ):
        assert run(*words) == 2, words
        said = capsys.readouterr().err
        assert said.startswith("Error: ") and said.count("\n") == 1 and "geheim" not in said, said


def test_help_is_quick_and_light() -> None:
    heavy = (
        "numpy",
        "pydantic",
        "sqlalchemy",
        "fastapi",
        "uvicorn",
        "httpx",
        "PIL",
        "torch",
        "alembic",
    )
    script = (
        "import sys\nfrom lorweb_bench.cli.main import main\n"
        f"try:\n    main(sys.argv[1:])\nfinally:\n    print([m for m in {heavy!r} if m in "
        "sys.modules], file=sys.stderr)"
    )
    for name in ("serve", "submit"):
        ended = subprocess.run(
            [sys.executable, "-c", script, "leaderboard", name, "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0 and ended.stderr.strip() == "[]", ended.stderr


def test_a_worker_stops_when_everything_is_done(
    small_suite_path: Path, good_zip: Path, tmp_path: Path, spawn: Callable[..., Any]
) -> None:
    at = ("--store", tmp_path / "store")
    assert run("suite", small_suite_path, *at, "--accept") == 0
    assert run("add", good_zip, "--suite", small_suite_path, *at) == 0
    assert run("suite", small_suite_path, *at, "--rescore") == 0
    assert spawn("worker", *at, "--until-empty").wait(120) == 0
    assert "copy-b" in (tmp_path / "store/site/index.html").read_text()
