"""The router: from an analogy's features to the coefficients of every adapted layer, in one batched
product.

Per layer l, with its own projection P_l and keys K_l: q = P_l f, e = softmax(K_l q / sqrt(d))
(arXiv 2602.15727). With several heads q and every key are cut into as many parts of width d /
heads, each part gives coefficients of its own, and their mean or their sum, clamped to [-1, 1], is
taken. The coefficients depend on the triplet alone, so they are computed once per triplet, never
per step.
"""

from typing import Literal

import torch
from torch import Tensor, nn


class Router(nn.Module):
    """Stacked projections (layers, d, features) and keys (layers, elements, d) of all adapted
    layers.
    """

    def __init__(
        self,
        layers: int,
        elements: int,
        features: int,
        key_width: int,
        mixing: Literal["softmax", "tanh"] = "softmax",
        heads: int = 1,
        over_heads: Literal["mean", "clamped-sum"] = "mean",
    ) -> None:
        super().__init__()
        self.mixing, self.heads, self.over_heads = mixing, heads, over_heads
        self.projections = nn.Parameter(torch.empty(layers, key_width, features))
        self.keys = nn.Parameter(torch.empty(layers, elements, key_width))
        if not self.keys.is_meta:
            nn.init.normal_(self.projections, std=features**-0.5)
            nn.init.normal_(self.keys)

    def start_at_official_scale(self) -> None:
        """Draw the projections anew at the scale of the authors' code.

        It is that of a linear layer, uniform within 1 / sqrt(features): a standard deviation of
        .0120 for 2,304 features. Keys stay as they are.
        """
        bound = self.projections.shape[2] ** -0.5
        nn.init.uniform_(self.projections, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Coefficients (layers, batch, elements) of features (batch, features).

        Softmax: positive, summing to 1 (the clamped sum of heads: at most 1 each); tanh: between -1
        and 1.
        """
        layers, width, _ = self.projections.shape
        queries = (
            (features @ self.projections.flatten(0, 1).mT)
            .unflatten(1, (layers, width))
            .transpose(0, 1)
        )
        if self.heads == 1:
            return self._mixed(queries @ self.keys.mT / width**0.5)
        cut = (self.heads, width // self.heads)
        by_head = (
            queries.unflatten(2, cut).transpose(1, 2),
            self.keys.unflatten(2, cut).transpose(1, 2),
        )  # (layers, heads, n, d / heads)
        mixes = self._mixed(by_head[0] @ by_head[1].mT / cut[1] ** 0.5)
        return mixes.mean(1) if self.over_heads == "mean" else mixes.sum(1).clamp(-1, 1)

    def _mixed(self, scores: Tensor) -> Tensor:
        return scores.softmax(-1) if self.mixing == "softmax" else scores.tanh()
