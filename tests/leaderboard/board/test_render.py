"""The site: complete without its script, the same each time, and deaf to whatever a card says."""

import csv
import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leaderboard.board.board import boards, headline_of
from leaderboard.board.exports import text
from leaderboard.board.render import amount, render, seconds
from leaderboard.board.rows import slug
from leaderboard.board.run_groups import takes_the_place_of
from leaderboard.service.suite_intake import declare
from leaderboard.store.store import Store
from leaderboard.store.suites import Standing
from leaderboard.submission.submission import pack
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import to_array, to_image
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import read_per_sample
from lorweb_bench.scoring.evaluate import predict, score
from tests.leaderboard.conftest import EXAMPLE

OWN_TRAINING_DATASET = "0" * 64  # of the small suite
SCRIPT = "<script>alert(1)</script>"
MARKUP = f"{SCRIPT}<img src=x onerror=alert(2)>\"'&{{{{ 7*7 }}}}</textarea>"


class Part:
    """A method that makes part of the change, with noise: something to rank."""

    needs_full_view = True
    track = "closed"

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share

    def predict(self, triplets: Any) -> list[Image.Image]:
        raise InputError("It looks at the answers.")

    def predict_quadruplets(
        self, quadruplets: list[Quadruplet], suite: Dataset
    ) -> list[Image.Image]:
        return [self._one(q) for q in quadruplets]

    def _one(self, q: Quadruplet) -> Image.Image:
        assert q.b_prime is not None
        b, truth = to_array(q.b).astype(float), to_array(q.b_prime).astype(float)
        noise = np.random.default_rng(int(q.key, 16) % 2**32).normal(0, 3, b.shape)
        return to_image((b + self.share * (truth - b) + noise).clip(0, 255).astype(np.uint8))


HOSTILE: dict[str, Any] = {
    "version": MARKUP,
    "authors": [{"name": MARKUP, "affiliation": MARKUP}],
    "links": {"code": "https://example.org/a?b=c&d=(e)"},
    "base_model": MARKUP,
    "hardware": MARKUP,
    "training_data": [
        {"name": MARKUP, "link": "https://example.org/", "fingerprint": OWN_TRAINING_DATASET}
    ],
    "licence": MARKUP,
    "description": MARKUP + "\n" + MARKUP,
}


