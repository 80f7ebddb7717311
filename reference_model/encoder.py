"""The frozen eyes of the router on the tiny base: (a, a') as one six-channel picture, pretrained to name the transformation.

The paper's way, a vision tower, is in `towers`.
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
    """A small network from the pair (a, a') to features (batch, `features`); it keeps the grid of its last maps: place tells geometry."""

    features = 192

    def __init__(self, steps: int, width: int = 128) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.PixelUnshuffle(8),
            nn.Conv2d(384, width, 1),
            Residual(width),
            nn.Conv2d(width, 3 * width // 2, 3, stride=2, padding=1),
            Residual(3 * width // 2),
            Residual(3 * width // 2),
            nn.GroupNorm(8, 3 * width // 2),
            nn.SiLU(),
        )
        self.place = nn.Sequential(nn.Conv2d(3 * width // 2, 32, 1), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.mix = nn.Sequential(
            nn.Linear(32 * 16 + 3 * width // 2, 256),
            nn.SiLU(),
            nn.Linear(256, self.features),
            nn.LayerNorm(self.features, elementwise_affine=False),
        )
        self.names = nn.ModuleList([nn.Linear(self.features, steps), nn.Linear(self.features, steps + 1)])

    def forward(self, a: Tensor, a_prime: Tensor, b: Tensor | None = None) -> Tensor:
        """Features (batch, 192), zero mean and unit variance each, of uint8 images (batch, 3, height, width), sides multiples of 16."""
        seen = self.look(torch.cat([a, a_prime], 1).float() / 127.5 - 1)
        features: Tensor = self.mix(torch.cat([self.place(seen), self.pool(seen)], 1))
        return features

    def name_loss(self, features: Tensor, steps: Sequence[Tensor]) -> Tensor:
        """Cross-entropy of naming the first and the second trained step (the last class of the second: there is none)."""
        return torch.stack([nn.functional.cross_entropy(head(features), s) for head, s in zip(self.names, steps, strict=True)]).sum()
