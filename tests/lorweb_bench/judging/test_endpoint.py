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
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import KEY_VARIABLE, Endpoint
from lorweb_bench.judging.judge import judge as judge_with_anchors

judge = partial(judge_with_anchors, anchors=0)  # known pictures have tests of their own


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
    judgement = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    failed = {key for key, m in questions_on_copies.items() if server.share_of(m, 9) == 0}
    assert set(judgement.failed) == failed != set()
    assert all("3 attempts" in reason for reason in judgement.failed.values())
    assert all("status 500: out of memory" in reason for reason in judgement.failed.values())
    assert not failed & set((judgement.per_sample or {})["key"])
    assert (
        f"{len(failed)} of 48 items have no answer" in (tmp_path / "j" / "index.html").read_text()
    )
    server.rule, before = None, len(server.asked)
    again = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    assert (again.questions, again.failed) == (48, {})
    assert {json.dumps(body["messages"]) for body in server.asked[before:]} == bad


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


def test_a_question_that_a_content_filter_stops_is_left_out_and_the_run_goes_on(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    questions_on_copies: dict[str, Any],
) -> None:
    """As an error with a code, as a finish reason, and as a refusal in the message."""
    error = {"code": "content_filter", "message": "stopped by the content management policy"}
    empty = {"role": "assistant", "content": None}
    filtered = [
        (400, {"error": error}),
        (200, {"choices": [{"finish_reason": "content_filter", "message": empty}]}),
        (200, {"choices": [{"message": {**empty, "refusal": "I cannot look at this."}}]}),
    ]

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        part = server.share_of(body["messages"], 12)
        return filtered[part] if part < 3 else server.answer(body)

    server.rule = rule
    judgement = judge(made("copy-b"), small_suite, endpoint)
    parts = {key: server.share_of(m, 12) for key, m in questions_on_copies.items()}
    assert set(judgement.failed) == {key for key, part in parts.items() if part < 3} != set()
    for key, reason in judgement.failed.items():
        words = ("content management policy", "content filter", "I cannot look at this.")
        assert words[parts[key]] in reason
    assert len({json.dumps(body["messages"]) for body in server.asked}) == len(
        {json.dumps(m) for m in questions_on_copies.values()}
    )


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("told", ["seconds", "date", "nothing"])
def test_a_server_that_asks_to_wait_is_waited_for_more_often_than_it_may_fail(
    status: int,
    told: str,
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
) -> None:
    tries: Counter[str] = Counter()
    soon = format_datetime(datetime.now(UTC) - timedelta(seconds=1), usegmt=True)
    server.retry_after = {"seconds": "0.01", "date": soon, "nothing": None}[told]

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        asked = json.dumps(body["messages"])
        tries[asked] += 1
        return (status, {"error": "busy"}) if tries[asked] < 5 else server.answer(body)

    server.rule = rule
    assert endpoint.attempts < 5
    assert judge(made("copy-b"), small_suite, endpoint, limit=3).failed == {}


def test_waiting_is_bounded_and_the_bound_is_named(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    questions_on_copies: dict[str, Any],
) -> None:
    server.retry_after, endpoint.patience = "3600", 5.0

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        busy = server.share_of(body["messages"], 9) == 0
        return (429, {"error": "come back later"}) if busy else server.answer(body)

    server.rule, started = rule, time.monotonic()
    judgement = judge(made("copy-b"), small_suite, endpoint)
    assert time.monotonic() - started < 60
    assert judgement.failed
    for reason in judgement.failed.values():
        assert "no answer within 5 s, which --patience sets" in reason
        assert "3600 s more" in reason
        assert "come back later" in reason


