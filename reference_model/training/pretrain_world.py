"""Pretrain a tiny base on a world: an instruction editor that knows many families of edits.

The base is trained by the same rectified-flow objective as ever, and beside it is told where the
pixels of geometric edits come from, since pixels alone hardly teach it to move far. What is
written is the average of the weights over the last steps, so that the training can be stopped at
any time and goes on from its state.
"""

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import read_json, sha256_file, write_json
from lorweb_bench.runtime.progress import Progress
from reference_model.bases.base import Base
from reference_model.bases.tiny import (
    TINY_TRANSFORMER,
    OperatorFlux,
    TinyBase,
    load_tiny_base,
    new_tiny_base,
    words_of,
)
from reference_model.bases.tiny_folder import tiny_digest
from reference_model.config import Strict, find_config, read_yaml_config
from reference_model.freed_memory import keep_freed_memory
from reference_model.model.grid_layout import context_sequence, target_tokens
from reference_model.model.operator import EditOperator
from reference_model.sampling import predict_velocity
from reference_model.seeding import seeded
from reference_model.training.flow import Times, draw, flow_loss
from reference_model.training.growing import grow_base
from reference_model.training.pretraining import PARTS, Phase, batches, curve
from reference_model.training.resume_state import load_state, save_state, write_tensors
from reference_model.training.world import EditBatch, World, WorldConfig, known_families
from reference_model.training.world_encoder import align, pretrain_namer
from reference_model.training.world_figures import DevItem, draw_dev_items, told_in_words

OPERATOR_TRANSFORMER = {"in_channels": 1552, "out_channels": EditOperator().outputs}
TIMES = Times(share_at_one=0.9, low=0.4, weight="t2", relative=0.012)
SHARPNESS = 0.01  # displacement errors well below it, in halves of the picture, count by square
# What a run may change when it is started again.
FREE = {
    *("panels", "dev_panels", "threads", "steps", "cooldown", "save_every", "figures_every"),
    *("start", "encoder", "alignment"),
}


class WorldPretrainingConfig(Strict):
    """`lorweb-bench pretrain-tiny CONFIG` for a base that knows a world."""

    panels: Path = Field(description="Folder written by `datagen panels`.")
    dev_panels: Path | None = Field(
        None, description="Another such folder, from photographs of their own, for the figures."
    )
    groups: dict[str, list[str]] = Field(
        {},
        description="Families whose figures are told together; the rest of the known is `other`.",
    )
    start: Path | None = Field(
        None,
        description="Folder of a base whose weights are the first ones: one of the same shape, or "
        "one for smaller panels.",
    )
    library: str = Field("datagen", description="The transformation library.")
    world: WorldConfig
    transformer: dict[str, Any] = {}
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0, description="Processor threads; 0 leaves it to torch.")
    steps: int = Field(ge=1, description="May be raised later: the training goes on.")
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(100, ge=1)
    cooldown: int = Field(
        0, ge=0, description="Last steps, over which the learning rate falls to zero."
    )
    average: float = Field(0.999, ge=0, lt=1, description="Decay of the average of the weights.")
    displacement_weight: float = Field(1.0, ge=0)
    save_every: float = Field(300.0, gt=0, description="Seconds between states and bases.")
    figures_every: int = Field(1, ge=1, description="Saved bases between figures.")
    encoder: Phase | None = Field(
        None, description="How the pair encoder learns to name families; none: no pair encoder."
    )
    alignment: Phase | None = Field(
        None, description="How it then learns to say instructions as the base encodes them."
    )


