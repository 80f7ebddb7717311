"""Comparing reports: what is said of differences, trainings, ranks, and what is refused."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from lorweb_bench.compare.compare import (
    compare_all_metrics,
    compare_reports,
    transformations_needed,
)
from lorweb_bench.compare.comparison import Difference
from lorweb_bench.compare.showing import write_comparisons
from lorweb_bench.errors import InputError
from lorweb_bench.predictions.format import MethodId, SuiteId
from lorweb_bench.reports.report import (
    PER_SAMPLE,
    Report,
    Score,
    open_report,
    write_per_sample,
    write_report,
)
from lorweb_bench.stats.aggregate import summarise
from lorweb_bench.stats.bootstrap import between_trainings, intervals
from lorweb_bench.stats.clusters import Clusters, Part


def labels(items: int = 160, families: int = 16) -> dict[str, np.ndarray]:
    """A table of two tiers without metrics."""
    rng = np.random.default_rng(9)
    number = np.arange(items)
    tier = np.where(number % 2, "new_family", "seen_single")
    names = [f"{t}-f{n % families}" for t, n in zip(tier, number, strict=True)]
    table = {
        "key": [f"k{n:04d}" for n in number],
        "split": np.where(number % 2, "unseen", "seen"),
        "transformation": names,
        "family": names,
    }
    table |= {
        "kind": ["colour"] * items,
        "tier": tier,
        "a_source": ["a"] * items,
        "b_source": [f"s{s}" for s in rng.integers(0, 30, items)],
    }
    return {name: np.array(column) for name, column in table.items()} | {
        "hard": np.zeros(items, dtype=bool)
    }


def write(
    folder: Path,
    name: str,
    values: np.ndarray,
    metric: str = "edit_recovery",
    fingerprint: str = "a" * 64,
    **changes,
) -> Path:
    table = labels(len(values)) | {metric: values}
    scores = {
        g: {m: Score(**s, higher_is_better=metric != "mse") for m, s in of.items()}
        for g, of in summarise(table, [metric], resamples=20).items()
    }
    content = {
        "suite": SuiteId(name="photos", version="1", fingerprint=fingerprint),
        "method": MethodId(name=name),
        "track": "closed",
    }
    content |= {"prompt_mode": "none", "scores": scores, "missing": 0, "environment": {}}
    folder.mkdir()
    write_per_sample(folder / PER_SAMPLE, table)
    write_report(folder, Report(**(content | changes)))
    return folder


def test_a_clear_difference_is_named_and_one_within_noise_says_what_it_takes(tmp_path, monkeypatch):
    rng = np.random.default_rng(10)
    base = rng.normal(0, 0.2, 160)
    good = write(tmp_path / "good", "good", base + 1 + rng.normal(0, 0.1, 160))
    plain = write(tmp_path / "plain", "plain", base)
    turns = np.where(
        np.arange(160) % 16 // 2 % 2, 0.3, -0.3
    )  # better in one half of the families, worse in the other
    near = write(tmp_path / "near", "near", base + turns + 0.02)
    found = compare_reports([good, plain, near])
    verdicts = {(d.group, d.first, d.second): d for d in found.differences}
    assert {d.group for d in found.differences} == {"seen", "unseen", "seen_single", "new_family"}
    clear = verdicts["unseen", "good", "plain"]
    assert clear.verdict == "good is better" and clear.ci_low > 0 and clear.p <= 0.05
    assert clear.mean == pytest.approx(
        found.groups["unseen"].means["good"] - found.groups["unseen"].means["plain"]
    )
    unclear = verdicts["unseen", "plain", "near"]
    assert (
        unclear.verdict.startswith("within noise; it takes about ")
        and unclear.needed > unclear.transformations == 8
    )
    assert found.groups["unseen"].ranks == {"good": (1, 1), "plain": (2, 3), "near": (2, 3)}
    monkeypatch.setenv("COLUMNS", "160")  # so that no cell is broken over lines
    text = str(found)
    assert (
        "edit_recovery on photos 1" in text
        and "good is better" in text
        and "2 to 3" in text
        and "within noise" in text
    )
    assert compare_reports([good, plain, near]) == found


def test_a_lower_error_is_better_and_a_report_equals_itself(tmp_path):
    base = np.random.default_rng(11).random(160)
    low, high = (
        write(tmp_path / "low", "low", base / 2, "mse"),
        write(tmp_path / "high", "high", base, "mse"),
    )
    found = compare_reports([high, low])
    assert found.metric == "mse" and found.differences[0].verdict == "low is better"
    same = compare_reports([low, low])
    assert same.differences[0].p == 1.0 and same.differences[0].verdict == "no difference"
    assert [entry.label for entry in same.methods] == ["low (low) #1", "low (low) #2"]


def test_ranks_keep_to_one_track_and_prompt_mode_and_leave_partial_and_shuffled_out(tmp_path):
    base = np.random.default_rng(12).random(160)
    settings_of = {
        "a": {},
        "b": {},
        "c": {"track": "open"},
        "d": {"prompt_mode": "task"},
        "e": {"partial": True},
        "f": {"pairs": "shuffled"},
    }
    paths = [
        write(tmp_path / n, n, base + i, **changes)
        for i, (n, changes) in enumerate(settings_of.items())
    ]
    found = compare_reports(paths)
    assert found.groups["unseen"].ranks == {"a": (2, 2), "b": (1, 1), "c": (1, 1), "d": (1, 1)}
    assert "not ranked" in str(found) and "pairs shuffled" in str(found)


def trainings_of(
    folder: Path, name: str, base: np.ndarray, effects: list[float], seed: int, **changes
) -> list[Path]:
    """Reports of one method, each training better or worse on all items by its effect, and by
    some noise of its own.
    """
    rng = np.random.default_rng(seed)
    return [
        write(folder / f"{name}-{i}", name, base + e + rng.normal(0, 0.05, len(base)), **changes)
        for i, e in enumerate(effects)
    ]


def test_trainings_of_a_method_are_one_entry_whose_interval_holds_their_variation(tmp_path):
    base = np.random.default_rng(14).normal(0, 0.2, 160)
    paths = trainings_of(tmp_path, "lorweb", base, [-0.1, 0.0, 0.1], 15)
    alone = compare_reports(paths[:2])
    found = compare_reports(
        [*paths, write(tmp_path / "copy-b", "copy-b", base - 1)], trainings=True
    )
    assert [(entry.label, entry.trainings) for entry in found.methods] == [
        ("lorweb", 3),
        ("copy-b", 1),
    ]
    means = [open_report(path).scores["unseen"]["edit_recovery"].mean for path in paths]
    assert found.groups["unseen"].means["lorweb"] == pytest.approx(np.mean(means))
    low, high = found.groups["unseen"].intervals["lorweb"]
    narrow = alone.groups["unseen"].intervals["lorweb (lorweb-0)"]
    assert high - low > narrow[1] - narrow[0]
    assert high - low > 2 * 1.96 * math.sqrt(np.var(means, ddof=1) / 3)
    assert "3 trainings" in str(found) and "Of copy-b there is one report" in str(found)
    only = compare_reports(paths, trainings=True)
    assert only.differences == () and only.groups["unseen"].means == {
        "lorweb": found.groups["unseen"].means["lorweb"]
    }


def test_a_difference_that_trainings_differ_by_is_within_noise(tmp_path):
    base = np.random.default_rng(16).normal(0, 0.2, 160)
    first = trainings_of(tmp_path, "first", base, [-0.3, 0.0, 0.3], 17)
    second = trainings_of(tmp_path, "second", base + 0.1, [-0.3, 0.05, 0.25], 18)
    lucky = compare_reports([first[0], second[2]])
    assert {d.verdict for d in lucky.differences} == {"second is better"}
    found = compare_reports([*first, *second], trainings=True)
    assert all(d.p > 0.05 and "it takes more of them" in d.verdict for d in found.differences)
    assert found.groups["unseen"].ranks == {"first": (1, 2), "second": (1, 2)}
    clear = compare_reports(
        [*first, *trainings_of(tmp_path, "third", base + 3, [-0.3, 0.05, 0.25], 19)], trainings=True
    )
    assert {d.verdict for d in clear.differences} == {"third is better"}


def test_trainings_keep_to_one_setting_and_count_once(tmp_path):
    base = np.random.default_rng(20).normal(0, 0.2, 160)
    plain = trainings_of(tmp_path, "m", base, [0.0, 0.1], 21)
    told = write(tmp_path / "told", "m", base + 1, prompt_mode="task")
    found = compare_reports([*plain, told], trainings=True)
    assert [(e.label, e.trainings) for e in found.methods] == [
        ("m (closed, none)", 2),
        ("m (closed, task)", 1),
    ]
    with pytest.raises(InputError, match="of one training of m, not of two"):
        compare_reports([plain[0], plain[0]], trainings=True)
    same = MethodId(name="m", checkpoint_sha256="c" * 64)
    twice = [write(tmp_path / f"t{i}", "m", base + i, method=same) for i in range(2)]
    with pytest.raises(InputError, match="of one training of m"):
        compare_reports(twice, trainings=True)


def test_the_number_needed_is_that_of_a_test_of_a_mean():
    """The normal formula by hand: n = (1.95996 + 0.84162)² sd² / d², with sd² = 1 and d = 0.5."""
    assert transformations_needed(0.5, 1.0 / 10, 0.0, 10) == math.ceil(
        (1.959964 + 0.841621) ** 2 / 0.25
    )
    assert transformations_needed(0.1, 0.001, 0.002, 10) == math.inf
    assert transformations_needed(0.0, 0.1, 0.0, 10) is None


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_over_trainings_hold_what_they_say(count):
    """Families, photographs, trainings and their interactions drawn anew: the mean of the
    population is in the interval.
    """
    rng, held = np.random.default_rng(count), []
    for design in range(60):
        family, source = rng.permutation(np.repeat(np.arange(16), 8)), rng.integers(0, 30, 128)
        shared = (
            0.2 * rng.normal(size=16)[family]
            + 0.1 * rng.normal(size=30)[source]
            + 0.2 * rng.normal(size=128)
        )
        own = (
            0.1 * rng.normal(size=count)
            + 0.1 * rng.normal(size=(16, count))[family]
            + 0.2 * rng.normal(size=(128, count))
        )
        values = shared[:, None] + own
        part = Part(np.arange(128), np.full(128, 1 / 128))
        clusters = Clusters([f"f{f}" for f in family], [f"s{s}" for s in source])
        extra = [[between_trainings(values.mean(axis=0).tolist())]]
        low, high = (
            intervals([[part]], values.mean(axis=1)[:, None], clusters, design, 200, extra)[0, 0]
            + values.mean()
        )
        held.append(low <= 0 <= high)
    assert np.mean(held) >= 0.9


def test_too_few_families_are_said_to_be_too_few(tmp_path):
    paths = [write(tmp_path / name, name, np.arange(10.0) + i) for i, name in enumerate("ab")]
    found = compare_reports(paths)
    assert {d.verdict for d in found.differences} == {"too few families or photographs to tell"}
    assert all((d.p, d.ci_low, d.needed) == (None, None, None) for d in found.differences)
    assert "too few families" in str(found)


def test_one_identity_with_other_weights_is_no_one_metric(tmp_path):
    base = np.random.default_rng(22).random(160)
    made = {"network": "ViT-L-14/openai", "sha256": "a", "resize": "224 px", "device": "cpu"}
    metric = "clip_image[ViT-L-14/openai]"
    one = write(tmp_path / "one", "one", base, metric, metric_settings={metric: made})
    same = write(
        tmp_path / "same", "same", base, metric, metric_settings={metric: made | {"device": "cuda"}}
    )
    other = write(
        tmp_path / "other", "other", base, metric, metric_settings={metric: made | {"sha256": "b"}}
    )
    assert compare_reports([one, same]).metric == metric
    with pytest.raises(
        InputError, match="other with sha256 b, in .*one with a; only values of one metric"
    ):
        compare_reports([one, other])


def test_what_cannot_be_compared_is_refused(tmp_path):
    base = np.random.default_rng(13).random(160)
    one = write(tmp_path / "one", "one", base)
    with pytest.raises(InputError, match="two reports"):
        compare_reports([one])
    with pytest.raises(InputError, match="only reports of one suite"):
        compare_reports([one, write(tmp_path / "other", "other", base, fingerprint="b" * 64)])
    with pytest.raises(InputError, match="no metric in common"):
        compare_reports([one, write(tmp_path / "mse", "mse", base, "mse")])
    with pytest.raises(InputError, match="'ssim'"):
        compare_reports([one, one], metric="ssim")
    with pytest.raises(InputError, match="other items"):
        compare_reports([one, write(tmp_path / "short", "short", base[:-1])])
    bare = write(tmp_path / "bare", "bare", base)
    (bare / PER_SAMPLE).unlink()
    with pytest.raises(InputError, match=r"bare/per_sample\.parquet is missing"):
        compare_reports([one, bare])
    later = write(tmp_path / "later", "later", base)
    content = json.loads((later / "report.json").read_text())
    (later / "report.json").write_text(json.dumps(content | {"format_version": 2}))
    with pytest.raises(InputError, match="format version 1"):
        compare_reports([one, later])


def write_metrics(folder: Path, name: str, values: dict[str, np.ndarray], **changes) -> Path:
    """A report with several metrics."""
    first, *others = values
    write(folder, name, values[first], first, **changes)
    report = open_report(folder)
    table = dict(report.per_sample or {})
    scores = {group: dict(of) for group, of in report.scores.items()}
    for metric in others:
        table[metric] = values[metric]
        for group, of in summarise(table, [metric], resamples=20).items():
            scores[group][metric] = Score(**of[metric], higher_is_better=metric != "mse")
    write_per_sample(folder / PER_SAMPLE, table)
    write_report(folder, report.model_copy(update={"scores": scores}))
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Two reports with two metrics; one method has a name that Markdown and LaTeX have to
    escape.
    """
    base = np.random.default_rng(30).random(160)
    good = {"edit_recovery": base, "mse": 1 - base}
    bad = {"edit_recovery": base - 0.5, "mse": np.minimum(1.5 - base, 1)}
    return [
        write_metrics(tmp_path / "good", "good_50%|x", good),
        write_metrics(tmp_path / "bad", "bad", bad),
    ]


