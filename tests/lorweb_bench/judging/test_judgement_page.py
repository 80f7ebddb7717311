"""The page of a judgement: what a researcher reads there, and how it looks in a real browser."""

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.judging.endpoint import Endpoint
from lorweb_bench.judging.judge import judge

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def pages(
    server: Any,
    endpoint: Endpoint,
    made: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    keys: list[str],
    write_votes: Callable[..., Path],
) -> dict[str, Path]:
    """The page of a rating and of a choice, both with votes of people and answers that cannot be
    parsed.
    """
    server.rule = lambda body: (
        (200, "no") if server.share_of(body["messages"], 9) == 0 else server.answer(body)
    )
    rated = write_votes(
        tmp_path / "rated.csv",
        [{"key": key, "accuracy": 1 + i, "consistency": 9 - i} for i, key in enumerate(keys[:9])],
    )
    judge(made("copy-a-prime"), small_suite, endpoint, out=tmp_path / "rating", votes=rated)
    chosen = write_votes(
        tmp_path / "chosen.csv", [{"key": key, "better": "copy-b"} for key in keys]
    )
    judge(
        made("copy-b"),
        small_suite,
        endpoint,
        other=made("copy-a-prime"),
        out=tmp_path / "choice",
        votes=chosen,
    )
    return {name: tmp_path / name / "index.html" for name in ("rating", "choice")}


def test_ratings_stand_by_tier_with_what_the_judge_saw_and_did_not_say(
    pages: dict[str, Path],
) -> None:
    text = html.unescape(pages["rating"].read_text())
    assert pages["rating"].read_text().count("The judge saw: something &lt;b&gt;bold&lt;/b&gt;") > 3
    for said in (
        "judge_accuracy",
        "judge_consistency",
        "new_family",
        "10.00",
        "Agreement with people",
        "consistency, rank correlation",
    ):
        assert said in text
    assert "items could not be parsed; these items are left out of every mean" in text
    assert "lorweb-bench judge " in text and "tiny-judge" in text
    assert "Forced choice" not in text and "seconds per image" not in text


def test_a_choice_shows_both_orders_the_bias_and_both_answers(pages: dict[str, Path]) -> None:
    text = html.unescape(pages["choice"].read_text())
    for said in (
        "copy-b against copy-a-prime",
        "Forced choice, by what is shown first",
        "100.0 %",
        "0.0 %",
        "both orders agree",
    ):
        assert said in text
    assert "copy-b preferred" in text and "50 % is no bias" in text and "the same decision" in text
    assert (
        text.count("<figcaption>copy-a-prime</figcaption>")
        == text.count("<figcaption>truth</figcaption>")
        > 0
    )


@pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")
def test_the_pages_fit_and_say_nothing_in_the_console(pages: dict[str, Path]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for page in pages.values():
            for scheme, width in (("light", 1280), ("dark", 390)):
                tab = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                said: list[str] = []
                tab.on("console", lambda message, said=said: said.append(message.text))
                tab.on("pageerror", lambda error, said=said: said.append(str(error)))
                tab.goto(page.as_uri())
                assert said == []
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                box = tab.locator("#judge").bounding_box()
                assert box and box["height"] > 100 and box["x"] + box["width"] <= width
                tab.close()
        browser.close()
