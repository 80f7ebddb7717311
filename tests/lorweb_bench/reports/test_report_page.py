"""The page of a report: what it shows, that nothing is left unescaped, and that it asks the
network for nothing.
"""

import base64
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.data import images
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.predictions.format import Cost, MethodId, SuiteId
from lorweb_bench.protocol import SEEN_TIERS, TIERS
from lorweb_bench.reports.bars import Scale, digits, transformation_bars
from lorweb_bench.reports.html import significant
from lorweb_bench.reports.report import Report, Score, headline_of, open_report
from lorweb_bench.reports.report_page import chosen_items, item_strip, write_report_page
from lorweb_bench.reports.scatter import scatter
from lorweb_bench.runtime.files import claim_output
from lorweb_bench.stats.aggregate import gap, summarise

SUITE_TIERS = TIERS[:5]
VOID = {"meta", "link", "img", "line", "rect", "circle", "br", "input"}


def build_suite(folder: Path, size: int = 24) -> Dataset:
    """Five tiers of nine transformations with two items each: channels rolled and inverted, by
    family.
    """
    claim_output(folder, "lorweb-bench/dataset")
    transformations = {}
    for split in ("seen", "unseen"):
        with ShardWriter(folder, split, 0) as shard:
            for tier in SUITE_TIERS:
                if (tier in SEEN_TIERS) != (split == "seen"):
                    continue
                for f in range(9):
                    family = f"f{f}+f{(f + 1) % 9}" if tier.endswith("composition") else f"f{f}"
                    name, kind = f"{tier}-{f}", ("colour", "blur")[f % 2]
                    instruction = "add <b>bold</b> & 'quotes'" if f == 0 else f"do {f}"
                    info = {
                        "family": family,
                        "kind": kind,
                        "parameters": {"by": f},
                        "instruction": instruction,
                        "tier": tier,
                    }
                    transformations[name] = info | {"deterministic": True}
                    for i in range(2):
                        _add(shard, f"{tier}-{f}-{i}", name, transformations[name], size)
    fields = {
        "name": "little",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformations": transformations,
    }
    finish_dataset(folder, fields | {"transformation_library": None, "tiers_relative_to": None})
    return open_suite(folder)


def _add(shard: ShardWriter, key: str, transformation: str, info: dict, size: int) -> None:
    rng = np.random.default_rng([ord(letter) for letter in key])
    a, b = (np.full((size, size, 3), rng.integers(0, 255, 3), dtype=np.uint8) for _ in range(2))
    panels = {"a": a, "a_prime": 255 - a, "b": b, "b_prime": 255 - b}
    record = {
        "id": key,
        "transformation": transformation,
        "family": info["family"],
        "kind": info["kind"],
        "tier": info["tier"],
    }
    record |= {
        "instruction": info["instruction"],
        "a_source": f"a-{key}",
        "b_source": f"b{len(key) + int(key[-1]) * 7 + info['parameters']['by']}",
    }
    record |= {
        "licence": "",
        "attribution": "",
        "width": size,
        "height": size,
        "hard": info["parameters"]["by"] % 2 == 0,
    }
    shard.add(key, {role: (images.encode(panel), "png") for role, panel in panels.items()}, record)


def table_of(suite: Dataset) -> dict[str, np.ndarray]:
    """Values that need no images: what the page does with a table is tested here, not how a
    table is made.
    """
    rng = np.random.default_rng(0)
    rows = [
        {"split": split, **record.model_dump()}
        for split in ("seen", "unseen")
        for record in suite.records(split)
    ]
    names = ("split", "transformation", "family", "kind", "tier", "a_source", "b_source", "hard")
    table = {name: np.array([row[name] for row in rows]) for name in names} | {
        "key": np.array([row["id"] for row in rows])
    }
    return table | {
        "edit_recovery": rng.uniform(-1, 1, len(rows)),
        "psnr": rng.uniform(5, 40, len(rows)),
    }


def report_of(suite: Dataset, table: dict[str, np.ndarray], **changes) -> Report:
    metrics = ["edit_recovery", "psnr"]
    summary = summarise(table, metrics, resamples=50)
    content = {
        "suite": SuiteId(name=suite.name, version=suite.version, fingerprint=suite.fingerprint),
        "method": MethodId(name="<script>alert(1)</script>", version="2", layout={"panels": 4}),
        "track": "closed",
        "prompt_mode": "none",
        "seed": 3,
        "scores": {
            g: {m: Score(**s, higher_is_better=True) for m, s in of.items()}
            for g, of in summary.items()
        },
        "gap": gap(table, metrics, resamples=50),
        "missing": 0,
        "cost": Cost(
            seconds_per_image=0.25, peak_memory_bytes=3 * 2**20, sampling_steps=2, device="cpu"
        ),
        "environment": {"python": "3.11", "numpy": "2"},
        "command": "lorweb-bench evaluate --method mine.py:Mine --suite little --seed 3 -o REPORT",
    }
    return Report(**(content | changes))


