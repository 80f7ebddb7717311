"""Untrained editors with three references and words, on tiny random weights of the real classes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorweb_bench.data.samples import Triplet
from lorweb_bench.methods.http_editor import WORDS
from reference_model.reference_editors import (
    Flux2Editor,
    Flux2KleinEditor,
    QwenEditor,
    ReferenceEditor,
)

QWEN = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus"
KINDS = {"klein_folder": Flux2KleinEditor, "flux2_folder": Flux2Editor, "qwen_folder": QwenEditor}


class Shown:
    """Stands before a real pipeline and keeps what it is called with."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.calls = pipeline, []

    def __call__(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.pipeline(**arguments)


@pytest.fixture(params=list(KINDS))
def editor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ReferenceEditor:
    """Each editor, two steps of it; Qwen's pipeline at 64 pixels instead of a megapixel."""
    for constant in ("VAE_IMAGE_SIZE", "CONDITION_IMAGE_SIZE"):
        monkeypatch.setattr(f"{QWEN}.{constant}", 64 * 64)
    folder: Path = request.getfixturevalue(request.param)
    made: ReferenceEditor = KINDS[request.param](str(folder), steps=2, dtype="float32")
    return made


def test_three_pictures_and_words_become_a_picture_of_bs_size(
    editor: ReferenceEditor, triplet: Callable[..., Triplet]
) -> None:
    editor.prepare(None)
    shown = editor.pipeline = Shown(editor.pipeline)
    told, small = triplet(1, 64, 64, "invert it"), triplet(2, 32, 16)
    answers = editor.predict([told, small])
    assert [answer.size for answer in answers] == [(64, 64), (32, 16)]
    first = shown.calls[0]
    assert first["prompt"] == f"{WORDS} The edit: invert it"
    for picture, panel in zip(first["image"], (told.a, told.a_prime, told.b), strict=True):
        assert np.array_equal(np.asarray(picture), np.asarray(panel))
    assert min(shown.calls[1]["image"][0].size) == 64  # no smaller picture is taken
    assert editor.describe()["guidance"] == editor.guidance
