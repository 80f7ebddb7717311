"""Text on sheets is drawn in a font that has its letters, or a sentence says that none has."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lorweb_bench.reports import fonts
from lorweb_bench.reports.fonts import font_and_text, plain_font
from lorweb_bench.reports.sheet import Row, Section, contact_sheet


def drawn(text: str) -> np.ndarray:
    font, shown = font_and_text(text, 15)
    canvas = Image.new("L", (500, 24))
    ImageDraw.Draw(canvas).text((2, 2), shown, 255, font)
    return np.asarray(canvas)


def test_plain_text_is_drawn_in_pillows_own_font() -> None:
    font, text = font_and_text("turn by 90 degrees, then invert…", 15)
    assert font is plain_font(15) and text == "turn by 90 degrees, then invert…"


@pytest.mark.parametrize("text", ["Ж и снег", "Žluťoučký kůň", "ἀνάλογον"])
def test_other_letters_are_drawn_where_a_font_has_them(text: str) -> None:
    font, shown = font_and_text(text, 15)
    if shown != text:
        pytest.skip("no installed font has these letters")
    missing = np.array(font.getmask(fonts.MISSING)).reshape(-1)
    for sign in set(text) - {" "}:
        assert not np.array_equal(np.array(font.getmask(sign)).reshape(-1), missing)
    assert drawn(text).any() and not np.array_equal(drawn(text), drawn(text[::-1]))


def test_where_no_font_has_the_letters_words_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_installed", lambda: ())
    fonts._font_file.cache_clear()
    try:
        font, shown = font_and_text("שלום", 15)
        assert font is plain_font(15)
        assert shown == "(text in Hebrew letters, which no installed font has)"
        assert (
            font_and_text("雪", 15)[1] == "(text in Chinese letters, which no installed font has)"
        )
    finally:
        fonts._font_file.cache_clear()


def test_a_sheet_with_many_scripts_is_drawn() -> None:
    panel = Image.new("RGB", (16, 16), "red")
    rows = [Row((panel,) * 4, text, text) for text in ("plain", "Ж", "雪", "\U0001f300")]
    sheet = contact_sheet("Снег", "雪", [Section("Ž", rows)])
    assert sheet.width > 500
