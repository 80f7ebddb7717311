"""What a training asks of the machine.

Processes, precision, the optimizer, trackers, and which settings save memory.
"""

import importlib.util
import json
import warnings
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from torch import nn

from lorweb_bench.errors import InputError
from reference_model.bases.registry import base_kind
from reference_model.config import TrainConfig, TrainingConfig
from reference_model.model.quantize import require_bitsandbytes

# For one another, as when each makes its part of the cache; a process that has died ends the others
# at once, by the launcher.
PROCESS_TIMEOUT = timedelta(hours=6)


def make_accelerator(config: TrainConfig, folder: Path) -> Accelerator:
    """Accelerate for this process, as `accelerate launch` set it up.

    InputError where the machine cannot do what the config asks.
    """
    training = config.training
    on_cpu = not torch.cuda.is_available()
    if on_cpu and training.precision == "fp16":
        raise InputError("training.precision: fp16 needs a GPU; set `bf16` or `no`")
    for name in training.trackers:
        if importlib.util.find_spec(name) is None:
            raise InputError(
                f"training.trackers: {name} is not installed; `pip install {name}`, or leave it out"
            )
    accelerator = Accelerator(
        mixed_precision=training.precision,
        cpu=on_cpu,
        gradient_accumulation_steps=training.accumulation,
        log_with=list(training.trackers) or None,
        project_dir=folder / "logs",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_TIMEOUT)],
    )
    check_shares(training, accelerator.num_processes)
    if accelerator.distributed_type == DistributedType.FSDP:
        check_spreads(training, accelerator.state.fsdp_plugin.fsdp_version)
        warnings.filterwarnings(
            "ignore", message="FSDP2-wrapped module .* returned a view"
        )  # nothing changes one in place
    return accelerator


def check_shares(training: TrainingConfig, processes: int) -> None:
    """InputError where a batch cannot be shared out evenly over the processes and the parts of
    each.
    """
    parts = processes * training.accumulation
    if training.batch % parts:
        raise InputError(
            f"training.batch: {training.batch} samples cannot be shared out evenly over "
            f"{processes} processes with "
            f"`accumulation: {training.accumulation}`; make it a multiple of {parts}"
        )


def check_spreads(training: TrainingConfig, version: int) -> None:
    """InputError for what FSDP cannot spread over the processes."""
    if version != 2:
        raise InputError(
            f"fsdp_version: {version} is not supported; set `fsdp_version: 2` in the accelerate "
            "config"
        )
    for setting, value, plain in (
        ("optimizer", training.optimizer, "adamw"),
        ("quantize", training.quantize, "no"),
    ):
        if value != plain:
            raise InputError(
                f"training.{setting}: {value} cannot be spread over processes by FSDP; set "
                f"`{plain}`, or launch with `--multi_gpu`, where "
                "each process holds the whole base"
            )


def process_share(batch: int, accumulation: int, accelerator: Accelerator) -> list[list[int]]:
    """Indices of a batch that this process handles, in `accumulation` parts of equal size."""
    stride = accelerator.num_processes * accumulation
    first = accelerator.process_index * accumulation
    return [list(range(first + part, batch, stride)) for part in range(accumulation)]


def new_optimizer(trainable: nn.ModuleDict, training: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW, or the one whose moments have 8 bits.

    InputError when that needs what is not installed.

    Each group of weights has its `share` of the learning rate: the router has its own.
    """
    shares = {"router": training.router_rate}
    parameters = [
        {"params": list(part.parameters()), "share": shares.get(name, 1.0)}
        for name, part in trainable.items()
    ]
    settings = {
        "lr": training.learning_rate,
        "betas": training.betas,
        "weight_decay": training.weight_decay,
    }
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings)  # type: ignore[arg-type]
    require_bitsandbytes("training.optimizer: adamw-8bit")
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **settings)
    return optimizer


def start_trackers(accelerator: Accelerator, config: TrainConfig) -> None:
    """Begin a run with each tracker, with the config as its hyperparameters."""
    if config.training.trackers:
        settings = {
            k: v if isinstance(v, str | int | float | bool) else json.dumps(v)
            for k, v in config.model_dump(mode="json").items()
        }
        accelerator.init_trackers(
            "lorweb",
            config=settings,
            init_kwargs=dict.fromkeys(("wandb", "trackio"), {"name": config.name}),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the want of memory, on a GPU or for the processor, whose allocator raises
    a plain RuntimeError.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(
        error
    )


def out_of_memory_error(config: TrainConfig, error: BaseException) -> InputError:
    """The error that tells which settings still save memory, the cheapest first."""
    training = config.training
    knobs = [
        ("`training.gradient_checkpointing: true`", not training.gradient_checkpointing),
        (
            f"a larger `training.accumulation` than {training.accumulation}",
            training.accumulation < training.batch,
        ),
        (
            "`cache: FOLDER`, so that neither the VAE nor the text encoders stay",
            config.cache is None,
        ),
        ("`training.precision: bf16`", training.precision == "no"),
        ("`training.optimizer: adamw-8bit`", training.optimizer == "adamw"),
        ("`training.quantize: 4bit`", training.quantize != "4bit"),
        (f"`layout: {base_kind(config.base).layouts[-1]}`", config.layout == "paper"),
        (f"a smaller `panel` than {config.panel}", True),
        ("fewer `adapter.elements` or a lower `adapter.rank`", True),
    ]
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"out of memory ({reason}); what helps: "
        f"{', '.join(text for text, helps in knobs if helps)}; `--dry-run` estimates"
    )
