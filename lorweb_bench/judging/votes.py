"""What people voted, and how far a judge agrees with them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

from lorweb_bench.errors import InputError
from lorweb_bench.judging.judgement import Agreement
from lorweb_bench.judging.questions import FIELDS, Protocol

FEWEST = 3  # items, for a correlation


@dataclass(frozen=True)
class Votes:
    """By item, each person's numbers: `better` 1 or 2, or `accuracy` and `consistency`."""

    by_key: Mapping[str, Sequence[Mapping[str, int]]]

    def __len__(self) -> int:
        return sum(map(len, self.by_key.values()))


def read_votes(path: Path, protocol: Protocol, methods: Sequence[str], keys: set[str]) -> Votes:
    """Read a CSV file with a header: `key`, and `better` (a method's name) or `accuracy` and
    `consistency` (1 to 10).

    A row is one person's vote; other columns are passed over. InputError naming the row that is
    wrong.
    """
    columns = list(FIELDS[protocol])
    if protocol == "choice" and len(set(methods)) < 2:
        raise InputError(
            f"Both predictions are of {methods[0]!r}, so votes by name cannot tell them apart; "
            "leave --votes out."
        )
    by_key: dict[str, list[dict[str, int]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            reader = csv.DictReader(f)
            if absent := [
                name for name in ("key", *columns) if name not in (reader.fieldnames or ())
            ]:
                raise InputError(
                    f"{path} has no column {absent[0]!r}; votes on a {protocol} have key, "
                    f"{', '.join(columns)}."
                )
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if (key := row["key"]) not in keys:
                    raise InputError(f"{where}: the suite has no item {key!r}.")
                by_key.setdefault(key, []).append(
                    {name: _vote(row[name], name, methods, where) for name in columns}
                )
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InputError(f"{path} cannot be read as CSV ({e}).") from None
    if not by_key:
        raise InputError(f"{path} holds no votes.")
    return Votes(by_key)


def _vote(given: str | None, name: str, methods: Sequence[str], place: str) -> int:
    if name == "better":
        if given is None or given not in methods:
            raise InputError(
                f"{place}: better is {given!r}; it is {' or '.join(map(repr, methods))}."
            )
        return list(methods).index(given) + 1
    if given is None or not given.strip().isdecimal() or int(given) not in FIELDS["rating"][name]:
        raise InputError(f"{place}: {name} is {given!r}; it is a whole number from 1 to 10.")
    return int(given)


def agreement_on_choice(votes: Votes, preferred: Mapping[str, float]) -> Agreement:
    """`preferred` by item is 1 where the judge prefers the first method in both orders, 0 the
    second, 0.5 neither.
    """
    both = [key for key in votes.by_key if key in preferred]
    people = {}
    for key in both:
        people[key] = fmean(vote["better"] == 1 for vote in votes.by_key[key])
    decided = [key for key in both if preferred[key] != 0.5 and people[key] != 0.5]
    pairs = [(preferred[key] > 0.5, people[key] > 0.5) for key in decided]
    return Agreement(
        items=len(both),
        votes=len(votes),
        agreement=fmean(judge == person for judge, person in pairs) if pairs else None,
        kappa=cohen_kappa(pairs),
        undecided=sum(preferred[key] == 0.5 for key in both),
        tied=sum(people[key] == 0.5 for key in both),
        between_people=_between_people(votes),
    )


def cohen_kappa(pairs: Sequence[tuple[bool, bool]]) -> float | None:
    """Agreement of two deciders beyond chance, in [-1, 1].

    None where chance alone would make them agree everywhere (Cohen 1960).
    """
    if not pairs:
        return None
    first = fmean(decision for decision, _ in pairs)
    second = fmean(decision for _, decision in pairs)
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else (fmean(a == b for a, b in pairs) - chance) / (1 - chance)


def agreement_on_rating(votes: Votes, rated: Mapping[str, Mapping[str, float]]) -> Agreement:
    """`rated` by item has the judge's accuracy and consistency."""
    both = [key for key in votes.by_key if key in rated]
    correlation = {}
    for name in FIELDS["rating"]:
        people = []
        for key in both:
            people.append(fmean(vote[name] for vote in votes.by_key[key]))
        correlation[name] = _spearman([rated[key][name] for key in both], people)
    return Agreement(
        items=len(both),
        votes=len(votes),
        correlation=correlation,
        between_people=_between_people(votes),
    )


def _spearman(judge: Sequence[float], people: Sequence[float]) -> float | None:
    from scipy.stats import spearmanr

    if len(judge) < FEWEST or len(set(judge)) < 2 or len(set(people)) < 2:
        return None
    return float(spearmanr(judge, people).statistic)


def _between_people(votes: Votes) -> float | None:
    same = [
        first == other
        for item_votes in votes.by_key.values()
        for first, other in combinations(item_votes, 2)
    ]
    return fmean(same) if same else None
