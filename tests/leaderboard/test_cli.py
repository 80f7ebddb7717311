"""The commands: what they print, where they write, and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorweb_bench.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "docs/example-card.yaml"


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", *map(str, words)])
    return int(ended.value.code or 0)


def test_from_predictions_to_the_site(
    copies: Path,
    small_suite_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = ("--suite", small_suite_path)
    assert run("pack", copies, *suite, "--card", EXAMPLE, "-o", "good.zip") == 0
    assert run("verify", "good.zip", *suite) == 0
    said = capsys.readouterr().out
    assert (
        "Accepted, re-scored: copy-b on small 1." in said
        and "good.verdict.json" in said
        and "edit_recovery" in said
    )
    verdict = json.loads(Path("good.verdict.json").read_text())
    assert (
        verdict["accepted"] is True
        and verdict["report"]["scores"]["unseen"]["edit_recovery"]["mean"] == 0.0
    )
    assert run("add", "good.zip", *suite, "--store", "store") == 0
    assert run("add", "good.zip", *suite, "--store", "store") == 0
    assert "already in store" in capsys.readouterr().out
    assert run("render", "--store", "store", "-o", "site", "--gallery", small_suite_path) == 2
    assert "is private, so none of its items is shown" in capsys.readouterr().err
    assert run("suite", small_suite_path, "--store", "store", "--standing", "retired") == 0
    assert "small 1 is retired in store; it was private." in capsys.readouterr().out
    assert run("render", "--store", "store", "-o", "site", "--gallery", small_suite_path) == 0
    assert "copy-b" in Path("site/index.html").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {
        "good.zip",
        "good.verdict.json",
        "store",
        "site",
    }


def test_refusals_are_one_sentence_and_exit_2(
    good_zip: Path, small_suite_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.zip"
    bad.write_bytes(good_zip.read_bytes()[:-5])
    suite = ("--suite", small_suite_path)
    for words in (
        ("verify", bad, *suite),
        ("add", bad, *suite, "--store", tmp_path / "store"),
        ("verify", tmp_path / "absent.zip", *suite),
        ("verify", good_zip, "--suite", tmp_path),
        ("verify", good_zip, *suite, "-o", "/proc/verdict.json"),
        ("pack", tmp_path / "absent", *suite, "--card", EXAMPLE, "-o", tmp_path / "x.zip"),
        ("render", "--store", tmp_path / "nowhere", "-o", tmp_path / "site"),
    ):
        assert run(*words) == 2
        said = capsys.readouterr().err
        assert said.startswith("Error: ") and said.count("\n") == 1 and "Traceback" not in said
    refused = json.loads((tmp_path / "bad.verdict.json").read_text())
    assert refused["accepted"] is False and "behind the archive" in refused["reasons"][0]


def test_help_imports_nothing_heavy() -> None:
    heavy = ("numpy", "pydantic", "sqlalchemy", "PIL", "jinja2", "torch", "scipy", "pyarrow")
    script = (
        "import sys\nfrom lorweb_bench.cli.main import main\n"
        f"try:\n    main(sys.argv[1:])\nfinally:\n    print([m for m in {heavy!r} if m in "
        "sys.modules], file=sys.stderr)"
    )
    for words in (
        ["leaderboard", "--help"],
        ["leaderboard", "verify", "--help"],
        ["leaderboard", "render", "--help"],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0 and ended.stderr.strip() == "[]", ended.stderr
