"""Coverage of the 95 % intervals, by simulation: suites whose items share families and
photographs, with known means.

    python benchmarks/coverage.py --designs 40       # about three minutes on one core
    python benchmarks/coverage.py --edges            # proportions of 2 to 10 %, scores near their
    bound python benchmarks/coverage.py --tests            # how often any of several equal methods
    are told
                                                     # apart, at 5 % (--columns of them)
    python benchmarks/coverage.py --trainings        # of the mean over several trainings, which
    differ more or less

Every design is a suite drawn anew (which families, which compositions, which photograph behind
each item); on each design many outcomes are drawn from random effects. An interval covers when it
holds the mean of the population that families and photographs were drawn from. The plain two-way
bootstrap (percentiles of the draws as they are) is printed beside it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from lorweb_bench.data.composition import families_of, joined_family
from lorweb_bench.stats import aggregate
from lorweb_bench.stats.bootstrap import between_trainings, intervals
from lorweb_bench.stats.clusters import Part
from lorweb_bench.stats.significance import LEVEL, pairwise_p


@dataclass(frozen=True)
class Setting:
    """Standard deviations of the random effects, and what an outcome is made of their sum."""

    name: str
    family: float
    transformation: float
    source: float
    family_source: float
    noise: float
    outcome: Callable[[np.ndarray], np.ndarray] = lambda total: total
    bounds: tuple[float, float] | None = None
    a_source: float = 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation of the sum of all effects."""
        parts = (
            self.family,
            self.transformation,
            self.source,
            self.family_source,
            self.noise,
            self.a_source,
        )
        return float(np.sqrt(sum(part**2 for part in parts)))


def _retrieval(total: np.ndarray) -> np.ndarray:
    return (total > 1.0).astype(float)


def _recovery(total: np.ndarray) -> np.ndarray:
    return np.clip(1.0 - np.exp(total - 0.9), -1.0, 1.0)


SETTINGS = (
    Setting("families differ", 0.25, 0.15, 0.1, 0.1, 0.25),
    Setting("items differ", 0.1, 0.1, 0.05, 0.05, 0.4),
    Setting("photographs differ", 0.05, 0.1, 0.2, 0.05, 0.2),
    Setting("nothing shared", 0.0, 0.0, 0.0, 0.0, 0.3),
    Setting("edit_recovery, skewed", 0.6, 0.3, 0.2, 0.2, 0.5, _recovery, (-1.0, 1.0)),
    Setting("retrieval, 0 or 1", 0.5, 0.4, 0.3, 0.3, 1.0, _retrieval, (0.0, 1.0)),
    Setting("photographs behind a differ", 0.1, 0.1, 0.1, 0.05, 0.2, a_source=0.2),
)


def _proportion(share: float, scale: float) -> Setting:
    """Outcomes that are 1 with this probability; `scale` 0 shares nothing, 2 shares much."""
    setting = Setting("", 0.5 * scale, 0.4 * scale, 0.3 * scale, 0.3 * scale, 1.0)
    threshold = setting.deviation * float(stats.norm.isf(share))
    shared = {0.0: "nothing shared", 1.0: "much shared", 2.0: "nearly all shared"}[scale]
    return replace(
        setting,
        name=f"{share:.0%} of items, {shared}",
        outcome=lambda total: (total > threshold).astype(float),
        bounds=(0.0, 1.0),
    )


def _near_one(depth: float) -> Setting:
    """edit_recovery of a method that is nearly always right; the greater the depth, the more so."""
    outcome = lambda total: np.clip(1.0 - np.exp(total - depth), -1.0, 1.0)  # noqa: E731
    setting = Setting("", 0.6, 0.3, 0.2, 0.2, 0.5, outcome, (-1.0, 1.0))
    return replace(setting, name=f"edit_recovery, {truth(setting):.2f} on average")


def edges() -> tuple[Setting, ...]:
    """Proportions near 0 and scores near their bound."""
    proportions = [_proportion(p, scale) for scale in (0.0, 1.0, 2.0) for p in (0.02, 0.05, 0.1)]
    return (*proportions, _near_one(2.7), _near_one(4.0))