class Page(HTMLParser):
    """What a page holds, and whether its tags are in balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Dataset:
    return build_suite(tmp_path_factory.mktemp("little") / "suite")


def write(suite, tmp_path, table=None, predictions=None, **changes) -> tuple[str, Page]:
    table = table_of(suite) if table is None else table
    out = tmp_path / "index.html"
    predictions = (
        {key: Image.new("RGB", (24, 24), "teal") for key in table["key"]}
        if predictions is None
        else predictions
    )
    write_report_page(report_of(suite, table, **changes), table, suite, predictions, out)
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_is_whole_and_asks_the_network_for_nothing(suite, tmp_path):
    text, page = write(suite, tmp_path)
    assert not page.open
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not re.search(r"https?://|@import|url\(", text)
    assert "script" not in page.tags and "<script>alert" not in text and "<b>bold" not in text
    assert "<script>alert(1)</script>" in page.text and "add <b>bold</b> & 'quotes'" in page.text


def test_scores_gap_cost_versions_and_the_command_are_there(suite, tmp_path):
    table = table_of(suite)
    _, page = write(suite, tmp_path, table)
    report = report_of(suite, table)
    unseen = report.scores["unseen"]["edit_recovery"]
    for number in (
        unseen.mean,
        unseen.ci_low,
        unseen.ci_high,
        report.gap["new_parameters"]["edit_recovery"]["gap"],
    ):
        assert f"{number:.3f}".replace("-", "−") in page.text
    assert (
        "0.250" in page.text
        and "3 MiB" in page.text
        and suite.fingerprint in page.text
        and "python 3.11" in page.text
    )
    assert "lorweb-bench evaluate --method" in page.text and "--seed 3" in page.text
    for group in ("seen", "unseen", *SUITE_TIERS, "unseen/colour", "unseen/blur"):
        assert group in page.text
    assert all(name in page.text for name in set(table["transformation"]))


def test_best_median_and_worst_of_each_tier_are_shown_beside_the_truth(suite, tmp_path):
    table = table_of(suite)
    _, page = write(suite, tmp_path, table)
    chosen = chosen_items(table, "edit_recovery", True)
    assert list(chosen) == list(SUITE_TIERS)
    for tier, words in chosen.items():
        own = {
            k: v
            for k, v, t in zip(table["key"], table["edit_recovery"], table["tier"], strict=True)
            if t == tier
        }
        ranked = sorted(own, key=own.get, reverse=True)
        assert (words["best"], words["median"], words["worst"]) == (
            ranked[0],
            ranked[len(ranked) // 2],
            ranked[-1],
        )
        assert all(key in page.text for key in words.values())
    assert page.tags.count("img") == 5 * 3 * len(SUITE_TIERS)  # and none of the other items
    flipped = chosen_items(table, "edit_recovery", False)
    assert {t: (w["best"], w["worst"]) for t, w in flipped.items()} == {
        t: (w["worst"], w["best"]) for t, w in chosen.items()
    }


def test_accuracy_stands_against_preservation_with_better_up_and_to_the_right(suite, tmp_path):
    table = table_of(suite)
    table["lpips_to_b[alex/v0.1]"] = np.linspace(0, 0.6, len(table["key"]))
    found = scatter(
        table,
        ("edit_recovery", "lpips_to_b[alex/v0.1]"),
        {"edit_recovery": True, "lpips_to_b[alex/v0.1]": False},
    )
    assert (found.y.metric, found.x.metric) == ("edit_recovery", "lpips_to_b[alex/v0.1]")
    assert len(found.points) == len(set(table["transformation"]))
    by_x, by_y = sorted(found.points, key=lambda p: p.x), sorted(found.points, key=lambda p: p.y)
    assert [p.left for p in by_x] == sorted(
        (p.left for p in by_x), reverse=True
    )  # less LPIPS is better, and further right
    assert [p.top for p in by_y] == sorted((p.top for p in by_y), reverse=True)
    assert all(0 <= p.left <= 100 and 0 <= p.top <= 100 for p in found.points)
    [one] = [p for p in found.points if p.label == str(table["transformation"][0])]
    own = table["transformation"] == table["transformation"][0]
    assert (one.x, one.y) == pytest.approx(
        (table[found.x.metric][own].mean(), table["edit_recovery"][own].mean())
    )
    assert scatter(table, ("edit_recovery",), {"edit_recovery": True}) is None
    _, page = write(suite, tmp_path)
    assert (
        "Accuracy against preservation" not in page.text
    )  # psnr and edit_recovery are both of accuracy


def test_nothing_is_headed_by_preservation_alone():
    named = ["lpips_to_b[alex/v0.1]", "clip_image[x/y]", "clip_direction[x/y]"]
    assert headline_of([*named, "edit_recovery"]) == "edit_recovery"
    assert headline_of(named) == "clip_direction[x/y]"
    assert headline_of(["lpips_to_b[alex/v0.1]", "mine"]) == "mine"
    assert headline_of(["lpips_to_b[alex/v0.1]"]) == "lpips_to_b[alex/v0.1]"
    assert headline_of([]) is None


def test_what_shuffled_pairs_lose_stands_beside(suite, tmp_path):
    drop = {
        "unseen": {
            "edit_recovery": {"shuffled": 0.125, "drop": 0.375, "ci_low": None, "ci_high": None}
        }
    }
    _, page = write(suite, tmp_path, shuffled=drop)
    assert "Shown another pair" in page.text and "0.125" in page.text and "0.375" in page.text


def test_a_report_made_from_python_says_so(suite, tmp_path):
    _, page = write(suite, tmp_path, command=None)
    assert (
        'lorweb_bench.evaluate(METHOD, lorweb_bench.open_suite("little"), prompt="none")'
        in page.text
    )


def test_what_is_missing_or_unusual_is_said_first(suite, tmp_path):
    changes = {
        "missing": 90,
        "partial": True,
        "pairs": "shuffled",
        "resized": 2,
        "track": "open",
        "gap": None,
    }
    _, page = write(suite, tmp_path, predictions={}, **changes)
    assert "90 of 90 predictions are missing" in page.text
    assert (
        "never ranked" in page.text
        and "another transformation" in page.text
        and "2 predictions had another size" in page.text
    )
    assert "no gap between seen and unseen" in page.text
    assert page.text.count(" missing prediction ") == 3 * len(SUITE_TIERS)


def test_large_panels_are_made_small(tmp_path):
    large = build_suite(tmp_path / "large", size=200)
    text, page = write(large, tmp_path, predictions={})
    assert 'width="160" height="160"' in text and page.tags.count("img") == 4 * 3 * len(SUITE_TIERS)


def test_a_report_without_metrics_still_has_a_page(suite, tmp_path):
    _, page = write(suite, tmp_path, scores={group: {} for group in ("seen", "unseen")}, gap={})
    assert "No metric was computed" in page.text and not page.open


def test_intervals_of_a_transformation_are_students_over_its_sources():
    from scipy import stats

    values, sources = np.array([0.1, 0.3, 0.5, 0.2]), np.array(["s", "s", "t", "u"])
    table = {
        "tier": np.full(4, "new_family"),
        "transformation": np.full(4, "t"),
        "b_source": sources,
        "hard": np.full(4, True),
    }
    [bar] = transformation_bars(table | {"x": values}, "x", Scale(0.0, 1.0))["new_family"]
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem([0.2, 0.5, 0.2]))
    assert bar.interval == pytest.approx((low, high))
    assert (bar.left, bar.width, bar.note, len(bar.dots)) == (0.0, 27.5, "4 items, hard", 4)
    few = transformation_bars(
        {name: column[:3] for name, column in (table | {"x": values}).items()}, "x", Scale(0.0, 1.0)
    )
    assert few["new_family"][0].interval is None


def test_bars_run_from_zero_and_stay_on_the_scale():
    scale = Scale(-1.0, 1.0)
    below = scale.bar("t", "", -0.5, (-3.0, 0.5))
    assert (below.left, below.width, below.low, below.high) == (25.0, 25.0, 0.0, 75.0)
    assert Scale(0.0, 50.0).zero == 0.0 and scale.zero == 50.0
    assert [value for value, _ in scale.ticks] == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_small_values_are_not_rounded_away():
    assert [digits(metric) for metric in ("edit_recovery", "psnr", "mse", "mine")] == [3, 2, 4, 3]
    assert digits("mse", [0.00002, 0.0004]) == 6 and digits("mine", [3e-7, -2e-8]) == 9
    assert (
        digits("mse", [0.2, 0.0]) == 4
        and digits("mine", [0.0]) == 3
        and digits("edit_recovery", [1e-9]) == 3
    )
    for scale in (
        Scale(0.0, 0.0004),
        Scale(0.0, 3e-7),
        Scale(-1.0, 1.0),
        Scale(0.0, 50.0),
        Scale(1.0, 10.0),
    ):
        assert len({f"{value:.{scale.digits}f}" for value, _ in scale.ticks}) == 5
    assert [significant(v) for v in (0.0000123, 0.25, 12.345, 1234.5, 0.0, None)] == [
        "0.0000123",
        "0.250",
        "12.3",
        "1,234",
        "0",
        "–",
    ]


def test_a_metric_of_tiny_values_can_be_read(suite, tmp_path):
    table = table_of(suite)
    table["mse"] = np.linspace(1e-5, 4e-5, len(table["key"]))
    summary = summarise(table, ["mse"], resamples=50)
    scores = {
        g: {m: Score(**s, higher_is_better=False) for m, s in of.items()}
        for g, of in summary.items()
    }
    _, page = write(
        suite, tmp_path, table, scores=scores, gap={}, cost=Cost(seconds_per_image=0.000123)
    )
    assert (
        f"{scores['unseen']['mse'].mean:.7f}" in page.text
        and "0.00001" in page.text
        and "0.000123" in page.text
    )


def test_every_item_and_transformation_has_an_address_and_every_metric(suite, tmp_path):
    table = table_of(suite)
    text, page = write(suite, tmp_path, table)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    for key, name in zip(table["key"], table["transformation"], strict=True):
        assert f"item-{key}" in ids and f"transformation-{name}" in ids
    links = {address[1:] for address in page.addresses if address.startswith("#")} - {"main"}
    assert links <= set(ids)
    name = str(table["transformation"][0])
    own = table["transformation"] == name
    row = re.search(rf'<tr id="transformation-{name}">.*?</tr>', text, re.S).group(0)
    for metric, places in (("edit_recovery", 3), ("psnr", 2)):
        assert f"{table[metric][own].mean():.{places}f}".replace("-", "−") in row


def test_the_tables_can_be_saved_as_csv_with_every_digit(suite, tmp_path):
    table = table_of(suite)
    text, _ = write(suite, tmp_path, table)
    saved = {}
    for name, data in re.findall(r'download="([a-z.]+)" href="data:text/csv[^,]*,([^"]+)"', text):
        saved[name] = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode())))
    assert {row["key"]: float(row["psnr"]) for row in saved["items.csv"]} == dict(
        zip(table["key"].tolist(), table["psnr"].tolist(), strict=True)
    )
    score = report_of(suite, table).scores["unseen"]["edit_recovery"]
    [row] = [
        r for r in saved["scores.csv"] if (r["group"], r["metric"]) == ("unseen", "edit_recovery")
    ]
    assert (float(row["mean"]), float(row["ci_low"])) == (score.mean, score.ci_low)


def test_what_compares_with_the_answer_is_no_preservation(suite, tmp_path):
    table = table_of(suite) | {"ssim": np.linspace(0, 1, 90), "mse": np.linspace(0, 1, 90)}
    better = {"edit_recovery": True, "ssim": True, "mse": False}
    assert scatter(table, tuple(better), better) is None
    _, page = write(suite, tmp_path)
    assert "No metric here tells how much of b was kept" in page.text


def test_a_picture_of_an_item_shows_its_panels_and_grey_for_a_missing_answer(suite):
    [q] = list(suite.quadruplets("unseen", keys={"new_family-1-0"}))
    with_answer = images.decode(item_strip(q, np.full((24, 24, 3), 9, np.uint8)), "strip")
    without = np.asarray(images.decode(item_strip(q, None), "strip"))
    assert with_answer.size == (5 * 24 + 4 * 3, 24)
    left = 3 * 27
    assert abs(np.asarray(with_answer)[4:20, left + 4 : left + 20].astype(int) - 9).max() < 12
    assert abs(without[4:20, left + 4 : left + 20].astype(int) - 128).max() < 12
    truth = np.asarray(q.b_prime)[4:20, 4:20].astype(int)
    assert abs(without[4:20, left + 31 : left + 47] - truth).max() < 24


def test_what_is_new_to_the_base_stands_beside_unseen(report_with_base: Path):
    report = open_report(report_with_base)
    page = Page((report_with_base / "index.html").read_text(encoding="utf-8"))
    apart = report.scores["new_to_base"]["edit_recovery"]
    assert apart.samples == 6 and report.scores["unseen"]["edit_recovery"].samples == 24
    assert "families that neither training data nor base has seen" in page.text
    cards = page.text[: page.text.index("by group")]
    order = [cards.index(f"edit_recovery, {name} ") for name in ("unseen", "new_to_base", "seen")]
    assert order == sorted(order)
    assert f"{apart.mean:.3f}".replace("-", "−") in cards
    assert not [name for name in report.scores if name.startswith("unseen/new")]


def test_a_page_without_that_tier_has_no_word_of_it(suite, tmp_path):
    assert "new_to_base" not in write(suite, tmp_path, table_of(suite))[1].text
