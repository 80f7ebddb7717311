"""Train an adapter on a frozen base: one loop for every base, read from top to bottom."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import Progress
from reference_model.bases.base import check_layout
from reference_model.bases.registry import load_base, present_kind
from reference_model.checkpoints.checkpoint import is_finished, write_checkpoint
from reference_model.checkpoints.digests import model_digests
from reference_model.checkpoints.known_pairs import learn_known_pairs, write_known_pairs
from reference_model.config import (
    TrainConfig,
    TrainingConfig,
    unused_settings,
    unused_training,
)
from reference_model.model.adapter import DTYPES, Adapter, fresh_adapter, load_encoder
from reference_model.model.grid_layout import flatten_tokens, token_sequence
from reference_model.model.quantize import quantize
from reference_model.seeding import seeded
from reference_model.training.batches import (
    Batch,
    BatchSource,
    InMemoryBatches,
    draw_choices,
    load_frozen_encoders,
    split_prompts,
)
from reference_model.training.caching import open_cache
from reference_model.training.flow import draw, flow_loss
from reference_model.training.launching import (
    is_out_of_memory,
    make_accelerator,
    new_optimizer,
    out_of_memory_error,
    process_share,
    start_trackers,
)
from reference_model.training.previews import Previews
from reference_model.training.quadruplets import check_sizes, read_quadruplets
from reference_model.training.resume_state import clear_writing, load_state, save_state, whole

STATE = "training_state.safetensors"
# Settings that change how a training runs, not where it ends.
SETTINGS_WITHOUT_EFFECT = {"threads", "save_every", "sample_every", "sample_rows", "trackers"}


def learning_rate_share(step: int, training: TrainingConfig) -> float:
    """Share of the peak learning rate.

    Linear warm-up, level, then down to zero from `decay_from` on, by a half cosine or a line.
    """
    warm = min(1.0, (step + 1) / max(1, training.warmup))
    start = training.decay_from * training.steps
    if training.schedule == "constant" or step < start:
        return warm
    gone = (step - start) / max(1.0, training.steps - start)
    return warm * (
        1 - gone if training.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * gone))
    )


def training_identity(config: TrainConfig, dataset: Dataset) -> str:
    """A digest of everything that decides the weights: a resume under another one is refused."""
    without_effect = SETTINGS_WITHOUT_EFFECT | unused_training(config.training)
    exclude: dict[str, Any] = {"dataset": True, "cache": True, "working_size": True}
    settings = config.model_dump_json(
        exclude={**exclude, **unused_settings(config), "training": without_effect}
    )
    data = [
        dataset.fingerprint,
        dataset.manifest.targets_fingerprint,
        *model_digests(config).values(),
    ]
    return hashlib.sha256(f"{settings} {data}".encode()).hexdigest()


def train(config: TrainConfig, folder: Path) -> Path:
    """Train the adapter that `config` describes and write its checkpoint to `folder`.

    A run that was stopped goes on to the same bytes.

    Under `accelerate launch` every process calls this. Raises InputError on a non-finite loss,
    naming the step and the batch; the last state stays.
    """
    if config.dataset is None:
        raise InputError("no `dataset` to train on; give `--set dataset=FOLDER`")
    dataset = open_dataset(config.dataset)
    check_layout(present_kind(config.base), config.layout)
    identity = training_identity(config, dataset)
    if is_finished(folder, identity):
        tidy(folder)
        return folder
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    accelerator = make_accelerator(config, folder)
    try:
        source = open_source(config, dataset, accelerator)
        previews = (
            Previews(config, dataset, folder / "samples") if config.training.sample_every else None
        )
        adapter = new_trained(config, source.features)
        losses = run(adapter, config, source, accelerator, folder / STATE, identity, previews)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory_error(config, error) from error
    about = {
        "identity": identity,
        "training_dataset": {
            "name": dataset.manifest.name,
            "version": dataset.manifest.version,
            "fingerprint": dataset.fingerprint,
        },
        "trainable_parameters": adapter.trainable_parameters,
        "losses": [round(float(np.mean(losses[i : i + 50])), 5) for i in range(0, len(losses), 50)],
    }
    looks_at_whole = config.adapter.kind not in ("single-lora", "delta-tokens")
    if accelerator.is_main_process and looks_at_whole:
        about["novelty_threshold"] = store_known_pairs(config, dataset, folder, accelerator.device)
    write_checkpoint(folder, adapter, config, about, write=accelerator.is_main_process)
    if accelerator.is_main_process:
        tidy(folder)
    accelerator.end_training()
    return folder


def store_known_pairs(
    config: TrainConfig, dataset: Dataset, folder: Path, device: torch.device
) -> float | None:
    """Write what the training data look like to the encoder, so that strange analogies are told.

    Returns the distance beyond which one is strange; None where `dev` is missing or small.
    """
    known = learn_known_pairs(load_encoder(config).to(device), dataset, device)
    write_known_pairs(folder, known)
    return known.threshold


def tidy(folder: Path) -> None:
    """Take away what a checkpoint that is whole no longer needs."""
    (folder / STATE).unlink(missing_ok=True)
    clear_writing(folder)


def open_source(config: TrainConfig, dataset: Dataset, accelerator: Accelerator) -> BatchSource:
    """The samples of a training.

    From the cache where there is one, else all in memory and looked at afresh at every step.
    """
    if "train" not in dataset.manifest.splits:
        raise InputError(
            f"{dataset.path}: no split `train`, only {', '.join(dataset.manifest.splits)}; name a "
            "training dataset"
        )
    prompts = split_prompts(dataset, "train", config.prompt)
    if config.cache is None:
        return InMemoryBatches(
            read_quadruplets(dataset, "train", config.panel),
            prompts,
            load_frozen_encoders(config),
            config,
        )
    if config.training.hidden_pairs:
        raise InputError(
            "training.hidden_pairs: a cache holds what the base sees of whole pairs; leave `cache` "
            "out, or hidden_pairs"
        )
    records = list(dataset.records("train"))
    check_sizes(dataset, "train", {(r.height, r.width) for r in records}, config.panel)
    return open_cache(config, dataset, [r.id for r in records], prompts, accelerator)


def new_trained(config: TrainConfig, features: int) -> Adapter:
    """The base, quantised where that is asked for, with a fresh adapter on it.

    What feeds the router is not part of it.
    """
    training = config.training
    base = load_base(config.base, DTYPES[training.precision])
    if training.quantize != "no":
        quantize(base.transformer, training.quantize, DTYPES[training.precision])
    if training.gradient_checkpointing:
        base.transformer.enable_gradient_checkpointing()
    return fresh_adapter(config, base, training.seed, features)


def batch_loss(
    model: nn.Module, config: TrainConfig, batch: Batch, drawn: tuple[Tensor, Tensor]
) -> Tensor:
    """The flow loss of a batch at drawn times and noise.

    The batch's gates stay for the backward pass.
    """
    sequenced = token_sequence(config.layout, batch.context)

    def predict_velocity(noisy: Tensor, time: Tensor) -> Tensor:
        velocity: Tensor = model(
            noisy, sequenced, time, batch.prompt, batch.features, config.training.guidance
        )
        return velocity

    return flow_loss(
        predict_velocity, flatten_tokens(batch.target), sequenced, drawn, config.training.times
    )


def run(
    adapter: Adapter,
    config: TrainConfig,
    source: BatchSource,
    accelerator: Accelerator,
    state: Path,
    identity: str,
    previews: Previews | None = None,
) -> list[float]:
    """The loop: a batch, its loss, a step; returns the loss of every step.

    A step's batch, its noise and its order are the same however many processes and parts it is
    shared out over.
    """
    training, device = config.training, accelerator.device
    adapter.base.codec.to(device)
    model, optimizer = accelerator.prepare(adapter, new_optimizer(adapter.trainable(), training))
    module = adapter.trainable()
    start, losses = load_state(state, module, optimizer, identity, accelerator.scaler)
    start_trackers(accelerator, config)
    saved = time.monotonic()
    with Progress(
        f"training {config.name}", training.steps, start, shown=accelerator.is_main_process
    ) as progress:
        for step in range(start, training.steps):
            _set_learning_rates(optimizer, step, training)
            loss = optimizer_step(model, optimizer, config, source, accelerator, step)
            losses.append(loss)
            progress.advance(f"loss {np.mean(losses[-50:]):.4f}")
            accelerator.log(
                {"loss": loss, "learning_rate": optimizer.param_groups[0]["lr"]}, step=step + 1
            )
            # Sharded weights are gathered by all processes together, so these save by the step
            # alone.
            overdue = accelerator.num_processes == 1 and time.monotonic() - saved > 60
            if (step + 1) % training.save_every == 0 or overdue:
                save_state(
                    state,
                    step + 1,
                    module,
                    optimizer,
                    identity,
                    losses,
                    accelerator.scaler,
                    accelerator.is_main_process,
                )
                saved = time.monotonic()
            if previews and ((step + 1) % training.sample_every == 0 or step + 1 == training.steps):
                previews.write(model, adapter, step + 1, accelerator)
    adapter.basis.gates = None
    return losses


def _set_learning_rates(optimizer: Any, step: int, training: TrainingConfig) -> None:
    """Give each group of parameters its learning rate of a step."""
    for group in optimizer.param_groups:
        group["lr"] = training.learning_rate * group["share"] * learning_rate_share(step, training)


def optimizer_step(
    model: nn.Module,
    optimizer: Any,
    config: TrainConfig,
    source: BatchSource,
    accelerator: Accelerator,
    step: int,
) -> float:
    """One step on a batch, of which this process works through its share part by part.

    Returns the loss of the whole batch.
    """
    training = config.training
    choices = draw_choices(step, len(source.keys), training)
    generator = seeded(training.seed * 1_000_003 + step)
    drawn: tuple[Tensor, Tensor] | None = None
    total = 0.0
    for part in process_share(training.batch, training.accumulation, accelerator):
        with accelerator.accumulate(model):
            batch = source.batch([choices[i] for i in part], accelerator.device)
            if config.adapter.features == "permuted" and batch.features is not None:
                batch = replace(batch, features=batch.features.roll(1, 0))
            drawn = drawn or draw(
                training.times, (len(choices), *flatten_tokens(batch.target).shape[1:]), generator
            )
            loss = batch_loss(model, config, batch, (drawn[0][part], drawn[1][part]))
            value = accelerator.reduce(loss.detach(), "mean").item()
            stop_unless_finite(value, "loss", step, lambda: [source.keys[c.index] for c in choices])
            total += value / training.accumulation
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                norm = accelerator.clip_grad_norm_(model.parameters(), 1.0)
                if (
                    accelerator.scaler is None
                ):  # a scaler leaves out the steps of gradients that overflow, and lowers its scale
                    stop_unless_finite(
                        whole(norm).item(),
                        "gradient",
                        step,
                        lambda: [source.keys[c.index] for c in choices],
                    )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return total


def stop_unless_finite(value: float, what: str, step: int, keys: Callable[[], list[str]]) -> None:
    """InputError that names the step and the batch, where the loss or the gradient is no number."""
    if not math.isfinite(value):
        raise InputError(
            f"the {what} is {value} at step {step}, batch {', '.join(keys())}; the last state "
            "stays: look at these samples, or lower "
            "`training.learning_rate` and name a new folder"
        )
