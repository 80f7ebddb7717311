"""The command judge."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.protocol import SUITE_SPLITS


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


def test_the_command_says_what_came_out(
    server: Any,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keys: list[str],
    write_votes: Callable[..., Path],
) -> None:
    to = ("--suite", small_suite.path, "--endpoint", server.url, "--model", "tiny-judge")
    code, out, _ = run(
        capsys, "judge", made("copy-b"), *to, "-o", tmp_path / "rated", "--limit", 20
    )
    assert code == 0
    assert "copy-b on small 1" in out
    assert "of a part of the suite" in out
    bare = tmp_path / "bare"
    bare.mkdir()
    for split in SUITE_SPLITS:
        for q in small_suite.quadruplets(split):
            (bare / f"{q.key}.png").write_bytes(encode(q.a_prime.resize((16, 16))))
    choose = (
        "judge",
        made("copy-b"),
        bare,
        *to,
        "-o",
        tmp_path / "chosen",
        "--other-name",
        "small",
    )
    code, _, err = run(capsys, *choose)
    assert (code, "--resize" in err) == (2, True)
    votes = write_votes(tmp_path / "votes.csv", [{"key": keys[0], "better": "copy-b"}])
    code, out, _ = run(capsys, *choose, "--resize", "--votes", votes)
    assert code == 0
    assert "1: copy-b is preferred in both orders; 0: small" in out
    assert (
        "the picture shown first was chosen in 50% of answers; both orders agree on 100% of items"
        in out
    )
    assert "copy-b is chosen in 100% where it is shown first, in 100% where second" in out
    assert "48 predictions were resized" in out
    assert "with people, 1 votes on 1 items: agreement 1.00" in out
    assert json.loads((tmp_path / "chosen" / "judgement.json").read_text())["resized"] == 48


def test_bad_input_is_one_sentence_and_exit_code_2(
    server: Any,
    made: Callable[[str], Path],
    small_suite: Dataset,
    small_public: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    to = ("--endpoint", server.url, "--model", "m", "-o", tmp_path / "j")
    for words, sentence in (
        (("judge", tmp_path / "nowhere", "--suite", small_suite.path, *to), "not a folder"),
        (("judge", made("copy-b"), "--suite", small_public.path, *to), "public view"),
        (
            ("judge", made("copy-b"), "--suite", small_suite.path, *to[:-1], made("copy-b")),
            "something else",
        ),
        (
            (
                "judge",
                made("copy-b"),
                "--suite",
                small_suite.path,
                "--endpoint",
                "ftp://x",
                *to[2:],
            ),
            "no endpoint",
        ),
    ):
        code, _, err = run(capsys, *words)
        assert (code, sentence in err, "Traceback" in err) == (2, True, False), err
