"""Known pictures that the judge sees in every run: what it said of them, and whether it drifted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.cli.judge import notes
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import to_array
from lorweb_bench.data.samples import Quadruplet, Record
from lorweb_bench.judging.anchors import other_edit
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.judge import judge


@pytest.fixture
def knowing(server: Any, small_suite: Dataset) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    """A judge that knows the answers: 9 for the truth, 2 for anything else; of two, the truth is
    better.
    """
    quadruplets = [q for s in small_suite.scored_splits for q in small_suite.quadruplets(s)]
    truths = {to_array(q.b_prime).tobytes() for q in quadruplets}

    def is_truth(image: np.ndarray) -> bool:
        return image.astype(np.uint8).tobytes() in truths

    def rule(body: dict[str, Any]) -> tuple[int, Any]:
        seen = server.pictures(body)
        if "C" in seen:
            number = 9 if is_truth(seen["C"]) else 2
            return 200, json.dumps({"change": "?", "accuracy": number, "consistency": 5})
        return 200, json.dumps({"change": "?", "better": 1 if is_truth(seen["C1"]) else 2})

    return rule


def test_a_rating_shows_the_truth_b_and_another_edit(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    knowing: Callable[[dict[str, Any]], tuple[int, Any]],
) -> None:
    server.rule = knowing
    judgement = judge(
        made("copy-b"), small_suite, endpoint, limit=12, anchors=4, out=tmp_path / "j"
    )
    said = {anchor.kind: (anchor.items, anchor.scores) for anchor in judgement.anchors}
    assert said["truth"] == (4, {"accuracy": 9.0, "consistency": 5.0})
    assert said["b"] == said["other_edit"] == (4, {"accuracy": 2.0, "consistency": 5.0})
    assert judgement.questions == 12  # known pictures count for no mean
    assert set((judgement.per_sample or {})["judge_accuracy[tiny-judge]"]) == {2.0}
    page = (tmp_path / "j" / "index.html").read_text()
    assert "What it said of known pictures" in page
    assert "b handed back" in page
    words = " ".join(notes(judgement, ["copy-b"]))
    assert "the truth 9.0 and 5.0" in words
    assert "do not believe" not in words


def test_a_choice_sets_the_truth_against_the_others_in_both_orders(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    knowing: Callable[[dict[str, Any]], tuple[int, Any]],
) -> None:
    server.rule = knowing
    judgement = judge(
        made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), limit=3, anchors=3
    )
    assert {anchor.kind: anchor.scores for anchor in judgement.anchors} == {
        "b": {"truth_preferred": 1.0},
        "other_edit": {"truth_preferred": 1.0},
    }
    server.rule = lambda body: (200, json.dumps({"change": "?", "better": 1}))
    biased = Endpoint(server.url, "always-the-first")
    fooled = judge(made("copy-b"), small_suite, biased, other=made("copy-a-prime"), limit=3)
    assert {anchor.scores["truth_preferred"] for anchor in fooled.anchors} == {0.5}
    assert any("does not tell the truth from" in note for note in notes(fooled, ["x", "y"]))


def test_a_judge_that_rates_all_alike_is_not_to_be_believed(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    server.rule = lambda body: (200, json.dumps({"change": "?", "accuracy": 7, "consistency": 7}))
    judgement = judge(made("copy-b"), small_suite, endpoint, limit=4)
    told = " ".join(notes(judgement, ["copy-b"]))
    assert "does not tell the truth from b handed back and another edit of b" in told


def test_known_pictures_are_shown_anew_in_each_run_that_asks_anything(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset
) -> None:
    """A server that changed under the same name is seen by its anchors, though its old answers are
    kept.
    """

    def rating(number: int) -> Callable[[dict[str, Any]], tuple[int, Any]]:
        text = json.dumps({"change": "?", "accuracy": number, "consistency": number})
        return lambda body: (200, text)

    server.rule = rating(8)
    judge(made("copy-b"), small_suite, endpoint, limit=4, anchors=2)
    asked = len(server.asked)
    judge(made("copy-b"), small_suite, endpoint, limit=4, anchors=2)
    assert len(server.asked) == asked  # nothing to ask, so nothing that could have drifted
    server.rule = rating(3)
    drifted = judge(made("copy-b"), small_suite, endpoint, limit=6, anchors=2)
    assert {anchor.scores["accuracy"] for anchor in drifted.anchors} == {3.0}


def test_the_other_edit_is_far_from_the_truth_whatever_that_is() -> None:
    rng = np.random.default_rng(0)
    b = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    record = Record(id="x", width=6, height=8)
    for truth in (255 - b, b[::-1], b):
        q = Quadruplet("x", *(Image.fromarray(b),) * 3, Image.fromarray(truth.copy()), record)
        edit = to_array(other_edit(q)).astype(int)
        assert np.abs(edit - truth).mean() > 40
        assert np.abs(edit - b).mean() > 40
