"""The page as a person meets it: the file of the Space, served, in a real browser."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[3]
CHROMIUM = Path("/usr/bin/chromium")
PATIENCE = 60_000  # milliseconds

pytest.importorskip("gradio")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no chromium here")


@pytest.fixture(scope="module")
def address(
    trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The Space's own file, served for a small checkpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    folder = tmp_path_factory.mktemp("served")
    environment = {
        **os.environ,
        "GRADIO_SERVER_PORT": port,
        "LORWEB_BENCH_MODEL": str(trained("lorweb")),
        "GRADIO_TEMP_DIR": str(folder),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    server = subprocess.Popen(
        [sys.executable, str(ROOT / "deploy/space/app.py")],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: "Browser", address: str) -> "Iterator[Callable[[int], Page]]":
    """`visit(width)`: the page; an error of it, or a request elsewhere, fails the test."""
    wrong: list[str] = []
    pages = []

    def watch(page: "Page") -> None:
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("request", lambda r: None if is_ours(r.url) else wrong.append(r.url))

    def is_ours(url: str) -> bool:
        return url.startswith((address, "data:", "blob:"))

    def open_page(width: int = 1280) -> "Page":
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(PATIENCE)
        watch(page)
        page.goto(address)
        page.wait_for_selector("#complete")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []


@pytest.fixture
def files(triplet: Callable[..., Triplet], tmp_path: Path) -> dict[str, Path]:
    """Pictures by the name of the place that they are put in."""
    shown = triplet(7, 40, 24)
    paths = {role: tmp_path / f"{role}.png" for role in ("a", "a_prime", "b")}
    for role, path in paths.items():
        getattr(shown, role).save(path)
    return paths


def fits(page: "Page") -> bool:
    """Whether nothing reaches beyond the window's right edge."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def upload(page: "Page", files: dict[str, Path]) -> None:
    for name, path in files.items():
        page.set_input_files(f"#{name} input[type=file]", path)
        page.wait_for_selector(f"#{name} img")


def test_three_pictures_in_and_one_out(
    visit: "Callable[..., Page]",
    files: dict[str, Path],
    trained: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    page = visit()
    upload(page, files)
    page.click("#complete")
    page.wait_for_selector("#look h3")
    assert "Nearest known transformations" in page.inner_text("#look")
    page.wait_for_selector("#sheet img")
    with page.expect_download() as download:
        page.click("#answer a[download], #answer button[aria-label='Download']")
    out = tmp_path / "out.png"
    with pytest.raises(SystemExit) as exit_:
        main(
            ["apply", "--model", str(trained("lorweb")), *map(str, files.values()), "-o", str(out)]
        )
    assert exit_.value.code == 0
    shown = np.asarray(Image.open(download.value.path()).convert("RGB"))
    assert np.array_equal(shown, np.asarray(Image.open(out)))  # the page is the command
    assert fits(page)


def test_on_a_phone_an_example_a_walk_and_a_file_to_take_along(
    visit: "Callable[..., Page]",
) -> None:
    page = visit(390)
    page.click("#examples button >> nth=0")
    page.wait_for_selector("#b img")
    page.click("#walking > button")
    page.click("#second-examples button >> nth=3")
    page.wait_for_selector("#a2_prime img")
    page.click("#walk")
    page.wait_for_selector("#strip img")
    middle = page.get_attribute("#frame img", "src")
    page.fill("#weight input[type=number]", "1")
    page.press("#weight input[type=number]", "Enter")
    page.wait_for_function(
        "before => document.querySelector('#frame img')?.src !== before", arg=middle
    )
    page.click("#lora > button")
    page.click("#compose")
    page.wait_for_selector("#lora-file a")
    assert "a LoRA of rank 6" in page.inner_text("#lora-message")
    assert fits(page)


def test_what_is_wrong_is_one_sentence_on_the_page(
    visit: "Callable[..., Page]", files: dict[str, Path], tmp_path: Path
) -> None:
    page = visit()
    page.click("#complete")
    page.wait_for_selector("#message .error")
    assert page.inner_text("#message").startswith("a is missing: upload a picture")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    page.set_input_files("#a input[type=file]", text)
    upload(page, {"a_prime": files["a_prime"], "b": files["b"]})
    page.click("#complete")
    page.wait_for_function("document.querySelector('#message').innerText.includes('text.png')")
    assert "is not a whole png, jpg or webp image" in page.inner_text("#message")


def test_two_people_at_once_both_get_an_answer(
    visit: "Callable[..., Page]", files: dict[str, Path]
) -> None:
    first, second = visit(), visit()
    for page in (first, second):
        upload(page, files)
    for page in (first, second):
        page.click("#complete")
    for page in (first, second):
        page.wait_for_selector("#look h3")


def test_a_taken_port_is_named(
    address: str, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    port = address.rpartition(":")[2]
    with pytest.raises(SystemExit) as exit_:
        main(["ui", "--model", str(trained("lorweb")), "--port", port])
    assert exit_.value.code == 2
    assert f"port {port}" in capsys.readouterr().err.replace("\n", " ")
