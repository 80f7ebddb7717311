"""Means, intervals and the gap, against loops, closed forms and known truths."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lorweb_bench.errors import InputError
from lorweb_bench.stats.aggregate import gap, groups, ordered, parts_of, summarise
from lorweb_bench.stats.clusters import Clusters, spread


def table_of(rows: list[dict]) -> dict[str, np.ndarray]:
    """A table from rows that say only what matters to a test."""
    full = []
    for i, row in enumerate(rows):
        tier = row.get("tier", "new_family")
        base = {
            "key": f"k{i:05d}",
            "split": "seen" if tier.startswith("seen") else "unseen",
            "transformation": "t",
            "family": "f",
            "kind": "colour",
            "tier": tier,
            "a_source": "a",
            "b_source": f"s{i}",
            "hard": False,
        }
        full.append(base | row)
    return {name: np.array([row[name] for row in full]) for name in full[0]}


def random_table(
    seed: int, items: int = 120, families: int = 10, sources: int = 12
) -> dict[str, np.ndarray]:
    """Five tiers, compositions among them, two metrics."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(items):
        tier = (
            "seen_single",
            "seen_composition",
            "new_parameters",
            "new_composition",
            "new_family",
        )[i % 5]
        first, second = sorted(rng.choice(families, 2, replace=False))
        family = (
            f"f{first}+f{second}"
            if tier.endswith("composition")
            else f"{'g' if tier == 'new_family' else 'f'}{first}"
        )
        transformation = f"{tier}-{family}-{rng.integers(2)}"
        row = {
            "tier": tier,
            "family": family,
            "transformation": transformation,
            "kind": f"kind{first % 3}",
        }
        row |= {"b_source": f"s{rng.integers(sources)}", "hard": bool(rng.random() < 0.5)}
        rows.append(row | {"x": float(rng.normal(first / 5, 1)), "y": float(rng.random())})
    return table_of(rows)


def test_what_is_new_to_the_base_is_a_group_of_its_own_and_in_no_other():
    rows = [
        {"tier": "new_family", "transformation": "a", "kind": "colour", "x": 1.0, "hard": True},
        {"tier": "new_to_base", "transformation": "b", "kind": "colour", "x": 0.0, "hard": True},
        {"tier": "new_to_base", "transformation": "c", "kind": "blur", "x": 0.5},
    ]
    summary = summarise(table_of(rows), ["x"], resamples=20)
    means = {name: metrics["x"]["mean"] for name, metrics in summary.items()}
    old = ("unseen", "new_family", "unseen/colour", "unseen_hard", "new_family_hard")
    assert means == {
        **dict.fromkeys((*old, "unseen/colour_hard"), 1.0),
        "new_to_base": 0.25,
        "new_to_base_hard": 0.0,
    }
    without = summarise(table_of(rows[:1]), ["x"], resamples=20)
    assert without["unseen"] == summary["unseen"] and "new_to_base" not in without


def shuffled(table: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[order] for name, column in table.items()}


def loop_mean(table: dict[str, np.ndarray], keep: np.ndarray, metric: str) -> float:
    """The definition, in loops: per transformation, over the transformations of a tier, over
    tiers.
    """
    per_tier: dict[str, dict[str, list[float]]] = {}
    for i in np.flatnonzero(keep):
        per_tier.setdefault(table["tier"][i], {}).setdefault(table["transformation"][i], []).append(
            table[metric][i]
        )
    of_tiers = []
    for of_transformation in per_tier.values():
        means = [sum(v) / len(v) for v in of_transformation.values()]
        of_tiers.append(sum(means) / len(means))
    return sum(of_tiers) / len(of_tiers)


def test_means_are_means_of_means_in_every_group():
    table = random_table(1)
    summary = summarise(table, ["x", "y"], resamples=20)
    keep = {name: table["split"] == name for name in ("seen", "unseen")}
    keep |= {name: table["tier"] == name for name in set(table["tier"])}
    keep |= {
        f"unseen/{kind}": (table["split"] == "unseen") & (table["kind"] == kind)
        for kind in set(table["kind"])
    }
    keep |= {f"{name}_hard": mask & table["hard"] for name, mask in list(keep.items())}
    assert set(summary) == {name for name, mask in keep.items() if mask.any()}
    for name in summary:
        for metric in ("x", "y"):
            assert summary[name][metric]["mean"] == pytest.approx(
                loop_mean(table, keep[name], metric), abs=1e-12
            )
        assert summary[name]["x"]["samples"] == keep[name].sum()
        assert summary[name]["x"]["transformations"] == len(
            set(table["transformation"][keep[name]])
        )


