"""Random generators from seeds of any size."""

import torch

SEEDS = 2**64  # how many torch tells apart


def torch_seed(seed: int) -> int:
    """A seed that torch takes, of an integer of any size; those that it takes stay as they are.

    >>> torch_seed(7), torch_seed(2**64 + 7)
    (7, 7)
    """
    return seed % SEEDS


def seeded(seed: int) -> torch.Generator:
    """A generator on the processor, so that every device is given the same numbers."""
    return torch.Generator().manual_seed(torch_seed(seed))
