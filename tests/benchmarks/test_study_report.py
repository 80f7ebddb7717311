"""The study's report: means, contrasts and drawings that show what was measured."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lorweb_bench.compare.tables import write_csv

SVG = "{http://www.w3.org/2000/svg}"
COUNT = 60
ARMS = ("lorweb", "token-control")


@pytest.fixture(scope="module")
def report(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    return load_benchmark("study_report")


@pytest.fixture(scope="module")
def items() -> dict[str, np.ndarray]:
    """Twenty transformations of ten families, three items each."""
    return {
        "key": np.array([f"k{n:02}" for n in range(COUNT)]),
        "transformation": np.array([f"t{n % 20}" for n in range(COUNT)]),
        "family": np.array([f"f{n % 20 // 2}" for n in range(COUNT)]),
        "split": np.full(COUNT, "unseen"),
        "tier": np.full(COUNT, "new_family"),
        "kind": np.full(COUNT, "colour"),
        "hard": np.zeros(COUNT, bool),
        "a_source": np.array([f"a{n % 11}" for n in range(COUNT)]),
        "b_source": np.array([f"b{n % 13}" for n in range(COUNT)]),
    }


def result(
    items: dict[str, np.ndarray], families: int, arm: str, seed: int, value: float, way: str = ""
) -> dict[str, Any]:
    """What is kept of one run that gives every item about the same value."""
    spread = np.random.default_rng([families, seed]).normal(0, 0.01, COUNT)
    values = dict(zip(items["key"].tolist(), (value + spread).tolist(), strict=True))
    about = {"base": "tiny", "families": families, "arm": arm, "seed": seed, "way": way}
    return {**about, "values": values}


def test_an_estimate_is_the_mean_of_transformations_and_lies_in_its_interval(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (1, COUNT))
    (((point, low, high),),) = report.estimate([report.of_arm(values)], items, ["unseen"])
    transformation = items["transformation"]
    of_each = [values[0, transformation == name].mean() for name in set(transformation)]
    assert point == pytest.approx(np.mean(of_each))
    assert low < point < high


def test_two_arms_are_compared_by_the_seeds_that_both_have(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    results = [result(items, 31, "lorweb", seed, 0.6 + seed) for seed in (0, 1)]
    results.append(result(items, 31, "token-control", 1, 0.5))
    study = report.Study(results, items)
    first, second = study.values(31, ARMS)
    assert first.shape == second.shape == (1, COUNT)
    lead = report.lead(ARMS, (first, second))
    (((point, low, high),),) = report.estimate([lead], items, ["unseen"])
    assert point == pytest.approx(1.1)
    assert low == pytest.approx(point) == high


def test_the_slope_is_what_a_doubling_of_families_adds_to_the_lead(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    results = []
    for seed in (0, 1):
        for doublings, families in enumerate((4, 8, 16)):
            results.append(result(items, families, "lorweb", seed, 0.3 + 0.15 * doublings))
            results.append(result(items, families, "token-control", seed, 0.3 + 0.1 * doublings))
    study = report.Study(results, items)
    trainings, slope = report.slope(study, ARMS)
    (((point, low, high),),) = report.estimate([slope], items, ["unseen"])
    assert trainings == 2
    assert point == pytest.approx(0.05)
    assert low <= point <= high


def test_the_slope_takes_the_seeds_that_every_number_of_families_has(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    leads = {4: {0: 0.1, 2: 0.9}, 8: {0: 0.2, 1: 0.5}, 16: {0: 0.3, 1: 0.0, 2: 0.0}}
    results = []
    for families, of_seeds in leads.items():
        for seed, lead in of_seeds.items():
            results.append(result(items, families, "lorweb", seed, 0.3 + lead))
            results.append(result(items, families, "token-control", seed, 0.3))
    study = report.Study(results, items)
    trainings, slope = report.slope(study, ARMS)
    (((point, _, _),),) = report.estimate([slope], items, ["unseen"])
    assert trainings == 1
    assert point == pytest.approx(0.1)


def test_the_finding_has_a_mark_for_each_line_within_its_interval(report: ModuleType) -> None:
    lines = [
        report.Line("lorweb", 3, 0.5, 0.4, 0.6),
        report.Line("lorweb with a fit", 1, 0.7, 0.65, 0.8),
    ]
    tree = ElementTree.fromstring(report.draw_finding(lines))
    first, second = (float(mark.get("cx", "")) for mark in tree.iter(f"{SVG}circle"))
    assert second - first == pytest.approx(0.2 * report.WIDTH, abs=0.2)
    words = [text.text for text in tree.iter(f"{SVG}text")]
    assert {"lorweb", "lorweb with a fit", "0.50, 3 trained"} <= set(words)


def test_the_drawing_over_families_has_equal_steps_for_doublings_and_names_every_arm(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    results = []
    for number, families in enumerate((4, 8, 16)):
        results.append(result(items, families, "lorweb", 0, 0.3 + 0.2 * number))
        results.append(result(items, families, "lorweb", 0, 0.4 + 0.2 * number, "fit20"))
    results.append(result(items, 16, "single-lora", 0, 0.2))
    curves = report.curves_over_families(report.Study(results, items))
    assert list(curves) == ["lorweb", "lorweb+fit20"]
    tree = ElementTree.fromstring(report.draw_families(curves))
    marks = [(float(m.get("cx", "")), float(m.get("cy", ""))) for m in tree.iter(f"{SVG}circle")]
    assert len(marks) == 6
    steps = np.diff([x for x, _ in marks[:3]])
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert marks[0][1] - marks[1][1] == pytest.approx(0.2 * report.HEIGHT, abs=3)
    words = [text.text for text in tree.iter(f"{SVG}text")]
    assert {"lorweb", "lorweb with a fit", "4", "8", "16"} <= set(words)


def test_a_fit_is_counted_as_kept_where_it_changed_the_value(
    report: ModuleType, items: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    trained, fitted = (result(items, 31, "lorweb", 0, 0.5, way) for way in ("", "fit20"))
    for number, key in enumerate(items["key"][:30]):
        fitted["values"][key] += 0.2 if number >= 6 else -0.2
    report.print_worse(report.Study([trained, fitted], items))
    assert "| `lorweb` | 1 | 50.0% | 10.0% | 10.0% |" in capsys.readouterr().out


@pytest.fixture
def oracles(
    report: ModuleType,
    load_benchmark: Callable[[str], ModuleType],
    items: dict[str, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is kept of the oracles of two trainings, on every second item.

    The search of the whole LoRA has failed for one of the ten transformations.
    """
    study = load_benchmark("study")
    monkeypatch.setattr(study, "ORACLES", tmp_path / "oracles")
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    labels = {name: column.tolist() for name, column in items.items()}
    (tmp_path / "items.json").write_text(json.dumps(labels))
    for seed, router in ((0, 0.4), (1, 0.6)):
        rows = []
        for key, transformation in zip(
            items["key"][::2], items["transformation"][::2], strict=True
        ):
            bounds = {"router": router, "hull": 0.7, "span": 0.75, "lora_element": 0.8}
            bounds["lora"] = 0.3 if transformation == "t4" else 0.9
            gaps = {"router_gap": 0.7 - router, "span_gap": bounds["lora"] - 0.75}
            rows.append({"key": key, **bounds, **gaps})
        folder = tmp_path / str(seed)
        folder.mkdir()
        words = dict.fromkeys(list(rows[0])[1:], "")
        settings = {"suite": {}, "settings": {"steps": 60}, "words": words}
        (folder / "oracle.json").write_text(json.dumps(settings))
        write_csv(folder / "oracle.csv", rows)
        training = study.Training("tiny", 31, 0, "lorweb", seed)
        study.keep_oracle(training, folder, "lorweb-bench oracle", tmp_path)


