"""What the judge is asked, what becomes of its answers, and of answers that are none."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import pixel_hash
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.judge import judge as judge_with_anchors
from lorweb_bench.judging.questions import schema
from lorweb_bench.protocol import SUITE_SPLITS

judge = partial(judge_with_anchors, anchors=0)  # known pictures have tests of their own


def test_a_rating_is_asked_once_an_item_and_aggregated_as_a_report(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    questions_on_copies: dict[str, Any],
    keys: list[str],
) -> None:
    judgement = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    assert judgement.questions == judgement.items == 48
    assert {json.dumps(body["messages"]) for body in server.asked} == {
        json.dumps(m) for m in questions_on_copies.values()
    }
    assert set(judgement.scores["unseen"]) == {
        "judge_accuracy[tiny-judge]",
        "judge_consistency[tiny-judge]",
    }
    assert {score["judge_accuracy[tiny-judge]"].mean for score in judgement.scores.values()} == {
        2.0
    }  # b itself: no edit, all kept
    assert {score["judge_consistency[tiny-judge]"].mean for score in judgement.scores.values()} == {
        10.0
    }
    assert {"seen", "unseen", "new_family", "seen_hard"} <= set(judgement.scores)
    assert (judgement.unparsable, judgement.missing, judgement.partial, judgement.position) == (
        [],
        0,
        False,
        None,
    )
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == [
        "answers.jsonl",
        "index.html",
        "judgement.json",
        "per_sample.parquet",
    ]
    written = json.loads((tmp_path / "j" / "judgement.json").read_text())
    assert (written["format"], written["format_version"], written["protocol"]) == (
        "lorweb-bench/judgement",
        1,
        "rating",
    )
    assert written["judged"][0]["method"]["name"] == "copy-b"
    assert written["judge"] == {
        "model": "tiny-judge",
        "endpoint": server.url,
        "served": {},
        "version": 1,
        "long_edge": 512,
        "temperature": 0,
        "seed": 0,
        "tries": 3,
        "max_tokens": 1024,
    }
    answers = [
        json.loads(line) for line in (tmp_path / "j" / "answers.jsonl").read_text().splitlines()
    ]
    assert [answer["key"] for answer in answers] == keys


def test_means_are_over_transformations_first(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    """Leaving items of one transformation unanswered gives the others of it no less weight: each
    transformation counts the same.
    """
    judgement = judge(made("copy-a-prime"), small_suite, endpoint)
    columns = judgement.per_sample or {}
    values, names = columns["judge_consistency[tiny-judge]"], columns["transformation"]
    rows = columns["tier"] == "new_family"
    by_name = [values[rows & (names == name)].mean() for name in sorted(set(names[rows]))]
    assert judgement.scores["new_family"]["judge_consistency[tiny-judge]"].mean == pytest.approx(
        np.mean(by_name)
    )


def test_the_judge_sees_the_pair_b_and_the_attempt_and_never_the_answer(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    truth: dict[str, Image.Image],
) -> None:
    judge(made("copy-b"), small_suite, endpoint, limit=4)
    by_b = {pixel_hash(q.b): q for split in SUITE_SPLITS for q in small_suite.quadruplets(split)}
    answers = {pixel_hash(image) for image in truth.values()}
    for body in server.asked:
        seen = {name: image.astype(np.uint8) for name, image in server.pictures(body).items()}
        assert list(seen) == ["A", "A'", "B", "C"]
        assert pixel_hash(seen["B"]) == pixel_hash(seen["C"])
        assert pixel_hash(seen["B"]) in by_b
        assert not {pixel_hash(image) for image in seen.values()} & answers
        assert (body["model"], body["temperature"], body["seed"], body["max_tokens"]) == (
            "tiny-judge",
            0,
            0,
            1024,
        )
        assert body["response_format"]["json_schema"]["schema"] == schema("rating")
        words = json.dumps(body["messages"])
        assert not any(record.transformation in words for record in small_suite.records("unseen"))


def test_missing_predictions_count_the_lowest_and_are_not_asked_about(
    server: Any, endpoint: Endpoint, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    some = dict(sorted(truth.items())[:40])
    judgement = judge(some, small_suite, endpoint)
    assert (judgement.questions, judgement.missing, judgement.items) == (40, 8, 48)
    columns = judgement.per_sample or {}
    assert set(columns["judge_accuracy[tiny-judge]"][columns["missing"]]) == {1.0}
    assert columns["missing"].sum() == 8


def test_a_choice_is_asked_in_both_orders(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    judgement = judge(made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"))
    assert judgement.questions == 96
    asked = len(server.asked)
    name = "judge_preferred[tiny-judge]"
    assert judgement.scores["unseen"][name].mean == 1.0  # nothing is nearer to b than b
    assert judgement.position is not None
    assert (judgement.position.first, judgement.position.consistent) == (0.5, 1.0)
    assert (judgement.position.when_first, judgement.position.when_second) == (1.0, 1.0)
    other_way = judge(made("copy-a-prime"), small_suite, endpoint, other=made("copy-b"))
    assert other_way.scores["unseen"][name].mean == 0.0
    assert len(server.asked) == asked  # the same pictures in the same orders: nothing new to ask


def test_a_judge_that_always_takes_the_first_prefers_nobody_and_is_found_out(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda body: (200, '{"change": "?", "better": 1}')
    judgement = judge(made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), limit=20)
    assert {score["judge_preferred[tiny-judge]"].mean for score in judgement.scores.values()} == {
        0.5
    }
    assert judgement.position is not None
    assert (
        judgement.position.first,
        judgement.position.consistent,
        judgement.position.answers,
    ) == (1.0, 0.0, 40)
    assert (judgement.position.when_first, judgement.position.when_second) == (1.0, 0.0)


def test_a_missing_prediction_loses_and_two_missing_ones_are_even(
    server: Any, endpoint: Endpoint, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    keys = sorted(truth)
    one, other = ({key: truth[key] for key in own} for own in (keys[:-2], [*keys[2:-2], keys[-1]]))
    judgement = judge(one, small_suite, endpoint, other=other, names=("one", "other"))
    columns = judgement.per_sample or {}
    values = dict(zip(columns["key"], columns["judge_preferred[tiny-judge]"], strict=True))
    assert [values[key] for key in (*keys[:2], keys[-2], keys[-1])] == [1.0, 1.0, 0.5, 0.0]
    assert judgement.missing == 4
    assert all(
        values[key] == 0.5 for key in keys[2:-2]
    )  # equal pictures: the first is chosen, in both orders


def test_what_cannot_be_parsed_is_asked_again_and_then_left_out_and_counted(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    questions_on_copies: dict[str, Any],
) -> None:
    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        part = server.share_of(body["messages"], 7)
        if part == 0 or (part == 1 and body["seed"] == 0):
            return 200, "I would rather not say. {accuracy: 7}"
        return server.answer(body)

    server.rule = rule
    judgement = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "j")
    hopeless = sorted(
        key for key, messages in questions_on_copies.items() if server.share_of(messages, 7) == 0
    )
    assert judgement.unparsable == hopeless
    assert 0 < len(hopeless) < 48
    seeds: dict[int, set[int]] = {}
    for body in server.asked:
        seeds.setdefault(server.share_of(body["messages"], 7), set()).add(body["seed"])
    assert (seeds.pop(0), seeds.pop(1)) == ({0, 1, 2}, {0, 1})
    assert set(map(tuple, seeds.values())) == {(0,)}
    assert (
        judgement.scores["seen"]["judge_accuracy[tiny-judge]"].mean == 2.0
    )  # what is left out moves no mean
    assert sum(
        judgement.scores[split]["judge_accuracy[tiny-judge]"].samples for split in SUITE_SPLITS
    ) == 48 - len(hopeless)
    assert not set(hopeless) & set((judgement.per_sample or {})["key"])
    asked = len(server.asked)
    again = judge(made("copy-b"), small_suite, endpoint, out=tmp_path / "again")
    assert len(server.asked) == asked  # nonsense is kept like any answer
    assert again.model_dump() == judgement.model_dump()
    for name in ("answers.jsonl", "judgement.json", "per_sample.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "j" / name).read_bytes()


def test_a_judge_that_never_makes_sense_is_told(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda body: (200, "lovely pictures")
    with pytest.raises(InputError, match=r"No answer of tiny-judge can be parsed \(4 were given\)"):
        judge(made("copy-b"), small_suite, endpoint, limit=4)


def test_asking_again_shows_the_judge_s_own_noise(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
) -> None:
    """A judge that says 4 and 8 in turns: the mean is 6, the standard deviation of two such numbers
    2.83.
    """

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        number = 4 if body["seed"] < 3 else 8
        return 200, json.dumps({"change": "?", "accuracy": number, "consistency": 5})

    server.rule = rule
    judgement = judge(made("copy-b"), small_suite, endpoint, repeats=2, limit=6, out=tmp_path / "j")
    assert (judgement.questions, len(server.asked)) == (12, 12)
    assert set((judgement.per_sample or {})["judge_accuracy[tiny-judge]"]) == {6.0}
    assert judgement.noise is not None
    assert (judgement.noise.repeats, judgement.noise.questions, judgement.noise.same) == (2, 6, 0.0)
    assert judgement.noise.deviation["accuracy"] == pytest.approx(8**0.5)
    assert judgement.noise.deviation["consistency"] == 0.0
    assert "Asked 2 times" in (tmp_path / "j" / "index.html").read_text()
    assert judge(made("copy-b"), small_suite, endpoint, limit=6).noise is None


def test_a_choice_that_is_asked_again_is_a_share(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    """Preferred in both orders at first, then only when it is shown first: 3 of 4 answers."""

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        if body["seed"] < 3:
            return server.answer(body)
        return 200, json.dumps({"change": "?", "better": 1})

    server.rule = rule
    judgement = judge(
        made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), limit=5, repeats=2
    )
    assert set((judgement.per_sample or {})["judge_preferred[tiny-judge]"]) == {0.75}
    assert judgement.position is not None
    assert (judgement.position.items, judgement.position.consistent) == (10, 0.5)
