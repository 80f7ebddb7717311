"""What a comparison of reports holds: methods, and by group their means, ranks and differences."""

import math
from dataclasses import dataclass

from lorweb_bench.reports.bars import digits
from lorweb_bench.stats.significance import LEVEL

Ends = tuple[float | None, float | None]


@dataclass(frozen=True)
class ComparedMethod:
    """A method in a comparison: one report, or those of several trainings.

    `ranked` is False where it covers a part of the suite or was shown other pairs; `missing` is the
    most that any of its reports lacks.
    """

    label: str
    track: str
    prompt_mode: str
    pairs: str
    missing: int
    ranked: bool
    trainings: int = 1
    exemplars: int = 1
    novelty: str = "not stated"

    @property
    def remarks(self) -> str:
        """What has to be known beside its numbers."""
        remarks = []
        if self.pairs != "true":
            remarks.append(f"pairs {self.pairs}")
        if self.exemplars > 1:
            remarks.append(f"{self.exemplars} exemplars")
        if self.missing:
            remarks.append(f"{self.missing:,} missing")
        if self.trainings > 1:
            remarks.append(f"{self.trainings} trainings")
        if self.track == "open" and self.novelty != "not stated":
            remarks.append(self.novelty)
        return ", ".join(remarks)


@dataclass(frozen=True)
class Difference:
    """`first` less `second`, paired by item, in one group.

    The ends and `p` are None where there are too few clusters to say more than the mean. `p` is
    corrected over all `pairs` of methods of the group, the interval is of this pair alone.
    `needed` is about how many transformations would show a difference of this size in four suites
    of five, if families and photographs grew with them; infinite where the trainings alone differ
    too much for any number of transformations to show it.
    """

    group: str
    first: str
    second: str
    mean: float
    ci_low: float | None
    ci_high: float | None
    p: float | None
    transformations: int
    needed: float | None
    higher_is_better: bool
    pairs: int = 1

    @property
    def verdict(self) -> str:
        """One clause in plain words; where the test and the interval disagree it says why."""
        if self.p is None or self.ci_low is None or self.ci_high is None:
            return "too few families or photographs to tell"
        apart = self.ci_low > 0 or self.ci_high < 0
        if self.p <= LEVEL:
            better = self.first if (self.mean > 0) == self.higher_is_better else self.second
            return f"{better} is better" + ("" if apart else ", by the signs; the interval holds 0")
        if apart and self.pairs > 1:
            return f"not told apart among {self.pairs:,} pairs; the interval is of this pair alone"
        if apart:
            return "not told apart by the signs of its families; the interval leaves 0 out"
        if self.needed is None:
            return "no difference"
        if math.isinf(self.needed):
            return (
                "within noise: trainings of one method differ by as much; "
                "it takes more of them, not more transformations"
            )
        if self.needed <= self.transformations:
            return "within noise, though nearly enough to tell"
        return (
            f"within noise; it takes about {_rounded(int(self.needed))} transformations, "
            f"here are {self.transformations}"
        )


def _rounded(count: int) -> str:
    if count > 100_000:
        return "more than 100,000"
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{math.ceil(count / step) * step:,}"


@dataclass(frozen=True)
class GroupResult:
    """One group of a comparison: by label the means, 95 % intervals and ranks; and all differences.

    The ends of an interval are None where there are too few clusters. Methods that are not ranked
    are not among `ranks`.
    """

    name: str
    means: dict[str, float]
    intervals: dict[str, Ends]
    ranks: dict[str, tuple[int, int]]
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Reports, or judgements, of one suite by one metric; as text, it is the tables of `compare`.

    `left_out` items are not in all of the judgements.
    """

    suite: str
    metric: str
    higher_is_better: bool
    methods: tuple[ComparedMethod, ...]
    groups: dict[str, GroupResult]
    left_out: int = 0

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The differences of all groups."""
        differences: list[Difference] = []
        for group in self.groups.values():
            differences += group.differences
        return tuple(differences)

    @property
    def places(self) -> int:
        """Decimal places that the metric is read with."""
        values: list[float] = []
        for group in self.groups.values():
            values += group.means.values()
        return digits(self.metric, values)

    def __str__(self) -> str:
        from lorweb_bench.compare.showing import text_of

        return text_of(self)