def design(
    rng: np.random.Generator, per_tier: int = 120, sources: int = 40, a_sources: int = 30
) -> dict[str, np.ndarray]:
    """A suite's table without metrics: five tiers, 20 trained and 9 held-out families, 20
    transformations in each tier.
    """
    trained, held_out = [f"f{i}" for i in range(20)], [f"h{i}" for i in range(9)]
    tiers = ("seen_single", "seen_composition", "new_parameters", "new_composition", "new_family")
    columns: dict[str, list[object]] = {name: [] for name in aggregate.COLUMNS}
    for tier in tiers:
        pool = held_out if tier == "new_family" else trained
        if tier.endswith("composition"):
            families = [
                joined_family(sorted(rng.choice(pool, 2, replace=False))) for _ in range(20)
            ]
        else:
            families = [*rng.permutation(pool), *rng.choice(pool, 20)]
        for i in range(per_tier):
            t = i % 20
            columns["key"].append(f"{tier}-{i:04d}")
            columns["split"].append("seen" if tier in tiers[:2] else "unseen")
            columns["transformation"].append(f"{tier}-{t}")
            columns["family"].append(str(families[t]))
            columns["kind"].append("any")
            columns["tier"].append(tier)
            columns["a_source"].append(f"a{rng.integers(a_sources)}")
            columns["b_source"].append(f"s{rng.integers(sources)}")
            columns["hard"].append(t % 2 == 0)
    return {name: np.array(column) for name, column in columns.items()}


