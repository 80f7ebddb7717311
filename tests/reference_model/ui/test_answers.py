"""What stands behind the buttons of the page, without a browser."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from reference_model.applying.analogy import AnalogyModel, Look, Neighbour
from reference_model.ui import answers, words
from reference_model.ui.answers import Desk, Settings, read_picture

Trained = Callable[[str], Path]


@pytest.fixture
def paths(triplet: Callable[..., Triplet], tmp_path: Path) -> list[str]:
    """Files of a, a' and b, of 40 x 24 pixels."""
    shown = triplet(7, 40, 24)
    files = []
    for role in ("a", "a_prime", "b"):
        getattr(shown, role).save(tmp_path / f"{role}.png")
        files.append(str(tmp_path / f"{role}.png"))
    return files


@pytest.fixture
def desk(trained: Trained) -> Desk:
    return Desk(AnalogyModel(trained("lorweb")))


def header_of(width: int, height: int) -> bytes:
    """A PNG of any size that says so in its header and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    size = struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_an_answer_comes_with_its_pair_and_what_was_made_of_it(
    desk: Desk, paths: list[str]
) -> None:
    made = desk.complete(paths, Settings())
    assert made.answer.size == (40, 24) and made.sheet.width > 4 * 160
    assert made.look.elements is not None and made.notes == ()


def test_a_fit_and_the_strength_change_the_answer(desk: Desk, paths: list[str]) -> None:
    plain, bare = (desk.complete(paths, Settings(strength=x)).answer for x in (1.0, 0.0))
    assert not np.array_equal(np.asarray(plain), np.asarray(bare))
    assert Settings(fit_steps=5).fit == {"steps": 5} and Settings().fit is None


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_missing_picture_is_named(desk: Desk, paths: list[str], missing: int) -> None:
    given: list[str | None] = list(paths)
    given[missing] = None
    with pytest.raises(InputError, match=f"^{('a', 'a.', 'b')[missing]} is missing"):
        desk.complete(given, Settings())


def test_a_picture_of_100_megapixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(header_of(10_000, 10_000))
    with pytest.raises(InputError, match="b \\(huge.png\\) is 10000x10000 pixels"):
        read_picture(str(path), "b")


def test_a_large_picture_is_shrunk_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST", 20)
    path = tmp_path / "wide.png"
    Image.new("RGB", (40, 10)).save(path)
    image, note = read_picture(str(path), "b")
    assert image.size == (20, 5) and note == "b was shrunk from 40 x 10 to 20 x 5"


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(InputError, match="notes.png\\) is not a whole png, jpg or webp"):
        read_picture(str(path), "a")


def test_a_walk_has_the_picture_for_every_place_of_the_slider(desk: Desk, paths: list[str]) -> None:
    walk = desk.walk(paths, paths[1::-1], Settings(), 3)
    assert walk.weights == (0.0, 0.5, 1.0)
    assert [walk.frames.index(walk.frame(w)) for w in (0.0, 0.2, 0.3, 0.8, 1.0)] == [0, 0, 1, 2, 2]


def test_the_file_to_take_along_is_a_lora_and_old_ones_go(desk: Desk, paths: list[str]) -> None:
    file, lines = desk.lora(paths, [None, None], Settings(), 0.5, 2, "bfloat16")
    assert any("rank 2" in line for line in lines)
    assert all(name.startswith("transformer.") for name in load_file(file))
    for _ in range(answers.LORA_FILES):
        desk.lora(paths, paths[1::-1], Settings(), 0.5, None, "float32")
    assert not file.exists()


@pytest.mark.parametrize("seed", [-1, 0.5, None])
def test_a_seed_is_a_whole_number(desk: Desk, paths: list[str], seed: float | None) -> None:
    with pytest.raises(InputError, match="whole number"):
        desk.complete(paths, Settings(seed=seed))


def test_what_is_said_is_escaped() -> None:
    look = Look((Neighbour("<script>alert(1)</script>", 1.0),), 9.0, 1.0, (0.5, 0.5))
    for html in (words.look_at(look), words.refused("<script>"), words.said(["<script>"])):
        assert "<script>" not in html


def test_bars_say_in_words_what_they_draw() -> None:
    drawn = words.bars((0.1, 0.7, 0.2))
    assert drawn.count("<rect") == 3 and "element 2 (0.70), element 3 (0.20)" in drawn


def test_the_page_says_what_the_checkpoint_knows(trained: Trained) -> None:
    about = words.about(AnalogyModel(trained("lorweb")))
    assert "little-train" in about and "transformations that it was trained on" in about
    silent = words.about(AnalogyModel(trained("single-lora")))
    assert "does not say which transformations" in silent