def test_a_table_of_all_metrics_has_every_mean_and_difference(two, tmp_path):
    write_comparisons(tmp_path / "t.csv", compare_all_metrics(two))
    with (tmp_path / "t.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert {row["metric"] for row in rows} == {"edit_recovery", "mse"}
    means = [row for row in rows if not row["minus"]]
    assert len(means) == 2 * 2 * 4 and len(rows) == len(means) + 2 * 4
    report = open_report(two[0])
    for row in means:
        if row["method"] == "good_50%|x":
            assert float(row["mean"]) == report.scores[row["group"]][row["metric"]].mean
    clear = next(r for r in rows if r["minus"] == "bad" and r["group"] == "unseen")
    assert float(clear["mean"]) == pytest.approx(0.5) and float(clear["p"]) <= 0.05
    assert [row["rank_from"] for row in means if row["group"] == "unseen"] == ["1", "2", "1", "2"]


def test_markdown_and_latex_tables_are_well_formed_and_set_the_best_in_bold(two, tmp_path):
    comparisons = compare_all_metrics(two)
    for ending in ("md", "tex"):
        write_comparisons(tmp_path / f"t.{ending}", comparisons)
    markdown = (tmp_path / "t.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 4
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert r"good\_50%\|x" in markdown
    mean = comparisons[0].groups["unseen"].means["good_50%|x"]
    assert (
        f"**{mean:.3f} [" in markdown
        and "edit_recovery ↑ on photos 1".replace("_", r"\_") in markdown
    )
    latex = (tmp_path / "t.tex").read_text()
    assert latex.count(r"\begin{tabular}{lrrrr}") == latex.count(r"\end{table}") == 2
    assert r"good\_50\%|x" in latex and rf"\textbf{{{mean:.3f} [" in latex
    assert r"mse $\downarrow$" in latex
    bodies = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in bodies} == {4}


def test_a_table_of_another_kind_is_refused(two, tmp_path):
    with pytest.raises(InputError, match=r"t\.xlsx: a table is written as \.csv, \.md, \.tex"):
        write_comparisons(tmp_path / "t.xlsx", compare_all_metrics(two))


def test_words_that_disagree_with_the_interval_say_why():
    """The test looks at all pairs, the interval at one."""
    common = {"group": "unseen", "first": "a", "second": "b", "transformations": 20, "needed": 30.0}
    common |= {"higher_is_better": True, "mean": 0.1}
    alone = Difference(**common, ci_low=0.01, ci_high=0.2, p=0.2, pairs=190)
    assert alone.verdict == "not told apart among 190 pairs; the interval is of this pair alone"
    one = Difference(**common, ci_low=0.01, ci_high=0.2, p=0.06)
    assert "the interval leaves 0 out" in one.verdict
    other = Difference(**common, ci_low=-0.01, ci_high=0.2, p=0.04)
    assert other.verdict == "a is better, by the signs; the interval holds 0"
