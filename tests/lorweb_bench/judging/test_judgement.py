"""Judgements on disk: read again, taken as reports, and compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.compare.compare import compare_reports
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.judge import judge
from lorweb_bench.judging.judgement import open_judgement
from lorweb_bench.scoring.evaluate import evaluate

ACCURACY, CONSISTENCY, PREFERRED = (
    f"judge_{name}[tiny-judge]" for name in ("accuracy", "consistency", "preferred")
)


@pytest.fixture
def judged(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
) -> Path:
    """A folder with the ratings of two methods, and the choice between them."""
    for method in ("copy-b", "copy-a-prime"):
        judge(made(method), small_suite, endpoint, out=tmp_path / method)
    judge(
        made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), out=tmp_path / "choice"
    )
    return tmp_path


def test_a_judgement_is_read_as_it_was_written_and_is_a_report_of_each_method(judged: Path) -> None:
    rated, choice = open_judgement(judged / "copy-b"), open_judgement(judged / "choice")
    assert rated.model_dump(mode="json") == json.loads(
        (judged / "copy-b" / "judgement.json").read_text()
    )
    [report] = rated.reports()
    assert (report.method.name, report.scores, report.metrics) == (
        "copy-b",
        rated.scores,
        (ACCURACY, CONSISTENCY),
    )
    one, other = choice.reports()
    assert (one.method.name, other.method.name) == ("copy-b", "copy-a-prime")
    for group, of in one.scores.items():
        assert of[PREFERRED].mean + other.scores[group][PREFERRED].mean == 1.0
    assert one.per_sample is not None and other.per_sample is not None
    assert set(one.per_sample[PREFERRED] + other.per_sample[PREFERRED]) == {1.0}


def test_ratings_of_two_methods_are_compared_item_by_item(judged: Path) -> None:
    """copy-b keeps all of b and makes no edit, as the test's judge sees it; copying a_prime is the
    other way round.
    """
    kept = compare_reports([judged / "copy-b", judged / "copy-a-prime"], CONSISTENCY)
    assert kept.groups["unseen"].means["copy-b"] == 10.0
    assert {d.mean > 0 for d in kept.differences} == {True}
    edited = compare_reports([judged / "copy-b" / "judgement.json", judged / "copy-a-prime"])
    assert (edited.metric, edited.left_out) == (ACCURACY, 0)
    assert edited.groups["seen"].means["copy-b"] == 2.0


def test_a_choice_is_a_comparison_of_its_two_methods(judged: Path) -> None:
    choice = compare_reports([judged / "choice"])
    assert choice.groups["unseen"].means == {"copy-b": 1.0, "copy-a-prime": 0.0}
    assert {(d.first, d.second, d.mean) for d in choice.differences} == {
        ("copy-b", "copy-a-prime", 1.0)
    }
    with pytest.raises(InputError, match="a comparison already; give it alone"):
        compare_reports([judged / "choice", judged / "copy-b"])


def test_items_without_a_verdict_are_left_out_of_all_and_said(
    server: Any, endpoint: Endpoint, made: Callable[[str], Path], small_suite: Dataset, judged: Path
) -> None:
    server.rule = lambda body: (
        (200, "no") if server.share_of(body["messages"], 6) == 0 else server.answer(body)
    )
    judge(made("color-transfer"), small_suite, endpoint, out=judged / "partly")
    lacking = len(open_judgement(judged / "partly").unparsable)
    found = compare_reports([judged / "copy-b", judged / "partly"])
    assert 0 < lacking == found.left_out
    assert (
        f"{lacking} items are left out: not all of the judgements have a verdict on them."
        in str(found)
    )


def test_what_cannot_be_compared_is_told(
    server: Any, made: Callable[[str], Path], small_suite: Dataset, judged: Path, tmp_path: Path
) -> None:
    judge(made("copy-b"), small_suite, Endpoint(server.url, "another"), out=tmp_path / "another")
    evaluate("copy-b", small_suite, ["mse"], out=tmp_path / "report")
    for paths, sentence in (
        ([judged / "copy-b"], "needs two reports or more, or the judgement of a choice"),
        (
            [judged / "copy-b", tmp_path / "another"],
            "no metric in common.*judge them with one model",
        ),
        ([judged / "copy-b", tmp_path / "report"], "no metric in common"),
    ):
        with pytest.raises(InputError, match=sentence):
            compare_reports(paths)
    file = judged / "copy-b" / "judgement.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(
        InputError, match="no judgement of format version 1.*judge the predictions again"
    ):
        compare_reports([judged / "copy-b", judged / "copy-a-prime"])


def test_the_call_from_python_is_five_lines(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
) -> None:
    import lorweb_bench as lb

    judgement = lb.judge(
        made("copy-b"),
        lb.open_suite(small_suite.path),
        lb.Endpoint(server.url, "tiny-judge"),
        limit=6,
    )
    assert judgement.scores["seen"]["judge_accuracy[tiny-judge]"].mean == 2.0


def test_a_judgement_holds_the_command_that_repeats_it(
    server: Any,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "copies").symlink_to(made("copy-b"))
    monkeypatch.chdir(tmp_path)
    hidden = Endpoint(server.url.replace("127", "me:secret@127"), "m")
    judgement = judge("copies", small_suite, hidden, limit=3, out=tmp_path / "j", seed=5)
    assert judgement.command is not None and "secret" not in judgement.command
    assert judgement.command.startswith("lorweb-bench judge copies --suite ../")
    assert judgement.command.endswith(
        f"small --endpoint {server.url} --limit 3 --model m --seed 5 -o JUDGED"
    )
