"""People's votes: the file, and how far a judge agrees with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.errors import InputError
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.judge import judge
from lorweb_bench.judging.votes import cohen_kappa


def test_agreement_with_votes_on_a_choice(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    keys: list[str],
    write_votes: Callable[..., Path],
) -> None:
    """The judge always takes copy-b. People do on 6 of 9 items, on one they are two against one, on
    the last they are even.
    """
    own = keys[:10]
    votes = {key: ["copy-b"] if i < 5 else ["copy-a-prime"] for i, key in enumerate(own[:8])}
    votes |= {own[8]: ["copy-b", "copy-a-prime", "copy-b"], own[9]: ["copy-b", "copy-a-prime"]}
    path = write_votes(
        tmp_path / "votes.csv",
        [
            {"key": key, "better": vote, "voter": i}
            for key, given in votes.items()
            for i, vote in enumerate(given)
        ],
    )
    agreed = judge(
        made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), votes=path
    ).agreement
    assert agreed is not None
    assert (agreed.items, agreed.votes, agreed.tied, agreed.undecided) == (10, 13, 1, 0)
    assert agreed.agreement == pytest.approx(6 / 9)
    assert agreed.kappa == pytest.approx(
        0
    )  # who always says the same agrees no more than by chance
    assert agreed.between_people == pytest.approx(1 / 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    if len({value for pair in pairs for value in pair}) == 1:
        assert cohen_kappa(pairs) is None
    else:
        assert cohen_kappa(pairs) == pytest.approx(
            cohen_kappa_score(*zip(*pairs, strict=True)), abs=1e-9
        )


def test_agreement_with_votes_on_a_rating(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    keys: list[str],
    write_votes: Callable[..., Path],
) -> None:
    own = keys[:12]
    rows = [
        {"key": key, "accuracy": 1 + i % 10, "consistency": 1 + (3 * i) % 10}
        for i, key in enumerate(own)
    ]
    path = write_votes(tmp_path / "votes.csv", rows)
    judgement = judge(made("copy-a-prime"), small_suite, endpoint, votes=path)
    columns = judgement.per_sample or {}
    given_by_judge = dict(
        zip(columns["key"], columns["judge_consistency[tiny-judge]"], strict=True)
    )
    agreed = judgement.agreement
    assert agreed is not None
    assert agreed.correlation is not None
    expected = spearmanr(
        [given_by_judge[key] for key in own], [row["consistency"] for row in rows]
    ).statistic
    assert agreed.correlation["consistency"] == pytest.approx(expected)
    assert (
        agreed.correlation["accuracy"] is None
    )  # the judge gave 10 to all: there is no correlation
    assert (agreed.items, agreed.between_people) == (12, None)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"key": "nobody", "better": "copy-b"}, "line 2: the suite has no item 'nobody'"),
        (
            {"key": "KEY", "better": "copy-c"},
            "line 2: better is 'copy-c'; it is 'copy-b' or 'copy-a-prime'",
        ),
        ({"key": "KEY", "winner": "copy-b"}, "no column 'better'"),
    ],
)
def test_votes_that_do_not_fit_are_told_before_anything_is_asked(
    row: dict[str, str],
    sentence: str,
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    keys: list[str],
    write_votes: Callable[..., Path],
) -> None:
    first = keys[0]
    path = write_votes(
        tmp_path / "votes.csv",
        [{name: first if value == "KEY" else value for name, value in row.items()}],
    )
    with pytest.raises(InputError, match=sentence):
        judge(made("copy-b"), small_suite, endpoint, other=made("copy-a-prime"), votes=path)
    with pytest.raises(InputError, match="line 2: accuracy is '11'"):
        judge(
            made("copy-b"),
            small_suite,
            endpoint,
            votes=write_votes(path, [{"key": first, "accuracy": 11, "consistency": 1}]),
        )
    with pytest.raises(InputError, match="Both predictions are of 'copy-b'"):
        judge(made("copy-b"), small_suite, endpoint, other=made("copy-b"), votes=path)
    with pytest.raises(InputError, match="cannot be read"):
        judge(made("copy-b"), small_suite, endpoint, votes=tmp_path / "nowhere.csv")
    assert not server.asked
