"""What items share."""

import numpy as np

from lorweb_bench.stats.clusters import Clusters, Part, estimable


def test_a_part_counts_families_of_compositions_one_by_one():
    clusters = Clusters([f"f{i}+f{i + 1}" for i in range(7)], [f"s{i}" for i in range(7)])
    assert clusters.counts(np.arange(7)) == (8, 7)
    assert not estimable([Part(np.arange(7), np.full(7, 1 / 7))], clusters)


def test_photographs_behind_a_count_from_eight_on():
    names = [f"n{i}" for i in range(24)]
    eight, seven = ([f"a{i % count}" for i in range(24)] for count in (8, 7))
    assert Clusters(names, names, eight).counts_a
    assert not Clusters(names, names, seven).counts_a and not Clusters(names, names).counts_a
