"""The operator: nothing asked changes nothing, and each of its parts does what it says."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reference_model.model.operator import (
    NODES,
    SETS,
    EditOperator,
    extend,
    leaky_clamp,
    recolour,
)

ROWS, COLUMNS = 3, 4


@pytest.fixture
def operator() -> EditOperator:
    """An operator with seeded filters."""
    torch.manual_seed(0)
    return EditOperator()


def picture(seed: int = 0) -> Tensor:
    """Two smooth pictures of three by four tokens."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 6, 8, generator=generator) * 2 - 1
    return F.interpolate(coarse, scale_factor=8, mode="bilinear", align_corners=False)


def numbers(operator: EditOperator, **parts: Tensor) -> Tensor:
    """What tokens would predict: zeros, and `parts` (channels, rows, columns) by name."""
    each = []
    for name, size in operator.sizes.items():
        part = parts.get(name, torch.zeros(size, ROWS, COLUMNS))
        each.append(part.flatten(1).T.expand(2, -1, -1))
    return torch.cat(each, 2)


def test_zeros_hand_the_picture_back(operator: EditOperator) -> None:
    edited, shift = operator(numbers(operator), picture(), ROWS, COLUMNS)
    assert (edited - picture()).abs().max() < 1e-6
    assert shift.shape == (2, 2, NODES * ROWS, NODES * COLUMNS) and not shift.any()


def test_a_displacement_of_twice_the_way_to_the_middle_flips_the_picture(
    operator: EditOperator,
) -> None:
    x = (torch.arange(NODES * COLUMNS) + 0.5) * 2 / (NODES * COLUMNS) - 1
    shift = torch.stack([-2 * x.expand(NODES * ROWS, -1), torch.zeros(NODES * ROWS, len(x))])
    moved = F.pixel_unshuffle(shift[None], NODES)[0]
    edited, used = operator(numbers(operator, displacement=moved), picture(), ROWS, COLUMNS)
    assert torch.equal(used[0], shift)
    inner = slice(4, -4)  # at nodes in the middle column no shift is told from none
    difference = (edited - picture().flip(3)).abs()[..., inner]
    assert difference.mean() < 2e-3 and difference.max() < 0.03


def test_curves_that_fall_from_white_to_black_invert_the_picture(operator: EditOperator) -> None:
    terms = torch.zeros(SETS, operator.curve_terms)
    for colour in range(3):
        terms[colour, -4 + colour] = -2.0
    constant = terms.flatten()[:, None, None].expand(-1, ROWS, COLUMNS)
    edited, _ = operator(numbers(operator, curves=constant), picture(), ROWS, COLUMNS)
    assert (edited + picture()).abs().max() < 1e-6


