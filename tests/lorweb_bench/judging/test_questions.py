"""The words and pictures of a question, and reading an answer."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.judging import questions
from lorweb_bench.judging.questions import change_in, parse


def test_large_pictures_are_made_smaller_by_the_fixed_kernel(
    server: Any, small_suite: Dataset
) -> None:
    q = next(small_suite.quadruplets("seen"))
    question = questions.rating_question(q, Image.new("RGB", (2048, 1000), "red"))
    assert server.pictures({"messages": question.messages})["C"].shape == (250, 512, 3)


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
def test_answers_are_read_strictly_but_for_what_stands_around_them(
    answer: str, numbers: dict[str, int] | None
) -> None:
    assert parse(answer, "choice") == numbers


@given(st.text(), st.integers(1, 10), st.integers(1, 10), st.text())
@settings(max_examples=40)
def test_an_answer_is_found_whatever_stands_before_it_or_after(
    before: str, accuracy: int, consistency: int, after: str
) -> None:
    whole = json.dumps({"change": before, "accuracy": accuracy, "consistency": consistency})
    assert parse(whole + after.replace("{", ""), "rating") == {
        "accuracy": accuracy,
        "consistency": consistency,
    }
    assert parse(before.replace("{", "") + whole, "rating") == {
        "accuracy": accuracy,
        "consistency": consistency,
    }
    parse(before + after, "rating")  # anything at all is no error


def test_the_words_are_those_of_their_version() -> None:
    """A change of what the judge reads makes other answers: give it a new VERSION, and its digest
    here.
    """
    assert (questions.VERSION, questions.wording_digest()[:16]) == (1, "15f5adac8e6793b9")


def test_what_the_judge_saw_is_read_from_its_answer() -> None:
    assert change_in('```json\n{"change": "a \\"red\\" tint", "better": 1}\n```') == 'a "red" tint'
    assert change_in('{"change": "first"} no, {"change":"second", "better": 1}') == "second"
    assert [
        change_in(answer) for answer in ("", "lovely", '{"change": unquoted}', '{"change": "cut')
    ] == ["", "", "", ""]
