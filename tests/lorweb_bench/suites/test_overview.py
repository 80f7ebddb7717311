"""Counts are right, the sheet shows every tier, the page is one file that stands alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lorweb_bench.cli.terminal_tables import show_counts
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.samples import Record
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.reports.sheet import Row, Section, contact_sheet
from lorweb_bench.suites.overview import choose, count, selected, write_page, write_sheet


def test_counts(small_suite: Dataset) -> None:
    for split in small_suite.splits:
        records, counts = list(small_suite.records(split)), count(small_suite.records(split))
        assert (
            counts.samples
            == len(records)
            == sum(counts.tiers.values())
            == sum(counts.families.values())
            == sum(counts.sizes.values())
        )
        assert counts.hard == sum(bool(record.hard) for record in records)
        assert counts.b_sources == {record.b_source for record in records}


def test_the_choice_shows_every_family_before_one_comes_twice() -> None:
    records = [
        Record(id=f"{family}{i}", width=1, height=1, family=family)
        for family, n in (("x", 9), ("y", 2), ("z", 1))
        for i in range(n)
    ]
    chosen = choose(records, 3)
    assert {key[0] for key in chosen} == {"x", "y", "z"}
    assert [key[0] for key in choose(records, 12)].count("x") == 9
    assert chosen == choose(records[::-1], 3)


def test_the_selection_is_decoded_and_in_order(small_suite: Dataset) -> None:
    found = selected(small_suite, 2)
    assert list(found) == [("seen", "seen_single"), ("seen", "seen_composition")] + [
        ("unseen", tier) for tier in ("new_parameters", "new_composition", "new_family")
    ]
    assert all(
        len(quadruplets) == 2 and q.record.tier == tier
        for (_, tier), quadruplets in found.items()
        for q in quadruplets
    )


def test_the_sheet_has_every_tier(
    small_suite: Dataset, small_public: Dataset, tmp_path: Path
) -> None:
    write_sheet(small_suite, tmp_path / "few.png", 2)
    write_sheet(small_suite, tmp_path / "more.png", 4)
    write_sheet(small_public, tmp_path / "public.png", 4)
    few, more, public = (
        Image.open(tmp_path / name) for name in ("few.png", "more.png", "public.png")
    )
    assert few.width == more.width == public.width
    assert few.height < more.height


def test_panels_stand_where_they_should() -> None:
    colours = ("red", "lime", "blue", None)
    row = Row([Image.new("RGB", (8, 8), c) if c else None for c in colours], "words " * 60, "quiet")
    sheet = contact_sheet("title", "subtitle", [Section("heading", [row, row, row])])
    found = {
        sheet.getpixel((x, y)) for x in range(0, sheet.width, 7) for y in range(0, sheet.height, 7)
    }
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= found
    single = contact_sheet("title", "subtitle", [Section("heading", [row])])
    assert single.width == sheet.width
    assert single.height < sheet.height


def test_the_sheet_names_sources_on_demand(small_suite: Dataset, tmp_path: Path) -> None:
    write_sheet(small_suite, tmp_path / "plain.png", 2)
    write_sheet(small_suite, tmp_path / "named.png", 2, sources=True)
    plain, named = (Image.open(tmp_path / name) for name in ("plain.png", "named.png"))
    rows = sum(-(-len(group) // 2) for group in selected(small_suite, 2).values())
    assert named.height > plain.height
    assert (named.height - plain.height) % rows == 0  # each row has one line more


def test_the_page_has_the_sources_and_finds_them(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    with ShardWriter(tmp_path / "d", "train", 0) as shard:
        shard.add(*sample("ab12", a_source="Harbour.jpg", b_source="MILL.png", instruction="blur"))
        shard.add(*sample("cd34", instruction=""))
    dataset = finish_dataset(tmp_path / "d", {"name": "n", "version": "1", "view": "full"})
    write_page(dataset, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<span>a from</span> <code>Harbour.jpg</code>" in page
    assert "<span>b from</span> <code>MILL.png</code>" in page
    assert re.search('data-words="[^"]*harbour.jpg mill.png"', page)  # what the search looks in
    assert "<div>Blur</div>" in page
    assert "<div>cd34</div>" in page  # a key is not capitalised


@pytest.mark.parametrize("view", ["full", "public"])
def test_the_page_stands_alone(
    small_suite: Dataset, small_public: Dataset, tmp_path: Path, view: str
) -> None:
    dataset = small_suite if view == "full" else small_public
    write_page(dataset, tmp_path / "page.html", 5)
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    cards = sum(len(quadruplets) for quadruplets in selected(dataset, 5).values())
    assert page.count('class="quad card"') == cards
    assert page.count('src="data:image/webp') == cards * (4 if view == "full" else 3)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page


def test_words_from_a_dataset_cannot_become_markup(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    with ShardWriter(tmp_path / "d", "train", 0) as shard:
        shard.add(*sample("k", instruction="<script>alert(1)</script>", family='"><b>'))
    dataset = finish_dataset(tmp_path / "d", {"name": "<i>n</i>", "version": "1", "view": "full"})
    write_page(dataset, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert" not in page
    assert '"><b>' not in page
    assert "<i>n" not in page


def test_long_and_strange_words_are_shown_and_do_no_harm(
    tmp_path: Path, sample: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with ShardWriter(tmp_path / "d", "train", 0) as shard:
        shard.add(*sample("k", instruction="x" * 3000, family="f" * 200))
        shard.add(*sample("l", instruction="two\nlines\tand a tab", family="[/bold] [red]"))
    dataset = finish_dataset(
        tmp_path / "d", {"name": "[/i]" + "n" * 90, "version": "1", "view": "full"}
    )
    write_sheet(dataset, tmp_path / "sheet.png")
    show_counts(dataset, {"train": count(dataset.records("train"))})
    said = capsys.readouterr().out
    assert "[/i]nnn" in said
    assert re.search(r"\[/bold\] \[red\] +│ +1 │", said)
    assert re.search(r"fff… +│ +1 │", said)


CHROMIUM = Path("/usr/bin/chromium")


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")
def test_long_words_do_not_push_the_page_sideways(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    from playwright.sync_api import sync_playwright

    with ShardWriter(tmp_path / "d", "train", 0) as shard:
        shard.add(*sample("k", instruction="x" * 600, family="f" * 200, b_source="s" * 200))
        shard.add(*sample("l"))
    dataset = finish_dataset(tmp_path / "d", {"name": "n" * 200, "version": "1", "view": "full"})
    write_page(dataset, tmp_path / "page.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.goto((tmp_path / "page.html").as_uri())
        page.locator("summary").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        browser.close()


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")
def test_the_page_in_a_browser(small_suite: Dataset, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    write_page(small_suite, tmp_path / "page.html", 5)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for width, scheme in ((390, "dark"), (1280, "light")):
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            errors: list[str] = []
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto((tmp_path / "page.html").as_uri())
            assert (
                page.evaluate("document.documentElement.scrollWidth") == width
            )  # nothing sticks out sideways
            shade = page.evaluate(
                "getComputedStyle(document.body).backgroundColor"
                ".match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
            )
            assert (shade < 384) == (scheme == "dark")
            assert page.locator(".quad:visible").count() == 25
            page.select_option("select[name=tier]", "new_family")
            assert page.locator(".quad:visible").count() == 5
            assert page.inner_text("#shown") == "5 shown"
            page.fill(
                "input[name=words]",
                page.locator(".quad:visible").first.locator("code").first.text_content() or "",
            )
            assert page.locator(".quad:visible").count() == 1
            assert errors == []
        browser.close()
