"""A base that says what is done to b's pixels edits a photograph at its own size."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorweb_bench.data.samples import Triplet
from reference_model.applying import full_size
from reference_model.applying.analogy import Analogy, AnalogyModel
from reference_model.applying.full_size import Edit, at_own_size, remembered_edits
from reference_model.bases.registry import load_base
from reference_model.bases.tiny import OperatorFlux, TinyBase, new_tiny_base
from reference_model.training.pretrain_world import OPERATOR_TRANSFORMER


@pytest.fixture(scope="module")
def base() -> TinyBase:
    """An untrained base with an operator, which hands b back."""
    blocks = {"num_layers": 0, "num_single_layers": 1}
    return new_tiny_base(["word"], 0, {**blocks, **OPERATOR_TRANSFORMER}, "operator")


def photograph(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(1)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def untouched(base: TinyBase) -> Edit:
    """An edit of two by three tokens that changes nothing."""
    assert isinstance(base.transformer, OperatorFlux)
    outputs = base.transformer.operator.outputs
    return Edit(torch.zeros(1, 6, outputs), torch.zeros(1, 3, 32, 48), 2, 3)


def test_an_edit_that_changes_nothing_hands_a_photograph_back_to_the_pixel(base: TinyBase) -> None:
    b = photograph(333, 211)
    assert np.array_equal(at_own_size(base, [untouched(base)], [1.0], b), np.asarray(b))


def test_a_photograph_of_more_pixels_is_edited_smaller_and_comes_back_at_its_size(
    base: TinyBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "MOST_PIXELS", 1000)
    assert at_own_size(base, [untouched(base)], [1.0], photograph(90, 60)).shape == (60, 90, 3)


def test_only_a_base_with_an_operator_remembers_edits(base: TinyBase, base_folder: Path) -> None:
    with remembered_edits(load_base(str(base_folder))) as edits:
        pass
    assert edits == []
    with remembered_edits(base) as edits, torch.no_grad():
        operator = base.transformer.operator
        operator(untouched(base).numbers, torch.zeros(1, 3, 32, 48), 2, 3)
    assert [(edit.rows, edit.columns) for edit in edits] == [(2, 3)]


def test_without_an_operator_an_answer_is_the_panel_enlarged(
    trained: Callable[..., Path], triplet: Callable[..., Triplet]
) -> None:
    model, shown = AnalogyModel(trained("lorweb")), triplet(1, width=40, height=24)
    analogy = Analogy(((shown.a, shown.a_prime),), shown.b)
    assert model.apply(analogy).size == shown.b.size
