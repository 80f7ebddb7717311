"""Intervals, against loops, brute force, closed forms and known truths."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest

from lorweb_bench.stats.aggregate import bounds_of
from lorweb_bench.stats.bootstrap import intervals, score_interval
from lorweb_bench.stats.clusters import Clusters, Part, spread


def test_the_draws_are_the_two_way_bootstrap_done_in_loops():
    """The interval's shape, with families and sources resampled one resample at a time in plain
    Python.
    """
    rng = np.random.default_rng(7)
    labels, sources = [f"f{i % 9}" for i in range(54)], [f"s{i}" for i in rng.integers(0, 11, 54)]
    values = rng.exponential(size=54)
    part = Part(np.arange(54), np.full(54, 1 / 54))
    clusters = Clusters(labels, sources)
    generator = np.random.default_rng(11)
    of_family = generator.exponential(size=(400, 9))
    of_source = generator.exponential(size=(400, len(set(sources))))
    names = sorted(set(sources))
    draws = []
    for r in range(400):
        numerator = denominator = 0.0
        for i in range(54):
            weight = of_family[r][int(labels[i][1:])] * of_source[r][names.index(sources[i])]
            numerator += weight * values[i]
            denominator += weight
        draws.append(numerator / denominator)
    known = spread([part], values[:, None], clusters)
    scale = (
        math.sqrt(known.variance[0]) * stats.t.ppf(0.975, known.freedom[0]) / stats.norm.ppf(0.975)
    )
    expected = (
        np.quantile((np.array(draws) - np.mean(draws)) / np.std(draws), [0.025, 0.975]) * scale
    )
    found = intervals([[part]], values[:, None], clusters, seed=11, resamples=400)[0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_width_is_that_of_a_brute_force_resampling_where_families_dominate():
    rng = np.random.default_rng(8)
    families, per = 40, 10
    effect = rng.normal(size=families)
    values = np.repeat(effect, per) + rng.normal(0, 0.05, families * per)
    labels = [f"f{i // per}" for i in range(families * per)]
    sources = [f"s{i}" for i in rng.integers(0, 60, families * per)]
    means = []
    for _ in range(600):
        chosen = rng.integers(0, families, families)
        means.append(np.mean([values[f * per : (f + 1) * per].mean() for f in chosen]))
    low, high = np.quantile(np.array(means) - values.mean(), [0.025, 0.975])
    part = Part(np.arange(len(values)), np.full(len(values), 1 / len(values)))
    found = intervals([[part]], values[:, None], Clusters(labels, sources), resamples=600)[0, 0]
    assert found[1] - found[0] == pytest.approx(high - low, rel=0.15)


def test_coverage_is_near_95_percent_with_shared_families_and_photographs():
    """A short form of benchmarks/coverage.py: 12 designs of 50 outcomes."""
    rng = np.random.default_rng(10)
    held = []
    for design in range(12):
        family = rng.permutation(np.repeat(np.arange(16), 8))
        source = rng.integers(0, 30, len(family))
        clusters = Clusters([f"f{f}" for f in family], [f"s{s}" for s in source])
        values = 0.25 * rng.normal(size=(16, 50))[family] + 0.15 * rng.normal(size=(30, 50))[source]
        values += 0.3 * rng.normal(size=values.shape)
        part = Part(np.arange(len(family)), np.full(len(family), 1 / len(family)))
        offsets = intervals([[part]], values, clusters, seed=design, resamples=200)[0]
        centre = values.mean(axis=0)
        held.append((centre + offsets[:, 0] <= 0) & (centre + offsets[:, 1] >= 0))
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(("successes", "items"), [(0, 40), (1, 60), (7, 50), (30, 30)])
def test_the_score_interval_of_independent_values_is_wilsons(successes, items):
    expected = binomtest(successes, items).proportion_ci(method="wilson")
    mean, count = np.array([successes / items]), np.array([float(items)])
    low, high = score_interval(mean, count, stats.norm.ppf([0.975]), (0.0, 1.0))
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)
    twice = score_interval(2 * mean - 1, count, stats.norm.ppf([0.975]), (-1.0, 1.0))
    assert twice[0][0] == pytest.approx(2 * expected.low - 1, abs=1e-12)


def suite(rng: np.random.Generator, families: int = 20, per: int = 6, sources: int = 25):
    """Families of equal size whose items share photographs, as one group."""
    family = np.repeat(np.arange(families), per)
    source = rng.integers(0, sources, len(family))
    part = Part(np.arange(len(family)), np.full(len(family), 1 / len(family)))
    return family, source, part, Clusters([f"f{f}" for f in family], [f"s{s}" for s in source])


def latent(rng: np.random.Generator, family: np.ndarray, source: np.ndarray, columns: int):
    """What items have in common with others of their family and photograph, and of their own; sd
    1.
    """
    values = 0.4 * rng.normal(size=(family.max() + 1, columns))[family]
    values += 0.3 * rng.normal(size=(source.max() + 1, columns))[source]
    return values + math.sqrt(1 - 0.16 - 0.09) * rng.normal(size=values.shape)


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.9])
def test_proportions_near_a_bound_are_covered_and_no_interval_is_without_width(share):
    """A short form of benchmarks/coverage.py --edges: 20 suites of 60 outcomes."""
    rng, held = np.random.default_rng(int(1000 * share)), []
    for number in range(20):
        family, source, part, clusters = suite(rng)
        values = (latent(rng, family, source, 60) > stats.norm.isf(share)).astype(float)
        centre = values.mean(axis=0)
        bounds = [(0.0, 1.0)] * 60
        low, high = intervals([[part]], values, clusters, number, 200, bounds=bounds)[0].T + centre
        assert (high > low).all() and (low >= -1e-12).all() and (high <= 1 + 1e-12).all()
        held.append((low <= share) & (share <= high))
    assert 0.925 <= np.mean(held) <= 0.99


def test_scores_near_their_bound_are_covered():
    """edit_recovery of a method that is nearly always right: 1 at most, with a long tail below."""
    rng, held = np.random.default_rng(2), []
    outcome = lambda total: np.clip(1 - np.exp(total - 2.5), -1, 1)  # noqa: E731
    truth = outcome(np.random.default_rng(0).normal(size=2_000_000)).mean()
    for number in range(20):
        family, source, part, clusters = suite(rng)
        values = outcome(latent(rng, family, source, 60))
        bounds = [(-1.0, 1.0)] * 60
        offsets = intervals([[part]], values, clusters, number, 200, bounds=bounds)[0]
        low, high = offsets.T + values.mean(axis=0)
        held.append((low <= truth) & (truth <= high))
    assert truth > 0.85 and 0.91 <= np.mean(held) <= 0.98


def test_a_photograph_behind_a_that_matters_is_a_cluster():
    """Were photographs behind a ignored, intervals would hold far less often than they say."""
    rng = np.random.default_rng(3)
    held: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for number in range(15):
        family, source, part, _ = suite(rng)
        behind_a = rng.integers(0, 15, len(family))
        values = latent(rng, family, source, 60) + 0.6 * rng.normal(size=(15, 60))[behind_a]
        for counted in (True, False):
            a_names = [f"a{a}" for a in behind_a] if counted else None
            names = [f"f{f}" for f in family], [f"s{s}" for s in source]
            offsets = intervals([[part]], values, Clusters(*names, a_names), number, 200)[0]
            low, high = offsets.T + values.mean(axis=0)
            held[counted].append((low <= 0) & (high >= 0))
    assert np.mean(held[True]) >= 0.92 and np.mean(held[False]) <= 0.85


def test_bounds_are_known_by_name_and_a_metric_of_ones_own_that_is_0_or_1_is_a_proportion():
    values = np.array([0.0, 1.0, 1.0])
    assert bounds_of("retrieval", values) == bounds_of("mine", values) == (0.0, 1.0)
    assert bounds_of("judge_accuracy[some/model]", values + 2) == (1.0, 10.0)
    assert bounds_of("mine", values / 2) is None
    assert bounds_of("retrieval", values * 3) is None
