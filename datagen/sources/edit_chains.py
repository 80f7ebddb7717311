"""Edits of edits: the after of one pair is the before of another, as in edits of several turns."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from datagen.sources.source import Pair

Digests = Sequence[tuple[str, str]]  # of the pixels before and after, one for each pair


def join_chains(pairs: Sequence[Pair], digests: Digests) -> list[Pair]:
    """Give the pairs of one chain one photograph, so that no role gets another one's answer.

    Args:
        pairs: Pairs in the order in which they were read.
        digests: The pixel hashes (before, after) of each pair.

    Returns:
        The pairs in their order. `as_b` is false where a pair, as (b, b_prime), would show what an
        earlier pair of its chain has for an answer, or answer with what an earlier pair shows.
    """
    photographs = _chained_photographs(pairs, digests)
    questions: set[str] = set()
    answers: set[str] = set()
    chained = []
    for pair, photograph, (before, after) in zip(pairs, photographs, digests, strict=True):
        as_b = before not in answers and after not in questions
        if as_b and before != after:
            questions.add(before)
            answers.add(after)
        chained.append(replace(pair, photograph=photograph, as_b=as_b))
    return chained


def _chained_photographs(pairs: Sequence[Pair], digests: Digests) -> list[str]:
    """The photograph of each pair's chain: a union of those whose after is another one's before."""
    starting = defaultdict(list)
    for pair, (before, _) in zip(pairs, digests, strict=True):
        starting[before].append(pair.photograph)
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        """The photograph that stands for the chain of `name`."""
        while name in parents:
            name = parents[name]
        return name

    for pair, (before, after) in zip(pairs, digests, strict=True):
        for other in starting.get(after, ()) if after != before else ():
            first, two = sorted((root(pair.photograph), root(other)))
            if first != two:
                parents[two] = first
    return [root(pair.photograph) for pair in pairs]
