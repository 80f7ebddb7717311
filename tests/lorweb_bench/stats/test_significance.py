"""The sign-flip test of all pairs at once, against SciPy, loops and known truths; and rank
ranges.
"""

import itertools
import math
import time

import numpy as np
import pytest
from scipy import stats

from lorweb_bench.errors import InputError
from lorweb_bench.stats.bootstrap import Trainings, between_trainings
from lorweb_bench.stats.clusters import Clusters, Part, freedoms, variance_of
from lorweb_bench.stats.significance import pairwise_p, rank_ranges, sign_patterns


def one_item_each(count: int) -> tuple[list[Part], Clusters]:
    """So many families with one item and one source each: clusters that share nothing."""
    names = [str(i) for i in range(count)]
    return [Part(np.arange(count), np.full(count, 1 / count))], Clusters(names, names)


def p_of(values: np.ndarray, parts: list[Part], clusters: Clusters, **options) -> float:
    """The p-value of one column of differences: of a method that has them against one that is 0."""
    both = np.column_stack([values, np.zeros(len(values))])
    return float(pairwise_p(both, parts, clusters, **options)[0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_with_clusters_alone_it_is_scipys_exact_permutation_test(seed):
    values = np.random.default_rng(seed).normal(0.4, 1, 10)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=math.inf
    )
    assert p_of(values, *one_item_each(10)) == pytest.approx(expected.pvalue, abs=1e-12)


def test_many_clusters_are_sampled_and_come_near_scipys_answer():
    values = np.random.default_rng(5).normal(0.25, 1, 60)
    expected = stats.permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    p = p_of(values, *one_item_each(60))
    assert p == pytest.approx(expected.pvalue, abs=0.02)
    assert p == p_of(values, *one_item_each(60))
    assert 0 < p_of(np.full(60, 9.0), *one_item_each(60)) < 0.001


def loop_statistics(units: list[str], elements: list[set[str]], values: np.ndarray) -> list[float]:
    """By the definition, per pattern of signs of the units: |mean| over its standard error.

    The variance is taken around the flipped mean, over all pairs of items that share an element
    (never less than over units), and corrected as that of so many independent units.
    """
    names = sorted(set(units))
    sizes = np.array([units.count(name) for name in names]) / len(units)
    found = []
    for signs in itertools.product((1.0, -1.0), repeat=len(names)):
        if signs[0] > 0:
            flipped = np.array([signs[names.index(u)] for u in units]) * values
            moved = (flipped - flipped.mean()) / len(values)
            shared = of_units = 0.0
            for i, j in itertools.product(range(len(values)), repeat=2):
                shared += moved[i] * moved[j] if elements[i] & elements[j] else 0.0
                of_units += moved[i] * moved[j] if units[i] == units[j] else 0.0
            variance = max(shared, of_units) / (1 - (sizes**2).sum())
            found.append(abs(flipped.mean()) / math.sqrt(variance))
    return found


def test_families_and_photographs_are_flipped_in_turn_as_in_loops():
    """The p-value is the larger one of two tests, each by its definition."""
    rng = np.random.default_rng(6)
    families = [f"f{i % 8}" for i in range(27)]
    sources = [f"s{i // 3}" for i in rng.permutation(27)]
    values = rng.normal(0.3, 1, 27)
    elements = [{f, s} for f, s in zip(families, sources, strict=True)]
    clusters = Clusters(families, sources)
    part = Part(np.arange(27), np.full(27, 1 / 27))
    own = abs(values.mean()) / math.sqrt(variance_of([part], values[:, None], clusters)[0])
    expected = []
    for units in (families, sources):
        patterns = loop_statistics(units, elements, values)[1:]
        sizes = np.array([units.count(name) for name in set(units)]) / 27
        independent = 1 / (sizes**2).sum() - 1
        known = min(freedoms([part], clusters))
        brought = stats.t.isf(stats.t.sf(own, known), independent) if known < independent else own
        expected.append((1 + sum(t >= brought - 1e-9 for t in patterns)) / (1 + len(patterns)))
    assert p_of(values, [part], clusters) == pytest.approx(max(expected), abs=1e-12)


def test_all_pairs_are_adjusted_by_the_step_down_maximum_as_in_loops():
    """Rank the pairs; each p is the share of patterns in which it, or one ranked lower, reaches
    it.
    """
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1, (9, 4)) + np.array([0.0, 0.2, 0.9, 1.6])
    units = [f"f{i}" for i in range(9)]
    pairs = list(itertools.combinations(range(4), 2))
    elements = [{u} for u in units]
    differences = [values[:, i] - values[:, j] for i, j in pairs]
    statistics = np.array([loop_statistics(units, elements, d) for d in differences])
    order = sorted(range(6), key=lambda n: -statistics[n, 0])
    expected, least = np.ones((4, 4)), 0.0
    for place, n in enumerate(order):
        maxima = statistics[order[place:]].max(axis=0)
        least = max(least, float(np.mean(maxima >= statistics[n, 0] * (1 - 1e-9))))
        expected[pairs[n]] = expected[pairs[n][::-1]] = least
    found = pairwise_p(values, *one_item_each(9))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_group_of_two_tiers_is_that_of_one_where_tiers_weigh_as_their_items_do():
    rng = np.random.default_rng(4)
    values = rng.normal(0, 1, (40, 3))
    labels, sources = [f"f{i % 20}" for i in range(40)], [f"s{i}" for i in range(40)]
    halves = [
        Part(np.arange(20), np.full(20, 0.05), 0.5),
        Part(np.arange(20, 40), np.full(20, 0.05), 0.5),
    ]
    values -= np.vstack(
        [np.tile(values[rows].mean(axis=0), (20, 1)) for rows in (slice(20), slice(20, 40))]
    )
    whole = [Part(np.arange(40), np.full(40, 0.025))]
    clusters = Clusters(labels, sources)
    two, one = (pairwise_p(values + [0, 0.3, 0.6], parts, clusters) for parts in (halves, whole))
    np.testing.assert_allclose(two, one, atol=0.06)