def test_ramps_of_luma_turn_the_picture_black_and_white(operator: EditOperator) -> None:
    terms = torch.zeros(SETS, operator.curve_terms)
    ramps = operator.knots - 1
    for colour in range(3):
        terms[colour, -4 + colour] = -1.0  # away with the picture's own colours
        terms[colour, 3 * ramps + ramps // 2] = 2.0  # luma's ramp from the middle knot on
        terms[colour, -1] = -1.0
    constant = terms.flatten()[:, None, None].expand(-1, ROWS, COLUMNS)
    edited, _ = operator(numbers(operator, curves=constant), picture(), ROWS, COLUMNS)
    luma = (picture() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    expected = ((luma * ramps / 2).clamp(0, 1) * 2 - 1).expand_as(edited)
    assert (edited - expected).abs().max() < 1e-5


def test_colour_maps_are_interpolated_between_tokens(operator: EditOperator) -> None:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(2, SETS * 4, ROWS, COLUMNS, generator=generator)
    dense = F.interpolate(weights, scale_factor=16, mode="bilinear", align_corners=False)
    maps = dense.unflatten(1, (SETS, 4))
    with_one = torch.cat([picture(), torch.ones_like(picture()[:, :1])], 1)
    expected = torch.einsum("nsfhw,nfhw->nshw", maps, with_one)
    assert torch.allclose(recolour(picture(), weights), expected, atol=1e-5)


@pytest.mark.parametrize("window", [16, 24, 32])
def test_equal_windows_make_an_even_picture_without_a_seam(window: int) -> None:
    operator = EditOperator(window)
    drawn = torch.zeros(4, window**2)
    drawn[1:] = 0.25
    windows = drawn.flatten()[:, None, None].expand(-1, ROWS, COLUMNS)
    black = torch.zeros(2, 3, 16 * ROWS, 16 * COLUMNS)
    edited, _ = operator(numbers(operator, windows=windows), black, ROWS, COLUMNS)
    border = (window - 16) // 2
    inside = edited[..., border : 16 * ROWS - border, border : 16 * COLUMNS - border]
    assert (inside - 0.25).abs().max() < 1e-6


def test_a_mask_lets_the_other_colours_through_and_nothing_else(operator: EditOperator) -> None:
    mask = torch.zeros(4, operator.window, operator.window)
    mask[0] = 1.0
    windows = torch.zeros(4 * operator.window**2, ROWS, COLUMNS)
    windows[:, 1, 1] = mask.flatten()
    colours = torch.zeros(SETS, 4, ROWS, COLUMNS)
    colours[3:, 3] = 0.5  # behind the mask all is gray
    given = numbers(operator, windows=windows, colours=colours.flatten(0, 1))
    edited, _ = operator(given, picture(), ROWS, COLUMNS)
    assert (edited[:, :, 20:28, 20:28] - 0.5).abs().max() < 1e-6
    assert (edited[:, :, :8] - picture()[:, :, :8]).abs().max() < 1e-6


def test_supervised_displacement_gets_no_gradient_from_pixels(operator: EditOperator) -> None:
    operator.supervised_displacement = True
    given = numbers(operator).clone().requires_grad_()
    edited, shift = operator(given, picture(), ROWS, COLUMNS)
    edited.square().sum().backward()
    assert given.grad is not None and not given.grad[..., : operator.sizes["displacement"]].any()
    given.grad = None
    operator(given, picture(), ROWS, COLUMNS)[1].sum().backward()
    assert given.grad[..., : operator.sizes["displacement"]].all()


def test_extending_goes_on_in_a_straight_line() -> None:
    grid = torch.arange(12.0).view(1, 1, 3, 4)
    assert torch.equal(
        extend(grid)[0, 0, 1:-1], torch.arange(-1.0, 5) + 4 * torch.arange(3.0)[:, None]
    )
    assert torch.equal(extend(grid)[0, 0, 0], extend(grid)[0, 0, 1] - 4)


def test_what_exceeds_the_range_keeps_a_gradient() -> None:
    colours = torch.tensor([-2.0, -0.5, 0.5, 2.0], requires_grad=True)
    leaky_clamp(colours).sum().backward()
    assert colours.grad is not None and (colours.grad > 0).all()
    assert leaky_clamp(torch.tensor([-0.5, 1.0])).tolist() == [-0.5, 1.0]


def random_numbers(operator: EditOperator) -> Tensor:
    """Mild edits of every part, a batch of one."""
    generator = torch.Generator().manual_seed(4)
    return torch.randn(1, ROWS * COLUMNS, operator.outputs, generator=generator) * 0.05


def test_at_the_pictures_own_size_enlarging_changes_nothing(operator: EditOperator) -> None:
    torch.nn.init.normal_(operator.last_filter.weight, std=0.05)
    before, given = picture()[:1], random_numbers(operator)
    with torch.no_grad():
        edited, _ = operator(given, before, ROWS, COLUMNS)
    large = operator.enlarge(given, before, before, ROWS, COLUMNS)
    assert (large - edited).abs().max() < 1e-4
    assert (edited - before).abs().mean() > 0.02


def test_an_edit_of_single_pixels_keeps_the_details_of_a_large_picture(
    operator: EditOperator,
) -> None:
    terms = torch.zeros(SETS, operator.curve_terms)
    for colour in range(3):  # the curve's own terms for red, green and blue: picture - 2 * picture
        terms[colour, operator.curve_terms - 4 + colour] = -2
    curves = terms.flatten()[:, None, None].expand(-1, ROWS, COLUMNS)
    given = numbers(operator, curves=curves)[:1]
    large = torch.rand(1, 3, 150, 200, generator=torch.Generator().manual_seed(7)) * 2 - 1
    small = F.interpolate(large, (16 * ROWS, 16 * COLUMNS), mode="area")
    inverted = operator.enlarge(given, small, large, ROWS, COLUMNS)
    assert (inverted + large).abs().max() < 1e-4
