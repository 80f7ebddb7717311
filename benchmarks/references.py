"""What the layout `references` costs beside the paper's grid: tokens, time, memory.

python benchmarks/references.py # tokens at 512 pixels, and a step of thin transformers
python benchmarks/references.py --base flux2-klein --panel 128 --memory # one base, and what the
dry run estimates of its memory at full size

The transformers are diffusers' FLUX.2 and Qwen-Image classes of random weights, two blocks of each
sort and narrow, with as many tokens of pictures and words as at full size. A step is a forward and
a backward pass of one sample. In every round each layout runs once, in an order drawn anew, and the
ratio is taken within the round; printed are the medians and their quartiles. One thread runs, and
its own time is counted.
"""

import argparse
import random
import time

import numpy as np
import torch

from reference_model.bases.registry import base_kind
from reference_model.config import CONFIGS, read_train_config
from reference_model.model.shapes import training_shapes
from reference_model.training.memory import count_tokens, estimate_memory

BASES = ("flux2-klein", "qwen-image-edit-plus")
LAYOUTS = ("paper", "references")
THIN = {"num_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 64}


def lengths(base: str, layout: str, panel: int) -> tuple[int, int]:
    """Tokens of a sample's pictures and of its prompt."""
    overrides = [f"base={base}", f"layout={layout}", f"panel={panel}"]
    return count_tokens(read_train_config(CONFIGS / "references.yaml", overrides))


def step(base: str, tokens: int, words: int) -> float:
    """Seconds of this process for a forward and a backward pass of a thin transformer."""
    kind = base_kind(base)
    settings = {**THIN, **dict.fromkeys(kind.block_counts, 2)}
    torch.manual_seed(0)
    transformer = kind.new_transformer(settings)
    inputs = kind.forward_inputs(transformer, tokens, words, torch.float32)
    for value in inputs.values():
        if isinstance(value, torch.Tensor):
            value.normal_()
    start = time.process_time()
    transformer(**inputs)[0].square().mean().backward()
    return time.process_time() - start


def print_memory(base: str) -> None:
    """The estimate of a training at full size, in both layouts."""
    for layout in LAYOUTS:
        config = read_train_config(
            CONFIGS / "references.yaml", [f"base={base}", f"layout={layout}", "cache=cache"]
        )
        memory = estimate_memory(config, training_shapes(config).trained)
        print(
            f"  {layout:<11} six samples at once, cached: activations "
            f"{memory.activations / 1e9:.1f} GB, together {memory.total / 1e9:.1f} GB"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--panel", type=int, default=256, help="pixels of a panel that is timed")
    parser.add_argument("--base", choices=BASES, help="one of them alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="also the dry run's estimate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for base in [arguments.base] if arguments.base else BASES:
        whole = {layout: lengths(base, layout, 512) for layout in LAYOUTS}
        print(f"{base}: tokens of pictures and words at 512 px: {whole}")
        seconds: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
        for _ in range(arguments.rounds):
            for layout in random.sample(LAYOUTS, len(LAYOUTS)):
                tokens = lengths(base, layout, arguments.panel)
                seconds[layout].append(step(base, *tokens))
        ratios = np.array(seconds["references"]) / np.array(seconds["paper"])
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        print(
            f"  a step at {arguments.panel} px: grid {np.median(seconds['paper']):.2f} s, "
            f"references over grid {middle:.2f} ({low:.2f} to {high:.2f})"
        )
        if arguments.memory:
            print_memory(base)


if __name__ == "__main__":
    main()