@pytest.mark.usefixtures("oracles")
def test_bounds_are_means_over_what_was_kept_of_each_oracle(
    report: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    report.print_bounds(report.open_bounds("tiny"))
    printed = capsys.readouterr().out
    assert "| with all families, trained: 2 | router | hull | span |" in printed
    assert "| unseen | .500 | .700 | .750 | .800 | .840 | .200 | .090 | .890 | .140 |" in printed
    assert "| hull | .700 (.700 to .700) |" in printed
    found = re.search(r"router_gap \| .200 \((\S+) to (\S+)\)", printed)
    assert found is not None
    low, high = map(float, found.groups())
    assert low < 0.1 and high > 0.3  # wider than from one training to the other


def test_a_share_is_the_ratio_of_two_means_and_its_interval_covers_resampled_ratios(
    report: ModuleType, items: dict[str, np.ndarray]
) -> None:
    generator = np.random.default_rng(0)
    whole = generator.uniform(0.2, 0.6, (1, COUNT))
    part = 0.5 * whole + generator.normal(0, 0.05, (1, COUNT))
    measured = report.share(part, whole, items)
    (((point, low, high),),) = report.estimate([measured], items, ["unseen"])
    assert point == pytest.approx(part.mean() / whole.mean())
    rows = generator.integers(COUNT, size=(2000, COUNT))
    ratios = part[0][rows].mean(1) / whole[0][rows].mean(1)
    assert np.mean((low < ratios) & (ratios < high)) > 0.9


@pytest.mark.usefixtures("oracles")
def test_the_better_of_two_loras_stands_in_where_a_search_has_failed(report: ModuleType) -> None:
    study = report.open_bounds("tiny")
    better, gap = study.values(31, ["lorweb+better_lora", "lorweb+better_gap"])
    failed = study.items["transformation"] == "t4"
    assert better[:, failed] == pytest.approx(0.8) and better[:, ~failed] == pytest.approx(0.9)
    assert gap == pytest.approx(better - 0.75)


def test_a_base_without_results_is_named(report: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no results on the base 'none'"):
        report.open_study("none")
    with pytest.raises(SystemExit, match="has nothing of the base 'none'"):
        report.open_bounds("none")


def test_the_page_holds_what_the_report_prints(
    report: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for base in ("tiny", "tiny-kminus"):
        report.print_table(report.open_study(base))
    report.print_bounds(report.open_bounds("tiny"))
    report.print_bases()
    page = (Path(__file__).parents[2] / "docs" / "study.md").read_text().splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line for line in printed if line not in page] == []
