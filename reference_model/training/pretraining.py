"""Make the tiny base and its pair encoder.

An instruction editor, and an eye that says what was done to a in the editor's own words.

The base learns to edit by instruction, the encoder to name transformations; then, in the alignment,
the encoder learns to say the instruction of what it sees as the base's text encoder encodes it.
Edits are drawn on the fly: an image of the training dataset, one of the transformations that its
manifest lists, run by the library that the manifest names. So none can meet an unseen
transformation or a source outside the training dataset.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from lorweb_bench.data.composition import is_composed_family, steps_of
from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.transformation_library import load_library
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import write_json
from lorweb_bench.runtime.progress import Progress
from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.bases.tiny import TINY_TRANSFORMER, new_tiny_base, words_of
from reference_model.config import Strict, read_yaml_config
from reference_model.freed_memory import keep_freed_memory
from reference_model.model.adapter import read_pair_encoder
from reference_model.model.encoder import PairEncoder, name_loss
from reference_model.model.grid_layout import context_sequence, target_tokens
from reference_model.sampling import predict_velocity
from reference_model.seeding import seeded, torch_seed
from reference_model.training.flow import Times, draw, flow_loss
from reference_model.training.quadruplets import check_panels
from reference_model.training.resume_state import load_state, save_state, write_tensors

SAVE_SECONDS = 120  # between resumable states


class Phase(Strict):
    """One phase of pretraining: optimizer steps, samples per step, peak learning rate and warm-up
    steps.
    """

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(200, ge=1)


class PretrainingConfig(Strict):
    """`lorweb-bench pretrain-tiny CONFIG`.

    The training dataset, the seed, the threads and the three phases.
    """

    dataset: Path
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0)
    single_share: float = Field(0.4, ge=0, le=1)
    copy_share: float = Field(0.05, ge=0, le=1)
    compile: bool = False
    transformer: dict[str, Any] = {}
    encoder: Phase
    base: Phase
    alignment: Phase


@dataclass(frozen=True)
class Edits:
    """A seeded, endless supply of edits.

    `images` (n, height, width, 3) uint8 and the trained transformations.
    """

    images: np.ndarray
    singles: list[dict[str, Any]]
    compositions: list[dict[str, Any]]
    library: Any
    single_share: float
    copy_share: float

    def draw(
        self, seed: tuple[int, ...], count: int
    ) -> tuple[Tensor, Tensor, list[dict[str, Any] | None]]:
        """`count` originals, their edits, both uint8 (count, 3, height, width), and the
        transformations (None: a copy).
        """
        random = np.random.default_rng(seed)
        before, after, chosen = [], [], []
        for index in random.integers(len(self.images), size=count):
            pool = (
                self.singles
                if random.random() < self.single_share or not self.compositions
                else self.compositions
            )
            spec = None if random.random() < self.copy_share else pool[random.integers(len(pool))]
            before.append(self.images[index])
            after.append(
                self.images[index] if spec is None else self.library.apply(spec, self.images[index])
            )
            chosen.append(spec)
        return stack_images(before), stack_images(after), chosen


def stack_images(images: list[np.ndarray]) -> Tensor:
    """uint8 (batch, 3, height, width) of a list of uint8 (height, width, 3)."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def read_edits(dataset: Dataset, single_share: float, copy_share: float) -> Edits:
    """The originals and trained transformations of a training dataset.

    InputError when it has no split `train`.
    """
    if "train" not in dataset.manifest.splits:
        raise InputError(
            f"{dataset.path}: no split `train`; pretraining takes a training dataset, not a suite"
        )
    images = [np.asarray(image) for q in dataset.quadruplets("train") for image in (q.a, q.b)]
    check_panels(dataset, "train", images)
    specs = [
        {"id": i, **t.model_dump()} for i, t in sorted(dataset.manifest.transformations.items())
    ]
    singles = [s for s in specs if not is_composed_family(s["family"])]
    compositions = [s for s in specs if is_composed_family(s["family"])]
    return Edits(
        np.stack(images),
        singles,
        compositions,
        load_library(dataset.manifest.transformation_library),
        single_share,
        copy_share,
    )


def batches(draw: Callable[[int], Any], start: int, steps: int) -> Iterator[Any]:
    """What `draw(step)` gives for each step; the next is drawn while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(draw, start)
        for step in range(start, steps):
            ready = following.result()
            following = pool.submit(draw, min(step + 1, steps - 1))
            yield ready


def optimise(
    name: str,
    module: nn.Module,
    phase: Phase,
    loss_of: Callable[[Any], Tensor],
    draw: Callable[[int], Any],
    folder: Path,
    identity: str,
) -> list[float]:
    """The training loop of one phase: AdamW, warm-up, cosine decay to a hundredth.

    Resumes from `folder` and returns the losses.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=phase.learning_rate, betas=(0.9, 0.99), weight_decay=0.01
    )
    state = folder / f"{name}.state.safetensors"
    start, losses = load_state(state, module, optimizer, identity)
    module.train()
    saved = time.monotonic()
    with Progress(f"pretraining the {name}", phase.steps, start) as progress:
        for step, batch in enumerate(batches(draw, start, phase.steps), start):
            rate = min(1.0, (step + 1) / phase.warmup) * (
                0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / phase.steps))
            )
            for group in optimizer.param_groups:
                group["lr"] = phase.learning_rate * rate
            loss = loss_of((step, batch))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            losses.append(round(loss.item(), 6))
            progress.advance(f"loss {np.mean(losses[-50:]):.4f}")
            if time.monotonic() - saved > SAVE_SECONDS:
                save_state(state, step + 1, module, optimizer, identity, losses)
                saved = time.monotonic()
    save_state(state, phase.steps, module, optimizer, identity, losses)
    module.eval()
    return losses