def outcomes(
    setting: Setting, table: dict[str, np.ndarray], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Items x count, each column one draw of all random effects. A composition has the mean of
    two family effects, scaled.
    """

    def effect(labels: np.ndarray, deviation: float) -> np.ndarray:
        _, code = np.unique(labels, return_inverse=True)
        return deviation * rng.standard_normal((code.max() + 1, count))[code]

    pairs = [(families_of(str(f)) * 2)[:2] for f in table["family"]]
    single = np.array([first == second for first, second in pairs])[:, None]
    names = sorted({name for pair in pairs for name in pair})
    of_family = setting.family * rng.standard_normal((len(names), count))
    first = of_family[[names.index(name) for name, _ in pairs]]
    second = of_family[[names.index(name) for _, name in pairs]]
    total = np.where(single, first, (first + second) / np.sqrt(2))
    total = (
        total
        + effect(table["transformation"], setting.transformation)
        + effect(table["b_source"], setting.source)
        + effect(table["a_source"], setting.a_source)
    )
    total += effect(np.char.add(table["family"], table["b_source"]), setting.family_source)
    return setting.outcome(total + setting.noise * rng.standard_normal(total.shape))


def truth(setting: Setting) -> float:
    """The population mean: the same in every tier, as the effects' total has the same
    distribution everywhere.
    """
    z = setting.deviation * np.random.default_rng(0).standard_normal(2_000_000)
    return float(setting.outcome(z).mean())


def estimates(table: dict[str, np.ndarray]) -> dict[str, list[Part]]:
    """What intervals are asked for: the groups that have a family and photographs enough, and
    the two gaps.
    """
    transformation = table["transformation"]
    found = aggregate.groups(table)
    wanted = {
        name: aggregate.parts_of(group, transformation)
        for name, group in found.items()
        if "/" not in name and name != "new_family_hard"
    }
    gaps = {
        f"gap {name}": aggregate.difference(pair, transformation)
        for name, pair in aggregate.gap_sides(table).items()
    }
    return wanted | gaps


def plain(
    parts: list[Part], values: np.ndarray, clusters: aggregate.Clusters, seed: int, resamples: int
) -> np.ndarray:
    """Offsets (columns x low, high) of the percentile interval of the two-way bootstrap as it
    is.
    """
    draws = []
    for weights in clusters.draws(seed, resamples):
        drawn = np.zeros((len(weights), values.shape[1]))
        for part in parts:
            own = weights[:, part.rows] * part.weights
            drawn += part.share * (
                (own @ values[part.rows]) / own.sum(axis=1, keepdims=True)
                - part.weights @ values[part.rows]
            )
        draws.append(drawn)
    return np.quantile(np.concatenate(draws), [0.025, 0.975], axis=0).T


def simulate(
    setting: Setting,
    designs: int,
    columns: int,
    resamples: int,
    seed: int,
    with_plain: bool = True,
) -> dict[str, np.ndarray]:
    """Per estimate: coverage, share of misses above, share of misses below, coverage of the
    plain bootstrap, width ratio.
    """
    rng, known = np.random.default_rng(seed), truth(setting)
    hits: dict[str, list[np.ndarray]] = {}
    for number in range(designs):
        table = aggregate.ordered(design(rng), [])
        values = outcomes(setting, table, columns, rng)
        clusters, wanted = aggregate.clusters_of(table), estimates(table)
        bounds = [setting.bounds] * columns
        offsets = intervals(
            list(wanted.values()), values, clusters, number, resamples, bounds=bounds
        )
        for g, (name, parts) in enumerate(wanted.items()):
            centre = sum(p.share * (p.weights @ values[p.rows]) for p in parts)
            target = known * sum(p.share for p in parts)
            low, high = centre + offsets[g, :, 0], centre + offsets[g, :, 1]
            bare = np.full((columns, 2), np.nan)
            if with_plain:
                bare = plain(parts, values, clusters, number, resamples)
            covered = (centre + bare[:, 0] <= target) & (target <= centre + bare[:, 1])
            row = [
                (low <= target) & (target <= high),
                low > target,
                high < target,
                covered,
                centre,
                high - low,
            ]
            hits.setdefault(name, []).append(np.array(row, dtype=float))
    result = {}
    for name, rows in hits.items():
        all_rows = np.hstack(rows)
        width = all_rows[5].mean() / (2 * 1.96 * all_rows[4].std())
        result[name] = np.append(100 * all_rows[:4].mean(axis=1), width)
    return result


def false_alarms(
    setting: Setting, designs: int, methods: int, seed: int, flips: int = 400
) -> dict[str, float]:
    """Per estimate the percentage of suites in which any of several equal methods are told apart.

    The methods' values are as many independent draws of all random effects, so that every pair of
    them differs by chance alone; the test is the step-down one over all pairs, at 5 %.
    """
    rng, rejected = np.random.default_rng(seed), {}  # type: ignore[var-annotated]
    for number in range(designs):
        table = aggregate.ordered(design(rng), [])
        values = outcomes(setting, table, methods, rng)
        clusters = aggregate.clusters_of(table)
        for name, parts in estimates(table).items():
            if not name.startswith("gap"):
                p = pairwise_p(values, parts, clusters, number, flips)
                rejected.setdefault(name, []).append(p.min() <= LEVEL)
    return {name: 100 * float(np.mean(found)) for name, found in rejected.items()}


def over_trainings(
    count: int, deviation: float, designs: int, columns: int, resamples: int, seed: int
) -> dict[str, float]:
    """Per estimate the coverage, in percent, of the mean over `count` trainings, and of the same
    without what trainings add.

    A training is better or worse by `deviation` on all items, by 0.1 on a family, and by 0.2 on an
    item; items differ as in the first setting.
    """
    rng, hits = np.random.default_rng(seed), {}  # type: ignore[var-annotated]
    for number in range(designs):
        table = aggregate.ordered(design(rng), [])
        shared = outcomes(SETTINGS[0], table, columns, rng)
        each = [
            shared + outcomes(Setting("training", 0.1, 0.0, 0.0, 0.0, 0.2), table, columns, rng)
            for _ in range(count)
        ]
        each = [values + deviation * rng.standard_normal(columns) for values in each]
        clusters, mean = aggregate.clusters_of(table), sum(each) / count
        for name, parts in estimates(table).items():
            if name not in ("seen", "unseen"):
                continue
            rows = []
            for values in each:
                rows.append(sum(p.share * (p.weights @ values[p.rows]) for p in parts))
            points = np.array(rows)
            extra = [[between_trainings(points[:, c].tolist()) for c in range(columns)]]
            for kind, known in (("", extra), (" without", None)):
                low, high = intervals([parts], mean, clusters, number, resamples, known)[
                    0
                ].T + points.mean(axis=0)
                hits.setdefault(name + kind, []).append((low <= 0) & (high >= 0))
    return {name: 100 * float(np.mean(found)) for name, found in hits.items()}


def main() -> None:
    """Print a table per setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--designs", type=int, default=15)
    parser.add_argument("--columns", type=int, default=40, help="outcomes drawn per design")
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trainings", action="store_true", help="the mean over several trainings")
    parser.add_argument(
        "--tests",
        action="store_true",
        help="false alarms of the sign-flip test instead of coverage",
    )
    parser.add_argument("--edges", action="store_true", help="proportions and scores at a bound")
    given = parser.parse_args()
    started = time.monotonic()
    if given.trainings:
        for count in (2, 3, 5):
            for deviation in (0.0, 0.05, 0.1, 0.3):
                found = over_trainings(
                    count, deviation, given.designs, given.columns, given.resamples, given.seed
                )
                print(
                    f"{count} trainings, deviation {deviation}:",
                    *(f"{name} {rate:.1f}" for name, rate in found.items()),
                    flush=True,
                )
        return
    for setting in edges() if given.edges else SETTINGS:
        if given.tests:
            found = false_alarms(setting, given.designs, given.columns, given.seed)
            print(
                setting.name,
                *(f"{name} {rate:.1f}" for name, rate in found.items()),
                sep=", ",
                flush=True,
            )
            continue
        print(f"\n{setting.name}: {given.designs} designs x {given.columns} outcomes")
        print(f"{'':26s}covers  too high  too low   plain   width / ideal")
        for name, row in simulate(
            setting, given.designs, given.columns, given.resamples, given.seed, not given.edges
        ).items():
            print(
                f"{name:26s}{row[0]:6.1f}{row[1]:10.1f}{row[2]:9.1f}{row[3]:8.1f}{row[4]:16.2f}",
                flush=True,
            )
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