class WorldPretraining:
    """One pretraining: the base, the average of its weights, and where both are kept."""

    def __init__(self, config: WorldPretrainingConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.world = world_of(config)
        self.digest = sha256_file(config.panels / "panels.npy")
        self.started_from = None if config.start is None else tiny_digest(config.start, "base")
        self.seen_before: set[str] = set() if config.start is None else sources_of(config.start)
        vocabulary = vocabulary_of(self.world.library, self.world.families)
        self.base = new_operator_base(vocabulary, config)
        if config.start is not None:
            start_from(config.start, self.base)
        self.averaged = copy.deepcopy(self.base)
        self.trained = modules_of(self.base)
        self.module = nn.ModuleDict({"base": self.trained, "average": modules_of(self.averaged)})
        self.optimizer = torch.optim.AdamW(
            self.trained.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
        )
        transformer = self.base.transformer
        assert isinstance(transformer, OperatorFlux)
        transformer.operator.supervised_displacement = True
        self.shift: Tensor | None = None
        self.shift_losses: list[float] = []
        transformer.operator.register_forward_hook(self._keep_shift)
        self.dev_items = self._draw_dev_items()

    def run(self) -> Base:
        """Train up to `steps`, and return the base with averaged weights."""
        config, state = self.config, self.folder / "world.state.safetensors"
        identity = self._identity()
        start, losses = load_state(state, self.module, self.optimizer, identity)
        self.module.train()
        saved, saves = time.monotonic(), 0
        with Progress("pretraining the base", config.steps, start) as progress:
            for step, edits in enumerate(batches(self._draw, start, config.steps), start):
                losses.append(round(self._step(step, edits), 6))
                progress.advance(f"loss {np.mean(losses[-50:]):.4f}")
                if time.monotonic() - saved > config.save_every:
                    save_state(state, step + 1, self.module, self.optimizer, identity, losses)
                    saves += 1
                    self.write(step + 1, losses, saves % config.figures_every == 0)
                    saved = time.monotonic()
        save_state(state, config.steps, self.module, self.optimizer, identity, losses)
        self.write(config.steps, losses, True)
        return self.averaged

    def write(self, step: int, losses: list[float], figures: bool) -> None:
        """Write the averaged base in float16 with its manifest, and a line of figures."""
        tensors = {
            f"{part}.{name}": value.half()
            for part, module in modules_of(self.averaged).items()
            for name, value in module.state_dict().items()
        }
        write_tensors(self.folder / "base.safetensors", tensors)
        write_json(self.folder / "config.json", self.about(step, losses))
        if figures and self.dev_items:
            line = {
                "time": round(time.time()),
                "step": step,
                "samples": step * self.config.batch,
                "loss": round(float(np.mean(losses[-500:])), 4),
                "displacement": round(float(np.mean(self.shift_losses[-500:])), 4),
                **told_in_words(self.averaged, self.dev_items),
            }
            with (self.folder / "figures.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def about(self, step: int, losses: list[float]) -> dict[str, Any]:
        """What `config.json` says of the base: its shape, what it knows, what it was made from."""
        config = self.config
        about = json.loads((config.panels / "sources.json").read_text())
        return {
            "format": "lorweb-bench/base",
            "format_version": 1,
            "head": "operator",
            "transformer": {**TINY_TRANSFORMER, **OPERATOR_TRANSFORMER, **config.transformer},
            "vocabulary": self.base.text_encoder.vocabulary,
            "sampling_steps": self.base.sampling_steps,
            "panel": about["side"],
            "library": config.library,
            "known_families": self.world.families,
            "new_to_base": config.world.new_to_base,
            "sources": sorted({source["name"] for source in about["sources"]} | self.seen_before),
            "panels": self.digest,
            "started_from": self.started_from,
            "pretraining": json.loads(config.model_dump_json(exclude=FREE)),
            "steps": step,
            "losses": curve(losses),
        }

    def _draw(self, step: int) -> EditBatch:
        return self.world.draw((self.config.seed, 7, step), self.config.batch)

    def _step(self, step: int, edits: EditBatch) -> float:
        """One optimizer step; the flow loss, without that of the displacement."""
        config = self.config
        generator = seeded(config.seed * 1_000_003 + step)
        loss = self.flow_loss(edits, generator)
        assert self.shift is not None
        of_shift = displacement_loss(self.shift, edits.displacement, edits.known)
        (loss + config.displacement_weight * of_shift).backward()
        self.shift_losses.append(of_shift.item())
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate_share(config, step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(config.average, (1 + step) / (10 + step))
        with torch.no_grad():
            average: list[Tensor] = list(modules_of(self.averaged).parameters())
            trained: list[Tensor] = list(self.trained.parameters())
            torch._foreach_lerp_(average, trained, 1 - decay)
        return loss.item()

    def flow_loss(self, edits: EditBatch, generator: torch.Generator) -> Tensor:
        """The rectified-flow loss of editing as the prompts say, relative to the change."""
        codec = self.base.codec
        b, b_prime = codec.encode(edits.before), codec.encode(edits.after)
        clean = target_tokens("edit", None, None, b, b_prime)
        sequenced = context_sequence("edit", None, None, b)
        prompt = self.base.text_encoder(edits.prompts)
        drawn = draw(TIMES, clean.shape, generator)
        return flow_loss(
            lambda noisy, time: predict_velocity(self.base, noisy, sequenced, time, prompt),
            clean,
            sequenced,
            drawn,
            TIMES,
        )

    def _keep_shift(self, module: nn.Module, given: Any, result: tuple[Tensor, Tensor]) -> None:
        self.shift = result[1]

    def _draw_dev_items(self) -> list[DevItem]:
        if self.config.dev_panels is None:
            return []
        dev = World(
            self.world.config,
            self.world.library,
            self.world.families,
            read_panels(self.config.dev_panels),
        )
        return draw_dev_items(dev, self.config.groups)

    def _identity(self) -> str:
        identity = (
            self.config.model_dump_json(exclude=FREE) + self.digest + (self.started_from or "")
        )
        return hashlib.sha256(identity.encode()).hexdigest()


def world_of(config: WorldPretrainingConfig) -> World:
    """The world of a config: its library, the families that the base is to know, the panels."""
    library: Any = load_library(config.library)
    families = known_families(config.world, library)
    return World(config.world, library, families, read_panels(config.panels))


def rate_share(config: WorldPretrainingConfig, step: int) -> float:
    """The share of the learning rate that a step has: rising at first, falling in the cooldown."""
    rising = (step + 1) / config.warmup
    falling = (config.steps - step) / config.cooldown if config.cooldown else 1.0
    return min(1.0, rising, falling)


def modules_of(base: Base) -> nn.ModuleDict:
    """The parts of a base that have weights."""
    return nn.ModuleDict({"transformer": base.transformer, "text_encoder": base.text_encoder})


def start_from(folder: Path, base: TinyBase) -> None:
    """Give a base the weights of the one in a folder, which may be for smaller panels.

    Raises:
        InputError: When that base is not whole, or has another shape or vocabulary.
    """
    first = load_tiny_base(folder)
    if not isinstance(first.transformer, OperatorFlux):
        grow_base(first, base)
        return
    if first.text_encoder.vocabulary != base.text_encoder.vocabulary:
        raise InputError(f"start: {folder} knows other words; it was made for another world")
    try:
        modules_of(base).load_state_dict(modules_of(first).state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"start: {folder} has another shape ({reason})") from error


def sources_of(folder: Path) -> set[str]:
    """The names of the photographs and scenes that a base was made from, as its folder says."""
    return set(read_json(folder / "config.json").get("sources", []))


def displacement_loss(shift: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """How far the predicted displacement is from the true one, at the known nodes.

    The mean of the distance, rounded off near zero, and of four times its square. Distances alone
    would leave nodes where they are until the network tells most geometric edits from the others;
    squares alone would leave them a little off.
    """
    square = (shift - truth).square().sum(1)
    distance = (square + SHARPNESS**2).sqrt() - SHARPNESS
    return ((distance + 4 * square) * known).mean()


def new_operator_base(vocabulary: list[str], config: WorldPretrainingConfig) -> TinyBase:
    """An untrained base with an operator, and the config's transformer."""
    settings = {**OPERATOR_TRANSFORMER, **config.transformer}
    return new_tiny_base(vocabulary, config.seed, settings, "operator")


def vocabulary_of(library: Any, families: list[str]) -> list[str]:
    """The words, less numbers, in the instructions of all presets of the families, sorted."""
    described = [
        library.describe(name, values)
        for name in families
        for values in library.families[name].presets
    ]
    words = {word for spec in described for word in words_of(spec["instruction"])} | {"then"}
    return sorted(word for word in words if not word[-1].isdigit() or word[0] == "#")


def read_panels(folder: Path) -> np.ndarray:
    """The panels (n, side, side, 3) uint8 in a folder, read from disk as they are needed.

    Raises:
        InputError: When the folder holds none, or they are no squares of a multiple of 16 pixels.
    """
    try:
        panels = np.load(folder / "panels.npy", mmap_mode="r")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: no panels there ({error}); make some with `lorweb-bench datagen panels`"
        ) from error
    side = panels.shape[1] if panels.ndim == 4 else 0
    if panels.shape[1:] != (side, side, 3) or panels.dtype != np.uint8 or side % 16 or not side:
        raise InputError(
            f"{folder / 'panels.npy'}: {panels.dtype} {panels.shape} are no uint8 panels (n, side, "
            "side, 3) with sides that are multiples of 16"
        )
    return panels


def describes_world(path: Path) -> bool:
    """Whether a pretraining config has a section `world`; False too when it cannot be read."""
    try:
        return any(line.startswith("world:") for line in find_config(path).read_text().splitlines())
    except (OSError, UnicodeDecodeError):
        return False


def read_world_config(path: Path, overrides: list[str]) -> WorldPretrainingConfig:
    """The config in a YAML file, with `key=value` overrides.

    InputError names what is wrong in it.
    """
    return read_yaml_config(path, WorldPretrainingConfig, overrides, "pretraining config")


def pretrain_world(
    config: WorldPretrainingConfig, folder: Path, parts: Sequence[str] = PARTS
) -> None:
    """Pretrain a base on a world, and its pair encoder, and write them to `folder`.

    Resumes by itself. Base and namer need nothing of each other: two processes may make them side
    by side in one folder. The alignment needs both.

    Args:
        config: What is asked for; without `encoder` there is no pair encoder.
        folder: Where they go.
        parts: What to make, of `PARTS`.

    Raises:
        InputError: What the config names is not there, or the folder holds another pretraining.
    """
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    has_encoder = config.encoder is not None and config.alignment is not None
    if has_encoder and config.start is not None:
        tiny_digest(config.start, "encoder")  # asked before hours of the base
    if "base" in parts:
        WorldPretraining(config, folder).run()
    if config.encoder is None or config.alignment is None:
        return
    world, identity = world_of(config), encoder_identity(config)
    if "encoder" in parts:
        width = int({**TINY_TRANSFORMER, **config.transformer}["pooled_projection_dim"])
        pretrain_namer(world, width, config.encoder, config.seed, folder, identity, config.start)
    if "alignment" in parts:
        align(world, config.alignment, config.seed, folder, identity)


def encoder_identity(config: WorldPretrainingConfig) -> str:
    """A digest of all that decides the pair encoder, beside the base that it is aligned to."""
    said = config.model_dump_json(include={"world", "library", "seed", "encoder", "alignment"})
    lent = ""
    if config.start is not None:
        lent = tiny_digest(config.start, "encoder")
    panels = sha256_file(config.panels / "panels.npy")
    return hashlib.sha256((said + lent + panels).encode()).hexdigest()
