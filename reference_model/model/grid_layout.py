"""How the four panels of an analogy become one token sequence, and back.

Layout `references`, for a base that takes several pictures: a, a' and b follow the noisy b' as
reference pictures of their own, in that order, as they are handed to the base's stock pipeline.

Layout `target-only`: the noisy b' alone is predicted, and b, a, a' follow it as clean context, each
panel at the target's coordinates and told apart by the first position axis (0 target, 1 b, 2 a, 3
a'). Layout `paper` (arXiv 2602.15727): the noisy 2x2 grid [a, a'; b, b'] is predicted whole from
the clean grid [a, a'; b, b]; the answer is its bottom-right quadrant. Layout `edit`: b' from b and
a prompt, no pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Picture = tuple[
    str, ...
]  # the roles that a picture shows: one panel, or the four quadrants of a grid
CONTEXT: dict[str, list[Picture]] = {
    "target-only": [("b",), ("a",), ("a_prime",)],
    "references": [("a",), ("a_prime",), ("b",)],
    "paper": [("a", "a_prime", "b", "b")],
    "edit": [("b",)],
}
TARGET: dict[str, Picture] = {
    "target-only": ("b_prime",),
    "references": ("b_prime",),
    "edit": ("b_prime",),
    "paper": ("a", "a_prime", "b", "b_prime"),
}


@dataclass(frozen=True)
class TokenSequence:
    """Context tokens and all positions.

    Attributes:
        context: (batch, tokens, channels).
        target_ids: (tokens, 3).
        context_ids: (tokens, 3).
        rows: of a panel's tokens.
        columns: of a panel's tokens.
        sizes: rows and columns of the context's pictures, in order.
        under: which of these pictures lies under the target.
    """

    context: Tensor
    target_ids: Tensor
    context_ids: Tensor
    rows: int
    columns: int
    sizes: tuple[tuple[int, int], ...]
    under: int = 0

    @property
    def tokens_under(self) -> Tensor:
        """The tokens (batch, target tokens, channels) of the picture under the target."""
        first = sum(rows * columns for rows, columns in self.sizes[: self.under])
        return self.context[:, first : first + len(self.target_ids)]

    @property
    def target_size(self) -> tuple[int, int]:
        """Rows and columns of the target's tokens; positions count both from 0."""
        return _size_of(self.target_ids)

    @property
    def context_size(self) -> tuple[int, int]:
        """Rows and columns of the tokens of a context of one picture."""
        return _size_of(self.context_ids)

    @property
    def ids(self) -> Tensor:
        """Positions of target and context, in the order of the sequence."""
        return torch.cat([self.target_ids, self.context_ids])


def _size_of(ids: Tensor) -> tuple[int, int]:
    rows, columns = (int(ids[:, axis].max()) + 1 for axis in (1, 2))
    return rows, columns


def position_ids(panel: int, rows: int, columns: int, shrunk: float = 1.0) -> Tensor:
    """Positions (rows * columns, 3) of one panel: its number, row and column.

    Those of a shrunk panel spread over the whole one.
    """
    grid = torch.zeros(rows, columns, 3)
    grid[..., 0] = panel
    grid[..., 1] = ((torch.arange(rows) + 0.5) * shrunk - 0.5)[:, None]
    grid[..., 2] = (torch.arange(columns) + 0.5) * shrunk - 0.5
    return grid.view(-1, 3)


def flatten_tokens(tokens: Tensor) -> Tensor:
    """(batch, rows, columns, channels) to (batch, rows * columns, channels)."""
    return tokens.flatten(1, 2)


def picture_pixels(picture: Picture, panels: dict[str, Tensor]) -> Tensor:
    """The pixels (batch, 3, height, width) of a picture, from panels by role."""
    tensors = [panels[role] for role in picture]
    if len(tensors) == 1:
        return tensors[0]
    return torch.cat([torch.cat(tensors[:2], 3), torch.cat(tensors[2:], 3)], 2)


def quadrants(
    top_left: Tensor, top_right: Tensor, bottom_left: Tensor, bottom_right: Tensor
) -> Tensor:
    """A 2x2 grid of panels of tokens (batch, rows, columns, channels)."""
    return torch.cat(
        [torch.cat([top_left, top_right], 2), torch.cat([bottom_left, bottom_right], 2)], 1
    )


def context_sequence(
    layout: str, a: Tensor | None, a_prime: Tensor | None, b: Tensor
) -> TokenSequence:
    """The clean context of a triplet, given as tokens (batch, rows, columns, channels), and all
    positions.
    """
    if layout == "paper":
        assert a is not None and a_prime is not None
        return token_sequence(layout, [quadrants(a, a_prime, b, b)])
    by_role = {"a": a, "a_prime": a_prime, "b": b}
    shown = [by_role[picture[0]] for picture in CONTEXT[layout]]
    return token_sequence(layout, [x for x in shown if x is not None])


def token_sequence(layout: str, pictures: Sequence[Tensor]) -> TokenSequence:
    """The clean context of a layout's pictures as tokens (batch, rows, columns, channels), in its
    order, and all positions.
    """
    under = len(pictures) - 1 if layout == "references" else 0
    rows, columns = pictures[under].shape[1:3]
    ids = torch.cat(
        [
            position_ids(n, x.shape[1], x.shape[2], rows / x.shape[1])
            for n, x in enumerate(pictures, 1)
        ]
    )
    panel = (rows // 2, columns // 2) if layout == "paper" else (rows, columns)
    return TokenSequence(
        torch.cat([flatten_tokens(x) for x in pictures], 1),
        position_ids(0, rows, columns),
        ids,
        *panel,
        tuple((x.shape[1], x.shape[2]) for x in pictures),
        under,
    )


def target_tokens(
    layout: str, a: Tensor | None, a_prime: Tensor | None, b: Tensor, b_prime: Tensor
) -> Tensor:
    """What is predicted, as tokens (batch, tokens, channels).

    B', or the whole grid in the paper's layout.
    """
    if layout == "paper":
        assert a is not None and a_prime is not None
        return flatten_tokens(quadrants(a, a_prime, b, b_prime))
    return flatten_tokens(b_prime)
