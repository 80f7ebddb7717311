"""A base that is told a composition does one step after another."""

import torch

from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.instructed import edit_in_turns, edit_told


def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8, generator=generator)


def base() -> Base:
    return load_base("tiny")


def test_the_second_step_edits_what_the_first_has_made() -> None:
    both = ["invert the colours, then convert to grayscale", "invert the colours"]
    first = edit_told(base(), pictures(), ["invert the colours"] * 2, [0, 1])
    second = edit_told(base(), first[:1], ["convert to grayscale"], [0])
    in_turns = edit_in_turns(base(), pictures(), both, [0, 1])
    assert torch.equal(in_turns, torch.cat([second, first[1:]]))


def test_pictures_are_left_as_they_were() -> None:
    given = pictures()
    edit_in_turns(base(), given, ["invert the colours"] * 2, [0, 1])
    assert torch.equal(given, pictures())


def test_no_pictures_give_none() -> None:
    assert edit_in_turns(base(), pictures()[:0], [], []).shape == (0, 3, 64, 64)
