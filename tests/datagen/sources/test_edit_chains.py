"""Edits of edits: one photograph for a chain, and no answer of one pair that another one shows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.sources.edit_chains import join_chains
from datagen.sources.source import Pair


def nothing() -> np.ndarray:
    raise AssertionError("no image is needed")


def pair(number: int, photograph: str) -> Pair:
    return Pair("task", f"p{number}", nothing, nothing, "", "", "", photograph)


def test_pairs_without_a_chain_stay_as_they_are() -> None:
    apart = [pair(0, "x"), pair(1, "x"), pair(2, "y")]
    assert (
        join_chains(apart, [("1", "2"), ("1", "3"), ("4", "2")]) == apart
    )  # two edits may give one picture


def test_an_edit_that_is_undone_by_another_one_is_used_once() -> None:
    done, undone = join_chains([pair(0, "x"), pair(1, "y")], [("1", "2"), ("2", "1")])
    assert (done.photograph, undone.photograph) == ("x", "x")
    assert (done.as_b, undone.as_b) == (True, False)


edges = st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda edge: edge[0] != edge[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(edges, min_size=1, max_size=14))
def test_no_pair_shows_an_answer_and_no_answer_is_of_another_photograph(
    pictures: list[tuple[int, int]],
) -> None:
    digests = [(str(before), str(after)) for before, after in pictures]
    found = join_chains(
        [pair(i, f"pixels-{before}") for i, (before, _) in enumerate(digests)], digests
    )
    asked = [edge for one, edge in zip(found, digests, strict=True) if one.as_b]
    assert asked
    assert not {before for before, _ in asked} & {after for _, after in asked}
    for one, (_, after) in zip(found, digests, strict=True):
        assert all(
            one.photograph == other.photograph
            for other, (before, _) in zip(found, digests, strict=True)
            if before == after
        )