def compositions(rng: np.random.Generator, count: int, families: int) -> list[str]:
    pairs = [rng.choice(families, 2, replace=False) for _ in range(count)]
    return ["+".join(sorted(f"f{i}" for i in pair)) for pair in pairs]


@pytest.mark.parametrize("families", [12, 20, 40])
def test_a_constant_difference_of_one_is_as_significant_as_the_patterns_allow(families):
    """A perfect method against doing nothing, on compositions that share families and
    photographs.
    """
    rng = np.random.default_rng(families)
    labels = [label for label in compositions(rng, families, families) for _ in range(6)]
    sources = [f"s{i}" for i in rng.integers(0, 30, len(labels))]
    clusters = Clusters(labels, sources, [f"a{i}" for i in rng.integers(0, 25, len(labels))])
    part = Part(np.arange(len(labels)), np.full(len(labels), 1 / len(labels)))
    assert p_of(np.ones(len(labels)), [part], clusters) <= 0.001
    assert p_of(1 + rng.normal(0, 0.05, len(labels)), [part], clusters) <= 0.001


def test_no_difference_and_too_few_clusters():
    parts, clusters = one_item_each(12)
    assert p_of(np.zeros(12), parts, clusters) == 1.0
    base = np.random.default_rng(0).random(12) * 50
    same = np.column_stack([base, base, base + 1])
    assert pairwise_p(same, parts, clusters)[0, 1] == 1.0
    parts, clusters = one_item_each(7)
    assert np.isnan(p_of(np.ones(7), parts, clusters))


def test_sign_patterns_are_all_or_many():
    few = sign_patterns(5, seed=0)
    assert few.shape == (5, 16) and len({tuple(column) for column in few.T}) == 16
    assert (few[0] == 1).all()
    assert sign_patterns(30, seed=0, flips=100).shape == (30, 101)


def shared_suite(rng: np.random.Generator, count: int = 20, families: int = 14):
    """Compositions that share families, and photographs behind a and b that they share."""
    labels = np.repeat(compositions(rng, count, families), 6)
    sources = rng.integers(0, 25, (2, len(labels)))
    names = [[f"{name}{i}" for i in row] for name, row in zip("ba", sources, strict=True)]
    clusters = Clusters(labels.tolist(), *names)
    part = Part(np.arange(len(labels)), np.full(len(labels), 1 / len(labels)))
    return labels, sources, clusters, part


def method_noise(rng: np.random.Generator, labels: np.ndarray, sources: np.ndarray, columns: int):
    """What methods differ by from item to item, with a mean of 0 over families and photographs."""
    of_items = np.array([[int(f[1:]) for f in label.split("+")] for label in labels])
    noise = 0.5 * rng.normal(size=(14, columns))[of_items].sum(axis=1)
    for own in sources:
        noise += 0.3 * rng.normal(size=(25, columns))[own]
    return noise + 0.5 * rng.normal(size=(len(labels), columns))


def test_chance_is_called_significant_no_more_than_one_time_in_twenty():
    """Ten equal methods, 45 pairs: in no more than 5 % of suites is any pair told apart."""
    rng = np.random.default_rng(7)
    wrong = []
    for _ in range(120):
        labels, sources, clusters, part = shared_suite(rng)
        values = method_noise(rng, labels, sources, 10)
        wrong.append(pairwise_p(values, [part], clusters, flips=300).min() <= 0.05)
    assert np.mean(wrong) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / len(wrong))


