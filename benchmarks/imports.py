"""What an import costs that looks and sizes as the authors' code does, beside our own way.

The preparation of pictures is timed, with the backbone's processor at its real size and random
weights; the work of an image is counted on the meta device.

    python -P benchmarks/imports.py
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reference_model.config import TrainConfig, read_train_config
from reference_model.model.backbones import BackboneEncoder, load_backbone
from reference_model.model.working_size import (
    predicted_size,
    resized_grids,
    shown_size,
    working_size,
)
from reference_model.training.work import H100, SHARE, forward_operations

SIZES = ((224, 224), (512, 512), (512, 336), (1500, 1000))  # of a, width and height


def write_backbone(folder: Path) -> Path:
    """Save a CLIP of one layer with the real one's picture size: little but pictures is timed."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        patch_size=32,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    return folder


def median_ms(run: Callable[[], object], rounds: int) -> float:
    """The median of the process's own time, in milliseconds."""
    run()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def prepared(
    config: TrainConfig, encoder: BackboneEncoder, images: list[Image.Image]
) -> Callable[[], object]:
    """What is done to three pictures before the VAE and the transformer see anything."""
    sizes, cpu = working_size(config), torch.device("cpu")

    def run() -> object:
        size = sizes.panel(images[0], images[2])
        a, a_prime, b = (sizes.tensor([image], size, cpu) for image in images)
        with torch.inference_mode():
            features = encoder(a, a_prime, b)
        if not sizes.megapixel:
            return features
        grid = torch.cat([torch.cat([a, a_prime], 3), torch.cat([b, b], 3)], 2)
        return resized_grids(grid, shown_size(grid.shape[3], grid.shape[2], 16))

    return run


def tokens(config: TrainConfig, image: Image.Image) -> int:
    """Tokens of the predicted grid and of the one that is shown."""
    sizes = working_size(config)
    width, height = (2 * side for side in sizes.panel(image, image))
    grids = [(width, height), (width, height)]
    if sizes.megapixel:
        grids = [predicted_size(width, height, 16), shown_size(width, height, 16)]
    return sum(w * h // 256 for w, h in grids)


def main() -> None:
    """Print a row for each size of a."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    ours = read_train_config(Path("flux-kontext-paper"))
    ways = {"encoder_view": "official", "working_size": "megapixel"}
    theirs = ours.model_copy(update=ways)
    adapter = ours.adapter.model_dump_json()
    with tempfile.TemporaryDirectory() as folder:
        backbone = str(write_backbone(Path(folder)))
        encoders = [load_backbone(backbone, "separate", c.encoder_view) for c in (ours, theirs)]
        for width, height in SIZES:
            noise = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), np.uint8)
            images = [Image.fromarray(picture) for picture in noise]
            row = [f"{width} x {height}"]
            for config, encoder in zip((ours, theirs), encoders, strict=True):
                spent = median_ms(prepared(config, encoder, images), rounds)
                count = tokens(config, images[0])
                seconds = 28 * forward_operations(ours.base, adapter, count, 512) / (H100 * SHARE)
                row.append(f"{spent:.0f} ms, {count:,} tokens, {seconds:.1f} s")
            print(" | ".join(row))


if __name__ == "__main__":
    main()