def test_unseen_weighs_tiers_and_transformations_not_items():
    rows = [{"tier": "new_family", "transformation": "a", "x": 0.0}] * 9 + [
        {"tier": "new_family", "transformation": "b", "x": 1.0}
    ]
    rows += [{"tier": "new_parameters", "transformation": "c", "x": 1.0}]
    summary = summarise(table_of(rows), ["x"], resamples=10)
    assert summary["new_family"]["x"]["mean"] == 0.5
    assert summary["unseen"]["x"]["mean"] == 0.75
    assert "seen" not in summary and "unseen_hard" not in summary


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(seed, random):
    table = random_table(seed, items=40)
    order = list(range(40))
    random.shuffle(order)
    assert summarise(shuffled(table, np.array(order)), ["x"], resamples=20) == summarise(
        table, ["x"], resamples=20
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 39), st.floats(1e-9, 1e6))
def test_lowering_a_value_never_raises_a_mean(seed, item, by):
    table = random_table(seed, items=40)
    lower = table | {"x": np.where(np.arange(40) == item, table["x"] - by, table["x"])}
    before, after = summarise(table, ["x"], resamples=1), summarise(lower, ["x"], resamples=1)
    assert all(after[name]["x"]["mean"] <= before[name]["x"]["mean"] for name in before)


@pytest.mark.parametrize("value", [0.7, -0.3])
def test_a_constant_has_its_value_and_an_interval_of_no_width(value):
    table = random_table(3) | {"x": np.full(120, value)}
    summary = summarise(table, ["x"], resamples=30)
    for group in summary.values():
        assert group["x"]["mean"] == pytest.approx(value, abs=1e-15)
        if group["x"]["ci_low"] is not None:
            assert group["x"]["ci_high"] - group["x"]["ci_low"] < 1e-12
    assert summary["seen"]["x"]["ci_low"] is not None
    differences = gap(table, ["x"], resamples=30)
    assert differences is not None and abs(differences["new_parameters"]["x"]["gap"]) < 1e-15


@pytest.mark.parametrize(("metric", "bound"), [("retrieval", 0.0), ("edit_recovery", 1.0)])
def test_where_all_items_are_at_a_bound_the_interval_says_what_items_so_few_can(metric, bound):
    """The rule of three, about: with n items and no failure, up to 3.8/n of them can be
    failures.
    """
    table = random_table(3, items=600, families=20, sources=40) | {metric: np.full(600, bound)}
    found = summarise(table, [metric], resamples=30)["unseen"][metric]
    width = found["ci_high"] - found["ci_low"]
    reach = 2.0 if metric == "edit_recovery" else 1.0
    assert bound in (found["ci_low"], found["ci_high"])
    assert 3 / 360 < width / reach < 6 / 250


def test_the_oracle_is_exactly_one():
    table = random_table(4) | {"x": np.ones(120)}
    assert {group["x"]["mean"] for group in summarise(table, ["x"], resamples=1).values()} == {1.0}


@pytest.mark.parametrize(
    ("families", "sources", "given"), [(8, 8, True), (7, 20, False), (20, 7, False)]
)
def test_fewer_than_eight_families_or_sources_give_no_interval(families, sources, given):
    rng = np.random.default_rng(0)
    rows = [
        {
            "transformation": f"t{i % families}",
            "family": f"f{i % families}",
            "b_source": f"s{rng.permutation(sources)[0]}",
            "x": rng.random(),
        }
        for i in range(200)
    ]
    found = summarise(table_of(rows), ["x"], resamples=20)["new_family"]["x"]
    assert (found["ci_low"] is not None) is given
    assert (found["ci_low"] is None) == (found["ci_high"] is None)


def test_the_interval_is_none_where_all_compositions_share_a_family():
    rows = [
        {"transformation": f"t{i % 9}", "family": f"f0+f{1 + i % 9}", "x": float(i % 7)}
        for i in range(90)
    ]
    assert summarise(table_of(rows), ["x"], resamples=20)["new_family"]["x"]["ci_low"] is None


def loop_variance(elements: list[set], weights: np.ndarray, values: np.ndarray) -> float:
    """The corrected variance by its definition: a double loop over all pairs of items that share
    anything.
    """
    moved = weights * (values - weights @ values)
    total = shared = 0.0
    for i, j in itertools.product(range(len(values)), repeat=2):
        if elements[i] & elements[j]:
            total += moved[i] * moved[j]
            shared += weights[i] * weights[j]
    return total / (1 - shared)


