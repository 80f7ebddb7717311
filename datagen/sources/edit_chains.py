"""Edits of edits: the after of one pair is the before of another one, as in instructions of several turns."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from datagen.sources import Pair


def chained(pairs: Sequence[Pair], digests: Sequence[tuple[str, str]]) -> list[Pair]:
    """The pairs, those of one chain with one photograph; `digests` are of the pixels before and after.

    So no role gets the answer of another one. Within a chain a pair is `as_b` false when as (b, b_prime) it would show what an
    earlier pair has for an answer, or have for an answer what an earlier pair shows.
    """
    starting = defaultdict(list)
    for pair, (before, _) in zip(pairs, digests, strict=True):
        starting[before].append(pair.photograph)
    parents: dict[str, str] = {}

    def first_of(name: str) -> str:
        while name in parents:
            name = parents[name]
        return name

    for pair, (before, after) in zip(pairs, digests, strict=True):
        for other in starting.get(after, ()) if after != before else ():
            one, two = sorted((first_of(pair.photograph), first_of(other)))
            if one != two:
                parents[two] = one
    shown: set[str] = set()
    answers: set[str] = set()
    found = []
    for pair, (before, after) in zip(pairs, digests, strict=True):
        as_b = before not in answers and after not in shown
        if as_b and before != after:
            shown.add(before)
            answers.add(after)
        found.append(replace(pair, photograph=first_of(pair.photograph), as_b=as_b))
    return found
