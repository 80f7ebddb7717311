"""Sheets of predictions during training: a, a', b, b' and the prediction, a quadruplet a row."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.protocol import ROLES
from lorweb_bench.runtime.files import write_atomic
from reference_model.bases.base import Prompt
from reference_model.bases.registry import present_kind
from reference_model.config import TrainConfig
from reference_model.model.adapter import Adapter
from reference_model.model.grid_layout import token_sequence
from reference_model.model.panels import decode_answer, encode_words
from reference_model.sampling import sample
from reference_model.training.batches import encode_batch, load_frozen_encoders, split_prompts


class Previews:
    """The first quadruplets of `dev`, or of `train` where there is no `dev`, looked at once.

    And sheets of them.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, folder: Path) -> None:
        self.config, self.folder = config, folder
        split = "dev" if "dev" in dataset.manifest.splits else "train"
        rows = list(islice(dataset.quadruplets(split), config.training.sample_rows))
        stacked = {}
        for role in ROLES:
            stacked[role] = np.stack([np.asarray(getattr(q, role)) for q in rows])
        self.shown = np.concatenate(list(stacked.values()), 2)  # four panels in a row
        encoders = load_frozen_encoders(config)
        panels = {
            role: torch.from_numpy(images).permute(0, 3, 1, 2) for role, images in stacked.items()
        }
        self.context, _, self.features = encode_batch(encoders, config, panels)
        prompts = split_prompts(dataset, split, config.prompt)[: len(rows)]
        away = present_kind(config.base).negative_prompt
        with torch.no_grad():
            self.prompt = encode_words(encoders, config.layout, prompts, panels)
            self.negative: Prompt | None = None
            if away is not None:
                self.negative = encode_words(encoders, config.layout, [away], panels)

    @torch.no_grad()
    def write(
        self, model: nn.Module, adapter: Adapter, step: int, accelerator: Accelerator
    ) -> None:
        """Write the sheet of a step.

        Every process samples, as the weights may be spread over them, and one writes.
        """
        base, device = adapter.base, accelerator.device
        sequenced = token_sequence(
            self.config.layout, [picture.to(device) for picture in self.context]
        )
        prompt = (self.prompt[0].to(device), self.prompt[1].to(device))
        negative = None
        if self.negative is not None and base.is_guided:
            negative = (self.negative[0].to(device), self.negative[1].to(device))
        features = None if self.features is None else self.features.to(device)
        seeds = list(range(len(self.shown)))
        tokens = sample(
            base,
            sequenced,
            prompt,
            seeds,
            base.sampling_steps,
            lambda noisy, time, words: model(
                noisy, sequenced, time, words, features, base.guidance
            ),
            negative,
        )
        if accelerator.is_main_process:
            answers = decode_answer(base, self.config.layout, tokens, sequenced)
            base.codec.release()
            predicted = answers.permute(0, 2, 3, 1).cpu().numpy()
            sheet = np.concatenate(
                [
                    np.concatenate([four, answer], 1)
                    for four, answer in zip(self.shown, predicted, strict=True)
                ]
            )
            write_atomic(self.folder / f"{step:06}.png", encode(sheet, "png"))
        accelerator.wait_for_everyone()