@pytest.mark.parametrize("tier", ["seen_single", "seen_composition"])
def test_the_variance_is_the_sum_over_pairs_that_share_something(tier):
    table = ordered(random_table(5, items=300, families=12, sources=15), ["x"])
    [part] = parts_of(groups(table)[tier], table["transformation"])
    clusters = Clusters(list(table["family"]), list(table["b_source"]))
    elements = [
        set(f.split("+")) | {f"source {s}"}
        for f, s in zip(table["family"], table["b_source"], strict=True)
    ]
    own = [elements[i] for i in part.rows]
    values = table["x"][part.rows]
    labels = [{table["family"][i]} for i in part.rows]
    expected = max(
        loop_variance(own, part.weights, values), loop_variance(labels, part.weights, values)
    )
    assert spread([part], table["x"][:, None], clusters).variance[0] == pytest.approx(
        expected, rel=1e-10
    )


def test_equal_families_alone_give_the_classic_t_interval_of_their_means():
    rng = np.random.default_rng(6)
    effects = rng.normal(size=12)
    rows = [
        {
            "transformation": f"t{f}",
            "family": f"f{f:02d}",
            "b_source": f"s{f * 100 + i}",
            "x": effects[f],
        }
        for f in range(12)
        for i in range(100)
    ]
    table = ordered(table_of(rows), ["x"])
    [part] = parts_of(groups(table)["new_family"], table["transformation"])
    known = spread(
        [part], table["x"][:, None], Clusters(list(table["family"]), list(table["b_source"]))
    )
    assert known.variance[0] == pytest.approx(effects.var(ddof=1) / 12, rel=1e-3)
    assert known.freedom[0] == pytest.approx(11, rel=1e-2)
    found = summarise(table_of(rows), ["x"], resamples=2000)["new_family"]["x"]
    half = stats.t.ppf(0.975, 11) * effects.std(ddof=1) / math.sqrt(12)
    assert found["ci_high"] - found["ci_low"] == pytest.approx(2 * half, rel=0.12)
    assert found["mean"] == pytest.approx(effects.mean())


def test_a_seed_gives_the_same_interval_again_and_another_seed_nearly_so():
    table = random_table(9, items=300)
    first, again, other = (summarise(table, ["x"], seed=s)["unseen"]["x"] for s in (1, 1, 2))
    assert first == again
    assert other["ci_low"] != first["ci_low"]
    assert other["ci_low"] == pytest.approx(
        first["ci_low"], abs=0.15 * (first["ci_high"] - first["ci_low"])
    )


def test_the_gap_compares_like_with_like():
    rows = []
    for family in range(10):
        for i in range(4):
            rows.append(
                {
                    "tier": "seen_single",
                    "family": f"f{family}",
                    "transformation": f"s{family}",
                    "x": family + 0.5,
                }
            )
            rows.append(
                {
                    "tier": "new_parameters",
                    "family": f"f{family}",
                    "transformation": f"n{family}-{i % (1 + family % 3)}",
                    "x": family,
                }
            )
    rows += [{"tier": "seen_single", "family": "only seen", "transformation": "o", "x": 99.0}] * 5
    found = gap(table_of(rows), ["x"], resamples=50)
    assert found is not None and set(found) == {"new_parameters"}
    entry = found["new_parameters"]["x"]
    assert (entry["seen"], entry["unseen"], entry["gap"], entry["families"]) == (5.0, 4.5, 0.5, 10)
    assert (
        entry["ci_high"] - entry["ci_low"] < 1e-6
    )  # every family has the same gap, however much families differ


def test_the_gap_of_compositions_is_that_of_the_tiers_and_open_has_none():
    table = random_table(12, items=300)
    found = gap(table, ["x", "y"], resamples=50)
    summary = summarise(table, ["x"], resamples=10)
    expected = summary["seen_composition"]["x"]["mean"] - summary["new_composition"]["x"]["mean"]
    assert found is not None
    entry = found["new_composition"]["x"]
    assert entry["gap"] == pytest.approx(expected, abs=1e-12)
    assert entry["ci_low"] < entry["gap"] < entry["ci_high"]
    assert entry["families"] == 10
    assert gap(table, ["x"], track="open") is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_by_name(value):
    table = random_table(13, items=30)
    table["x"][7] = value
    with pytest.raises(InputError, match=r"x of item 'k00007'"):
        summarise(table, ["x"])


def test_broken_tables_are_refused():
    table = random_table(14, items=30)
    with pytest.raises(InputError, match="'z'"):
        summarise(table, ["z"])
    with pytest.raises(InputError, match="'k00003' twice"):
        summarise(
            table | {"key": np.array(["k00003" if k == "k00004" else k for k in table["key"]])},
            ["x"],
        )
    with pytest.raises(InputError, match="tier 'new'"):
        summarise(table | {"tier": np.array(["new"] * 30)}, ["x"])
    with pytest.raises(InputError, match="different lengths"):
        summarise(table | {"x": table["x"][:-1]}, ["x"])


def test_no_metric_gives_groups_without_scores():
    table = random_table(15, items=30)
    assert set(summarise(table, [])) == set(groups(ordered(table, [])))
    assert set(summarise(table, [])["seen"]) == set()
