"""The judge, against a real server on this machine that answers by rule, and sometimes with nonsense, errors or not at all."""

import base64
import csv
import hashlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from lorweb_bench.cli import main
from lorweb_bench.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.evaluation import predict
from lorweb_bench.images import encode, pixel_hash
from lorweb_bench.judge import questions
from lorweb_bench.judge.endpoint import KEY_VARIABLE, Endpoint
from lorweb_bench.judge.judging import judge
from lorweb_bench.judge.questions import parse, schema
from lorweb_bench.judge.votes import cohen_kappa
from lorweb_bench.protocol import SUITE_SPLITS

Answer = tuple[int, Any]  # a status and a body: text of the model, or the whole response
Rule = Callable[["Judge", dict[str, Any]], Answer]


class Judge(ThreadingHTTPServer):
    """A server that speaks the chat protocol: `rule` answers, `asked` keeps every request, `at_once` the most at a time."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rule: Rule = closeness
        self.asked: list[dict[str, Any]] = []
        self.headers_seen: list[dict[str, str]] = []
        self.retry_after: str | None = "0"
        self.lock, self.here, self.at_once = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Judge
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.asked.append(body)
            self.server.headers_seen.append(dict(self.headers))
            self.server.here += 1
            self.server.at_once = max(self.server.at_once, self.server.here)
        status, said = self.server.rule(self.server, body)
        with self.server.lock:
            self.server.here -= 1
        whole = {"choices": [{"message": {"role": "assistant", "content": said}}]} if isinstance(said, str) else said
        content = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Length", str(len(content)))
        if status in (429, 503) and self.server.retry_after is not None:
            self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words: Any) -> None:
        pass


def pictures(body: dict[str, Any]) -> dict[str, np.ndarray]:
    """The pictures of a request, by the name that stands before each."""
    parts, found = body["messages"][1]["content"], {}
    for before, part in zip(parts, parts[1:], strict=False):
        if part["type"] == "image_url":
            head, _, data = part["image_url"]["url"].partition(",")
            assert head == "data:image/png;base64"
            name = before["text"].removeprefix("Picture ").removesuffix(":")
            found[name] = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(float)
    return found


def far(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean())


def closeness(server: Judge, body: dict[str, Any]) -> Answer:
    """Consistent where the attempt is near b; the better of two is the one nearer to b, and of equal ones the first."""
    seen = pictures(body)
    if "C" in seen:
        away = far(seen["C"], seen["B"])
        return 200, json.dumps({"change": "something", "accuracy": 10 if away else 2, "consistency": max(1, 10 - round(away / 8))})
    better = 1 if far(seen["C1"], seen["B"]) <= far(seen["C2"], seen["B"]) else 2
    return 200, json.dumps({"change": "something", "better": better})


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path / "cache"))
    made = Judge()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def endpoint(server: Judge) -> Endpoint:
    return Endpoint(server.url, "tiny-judge", timeout=5, attempts=3, pause=0.01)


@pytest.fixture(scope="module")
def made(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`made(method)`: its predictions, made once."""
    folder = tmp_path_factory.mktemp("judged")

    def make(method: str) -> Path:
        predict(method, small_suite, folder / method)
        return folder / method

    return make


def share_of(messages: Any, parts: int) -> int:
    """A number below `parts` that goes by the content of a request: which ones a test's server treats badly."""
    return int(hashlib.sha256(json.dumps(messages).encode()).hexdigest(), 16) % parts


def questions_on_copies(suite: Dataset) -> dict[str, Any]:
    """The messages about each item where b itself is the prediction; a few items of the small suite have the same pictures."""
    quadruplets = [q for split in SUITE_SPLITS for q in suite.quadruplets(split)]
    return {q.key: questions.rating_question(q, q.b).messages for q in quadruplets}


def keys_of(suite: Dataset) -> list[str]:
    return sorted(record.id for split in SUITE_SPLITS for record in suite.records(split))


# Rating