def step_ids(
    specs: list[dict[str, Any] | None], index: dict[str, int], library: Any
) -> tuple[Tensor, Tensor]:
    """The classes of the first and second step of each transformation.

    The second class of a single one is `len(index)`.
    """
    first, second = [], []
    for spec in specs:
        assert spec is not None
        steps = [library.describe(s["family"], s["parameters"]) for s in steps_of(spec)]
        ids = [index[step["id"]] for step in steps]
        first.append(ids[0])
        second.append(ids[1] if len(ids) > 1 else len(index))
    return torch.tensor(first), torch.tensor(second)


def trained_steps(edits: Edits) -> dict[str, int]:
    """Number every single step of the trained transformations, in the order of ids."""
    ids = {s["id"] for s in edits.singles}
    for spec in edits.compositions:
        ids |= {edits.library.describe(s["family"], s["parameters"])["id"] for s in steps_of(spec)}
    return {name: i for i, name in enumerate(sorted(ids))}


def draw_named(
    edits: Edits, config: PretrainingConfig, phase: Phase, number: int
) -> Callable[[int], Any]:
    """What both phases of the encoder see at each step.

    Originals, edits, the numbers of their steps, their instructions; no copies.
    """
    named, index = replace(edits, copy_share=0.0), trained_steps(edits)

    def draw(step: int) -> Any:
        before, after, specs = named.draw((config.seed, number, step), phase.batch)
        return (
            before,
            after,
            step_ids(specs, index, edits.library),
            [s["instruction"] for s in specs if s is not None],
        )

    return draw


def pretrain_encoder(
    edits: Edits, config: PretrainingConfig, folder: Path, identity: str
) -> tuple[PairEncoder, list[float]]:
    """The pair encoder, taught to name the steps of trained transformations."""
    torch.manual_seed(torch_seed(config.seed))
    encoder = PairEncoder(len(trained_steps(edits)), pooled_width(config)).to(
        memory_format=torch.channels_last
    )
    encoder.say.requires_grad_(False)

    def loss_of(item: Any) -> Tensor:
        _, (before, after, steps, _) = item
        return name_loss(encoder.named(before, after)[1], steps)

    return encoder, optimise(
        "encoder",
        encoder,
        config.encoder,
        loss_of,
        draw_named(edits, config, config.encoder, 1),
        folder,
        identity,
    )


# A squared error of 1 is that of always saying the mean; naming, which starts near its end, keeps a
# smaller part in the loss.
SAYING = 4.0


def align_encoder(
    edits: Edits, config: PretrainingConfig, folder: Path, identity: str
) -> tuple[PairEncoder, list[float]]:
    """The pair encoder, taught on to say the instruction as the base's text encoder does.

    Its pooled vector, centred and of unit scale.
    """
    encoder = (
        read_pair_encoder(folder / "namer.safetensors")
        .requires_grad_(True)
        .train()
        .to(memory_format=torch.channels_last)
    )
    text_encoder = load_base(str(folder)).text_encoder
    with torch.inference_mode():
        instructions = sorted({s["instruction"] for s in edits.singles + edits.compositions})
        pooled = torch.cat(
            [text_encoder(instructions[i : i + 64])[1] for i in range(0, len(instructions), 64)]
        )
    mean, scale = pooled.mean(0), (pooled - pooled.mean(0)).square().mean().sqrt()
    encoded = dict(zip(instructions, ((pooled - mean) / scale).clone(), strict=True))

    def loss_of(item: Any) -> Tensor:
        _, (before, after, steps, said) = item
        seen, names = encoder.named(before, after)
        truth = torch.stack([encoded[instruction] for instruction in said])
        return name_loss(names, steps) + SAYING * nn.functional.mse_loss(
            encoder.said(seen, names), truth
        )

    draw = draw_named(edits, config, config.alignment, 5)
    return encoder, optimise(
        "alignment", encoder, config.alignment, loss_of, draw, folder, identity
    )


def pooled_width(config: PretrainingConfig) -> int:
    """The width of the base's pooled text vectors, and so of the encoder's features."""
    return int({**TINY_TRANSFORMER, **config.transformer}["pooled_projection_dim"])


# Most samples start from pure noise, as sampling in one step does; the squared error is that of the
# clean image, relative to the change.
EDIT_TIMES = Times(share_at_one=0.8, low=0.4, weight="t2", relative=0.05)