def test_two_equal_methods_among_better_ones_are_told_apart_as_seldom():
    """Strong control: of six methods two are equal; true differences do not raise that error."""
    rng = np.random.default_rng(8)
    wrong = []
    for _ in range(120):
        labels, sources, clusters, part = shared_suite(rng)
        values = method_noise(rng, labels, sources, 6) + np.array([0, 0, 2, 4, 6, 8])
        wrong.append(pairwise_p(values, [part], clusters, flips=300)[0, 1] <= 0.05)
    assert np.mean(wrong) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / len(wrong))


def test_trainings_that_differ_by_as_much_make_a_difference_one_of_chance():
    rng = np.random.default_rng(9)
    parts, clusters = one_item_each(40)
    base = rng.normal(size=40)
    values = np.column_stack([base + 0.3 + rng.normal(0, 0.1, 40), base])
    assert pairwise_p(values, parts, clusters)[0, 1] < 0.001
    alike = [(Trainings(0.0001, 2.0),), ()]
    assert pairwise_p(values, parts, clusters, trainings=alike)[0, 1] < 0.01
    apart = [(Trainings(0.09, 2.0),), ()]
    assert pairwise_p(values, parts, clusters, trainings=apart)[0, 1] > 0.2


def test_with_trainings_alone_the_p_value_is_that_of_students_t():
    """Items that all tell the same leave the trainings: three of them, so t with 2 degrees of
    freedom.
    """
    means = [0.2, 0.5, 0.4]
    known = between_trainings(means)
    parts, clusters = one_item_each(40)
    values = np.column_stack([np.full(40, np.mean(means)), np.zeros(40)])
    expected = stats.ttest_1samp(means, 0.0).pvalue
    found = pairwise_p(values, parts, clusters, trainings=[known, ()])[0, 1]
    # flipped items add to the variance, so p lies a little below that of the trainings alone
    assert expected * 0.7 < found < expected * 1.15


def test_ranks_are_ranges_and_turn_with_the_metric():
    rng = np.random.default_rng(8)
    parts, clusters = one_item_each(20)
    base = rng.normal(size=20)
    values = {
        "best": base + 1,
        "near": base + 0.01 * rng.normal(size=20),
        "like": base + 0.01 * rng.normal(size=20),
        "worst": base - 1,
    }
    expected = {"best": (1, 1), "near": (2, 3), "like": (2, 3), "worst": (4, 4)}
    assert rank_ranges(values, parts, clusters) == expected
    turned = rank_ranges(values, parts, clusters, higher_is_better=False)
    assert turned == {name: (5 - last, 5 - first) for name, (first, last) in expected.items()}
    assert rank_ranges({"alone": base}, parts, clusters) == {"alone": (1, 1)}
    assert rank_ranges({}, parts, clusters) == {}
    few = rank_ranges({"a": np.ones(5), "b": np.zeros(5)}, *one_item_each(5))
    assert few == {"a": (1, 2), "b": (1, 2)}
    with pytest.raises(InputError, match="different numbers"):
        rank_ranges({"a": base, "b": base[1:]}, parts, clusters)


@pytest.mark.parametrize(("count", "families"), [(2, 8), (20, 30), (24, 8), (70, 20)])
def test_methods_far_apart_have_a_rank_each_however_many_there_are(count, families):
    rng = np.random.default_rng(count)
    labels = np.repeat([f"f{i}" for i in range(families)], 4)
    sources = [f"s{i}" for i in rng.integers(0, 30, len(labels))]
    part = Part(np.arange(len(labels)), np.full(len(labels), 1 / len(labels)))
    levels = rng.permutation(count) / count
    values = {f"m{k}": level + rng.normal(0, 2e-4, len(labels)) for k, level in enumerate(levels)}
    ranks = rank_ranges(values, [part], Clusters(labels.tolist(), sources))
    expected = {f"m{k}": count - int(round(level * count)) for k, level in enumerate(levels)}
    assert ranks == {name: (rank, rank) for name, rank in expected.items()}


@pytest.mark.slow
def test_two_hundred_methods_take_at_most_a_minute():
    rng = np.random.default_rng(1)
    labels, sources, clusters, part = shared_suite(rng, 100)
    values = method_noise(rng, labels, sources, 200)
    started = time.process_time()
    ranks = rank_ranges({str(i): column for i, column in enumerate(values.T)}, [part], clusters)
    assert len(ranks) == 200 and time.process_time() - started < 60
