"""Mixes that do not depend on what the router makes of an analogy: baselines for the router.

The one mix that is the mean over all trained transformations, for everybody (arXiv 2211.03831 finds
that in language it does as well as a router), and that of the trained transformation whose features
are nearest. If a router is worth something it is ahead of both.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lorweb_bench.errors import InputError, unknown_name
from reference_model.checkpoints.known_pairs import KnownPairs
from reference_model.fitting.adaptation import Adaptation, Pairs, routed
from reference_model.model.adapter import Adapter

Mix = Literal["router", "mean", "nearest"]
MIXES: Sequence[str] = get_args(Mix)


def check_mix(mix: str, adapter: Adapter, known: KnownPairs | None, origin: str) -> None:
    """Refuse a mix that a checkpoint cannot give.

    Args:
        mix: What is asked for, of `MIXES`.
        adapter: The checkpoint on its base.
        known: What it was trained on, as its encoder sees it.
        origin: What the checkpoint is called in the error.

    Raises:
        InputError: There is no such mix, or the checkpoint has no router or does not say what it
            was trained on.
    """
    if mix not in MIXES:
        raise unknown_name("mix", mix, MIXES)
    if mix == "router":
        return
    if adapter.router is None:
        raise InputError(f"{origin}: has no router, so there is no mix to take the {mix} of")
    if known is None:
        raise InputError(
            f"{origin}: does not say what it was trained on, so there is no {mix} mix; "
            "`lorweb-bench known-pairs` adds that"
        )


def known_mix(adapter: Adapter, known: KnownPairs, mix: str, pairs: Pairs, b: Tensor) -> Adaptation:
    """What adapts the base to a batch when the mix is one of trained transformations.

    Args:
        adapter: A checkpoint with a router, on its base.
        known: What it was trained on.
        mix: `mean` or `nearest`.
        pairs: One or more pairs (a, a'), uint8 (batch, 3, height, width) each.
        b: uint8 (batch, 3, height, width).
    """
    assert adapter.router is not None
    with torch.no_grad():
        if mix == "mean":
            mixes = adapter.router(known.centroids.to(b.device)).transpose(0, 1)
            gates = mixes.mean(0).expand(len(b), -1, -1)
        else:
            looks = [adapter.features(a, a_prime, b) for a, a_prime in pairs]
            features = torch.stack([look for look in looks if look is not None]).mean(0)
            nearest = known.centroids[known.distances(features).argmin(1)]
            gates = adapter.router(nearest.to(b.device)).transpose(0, 1)
    tokens = None if adapter.token is None else routed(adapter, pairs, b).tokens
    return Adaptation(gates, tokens)
