"""The layouts: where the panels stand, and that the answer comes back out."""

import pytest
import torch
from torch import Tensor

from reference_model.model.grid_layout import (
    context_sequence,
    flatten_tokens,
    position_ids,
    target_tokens,
)

LAYOUTS = ("target-only", "paper", "edit")
ROWS, COLUMNS = 2, 3


def panels() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """a, a', b, b' of two samples, each token a number of its own."""
    tokens = torch.arange(4 * 2 * ROWS * COLUMNS).float().view(4, 2, ROWS, COLUMNS, 1)
    return tokens[0], tokens[1], tokens[2], tokens[3]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_answer_is_found_again_in_the_target(layout: str) -> None:
    a, a_prime, b, b_prime = panels()
    target = target_tokens(layout, a, a_prime, b, b_prime)
    sequenced = context_sequence(layout, a, a_prime, b)
    assert (sequenced.rows, sequenced.columns) == (ROWS, COLUMNS)
    if layout == "paper":
        grid = target.unflatten(1, (2 * ROWS, 2 * COLUMNS))
        assert torch.equal(grid[:, ROWS:, COLUMNS:], b_prime)
    else:
        assert torch.equal(target.unflatten(1, (ROWS, COLUMNS)), b_prime)
    assert target.shape[1] == len(sequenced.target_ids)
    assert sequenced.context.shape[1] == len(sequenced.context_ids)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_two_tokens_of_a_sequence_share_a_position(layout: str) -> None:
    a, a_prime, b, _ = panels()
    ids = context_sequence(layout, a, a_prime, b).ids
    assert len(torch.unique(ids, dim=0)) == len(ids)
    assert (
        set(ids[:, 0].tolist())
        == {"paper": {0, 1}, "target-only": {0, 1, 2, 3}, "edit": {0, 1}}[layout]
    )


def test_the_grid_of_the_paper() -> None:
    a, a_prime, b, b_prime = panels()
    sequenced = context_sequence("paper", a, a_prime, b)
    target = target_tokens("paper", a, a_prime, b, b_prime).unflatten(1, (2 * ROWS, 2 * COLUMNS))
    context = sequenced.context.unflatten(1, (2 * ROWS, 2 * COLUMNS))
    top, bottom, left, right = slice(ROWS), slice(ROWS, None), slice(COLUMNS), slice(COLUMNS, None)
    for grid, last in (
        (target, b_prime),
        (context, b),
    ):  # the clean grid repeats b where the answer belongs
        assert torch.equal(grid[:, top, left], a)
        assert torch.equal(grid[:, top, right], a_prime)
        assert torch.equal(grid[:, bottom, left], b)
        assert torch.equal(grid[:, bottom, right], last)
    # Both grids have the coordinates of one picture of four panels, told apart by the first axis,
    # as FLUX.1 Kontext does.
    assert torch.equal(sequenced.target_ids, position_ids(0, 2 * ROWS, 2 * COLUMNS))
    assert torch.equal(sequenced.context_ids, position_ids(1, 2 * ROWS, 2 * COLUMNS))


def test_target_only_keeps_each_panel_whole_at_the_coordinates_of_the_target() -> None:
    a, a_prime, b, b_prime = panels()
    sequenced = context_sequence("target-only", a, a_prime, b)
    assert torch.equal(
        sequenced.context,
        torch.cat([flatten_tokens(b), flatten_tokens(a), flatten_tokens(a_prime)], 1),
    )
    assert torch.equal(
        target_tokens("target-only", a, a_prime, b, b_prime), flatten_tokens(b_prime)
    )
    for number, ids in enumerate(sequenced.ids.split(ROWS * COLUMNS)):
        assert torch.equal(ids, position_ids(number, ROWS, COLUMNS))


def test_a_shrunk_pair_spreads_over_the_panel_that_it_shows() -> None:
    b, small = torch.zeros(1, 4, 6, 1), torch.zeros(1, 2, 3, 1)
    sequenced = context_sequence("target-only", small, small, b)
    assert sequenced.context.shape[1] == len(sequenced.context_ids) == 4 * 6 + 2 * (2 * 3)
    _, of_b, of_a, of_a_prime = (
        sequenced.ids[sequenced.ids[:, 0] == number, 1:] for number in range(4)
    )
    for ids in (of_a, of_a_prime):  # a token that stands for four lies in their middle
        assert torch.equal(ids.view(2, 3, 2), of_b.view(2, 2, 3, 2, 2).mean(dim=(1, 3)))


def test_positions_are_row_and_column() -> None:
    assert position_ids(2, 2, 3).tolist() == [
        [2, 0, 0],
        [2, 0, 1],
        [2, 0, 2],
        [2, 1, 0],
        [2, 1, 1],
        [2, 1, 2],
    ]