def test_a_rating_is_asked_once_an_item_and_aggregated_as_a_report(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    judgement = judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "j")
    assert judgement.questions == judgement.items == 48
    assert {json.dumps(body["messages"]) for body in server.asked} == {json.dumps(m) for m in questions_on_copies(small_suite).values()}
    assert set(judgement.scores["unseen"]) == {"judge_accuracy[tiny-judge]", "judge_consistency[tiny-judge]"}
    assert {score["judge_accuracy[tiny-judge]"].mean for score in judgement.scores.values()} == {2.0}  # b itself: no edit, all kept
    assert {score["judge_consistency[tiny-judge]"].mean for score in judgement.scores.values()} == {10.0}
    assert {"seen", "unseen", "new_family", "seen_hard"} <= set(judgement.scores)
    assert (judgement.unparsable, judgement.missing, judgement.partial, judgement.position) == ([], 0, False, None)
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == ["answers.jsonl", "judgement.json", "per_sample.parquet"]
    written = json.loads((tmp_path / "j" / "judgement.json").read_text())
    assert (written["format"], written["format_version"], written["protocol"]) == ("lorweb-bench/judgement", 1, "rating")
    assert written["judged"][0]["method"]["name"] == "copy-b"
    assert written["judge"] == {"model": "tiny-judge", "version": 1, "long_edge": 512, "temperature": 0, "tries": 3, "max_tokens": 1024}
    answers = [json.loads(line) for line in (tmp_path / "j" / "answers.jsonl").read_text().splitlines()]
    assert [answer["key"] for answer in answers] == keys_of(small_suite)


def test_means_are_over_transformations_first(server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset) -> None:
    """Leaving items of one transformation unanswered gives the others of it no less weight: each transformation counts the same."""
    judgement = judge(made("copy-a-prime"), None, small_suite, endpoint)
    columns = judgement.per_sample or {}
    values, names = columns["judge_consistency[tiny-judge]"], columns["transformation"]
    rows = columns["tier"] == "new_family"
    by_name = [values[rows & (names == name)].mean() for name in sorted(set(names[rows]))]
    assert judgement.scores["new_family"]["judge_consistency[tiny-judge]"].mean == pytest.approx(np.mean(by_name))


