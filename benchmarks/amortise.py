"""Train a router to predict fitted mixes: is the gain of a fit to be had without its search?

Pairs of the training dataset are fitted, then the router alone is trained to give those mixes at
once. `benchmarks/fit.py` tells what that is worth on transformations that neither the training
dataset nor the suite has.

    python -P benchmarks/amortise.py lorweb amortised --items 400
    python -P benchmarks/fit.py --model lorweb
    python -P benchmarks/fit.py --model amortised
"""

import argparse
import shutil
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from lorweb_bench.data.dataset import open_dataset
from reference_model.checkpoints.checkpoint import (
    checkpoint_folder,
    load_checkpoint,
    write_checkpoint,
)
from reference_model.config import FitConfig, TrainConfig
from reference_model.fitting.adaptation import routed
from reference_model.fitting.fit import fit
from reference_model.fitting.spaces import space_for
from reference_model.model.adapter import Adapter
from reference_model.model.working_size import working_size
from reference_model.seeding import seeded

BATCH = 16  # items that are fitted at once
RATE = 1e-3


def fitted_mixes(
    adapter: Adapter, config: TrainConfig, panels: Sequence[Tensor], steps: int
) -> tuple[Tensor, Tensor, float]:
    """Features (items, width), fitted mixes (items, layers, elements), and the share kept."""
    features, mixes, kept = [], [], []
    settings = FitConfig.model_validate({"steps": steps})
    for a, a_prime, b in zip(*(x.split(BATCH) for x in panels), strict=True):
        start = routed(adapter, [(a, a_prime)], b)
        space = space_for(adapter, config, settings, start, len(b))
        found = fit(adapter, config, settings, space, [(a, a_prime)], [""] * len(b))
        seen = adapter.features(a, a_prime, b)
        assert seen is not None and found.adaptation.gates is not None
        features.append(seen)
        mixes.append(found.adaptation.gates.detach())
        kept.append(found.kept)
        print(f"fitted {BATCH * len(kept)} of {len(panels[0])}", flush=True)
    return torch.cat(features), torch.cat(mixes), float(torch.cat(kept).float().mean())


def train_router(adapter: Adapter, features: Tensor, mixes: Tensor, epochs: int) -> None:
    """Minimise the divergence of the router's mixes from the fitted ones."""
    router = adapter.router
    assert router is not None
    router.requires_grad_(True)
    optimizer = torch.optim.Adam(router.parameters(), lr=RATE)
    generator = seeded(0)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(features), generator=generator).split(BATCH):
            given = router(features[chosen]).transpose(0, 1).clamp_min(1e-6).log()
            wanted = mixes[chosen].clamp_min(1e-6)
            loss = (wanted * (wanted.log() - given)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(chosen)
        if epoch in (0, epochs - 1):
            print(f"epoch {epoch}: divergence {total / len(features):.4f}", flush=True)
    router.requires_grad_(False)


def main() -> None:
    """Fit, train the router, and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a checkpoint of kind lorweb, or `lorweb`")
    parser.add_argument("output", type=Path, help="where the checkpoint goes")
    parser.add_argument("--train", default="photos-mini-train")
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--steps", type=int, default=20, help="of a fit")
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = checkpoint_folder(arguments.model)
    adapter, config = load_checkpoint(folder)
    sizes = working_size(config)
    shown = list(islice(open_dataset(arguments.train).quadruplets("train"), arguments.items))
    size = sizes.panel(shown[0].a, shown[0].b)
    device = torch.device("cpu")
    panels = []
    for role in ("a", "a_prime", "b"):
        panels.append(sizes.tensor([getattr(q, role) for q in shown], size, device))
    features, mixes, kept = fitted_mixes(adapter, config, panels, arguments.steps)
    print(f"{kept:.0%} of the fits are kept; the others are the router's own mix")
    train_router(adapter, features, mixes, arguments.epochs)
    write_checkpoint(
        arguments.output, adapter, config, {"identity": f"amortised from {folder.name}"}
    )
    known = folder / "known_pairs.safetensors"
    if known.exists():
        shutil.copy(known, arguments.output)


if __name__ == "__main__":
    main()