@pytest.fixture(scope="module")
def store(
    small_suite: Dataset,
    good_zip: Path,
    copies: Path,
    example_card: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Store:
    """A board with a trivial method, which the keeper ran, two honest ones, a hostile card, and one
    on the open track.
    """
    folder = tmp_path_factory.mktemp("board")
    store = Store(folder / "store")
    declare(store, small_suite, "public")
    store.add(good_zip, small_suite, score(copies, small_suite))
    for name, share, fields in (
        ("good", 0.8, {}),
        ("fair", 0.3, {}),
        ("hostile", 0.5, HOSTILE),
        ("elsewhere", 0.6, {"track": "open", "training_data": [{"name": "the web"}]}),
    ):
        predict(Part(name, share), small_suite, folder / name)
        card = folder / f"{name}.yaml"
        card.write_text(json.dumps(example_card | {"method": name} | fields))
        assert store.add(
            pack(folder / name, small_suite, card, folder / f"{name}.zip"), small_suite
        ).new
    return store


@pytest.fixture(scope="module")
def site(store: Store, small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its site, with the gallery."""
    return render(store, tmp_path_factory.mktemp("site"), [small_suite], f"A board {SCRIPT}").parent


def pages(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.html"))
    }


class Reader(html.parser.HTMLParser):
    """Collects tags and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_all_pages_are_there_and_all_links_lead_somewhere(site: Path) -> None:
    found = pages(site)
    assert {
        "index.html",
        *(f"methods/{m}.html" for m in ("copy-b", "good", "fair", "hostile", "elsewhere")),
    } <= set(found)
    assert sum(name.startswith("suites/small-") for name in found) == 1
    ids = {
        name: {a["id"] for _, a in Reader(content).tags if a.get("id")}
        for name, content in found.items()
    }
    for name, content in found.items():
        for tag, attributes in Reader(content).tags:
            address = (
                attributes.get("href")
                if tag == "a"
                else attributes.get("src")
                if tag == "img"
                else None
            )
            if address is None or address.startswith("https://example.org/"):
                continue
            assert not re.match(r"[a-z]+:", address), "nothing from the network"
            path, _, anchor = address.partition("#")
            target = (site / name).parent / path if path else site / name
            assert target.is_file(), f"{name} links to {address}"
            if anchor:
                assert anchor in ids[str(target.resolve().relative_to(site.resolve()))], (
                    f"{name} links to {address}"
                )


def test_nothing_of_a_card_becomes_markup(site: Path) -> None:
    for name, content in pages(site).items():
        reader = Reader(content)
        assert content.count("<script") == 1, name
        assert "alert(1)</script>" not in content and "49" not in re.findall(
            r"\{\{.{0,9}\}\}", content
        )
        assert all(
            tag in ("script", "style", "meta", "link") or not any(a.startswith("on") for a in attrs)
            for tag, attrs in reader.tags
        )
        policy = next(
            a["content"]
            for tag, a in reader.tags
            if a.get("http-equiv") == "Content-Security-Policy"
        )
        assert (
            policy is not None
            and "script-src 'sha256-" in policy
            and "default-src 'none'" in policy
        )
    hostile = (site / "methods/hostile.html").read_text()
    assert hostile.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "{{ 7*7 }}" in hostile


def test_the_table_says_all_without_its_script(site: Path, store: Store) -> None:
    index = (site / "index.html").read_text()
    (board,) = boards(store.entries())
    assert [table.track for table in board.tables] == ["closed", "open"]
    closed, opened = board.tables
    assert [row.method for row in closed.rows] == ["good", "hostile", "fair", "copy-b"]
    assert [row.method for row in opened.rows] == ["elsewhere", "copy-b"]
    for row in board.rows:
        for group in ("unseen", "seen", *board.tiers):
            score = row.score(group)
            assert score is not None and f'data-value="{score.mean}"' in index
    assert "re-scored" in index and "fingerprint" in index and "small 1" in index
    assert index.index("no prompt") < index.index("How to read it")


def test_ranks_are_ranges_and_only_of_methods(store: Store) -> None:
    (board,) = boards(store.entries())
    ranks = {row.method: row.rank for row in board.rows}
    assert ranks["copy-b"] is None and ranks["elsewhere"] == (1, 1)
    for method in ("good", "fair", "hostile"):
        rank = ranks[method]
        assert rank is not None and 1 <= rank[0] <= rank[1] <= 3
    assert ranks["good"][0] == 1 and ranks["fair"][1] == 3  # type: ignore[index]


def test_csv_and_json_say_the_same(site: Path) -> None:
    with (site / "board.csv").open(newline="") as f:
        lines = list(csv.DictReader(f))
    content = json.loads((site / "board.json").read_text())
    rows = content["suites"][0]["rows"]
    assert [line["method"] for line in lines] == [row["method"] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert (
            float(line["edit_recovery_unseen"]) == row["scores"]["unseen"]["edit_recovery"]["mean"]
        )
        assert line["rank_low"] == ("" if row["rank"] is None else str(row["rank"][0]))
        assert line["sha256"] == row["runs"][0]["sha256"] and line["verdict"] == row["verdict"]
    assert content["format"] == "lorweb-bench/board"
    assert text("=HYPERLINK(1)") == "'=HYPERLINK(1)" and text("plain") == "plain"


def test_the_same_store_gives_the_same_site_and_old_pages_go(
    store: Store, small_suite: Dataset, site: Path, tmp_path: Path
) -> None:
    again = tmp_path / "site"
    render(store, again, [small_suite], f"A board {SCRIPT}")
    files = {p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == files
    (again / "methods" / "gone.html").write_text("of a method that was withdrawn")
    (again / "CNAME").write_text("the keeper's own")
    render(store, again, [], "A board")
    assert not (again / "methods" / "gone.html").exists() and (again / "CNAME").exists()
    assert not list((again / "gallery").rglob("*.png")), (
        "no item is shown of a suite that is not public"
    )


def test_a_word_of_the_keeper_stands_above_the_tables_as_text(store: Store, tmp_path: Path) -> None:
    page = render(store, tmp_path / "site", note=f"A word {MARKUP}").read_text()
    assert "A word &lt;script&gt;" in page and SCRIPT not in page
    assert page.index("A word") < page.index("<table")
    assert 'class="note">A word' not in render(store, tmp_path / "bare").read_text()


def test_a_private_suite_tells_no_transformation_and_no_item(
    small_suite: Dataset, good_zip: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.add(good_zip, small_suite)
    render(store, tmp_path / "site")
    method = (tmp_path / "site/methods/copy-b.html").read_text()
    assert "This suite is private" in method and "by kind of transformation" not in method
    index = (tmp_path / "site/index.html").read_text()
    assert ">private</span>" in index and '<span class="value">0.00</span>' in index, (
        "the places that it has"
    )
    assert not re.search(r'class="value">−?\d\.\d{3}<', index + method)
    named = {
        record.transformation
        for split in small_suite.splits
        for record in small_suite.records(split)
    }
    keys = {record.id for split in small_suite.splits for record in small_suite.records(split)}
    for path in (tmp_path / "site").rglob("*"):
        if path.is_file():
            content = path.read_text()
            assert not [name for name in named | keys if name in content], path


def test_the_gallery_shows_what_each_method_made(site: Path, store: Store) -> None:
    (page,) = (content for name, content in pages(site).items() if name.startswith("gallery/"))
    methods = [row.method for row in boards(store.entries())[0].rows]
    items = page.count("<article")
    assert items >= 5 and all(
        page.count(f"<strong>{method}</strong>") == items for method in methods
    )
    for picture in (site / "gallery").rglob("*.png"):
        assert Image.open(picture).size == (32, 32)


def test_an_empty_board_and_what_cannot_be_shown(
    store: Store, small_suite: Dataset, small_public: Dataset, tmp_path: Path
) -> None:
    assert "No submission yet" in render(Store(tmp_path / "empty"), tmp_path / "site").read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        render(store, tmp_path / "other")
    with pytest.raises(InputError, match="public view"):
        render(store, tmp_path / "no", [small_public])
    with pytest.raises(InputError, match="not a suite of this board"):
        render(Store(tmp_path / "empty"), tmp_path / "no", [small_suite])
    assert not (tmp_path / "no").exists()


def test_a_later_submission_takes_the_place_of_an_earlier_one(
    small_suite: Dataset,
    good_zip: Path,
    copies: Path,
    write_card: Callable[..., Path],
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    store.add(good_zip, small_suite)
    store.add(
        pack(copies, small_suite, write_card(hardware="another CPU"), tmp_path / "later.zip"),
        small_suite,
    )
    (board,) = boards(store.entries())
    assert [row.entry.verdict.card.hardware for row in board.rows if row.entry.verdict.card] == [
        "another CPU"
    ]
    assert len(board.superseded) == 1
    render(store, tmp_path / "site")
    assert "Superseded" in (tmp_path / "site/methods/copy-b.html").read_text()


@pytest.fixture(scope="module")
def three_runs(
    small_suite: Dataset, example_card: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Store:
    """Three trainings of one method, packed with the same prediction seed."""
    folder = tmp_path_factory.mktemp("runs")
    store = Store(folder / "store")
    declare(store, small_suite, "public")
    for seed, share in ((1, 0.5), (2, 0.6), (3, 0.7)):
        predict(Part("trained", share), small_suite, folder / str(seed))
        card = folder / f"{seed}.yaml"
        card.write_text(json.dumps(example_card | {"method": "trained", "seeds": [0, seed]}))
        store.add(pack(folder / str(seed), small_suite, card, folder / f"{seed}.zip"), small_suite)
    return store


def test_runs_with_other_seeds_are_one_row_and_none_is_lost(
    three_runs: Store, tmp_path: Path
) -> None:
    (board,) = boards(three_runs.entries())
    (row,) = board.rows
    assert [run.verdict.card.seeds for run in row.runs if run.verdict.card] == [
        [0, 1],
        [0, 2],
        [0, 3],
    ] and not board.superseded
    each = [run.report.scores["unseen"]["edit_recovery"].mean for run in row.runs]
    score = row.score("unseen")
    assert (
        score is not None
        and score.mean == pytest.approx(np.mean(each))
        and row.spread() == (min(each), max(each))
    )
    single = row.runs[1].report.scores["unseen"]["edit_recovery"]
    assert (
        single.ci_low is not None
        and score.ci_low is not None
        and score.ci_high is not None
        and single.ci_high is not None
    )
    assert score.ci_high - score.ci_low > single.ci_high - single.ci_low, (
        "runs that differ widen the interval"
    )
    per_run = [read_per_sample(run.per_sample)["psnr"] for run in row.runs]
    assert row.per_sample["psnr"] == pytest.approx(np.mean(per_run, axis=0)), (
        "the mean of each item"
    )
    render(three_runs, tmp_path / "site")
    page = (tmp_path / "site/methods/trained.html").read_text()
    assert (
        all(f">{seeds}</th>" in page for seeds in ("0, 1", "0, 2", "0, 3"))
        and "mean of 3 runs, " in (tmp_path / "site/index.html").read_text()
    )
    (line,) = csv.DictReader((tmp_path / "site/board.csv").open(newline=""))
    assert (line["runs"], line["seeds"]) == ("3", "0 1; 0 2; 0 3") and len(
        line["sha256"].split()
    ) == 3
    assert float(line["edit_recovery_lowest_run"]) == min(each)


def test_the_same_run_again_takes_the_place_of_the_first(
    three_runs: Store, small_suite: Dataset, example_card: dict[str, Any], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    for name, share in (("first", 0.5), ("again", 0.6)):
        predict(Part("trained", share), small_suite, tmp_path / name)
        (tmp_path / "card.yaml").write_text(
            json.dumps(example_card | {"method": "trained", "seeds": [0, 1]})
        )
        added = store.add(
            pack(tmp_path / name, small_suite, tmp_path / "card.yaml", tmp_path / f"{name}.zip"),
            small_suite,
        )
    (first, _) = entries = store.entries()
    assert takes_the_place_of(entries, added.verdict.sha256) == first
    assert takes_the_place_of(entries, first.submission.sha256) is None
    (board,) = boards(entries)
    assert len(board.rows[0].runs) == 1 and [row.entry.submission for row in board.superseded] == [
        first.submission
    ]


def test_the_label_of_the_book(small_suite: Dataset, good_zip: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.add(good_zip, small_suite)
    (board,) = boards(store.entries())
    for held, label, said in (
        (0, "closed-book", "holds none of the 9"),
        (4, "partly open-book", "4 of the 9"),
        (9, "open-book", "all 9"),
    ):
        board.suite.about["book"] = {"families": 9, "held": held}
        assert (
            board.book is not None
            and (board.book.label, board.book.open) == (label, held > 0)
            and said in board.book.sentence
        )
    board.suite.about["book"] = None
    assert board.book is None


def test_a_board_without_the_headline_says_what_it_is_ordered_by(
    store: Store, small_suite: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "has no edit_recovery" not in render(store, tmp_path / "with").read_text()
    monkeypatch.setattr("leaderboard.board.board.HEADLINE", "agreement")
    index = render(store, tmp_path / "without").read_text()
    assert (
        "This suite has no edit_recovery" in index
        and "go by <strong>mse</strong> on unseen, where less is better" in index
    )
    assert headline_of(["lpips_to_b[alex/0.1]", "clip_direction[ViT-L-14/openai]"]).startswith(
        "clip_direction"
    ), "copy-b wins the first"


def test_words_for_numbers() -> None:
    assert [amount(n) for n in (0, 812, 254_000, 1_400_000, 835_051_520, 12 * 10**9)] == [
        "0",
        "812",
        "254 k",
        "1.4 M",
        "835 M",
        "12 B",
    ]
    assert [seconds(s) for s in (None, 0.0, 0.0123, 1.5, 250.0)] == [
        "–",
        "0 ms",
        "12 ms",
        "1.5 s",
        "250 s",
    ]
    assert (
        slug("copy-b") == "copy-b"
        and slug("Copy B").startswith("copy-b-")
        and slug("copy b") != slug("Copy B")
    )


@pytest.mark.parametrize("standing", ["public", "private"])
def test_what_is_new_to_the_base_stands_beside_unseen(
    suite_with_base: Dataset, tmp_path: Path, standing: Standing
) -> None:
    store = Store(tmp_path / "store")
    declare(store, suite_with_base, standing)
    predict("copy-b", suite_with_base, tmp_path / "copies")
    zipped = pack(tmp_path / "copies", suite_with_base, EXAMPLE, tmp_path / "copies.zip")
    assert store.add(zipped, suite_with_base).new
    site = render(store, tmp_path / "site", [], "A board").parent
    shown = pages(site)
    (suite_page,) = [text for path, text in shown.items() if path.startswith("suites/")]
    assert "Declared base</dt><dd>not-here <code>bbbb" in suite_page
    assert "families that neither training data nor base has seen" in suite_page
    columns = re.findall(r'data-column="([^"]*)"', shown["index.html"])
    assert columns[2:5] == ["unseen", "new to base", "seen"]
    assert "<dt>New to base</dt>" in shown["index.html"]
    (method_page,) = [text for path, text in shown.items() if path.startswith("methods/")]
    assert "edit_recovery, new_to_base</div>" in method_page
    (row,) = json.loads((site / "board.json").read_text())["suites"][0]["rows"]
    apart, unseen = (row["scores"][name]["edit_recovery"] for name in ("new_to_base", "unseen"))
    assert (apart["samples"], unseen["samples"]) == (6, 24)
    assert "edit_recovery_new_to_base" in (site / "board.csv").read_text().splitlines()[0]


def test_a_board_without_that_tier_has_no_column_for_it(site: Path) -> None:
    assert "new to base" not in (site / "index.html").read_text().lower()
