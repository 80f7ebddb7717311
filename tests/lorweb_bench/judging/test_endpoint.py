"""Servers that are busy, slow, broken, choosy or not there; answers kept, and asked for once."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import KEY_VARIABLE, Endpoint
from lorweb_bench.judging.judge import judge


def test_a_busy_or_broken_server_is_asked_again(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    tries: Counter[str] = Counter()
    faults: list[tuple[int, Any]] = [
        (429, {"error": "slow down"}),
        (500, b"oops"),
        (200, b"<html>not JSON</html>"),
        (503, b""),
        (200, {"choices": []}),
    ]

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        asked = json.dumps(body["messages"])
        tries[asked] += 1
        return (
            faults[server.share_of(body["messages"], len(faults))]
            if tries[asked] == 1
            else server.answer(body)
        )

    server.rule = rule
    judgement = judge(made("copy-b"), small_suite, endpoint, limit=20)
    assert judgement.scores["seen"]["judge_accuracy[tiny-judge]"].mean == 2.0
    assert min(tries.values()) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    tries: Counter[str] = Counter()

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        asked = json.dumps(body["messages"])
        tries[asked] += 1
        time.sleep(1.5 if tries[asked] == 1 else 0)
        return server.answer(body)

    server.rule, endpoint.timeout, endpoint.attempts = (
        rule,
        0.6,
        8,
    )  # also where the machine is slow
    assert judge(made("copy-b"), small_suite, endpoint, limit=6).questions == 6
    assert min(tries.values()) == 2


def test_no_more_requests_at_a_time_than_asked_for(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    three = threading.Barrier(3)

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        with contextlib.suppress(threading.BrokenBarrierError):
            three.wait(
                5
            )  # nobody is answered before there are three, but the last, who wait in vain
        return server.answer(body)

    server.rule, endpoint.parallel = rule, 3
    together = judge(made("copy-b"), small_suite, endpoint, limit=21)
    assert server.at_once == 3
    assert (
        together.scores
        == judge(
            made("copy-b"), small_suite, Endpoint(server.url, "tiny-judge", parallel=1), limit=21
        ).scores
    )


def test_a_server_without_json_schema_is_asked_in_words(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda body: (
        (400, {"error": "response_format?"}) if "response_format" in body else server.answer(body)
    )
    endpoint.parallel = 1
    assert judge(made("copy-b"), small_suite, endpoint, limit=9).questions == 9
    assert sum("response_format" in body for body in server.asked) < 9  # it learns


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "refuses the request .status 400.: .*no pictures"),
        (401, f"status 401.*{KEY_VARIABLE}"),
        (404, "status 404"),
    ],
)
def test_a_refusal_ends_it_with_the_server_s_own_words(
    status: int,
    sentence: str,
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
) -> None:
    server.rule = lambda body: (status, {"error": {"message": "no pictures\nhere"}})
    with pytest.raises(InputError, match=sentence) as error:
        judge(made("copy-b"), small_suite, endpoint)
    assert "\n" not in str(error.value)
    assert len(server.asked) <= 2 * 4 * endpoint.parallel


def test_questions_that_failed_are_told_and_the_next_run_asks_for_them_alone(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    questions_on_copies: dict[str, Any],
) -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        return (
            (500, b"out of memory")
            if server.share_of(body["messages"], 9) == 0
            else server.answer(body)
        )

    server.rule = rule
    bad = {json.dumps(m) for m in questions_on_copies.values() if server.share_of(m, 9) == 0}
    sentence = "failed on .* of 48 questions, .*3 attempts.*status 500: out of memory.*run the same command again"
    with pytest.raises(InputError, match=sentence):
        judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    assert not (tmp_path / "j" / "judgement.json").exists()
    server.rule, before = None, len(server.asked)
    assert judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j").questions == 48
    assert {json.dumps(body["messages"]) for body in server.asked[before:]} == bad != set()


def test_a_server_that_fails_all_the_time_is_left_alone(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda body: (500, b"no")
    with pytest.raises(InputError, match="failed on 8 questions in a row"):
        judge(made("copy-b"), small_suite, endpoint)
    assert len(server.asked) < 3 * 48


def test_a_server_that_is_not_there_and_a_wrong_address_are_told(
    made: Callable[[str], Path], small_suite: Dataset
) -> None:
    with pytest.raises(InputError, match="cannot be reached.*is the server up"):
        judge(
            made("copy-b"),
            small_suite,
            Endpoint("http://127.0.0.1:9/v1", "m", attempts=2, pause=0.01),
        )
    with pytest.raises(InputError, match="no endpoint"):
        Endpoint("localhost:8000", "m")


def test_the_key_is_sent_and_written_nowhere(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame-opens")
    judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j", limit=3)
    assert {headers["Authorization"] for headers in server.headers_seen} == {"Bearer sesame-opens"}
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()
    ]


def test_kept_answers_that_are_cut_are_asked_for_again_and_no_cache_is_needed(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge(made("copy-b"), small_suite, endpoint, limit=5)
    kept = sorted((tmp_path / "cache" / "judge").rglob("*.json"))
    assert len(kept) == len(server.asked) == 5
    kept[0].write_bytes(kept[0].read_bytes()[:-4])
    judge(made("copy-b"), small_suite, endpoint, limit=5)
    assert len(server.asked) == 6
    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    judge(made("copy-b"), small_suite, endpoint, limit=5)
    assert len(server.asked) == 11


def test_without_httpx_the_way_out_is_named(
    made: Callable[[str], Path], small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError, match=r"pip install 'lorweb-bench\[judge\]'"):
        judge(made("copy-b"), small_suite, Endpoint("http://127.0.0.1:9/v1", "m"))


def test_ctrl_c_stops_a_real_run_at_once_and_keeps_what_was_answered(
    server: Any, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    stuck, freed = threading.Event(), threading.Event()

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        if len(server.asked) > 6:
            stuck.set()
            freed.wait(60)
        return server.answer(body)

    server.rule = rule
    words = [
        "judge",
        str(made("copy-b")),
        "--suite",
        str(small_suite.path),
        "--endpoint",
        server.url,
        "--model",
        "m",
        "-o",
        str(tmp_path / "j"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "lorweb_bench", *words], stderr=subprocess.PIPE, text=True
    )
    assert stuck.wait(60)
    time.sleep(0.5)  # the earlier answers are on their way back
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)  # not the two minutes that a request may take
    freed.set()
    assert (process.returncode, "Stopped." in err, "Traceback" in err) == (130, True, False), err
    assert len(list((tmp_path / "cache" / "judge").rglob("*.json"))) >= 4
    assert not (tmp_path / "j" / "judgement.json").exists()