def edit_loss(
    base: Base, before: Tensor, after: Tensor, prompts: list[str], generator: torch.Generator
) -> Tensor:
    """Rectified-flow loss of editing `before` into `after`, both uint8 (batch, 3, height, width),
    as the prompts say.
    """
    b, b_prime = base.codec.encode(before), base.codec.encode(after)
    clean = target_tokens("edit", None, None, b, b_prime)
    sequenced, prompt = context_sequence("edit", None, None, b), base.text_encoder(prompts)
    drawn = draw(EDIT_TIMES, clean.shape, generator)
    return flow_loss(
        lambda noisy, time: predict_velocity(base, noisy, sequenced, time, prompt),
        clean,
        sequenced,
        drawn,
        EDIT_TIMES,
    )


def pretrain_base(
    edits: Edits, config: PretrainingConfig, folder: Path, identity: str
) -> tuple[Base, list[float]]:
    """The tiny base, taught to edit b by an instruction; with an empty prompt it hands b back."""
    vocabulary = sorted(
        {
            w
            for s in edits.singles + edits.compositions
            for w in words_of(s["instruction"])
            if not w[-1].isdigit() or w[0] == "#"
        }
    )
    base = new_tiny_base(vocabulary, config.seed, config.transformer)
    if config.compile:  # a third faster where there is a C++ compiler
        base.transformer.compile()
    module = nn.ModuleDict({"transformer": base.transformer, "text_encoder": base.text_encoder})

    def draw(step: int) -> Any:
        return edits.draw((config.seed, 2, step), config.base.batch)

    def loss_of(item: Any) -> Tensor:
        step, (before, after, specs) = item
        generator = seeded(config.seed * 1_000_003 + step)
        return edit_loss(
            base, before, after, ["" if s is None else s["instruction"] for s in specs], generator
        )

    losses = optimise("base", module, config.base, loss_of, draw, folder, identity)
    return base, losses


def read_config(path: Path, overrides: list[str]) -> PretrainingConfig:
    """The pretraining config in a YAML file, with `key=value` overrides.

    InputError names what is wrong in it.
    """
    return read_yaml_config(path, PretrainingConfig, overrides, "pretraining config")


PARTS = ("encoder", "base", "alignment")


def pretrain(config: PretrainingConfig, folder: Path, parts: tuple[str, ...] = PARTS) -> None:
    """Pretrain the base and its encoder and write them to `folder` in float16, with a `config.json`
    that says from what; resumes by itself.

    Encoder and base need nothing of each other: two processes may make them side by side in one
    folder. The alignment needs both.
    """
    keep_freed_memory()
    if config.threads:
        torch.set_num_threads(config.threads)
    dataset = open_dataset(config.dataset)
    identity = hashlib.sha256(
        (
            config.model_dump_json(exclude={"dataset", "threads", "compile"}) + dataset.fingerprint
        ).encode()
    ).hexdigest()
    edits = read_edits(dataset, config.single_share, config.copy_share)
    if "encoder" in parts:
        write_encoder(
            folder / "namer.safetensors", *pretrain_encoder(edits, config, folder, identity)
        )
    if "base" in parts:
        base, losses = pretrain_base(edits, config, folder, identity)
        modules = {"transformer": base.transformer, "text_encoder": base.text_encoder}
        tensors = {
            f"{part}.{k}": v.half()
            for part, module in modules.items()
            for k, v in module.state_dict().items()
        }
        write_tensors(folder / "base.safetensors", tensors)
        write_json(folder / "config.json", about_base(base, dataset, config, losses))
    if "alignment" in parts:
        write_encoder(
            folder / "encoder.safetensors", *align_encoder(edits, config, folder, identity)
        )


def write_encoder(path: Path, encoder: PairEncoder, losses: list[float]) -> None:
    """Write a pair encoder in float16, with its sizes and the curve of its losses in the header."""
    about = {
        "steps": str(encoder.names[0].out_features),
        "features": str(encoder.features),
        "patch": str(encoder.patch),
        "losses": json.dumps(curve(losses)),
    }
    write_tensors(path, {k: v.half() for k, v in encoder.state_dict().items()}, about)


def curve(losses: list[float]) -> list[float]:
    """Mean loss of each hundred steps."""
    return [round(float(np.mean(losses[i : i + 100])), 4) for i in range(0, len(losses), 100)]


def about_base(
    base: Base, dataset: Dataset, config: PretrainingConfig, losses: list[float]
) -> dict[str, Any]:
    """What `config.json` says of a pretrained base.

    Its shape, and everything that it was trained on.
    """
    return {
        "format": "lorweb-bench/base",
        "format_version": 1,
        "transformer": {**TINY_TRANSFORMER, **config.transformer},
        "vocabulary": base.text_encoder.vocabulary,
        "sampling_steps": base.sampling_steps,
        "training_dataset": {
            "name": dataset.manifest.name,
            "version": dataset.manifest.version,
            "fingerprint": dataset.fingerprint,
        },
        "trained_transformations": sorted(dataset.manifest.transformations),
        "sources": sorted({s for r in dataset.records("train") for s in (r.a_source, r.b_source)}),
        "pretraining": json.loads(
            config.model_dump_json(exclude={"dataset", "threads", "compile"})
        ),
        "losses": curve(losses),
    }
