"""Edit tokens: what changed from a to a', as tokens beside the words.

As Delta-Adapter (arXiv 2605.07940) describes it: dense features of a vision backbone, normalised
token by token; their difference, refined by a gated residual projection whose gate starts at zero;
and a Perceiver resampler (arXiv 2204.14198) that turns it into a few tokens. There the tokens come
in by attention of their own and a consistency loss holds the answer to them; here they stand in
the prompt, with a LoRA beside them, as those of the token control do.
"""

import torch
from torch import Tensor, nn

INNER = 512  # the resampler's width
HEADS = 8
LAYERS = 2


def semantic_delta(before: Tensor, after: Tensor) -> Tensor:
    """The difference (batch, patches, width) of dense features, each token normalised first."""
    first, second = (nn.functional.layer_norm(x, x.shape[-1:]) for x in (before, after))
    return second - first


class ResamplerLayer(nn.Module):
    """Queries that attend to the delta and to themselves, and a feed-forward net, each beside a
    skip.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise_queries, self.normalise_delta = nn.LayerNorm(INNER), nn.LayerNorm(INNER)
        self.attend = nn.MultiheadAttention(INNER, HEADS, batch_first=True)
        self.think = nn.Sequential(
            nn.LayerNorm(INNER),
            nn.Linear(INNER, 4 * INNER),
            nn.GELU(),
            nn.Linear(4 * INNER, INNER),
        )

    def forward(self, queries: Tensor, delta: Tensor) -> Tensor:
        """The queries (batch, tokens, width) after a look at the delta (batch, patches, width)."""
        asked = self.normalise_queries(queries)
        seen = torch.cat([self.normalise_delta(delta), asked], 1)
        queries = queries + self.attend(asked, seen, seen, need_weights=False)[0]
        answer: Tensor = queries + self.think(queries)
        return answer


class EditTokens(nn.Module):
    """From a semantic delta to tokens of the prompt's width.

    Args:
        features: how many numbers a delta has, patches times `width`.
        width: of a patch's features.
        tokens: how many tokens it becomes.
        prompt_width: the width of a token of the prompt.
    """

    def __init__(self, features: int, width: int, tokens: int, prompt_width: int) -> None:
        super().__init__()
        self.width = width
        self.refine = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.zeros(1))
        self.enter = nn.Linear(width, INNER)
        self.places = nn.Parameter(torch.randn(features // width, INNER) * 0.02)
        self.queries = nn.Parameter(torch.randn(tokens, INNER) * 0.02)
        self.layers = nn.ModuleList([ResamplerLayer() for _ in range(LAYERS)])
        self.leave = nn.Sequential(nn.LayerNorm(INNER), nn.Linear(INNER, prompt_width))

    def forward(self, features: Tensor) -> Tensor:
        """Tokens (batch, tokens * prompt width) of deltas (batch, patches * width)."""
        delta = features.unflatten(1, (-1, self.width))
        delta = delta + torch.tanh(self.gate) * self.refine(delta)
        entered = self.enter(delta) + self.places
        queries = self.queries.expand(len(features), -1, -1)
        for layer in self.layers:
            queries = layer(queries, entered)
        tokens: Tensor = self.leave(queries)
        return tokens.flatten(1)
