"""Train an adapter on a frozen base: one loop, read from top to bottom."""

import hashlib
import math
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from lorweb_bench.dataset import Dataset, open_dataset
from lorweb_bench.errors import InputError
from reference_model.adapter import Adapter, new_adapter
from reference_model.checkpoint import base_digests, is_finished, write_checkpoint
from reference_model.config import TrainConfig, TrainingConfig
from reference_model.flow import flow_loss
from reference_model.grid import TARGET, flat, pixels_of
from reference_model.method import encoded
from reference_model.progress import Progress
from reference_model.quadruplets import Quadruplets, read_quadruplets
from reference_model.state import load_state, save_state

STATE = "training_state.safetensors"


def rate_at(step: int, training: TrainingConfig) -> float:
    """Share of the peak learning rate: linear warm-up, level, then a half cosine to zero from `decay_from` on."""
    warm = min(1.0, (step + 1) / max(1, training.warmup))
    start = training.decay_from * training.steps
    decay = 1.0 if step < start else 0.5 * (1 + math.cos(math.pi * (step - start) / max(1.0, training.steps - start)))
    return warm * decay


def batch_loss(adapter: Adapter, config: TrainConfig, images: Tensor, generator: torch.Generator) -> Tensor:
    """The flow loss of a batch of quadruplets, uint8 (4, batch, 3, height, width); the batch's gates stay for the backward pass."""
    a, a_prime, b, b_prime = images
    base = adapter.base
    features = adapter.features(a, a_prime, b)
    adapter.gate(features)
    prompt = adapter.prompt([""] * len(b), features)
    panels = {"a": a, "a_prime": a_prime, "b": b, "b_prime": b_prime}
    clean = flat(base.codec.encode(pixels_of(TARGET[config.layout], panels)))
    return flow_loss(base, clean, encoded(base, config, panels), prompt, config.training.times, generator)


def identity_of(config: TrainConfig, dataset: Dataset) -> str:
    """A digest of everything that decides the weights: a resume under another one is refused."""
    settings = config.model_dump_json(exclude={"dataset": True, "training": {"threads", "save_every"}})
    data = [dataset.fingerprint, dataset.manifest.targets_fingerprint, *base_digests(config.base).values()]
    return hashlib.sha256(f"{settings} {data}".encode()).hexdigest()


def train(config: TrainConfig, folder: Path) -> Path:
    """Train the adapter that `config` describes and write its checkpoint to `folder`; a run that was stopped goes on to the same bytes.

    Raises InputError on a non-finite loss, naming the step; the last state stays.
    """
    if config.dataset is None:
        raise InputError("no `dataset` to train on; give `--set dataset=FOLDER`")
    dataset = open_dataset(config.dataset)
    identity = identity_of(config, dataset)
    if is_finished(folder, identity):
        return folder
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    accelerator = Accelerator(mixed_precision=config.training.precision, cpu=not torch.cuda.is_available())
    adapter = new_adapter(config, config.training.seed)
    quadruplets = read_quadruplets(dataset, "train", config.panel)
    losses = run(adapter, config, quadruplets, accelerator, folder / STATE, identity)
    about = {
        "identity": identity,
        "training_dataset": {"name": dataset.manifest.name, "version": dataset.manifest.version, "fingerprint": dataset.fingerprint},
        "trainable_parameters": adapter.trainable_parameters,
        "losses": [round(float(np.mean(losses[i : i + 50])), 5) for i in range(0, len(losses), 50)],
    }
    write_checkpoint(folder, adapter, config, about)
    (folder / STATE).unlink(missing_ok=True)
    return folder


def run(adapter: Adapter, config: TrainConfig, data: Quadruplets, accelerator: Accelerator, state: Path, identity: str) -> list[float]:
    """The loop: a batch, its loss, a step; returns the loss of every step."""
    training = config.training
    adapter.to(accelerator.device)
    if training.gradient_checkpointing:
        adapter.base.transformer.enable_gradient_checkpointing()
    module = adapter.trainable()
    optimizer = torch.optim.AdamW(module.parameters(), lr=training.learning_rate, betas=training.betas, weight_decay=training.weight_decay)
    start, losses = load_state(state, module, optimizer, identity)
    saved = time.monotonic()
    with Progress(f"training {config.name}", training.steps, start) as progress:
        for step in range(start, training.steps):
            images = data.batch(training.seed, step, training.batch, training.exchange_pairs, training.reverse_pairs)
            generator = torch.Generator().manual_seed(training.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * rate_at(step, training)
            with accelerator.autocast():
                loss = batch_loss(adapter, config, images.to(accelerator.device), generator)
            if not torch.isfinite(loss):
                raise InputError(
                    f"{state.parent}: the loss is {loss.item()} at step {step}; lower `training.learning_rate` and name a new folder"
                )
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            progress.advance(loss=float(np.mean(losses[-50:])))
            if (step + 1) % training.save_every == 0 or time.monotonic() - saved > 60:
                save_state(state, step + 1, module, optimizer, identity, losses)
                saved = time.monotonic()
    adapter.basis.gates = None
    return losses