def test_no_credit_left_is_told_at_once(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    error = {"code": "insufficient_quota", "message": "You exceeded your current quota"}
    server.rule = lambda body: (429, {"error": error})
    with pytest.raises(InputError, match="exceeded your current quota"):
        judge(made("copy-b"), small_suite, endpoint)


@pytest.mark.parametrize("field", ["max_tokens", "temperature", "seed"])
@pytest.mark.parametrize("named", ["as a parameter", "in words"])
def test_a_field_that_the_server_does_not_take_is_named_with_the_option_that_leaves_it_out(
    field: str,
    named: str,
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
) -> None:
    error = {"message": f"Unsupported parameter: '{field}' is not supported with this model."}
    if named == "as a parameter":
        error = {"message": "Unsupported parameter.", "param": field}
    server.rule = lambda body: (400, {"error": error}) if field in body else server.answer(body)
    with pytest.raises(InputError, match=rf"does not take {field} = .*--body {field}=null"):
        judge(made("copy-b"), small_suite, endpoint)
    without = Endpoint(server.url, "tiny-judge", body={field: None, "top_p": 0.5})
    judgement = judge(made("copy-b"), small_suite, without, limit=5)
    assert (judgement.failed, judgement.questions) == ({}, 5)
    assert field not in judgement.judge
    assert (judgement.judge["top_p"], server.asked[-1]["top_p"]) == (0.5, 0.5)


def test_the_fields_that_make_the_question_cannot_be_set() -> None:
    with pytest.raises(InputError, match="'messages'.*set by the judge itself"):
        Endpoint("http://127.0.0.1:9/v1", "m", body={"messages": []})


def test_an_answer_that_is_cut_is_told_with_the_way_to_a_longer_one(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
) -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        if body["max_tokens"] > 2000:
            return server.answer(body)
        message = {"content": None, "reasoning_content": "Let me look closely."}
        return 200, {"choices": [{"finish_reason": "length", "message": message}]}

    server.rule = rule
    with pytest.raises(
        InputError, match="5 were cut at 1024 tokens.*raise the limit with --body max_tokens=8192"
    ):
        judge(made("copy-b"), small_suite, endpoint, limit=5)
    assert len(server.asked) == 5  # another seed would be cut as well
    longer = Endpoint(server.url, "tiny-judge", body={"max_tokens": 8192})
    assert judge(made("copy-b"), small_suite, longer, limit=5).unparsable == []


def test_some_cut_answers_are_counted_and_their_reasoning_is_kept(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
) -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        if server.share_of(body["messages"], 5):
            return server.answer(body)
        message = {"content": "", "reasoning": "Let me look closely."}
        return 200, {"choices": [{"finish_reason": "length", "message": message}]}

    server.rule = rule
    judgement = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    assert judgement.cut == len(judgement.unparsable) > 0
    lines = (tmp_path / "j" / "answers.jsonl").read_text().splitlines()
    cut = [row for row in map(json.loads, lines) if row["finish"] == "length"]
    assert {row["reasoning"] for row in cut} == {"Let me look closely."}
    assert "cut at the limit of tokens" in (tmp_path / "j" / "index.html").read_text()


def test_a_server_that_puts_the_whole_answer_into_its_reasoning_is_understood(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        message = {"content": None, "reasoning_content": server.answer(body)[1]}
        return 200, {"choices": [{"finish_reason": "stop", "message": message}]}

    server.rule = rule
    assert judge(made("copy-b"), small_suite, endpoint, limit=5).unparsable == []


def rating_of(server: Any, number: int, served: str) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """A rule that rates everything alike, under a model name of the server's own."""
    text = json.dumps({"change": "?", "accuracy": number, "consistency": number})
    message = {"role": "assistant", "content": text}
    return lambda body: (200, {"model": served, "choices": [{"message": message}]})


def test_two_servers_with_one_model_name_do_not_share_their_answers(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = rating_of(server, 10, "a")
    first = judge(made("copy-b"), small_suite, endpoint, limit=5)
    server.rule = rating_of(server, 1, "a")
    elsewhere = Endpoint(server.url.replace("127.0.0.1", "localhost"), "tiny-judge")
    second = judge(made("copy-b"), small_suite, elsewhere, limit=5)
    name = "judge_accuracy[tiny-judge]"
    assert set((first.per_sample or {})[name]) == {10.0}
    assert set((second.per_sample or {})[name]) == {1.0}


def test_answers_of_the_model_that_a_server_ran_before_are_asked_for_again(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = rating_of(server, 10, "judge-2026-01")
    before = judge(made("copy-b"), small_suite, endpoint, limit=5)
    assert before.judge["served"] == {"judge-2026-01": 5}
    server.rule = rating_of(server, 1, "judge-2026-06")
    after = judge(made("copy-b"), small_suite, endpoint, limit=8)
    assert after.judge["served"] == {"judge-2026-06": 8}
    assert set((after.per_sample or {})["judge_accuracy[tiny-judge]"]) == {1.0}
    asked = len(server.asked)
    assert judge(made("copy-b"), small_suite, endpoint, limit=8).questions == 8
    assert len(server.asked) == asked
