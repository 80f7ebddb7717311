"""The router: from an analogy's features to the coefficients of every adapted layer, in one batched product.

Per layer l, with its own projection P_l and keys K_l: q = P_l f, e = softmax(K_l q / sqrt(d)) (arXiv 2602.15727). The coefficients depend
on the triplet alone, so they are computed once per triplet, never per step.
"""

from typing import Literal

import torch
from torch import Tensor, nn


class Router(nn.Module):
    """Stacked projections (layers, d, features) and keys (layers, elements, d) of all adapted layers."""

    def __init__(self, layers: int, elements: int, features: int, key_width: int, mixing: Literal["softmax", "tanh"] = "softmax") -> None:
        super().__init__()
        self.mixing = mixing
        self.projections = nn.Parameter(torch.empty(layers, key_width, features))
        self.keys = nn.Parameter(torch.empty(layers, elements, key_width))
        if not self.keys.is_meta:
            nn.init.normal_(self.projections, std=features**-0.5)
            nn.init.normal_(self.keys)

    def forward(self, features: Tensor) -> Tensor:
        """Coefficients (layers, batch, elements) of features (batch, features); softmax: positive, summing to 1; tanh: in (-1, 1)."""
        layers, width, _ = self.projections.shape
        queries = (features @ self.projections.flatten(0, 1).mT).unflatten(1, (layers, width)).transpose(0, 1)
        scores = queries @ self.keys.mT / width**0.5
        return scores.softmax(-1) if self.mixing == "softmax" else scores.tanh()
