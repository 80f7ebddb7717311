"""The frozen eyes of the router on the tiny base: (a, a') as one six-channel picture.

Pretrained to name the transformation, and to say it as the base's text encoder would. The paper's
way, a vision backbone, is in `backbones`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two 3x3 convolutions beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The input plus its correction, the same shape."""
        out: Tensor = x + self.body(x)
        return out


class PairEncoder(nn.Module):
    """A small network from the pair (a, a') to features (batch, `features`).

    The instruction that it sees, as the base would encode it.

    It keeps the grid of its last maps: place tells geometry. `steps` is how many single
    transformations it names; `features` is the width of the base's pooled text vectors; `patch` the
    side in pixels of the squares that it reads a panel in.
    """

    seen_width = 192

    def __init__(self, steps: int, features: int, patch: int = 8, width: int = 128) -> None:
        super().__init__()
        self.features, self.patch = features, patch
        self.look = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(6 * patch**2, width, 1),
            Residual(width),
            nn.Conv2d(width, 3 * width // 2, 3, stride=2, padding=1),
            Residual(3 * width // 2),
            Residual(3 * width // 2),
            nn.GroupNorm(8, 3 * width // 2),
            nn.SiLU(),
        )
        self.place = nn.Sequential(
            nn.Conv2d(3 * width // 2, 32, 1), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.mix = nn.Sequential(
            nn.Linear(32 * 16 + 3 * width // 2, 256),
            nn.SiLU(),
            nn.Linear(256, self.seen_width),
            nn.LayerNorm(self.seen_width, elementwise_affine=False),
        )
        self.names = nn.ModuleList(
            [nn.Linear(self.seen_width, steps), nn.Linear(self.seen_width, steps + 1)]
        )
        self.say = nn.Sequential(
            nn.Linear(self.seen_width + 2 * steps + 1, 384), nn.SiLU(), nn.Linear(384, features)
        )

    def forward(self, a: Tensor, a_prime: Tensor, b: Tensor | None = None) -> Tensor:
        """Features (batch, `features`), of unit scale, of uint8 images (batch, 3, height, width),
        sides multiples of twice `patch`.
        """
        return self.said(*self.named(a, a_prime))

    def named(self, a: Tensor, a_prime: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What is seen (batch, 192), and the scores of naming the first and the second step (the
        last class: there is no second).
        """
        maps = self.look(torch.cat([a, a_prime], 1).float() / 127.5 - 1)
        seen = self.mix(torch.cat([self.place(maps), self.pool(maps)], 1))
        return seen, [head(seen) for head in self.names]

    def said(self, seen: Tensor, names: Sequence[Tensor]) -> Tensor:
        """The features: the expected encoding of the instruction, from what is seen and how likely
        each name is.
        """
        features: Tensor = self.say(torch.cat([seen, *(scores.softmax(1) for scores in names)], 1))
        return features


def name_loss(names: Sequence[Tensor], steps: Sequence[Tensor]) -> Tensor:
    """Cross-entropy of naming the first and the second trained step."""
    return torch.stack(
        [nn.functional.cross_entropy(scores, s) for scores, s in zip(names, steps, strict=True)]
    ).sum()