def test_the_judge_sees_the_pair_b_and_the_attempt_and_never_the_answer(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    judge(made("copy-b"), None, small_suite, endpoint, limit=4)
    by_b = {pixel_hash(q.b): q for split in SUITE_SPLITS for q in small_suite.quadruplets(split)}
    answers = {pixel_hash(image) for image in truth.values()}
    for body in server.asked:
        seen = {name: image.astype(np.uint8) for name, image in pictures(body).items()}
        assert list(seen) == ["A", "A'", "B", "C"]
        assert pixel_hash(seen["B"]) == pixel_hash(seen["C"])
        assert pixel_hash(seen["B"]) in by_b
        assert not {pixel_hash(image) for image in seen.values()} & answers
        assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == ("tiny-judge", 0, 0, 1024)
        assert body["response_format"]["json_schema"]["schema"] == schema("rating")
        words = json.dumps(body["messages"])
        assert not any(record.transformation in words for record in small_suite.records("unseen"))


def test_large_pictures_are_made_smaller_by_the_fixed_kernel(small_suite: Dataset) -> None:
    q = next(small_suite.quadruplets("seen"))
    question = questions.rating_question(q, Image.new("RGB", (2048, 1000), "red"))
    assert pictures({"messages": question.messages})["C"].shape == (250, 512, 3)


def test_missing_predictions_count_the_lowest_and_are_not_asked_about(
    server: Judge, endpoint: Endpoint, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    some = dict(sorted(truth.items())[:40])
    judgement = judge(some, None, small_suite, endpoint)
    assert (judgement.questions, judgement.missing, judgement.items) == (40, 8, 48)
    columns = judgement.per_sample or {}
    assert set(columns["judge_accuracy[tiny-judge]"][columns["missing"]]) == {1.0}
    assert columns["missing"].sum() == 8


# Forced choice


def test_a_choice_is_asked_in_both_orders(server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset) -> None:
    judgement = judge(made("copy-b"), made("copy-a-prime"), small_suite, endpoint)
    assert judgement.questions == 96
    asked = len(server.asked)
    name = "judge_preferred[tiny-judge]"
    assert judgement.scores["unseen"][name].mean == 1.0  # nothing is nearer to b than b
    assert judgement.position is not None
    assert (judgement.position.first, judgement.position.consistent) == (0.5, 1.0)
    other_way = judge(made("copy-a-prime"), made("copy-b"), small_suite, endpoint)
    assert other_way.scores["unseen"][name].mean == 0.0
    assert len(server.asked) == asked  # the same pictures in the same orders: nothing new to ask


def test_a_judge_that_always_takes_the_first_prefers_nobody_and_is_found_out(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda server, body: (200, '{"change": "?", "better": 1}')
    judgement = judge(made("copy-b"), made("copy-a-prime"), small_suite, endpoint, limit=20)
    assert {score["judge_preferred[tiny-judge]"].mean for score in judgement.scores.values()} == {0.5}
    assert judgement.position is not None
    assert (judgement.position.first, judgement.position.consistent, judgement.position.answers) == (1.0, 0.0, 40)


def test_a_missing_prediction_loses_and_two_missing_ones_are_even(
    server: Judge, endpoint: Endpoint, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    keys = sorted(truth)
    one, other = ({key: truth[key] for key in own} for own in (keys[:-2], [*keys[2:-2], keys[-1]]))
    judgement = judge(one, other, small_suite, endpoint, names=("one", "other"))
    columns = judgement.per_sample or {}
    values = dict(zip(columns["key"], columns["judge_preferred[tiny-judge]"], strict=True))
    assert [values[key] for key in (*keys[:2], keys[-2], keys[-1])] == [1.0, 1.0, 0.5, 0.0]
    assert judgement.missing == 4
    assert all(values[key] == 0.5 for key in keys[2:-2])  # equal pictures: the first is chosen, in both orders


# Answers that are no answers


def test_what_cannot_be_parsed_is_asked_again_and_then_left_out_and_counted(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        part = share_of(body["messages"], 7)
        if part == 0 or (part == 1 and body["seed"] == 0):
            return 200, "I would rather not say. {accuracy: 7}"
        return closeness(server, body)

    server.rule = rule
    judgement = judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "j")
    hopeless = sorted(key for key, messages in questions_on_copies(small_suite).items() if share_of(messages, 7) == 0)
    assert judgement.unparsable == hopeless
    assert 0 < len(hopeless) < 48
    seeds: dict[int, set[int]] = {}
    for body in server.asked:
        seeds.setdefault(share_of(body["messages"], 7), set()).add(body["seed"])
    assert (seeds.pop(0), seeds.pop(1)) == ({0, 1, 2}, {0, 1})
    assert set(map(tuple, seeds.values())) == {(0,)}
    assert judgement.scores["seen"]["judge_accuracy[tiny-judge]"].mean == 2.0  # what is left out moves no mean
    assert sum(judgement.scores[split]["judge_accuracy[tiny-judge]"].samples for split in SUITE_SPLITS) == 48 - len(hopeless)
    assert not set(hopeless) & set((judgement.per_sample or {})["key"])
    asked = len(server.asked)
    again = judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "again")
    assert len(server.asked) == asked  # nonsense is kept like any answer
    assert again.model_dump() == judgement.model_dump()
    for name in ("answers.jsonl", "judgement.json", "per_sample.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "j" / name).read_bytes()


def test_a_judge_that_never_makes_sense_is_told(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda server, body: (200, "lovely pictures")
    with pytest.raises(InputError, match=r"No answer of tiny-judge can be parsed \(4 were given\)"):
        judge(made("copy-b"), None, small_suite, endpoint, limit=4)


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ('{"change": "x", "better": 2}', {"better": 2}),
        ('Sure!\n```json\n{"change": "it says {1}", "better": "1"}\n```', {"better": 1}),
        ('<think>{"better": 2}? no.</think> {"better": 1}', {"better": 1}),
        ('{"better": 2.0}', {"better": 2}),
        ('{"better": 3}', None),
        ('{"better": true}', None),
        ('{"better": 1.5}', None),
        ('{"worse": 1}', None),
        ('{"better": 1', None),
        ("[1, 2]", None),
        ("", None),
    ],
)
def test_answers_are_read_strictly_but_for_what_stands_around_them(answer: str, numbers: dict[str, int] | None) -> None:
    assert parse(answer, "choice") == numbers


@given(st.text(), st.integers(1, 10), st.integers(1, 10), st.text())
@settings(max_examples=40)
def test_an_answer_is_found_whatever_stands_before_it_or_after(before: str, accuracy: int, consistency: int, after: str) -> None:
    whole = json.dumps({"change": before, "accuracy": accuracy, "consistency": consistency})
    assert parse(whole + after.replace("{", ""), "rating") == {"accuracy": accuracy, "consistency": consistency}
    assert parse(before.replace("{", "") + whole, "rating") == {"accuracy": accuracy, "consistency": consistency}
    parse(before + after, "rating")  # anything at all is no error


def test_the_words_are_those_of_their_version() -> None:
    """A change of what the judge reads makes other answers: give it a new VERSION, and its digest here."""
    assert (questions.VERSION, questions.wording_digest()[:16]) == (1, "15f5adac8e6793b9")


# Servers


def test_a_busy_or_broken_server_is_asked_again(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    tries: Counter[str] = Counter()
    faults: list[Answer] = [
        (429, {"error": "slow down"}),
        (500, b"oops"),
        (200, b"<html>not JSON</html>"),
        (503, b""),
        (200, {"choices": []}),
    ]

    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        asked = json.dumps(body["messages"])
        tries[asked] += 1
        return faults[share_of(body["messages"], len(faults))] if tries[asked] == 1 else closeness(server, body)

    server.rule = rule
    judgement = judge(made("copy-b"), None, small_suite, endpoint, limit=20)
    assert judgement.scores["seen"]["judge_accuracy[tiny-judge]"].mean == 2.0
    assert min(tries.values()) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    tries: Counter[str] = Counter()

    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        asked = json.dumps(body["messages"])
        tries[asked] += 1
        time.sleep(0.8 if tries[asked] == 1 else 0)
        return closeness(server, body)

    server.rule, endpoint.timeout = rule, 0.4
    assert judge(made("copy-b"), None, small_suite, endpoint, limit=6).questions == 6
    assert min(tries.values()) == 2


def test_no_more_requests_at_a_time_than_asked_for(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        time.sleep(0.02)
        return closeness(server, body)

    server.rule, endpoint.parallel = rule, 3
    together = judge(made("copy-b"), None, small_suite, endpoint, limit=20)
    assert server.at_once == 3
    assert together.scores == judge(made("copy-b"), None, small_suite, Endpoint(server.url, "tiny-judge", parallel=1), limit=20).scores


def test_a_server_without_json_schema_is_asked_in_words(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda server, body: (400, {"error": "response_format?"}) if "response_format" in body else closeness(server, body)
    endpoint.parallel = 1
    assert judge(made("copy-b"), None, small_suite, endpoint, limit=9).questions == 9
    assert sum("response_format" in body for body in server.asked) < 9  # it learns


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(400, "refuses the request .status 400.: .*no pictures"), (401, f"status 401.*{KEY_VARIABLE}"), (404, "status 404")],
)
def test_a_refusal_ends_it_with_the_server_s_own_words(
    status: int, sentence: str, server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda server, body: (status, {"error": {"message": "no pictures\nhere"}})
    with pytest.raises(InputError, match=sentence) as error:
        judge(made("copy-b"), None, small_suite, endpoint)
    assert "\n" not in str(error.value)
    assert len(server.asked) <= 2 * 4 * endpoint.parallel


def test_questions_that_failed_are_told_and_the_next_run_asks_for_them_alone(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        return (500, b"out of memory") if share_of(body["messages"], 9) == 0 else closeness(server, body)

    server.rule = rule
    bad = {json.dumps(m) for m in questions_on_copies(small_suite).values() if share_of(m, 9) == 0}
    sentence = "failed on .* of 48 questions, .*3 attempts.*status 500: out of memory.*run the same command again"
    with pytest.raises(InputError, match=sentence):
        judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "j")
    assert not (tmp_path / "j" / "judgement.json").exists()
    server.rule, before = closeness, len(server.asked)
    assert judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "j").questions == 48
    assert {json.dumps(body["messages"]) for body in server.asked[before:]} == bad != set()


def test_a_server_that_fails_all_the_time_is_left_alone(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda server, body: (500, b"no")
    with pytest.raises(InputError, match="failed on 8 questions in a row"):
        judge(made("copy-b"), None, small_suite, endpoint)
    assert len(server.asked) < 3 * 48


def test_a_server_that_is_not_there_and_a_wrong_address_are_told(made: Callable[[str], Path], small_suite: Dataset) -> None:
    with pytest.raises(InputError, match="cannot be reached.*is the server up"):
        judge(made("copy-b"), None, small_suite, Endpoint("http://127.0.0.1:9/v1", "m", attempts=2, pause=0.01))
    with pytest.raises(InputError, match="no endpoint"):
        Endpoint("localhost:8000", "m")


def test_the_key_is_sent_and_written_nowhere(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sesame-opens")
    judge(made("copy-b"), None, small_suite, endpoint, out=tmp_path / "j", limit=3)
    assert {headers["Authorization"] for headers in server.headers_seen} == {"Bearer sesame-opens"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"sesame" in path.read_bytes()]


def test_kept_answers_that_are_cut_are_asked_for_again_and_no_cache_is_needed(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(made("copy-b"), None, small_suite, endpoint, limit=5)
    kept = sorted((tmp_path / "cache" / "judge").rglob("*.json"))
    assert len(kept) == len(server.asked) == 5
    kept[0].write_bytes(kept[0].read_bytes()[:-4])
    judge(made("copy-b"), None, small_suite, endpoint, limit=5)
    assert len(server.asked) == 6
    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    judge(made("copy-b"), None, small_suite, endpoint, limit=5)
    assert len(server.asked) == 11


def test_without_httpx_the_way_out_is_named(made: Callable[[str], Path], small_suite: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError, match=r"pip install 'lorweb-bench\[judge\]'"):
        judge(made("copy-b"), None, small_suite, Endpoint("http://127.0.0.1:9/v1", "m"))


def test_ctrl_c_stops_a_real_run_at_once_and_keeps_what_was_answered(
    server: Judge, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    stuck, freed = threading.Event(), threading.Event()

    def rule(server: Judge, body: dict[str, Any]) -> Answer:
        if len(server.asked) > 6:
            stuck.set()
            freed.wait(60)
        return closeness(server, body)

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
    process = subprocess.Popen([sys.executable, "-m", "lorweb_bench", *words], stderr=subprocess.PIPE, text=True)
    assert stuck.wait(60)
    time.sleep(0.5)  # the earlier answers are on their way back
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)  # not the two minutes that a request may take
    freed.set()
    assert (process.returncode, "Stopped." in err, "Traceback" in err) == (130, True, False), err
    assert len(list((tmp_path / "cache" / "judge").rglob("*.json"))) >= 4
    assert not (tmp_path / "j" / "judgement.json").exists()


# People


def write_votes(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_agreement_with_votes_on_a_choice(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    """The judge always takes copy-b. People do on 6 of 9 items, on one they are two against one, on the last they are even."""
    keys = keys_of(small_suite)[:10]
    votes = {key: ["copy-b"] if i < 5 else ["copy-a-prime"] for i, key in enumerate(keys[:8])}
    votes |= {keys[8]: ["copy-b", "copy-a-prime", "copy-b"], keys[9]: ["copy-b", "copy-a-prime"]}
    path = write_votes(
        tmp_path / "votes.csv", [{"key": key, "better": vote, "voter": i} for key, own in votes.items() for i, vote in enumerate(own)]
    )
    agreed = judge(made("copy-b"), made("copy-a-prime"), small_suite, endpoint, votes=path).agreement
    assert agreed is not None
    assert (agreed.items, agreed.votes, agreed.tied, agreed.undecided) == (10, 13, 1, 0)
    assert agreed.agreement == pytest.approx(6 / 9)
    assert agreed.kappa == pytest.approx(0)  # who always says the same agrees no more than by chance
    assert agreed.between_people == pytest.approx(1 / 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    if len({value for pair in pairs for value in pair}) == 1:
        assert cohen_kappa(pairs) is None
    else:
        assert cohen_kappa(pairs) == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)), abs=1e-9)


def test_agreement_with_votes_on_a_rating(
    server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    keys = keys_of(small_suite)[:12]
    rows = [{"key": key, "accuracy": 1 + i % 10, "consistency": 1 + (3 * i) % 10} for i, key in enumerate(keys)]
    path = write_votes(tmp_path / "votes.csv", rows)
    judgement = judge(made("copy-a-prime"), None, small_suite, endpoint, votes=path)
    columns = judgement.per_sample or {}
    given_by_judge = dict(zip(columns["key"], columns["judge_consistency[tiny-judge]"], strict=True))
    agreed = judgement.agreement
    assert agreed is not None
    assert agreed.correlation is not None
    expected = spearmanr([given_by_judge[key] for key in keys], [row["consistency"] for row in rows]).statistic
    assert agreed.correlation["consistency"] == pytest.approx(expected)
    assert agreed.correlation["accuracy"] is None  # the judge gave 10 to all: there is no correlation
    assert (agreed.items, agreed.between_people) == (12, None)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"key": "nobody", "better": "copy-b"}, "line 2: the suite has no item 'nobody'"),
        ({"key": "KEY", "better": "copy-c"}, "line 2: better is 'copy-c'; it is 'copy-b' or 'copy-a-prime'"),
        ({"key": "KEY", "winner": "copy-b"}, "no column 'better'"),
    ],
)
def test_votes_that_do_not_fit_are_told_before_anything_is_asked(
    row: dict[str, str], sentence: str, server: Judge, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    first = keys_of(small_suite)[0]
    path = write_votes(tmp_path / "votes.csv", [{name: first if value == "KEY" else value for name, value in row.items()}])
    with pytest.raises(InputError, match=sentence):
        judge(made("copy-b"), made("copy-a-prime"), small_suite, endpoint, votes=path)
    with pytest.raises(InputError, match="line 2: accuracy is '11'"):
        judge(made("copy-b"), None, small_suite, endpoint, votes=write_votes(path, [{"key": first, "accuracy": 11, "consistency": 1}]))
    with pytest.raises(InputError, match="Both predictions are of 'copy-b'"):
        judge(made("copy-b"), made("copy-b"), small_suite, endpoint, votes=path)
    with pytest.raises(InputError, match="cannot be read"):
        judge(made("copy-b"), None, small_suite, endpoint, votes=tmp_path / "nowhere.csv")
    assert not server.asked


# The command line


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    said = capsys.readouterr()
    return int(stopped.value.code or 0), said.out, said.err


def test_the_command_says_what_came_out(
    server: Judge, made: Callable[[str], Path], small_suite: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ("--suite", small_suite.path, "--endpoint", server.url, "--model", "tiny-judge")
    code, out, _ = run(capsys, "judge", made("copy-b"), *to, "-o", tmp_path / "rated", "--limit", 20)
    assert code == 0
    assert "copy-b on small 1" in out
    assert "of a part of the suite" in out
    bare = tmp_path / "bare"
    bare.mkdir()
    for split in SUITE_SPLITS:
        for q in small_suite.quadruplets(split):
            (bare / f"{q.key}.png").write_bytes(encode(q.a_prime.resize((16, 16))))
    choose = ("judge", made("copy-b"), bare, *to, "-o", tmp_path / "chosen", "--other-name", "small")
    code, _, err = run(capsys, *choose)
    assert (code, "--resize" in err) == (2, True)
    votes = write_votes(tmp_path / "votes.csv", [{"key": keys_of(small_suite)[0], "better": "copy-b"}])
    code, out, _ = run(capsys, *choose, "--resize", "--votes", votes)
    assert code == 0
    assert "1: copy-b is preferred in both orders; 0: small" in out
    assert "the picture shown first was chosen in 50% of answers; both orders agree on 100% of items" in out
    assert "48 predictions were resized" in out
    assert "with people, 1 votes on 1 items: agreement 1.00" in out
    assert json.loads((tmp_path / "chosen" / "judgement.json").read_text())["resized"] == 48


def test_bad_input_is_one_sentence_and_exit_code_2(
    server: Judge,
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
        (("judge", made("copy-b"), "--suite", small_suite.path, *to[:-1], made("copy-b")), "something else"),
        (("judge", made("copy-b"), "--suite", small_suite.path, "--endpoint", "ftp://x", *to[2:]), "no endpoint"),
    ):
        code, _, err = run(capsys, *words)
        assert (code, sentence in err, "Traceback" in err) == (2, True, False), err
