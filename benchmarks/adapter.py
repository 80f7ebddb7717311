"""What the gated basis costs, measured side by side.

Over stock PEFT, over the einsum of the formula, merged over the bare base.

python benchmarks/adapter.py # layers, a merged step, the router; some minutes on two cores python
benchmarks/adapter.py --part router # one part alone python benchmarks/adapter.py --part layouts # a
training step in the paper's layout and in target-only python benchmarks/adapter.py --part full # a
full-size FLUX.1-Kontext transformer of random weights; needs a GPU

In every round each variant runs once, in an order drawn anew, and the ratios are taken within a
round: what else the machine does hits both sides alike. Printed are the median of the rounds'
ratios and their quartiles. The paper's setting: 32 elements of rank 4. On a processor one thread
runs, and its own time is counted.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from reference_model.checkpoints.merging import can_merge, merged
from reference_model.model.basis import Basis
from reference_model.model.quantize import quantize
from reference_model.model.router import Router
from reference_model.training.memory import SavedTensors

ELEMENTS, RANK, FEATURES, KEY_WIDTH, LAYERS = 32, 4, 3 * 768, 128, 494
# In, out, whether the input has tokens (the modulations are fed one vector a sample), and how many
# of the 494 layers are of this size.
SIZES = (
    (3072, 3072, True, 19 * 8 + 38 * 3),
    (3072, 12288, True, 19 * 2 + 38),
    (12288, 3072, True, 19 * 2),
    (15360, 3072, True, 38),
    (3072, 9216, False, 38),
    (3072, 18432, False, 19 * 2),
)
STEPS = 28  # sampling steps of one image, FLUX's usual number
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPE = torch.bfloat16 if torch.cuda.is_available() else torch.float32


def clock() -> float:
    """Seconds: of this process's own work on a processor, which others on the machine disturb less.

    By the clock on a GPU.
    """
    if DEVICE.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


Variants = Mapping[str, Callable[[], Any]]


def rounds_of(variants: Variants, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each variant in each round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for n in range(rounds + 1):
        for name in random.sample(list(variants), len(variants)):
            started = clock()
            variants[name]()
            if n:
                seconds[name].append(clock() - started)
    return {name: np.array(values) for name, values in seconds.items()}


def tell(what: str, seconds: dict[str, np.ndarray], over: dict[str, str]) -> None:
    """Print medians in milliseconds, and for each `name.

    Other` how many times as long the first takes.
    """
    times = ", ".join(
        f"{name} {np.median(values) * 1e3:.3g} ms" for name, values in seconds.items()
    )
    print(f"{what}: {times}")
    for name, other in over.items():
        low, middle, high = np.quantile(seconds[name] / seconds[other], (0.25, 0.5, 0.75))
        print(f"    {name} over {other}: {middle:.3f} ({low:.3f} to {high:.3f})", flush=True)


def one_layer(inside: int, outside: int) -> nn.ModuleDict:
    """A frozen linear layer under a name that is adapted."""
    layer = nn.Linear(inside, outside, device=DEVICE, dtype=DTYPE).requires_grad_(False)
    return nn.ModuleDict({"transformer_blocks": nn.ModuleList([layer])})


def mixed(x: Tensor, a: Tensor, gates: Tensor, b: Tensor) -> Tensor:
    """The mix as its formula reads, over stacks a (N, in, r) and b (N, r, out), for inputs with
    tokens and without.
    """
    return torch.einsum(
        "bsi,nir,bn,nro->bso" if x.ndim == 3 else "bi,nir,bn,nro->bo", x, a, gates, b
    )


def layer_variants(inside: int, outside: int, tokens: int, batch: int) -> Variants:
    """Forward and backward of one adapted layer.

    Ours, stock PEFT of the same total rank, and the einsum of the formula.
    """
    shape = (batch, tokens, inside) if tokens else (batch, inside)
    x = torch.randn(shape, device=DEVICE, dtype=DTYPE, requires_grad=True)
    gates = torch.randn(1, batch, ELEMENTS, device=DEVICE).softmax(-1).requires_grad_()
    ours, stock = one_layer(inside, outside), one_layer(inside, outside)
    basis = Basis(ours, ELEMENTS, RANK, RANK)
    inject_adapter_in_model(
        LoraConfig(
            r=ELEMENTS * RANK, lora_alpha=ELEMENTS * RANK, target_modules=["transformer_blocks.0"]
        ),
        stock,
    )
    plain = one_layer(inside, outside)["transformer_blocks"][0]
    a = torch.randn(ELEMENTS, inside, RANK, device=DEVICE, dtype=DTYPE, requires_grad=True)
    b = torch.randn(ELEMENTS, RANK, outside, device=DEVICE, dtype=DTYPE, requires_grad=True)
    gradient = torch.randn(*shape[:-1], outside, device=DEVICE, dtype=DTYPE)

    def run_ours() -> None:
        basis.gates = gates
        ours["transformer_blocks"][0](x).backward(gradient)

    def run_stock() -> None:
        stock["transformer_blocks"][0](x).backward(gradient)

    def run_einsum() -> None:
        (plain(x) + mixed(x, a, gates[0].to(DTYPE), b) * (RANK / RANK)).backward(
            gradient
        )  # alpha / r, which PEFT multiplies by too

    return {"ours": run_ours, "PEFT": run_stock, "einsum": run_einsum}


def measure_layers(rounds: int, tokens: int, batch: int) -> None:
    """Every size of FLUX's adapted layers, and their sum over all 494."""
    print(
        f"forward and backward of one layer, batch {batch}, {tokens} tokens (modulations: none), "
        f"{DTYPE}, {DEVICE}"
    )
    total: dict[str, np.ndarray] = {}
    over = {"ours": "PEFT", "einsum": "ours"}
    for inside, outside, has_tokens, count in SIZES:
        seconds = rounds_of(
            layer_variants(inside, outside, tokens if has_tokens else 0, batch), rounds
        )
        tell(f"{inside} -> {outside}", seconds, over)
        total = {
            name: total.get(name, 0) + count * np.sort(values) for name, values in seconds.items()
        }
    tell(f"all {LAYERS} layers", total, over)


def flux(double: int, single: int) -> FluxTransformer2DModel:
    """A transformer of FLUX.1-Kontext's width with random weights, made in its own type on its own
    device.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        with torch.device(DEVICE):
            return (
                FluxTransformer2DModel(
                    guidance_embeds=True, num_layers=double, num_single_layers=single
                )
                .requires_grad_(False)
                .eval()
            )
    finally:
        torch.set_default_dtype(before)


def inputs_of(batch: int, tokens: int, words: int) -> dict[str, Any]:
    """Inputs of FLUX's transformer."""
    drawn = {
        "hidden_states": (batch, tokens, 64),
        "encoder_hidden_states": (batch, words, 4096),
        "pooled_projections": (batch, 768),
    }
    made: dict[str, Any] = {
        name: torch.randn(shape, device=DEVICE, dtype=DTYPE) for name, shape in drawn.items()
    }
    for name in ("timestep", "guidance"):
        made[name] = torch.ones(batch, device=DEVICE, dtype=DTYPE)
    return {
        **made,
        "img_ids": torch.zeros(tokens, 3, device=DEVICE),
        "txt_ids": torch.zeros(words, 3, device=DEVICE),
        "return_dict": False,
    }


def with_basis(transformer: FluxTransformer2DModel, batch: int = 1) -> Basis:
    """A basis whose B is not zero, gated."""
    basis = Basis(transformer, ELEMENTS, RANK, RANK)
    for layer in basis.layers.values():
        nn.init.normal_(layer.lora_B["default"].weight, std=0.01)
    basis.gates = torch.randn(len(basis.layers), batch, ELEMENTS, device=DEVICE).softmax(-1)
    return basis


def measure_step(rounds: int, tokens: int, double: int, single: int) -> None:
    """A sampling step of the bare base, with the gated basis, and with the mix merged."""
    bare, adapted = flux(double, single), flux(double, single)
    basis, inputs = with_basis(adapted), inputs_of(1, tokens, 64)
    print(
        f"one sampling step, {double} double and {single} single blocks of full width, {tokens} "
        f"tokens, {DTYPE}, {DEVICE}"
    )
    with torch.inference_mode():
        tell(
            "gated",
            rounds_of({"gated": lambda: adapted(**inputs), "bare": lambda: bare(**inputs)}, rounds),
            {"gated": "bare"},
        )
        started = clock()
        with merged(basis):
            print(f"merging took {clock() - started:.2f} s, once per triplet")
            tell(
                "merged",
                rounds_of(
                    {"merged": lambda: adapted(**inputs), "bare": lambda: bare(**inputs)}, rounds
                ),
                {"merged": "bare"},
            )


def measure_router(rounds: int) -> None:
    """All 494 layers' coefficients of one triplet in one product, against a layer at a time, as at
    every step.
    """
    router = Router(LAYERS, ELEMENTS, FEATURES, KEY_WIDTH).to(DEVICE, DTYPE).requires_grad_(False)
    features = torch.randn(1, FEATURES, device=DEVICE, dtype=DTYPE)

    def layer_by_layer() -> list[Tensor]:
        pairs = zip(router.projections, router.keys, strict=True)
        return [((features @ p.T) @ k.T / KEY_WIDTH**0.5).softmax(-1) for p, k in pairs]

    print(
        f"coefficients of {LAYERS} layers for one triplet, {DTYPE}, {DEVICE}; a layer at a time "
        f"they are made {STEPS} times an image"
    )
    with torch.inference_mode():
        seconds = rounds_of(
            {"together": lambda: router(features), "layer by layer": layer_by_layer}, rounds
        )
        tell("router", seconds, {"layer by layer": "together"})
        per_image = np.median(seconds["layer by layer"]) * STEPS / np.median(seconds["together"])
        print(f"    per image, layer by layer at every step over once together: {per_image:.0f}")


def time_and_memory(run: Callable[[], Any], rounds: int) -> str:
    """Median seconds of a call, and on a GPU the greatest memory that it needed, in words."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = np.median(rounds_of({"run": run}, rounds)["run"])
    return f"{seconds:.3f} s" + (
        f", at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        if DEVICE.type == "cuda"
        else ""
    )


def training_step(
    transformer: FluxTransformer2DModel, basis: Basis, router: Router | None, inputs: dict[str, Any]
) -> Callable[[], None]:
    """Forward, backward and AdamW's step of the adapter in float32, under autocast and with
    gradient checkpointing, as training does it.
    """
    for parameter in basis.parameters():
        parameter.data = parameter.data.float()
    transformer.enable_gradient_checkpointing()
    transformer.train()
    weights = [*basis.parameters(), *(router.parameters() if router is not None else [])]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    features = torch.randn(len(inputs["hidden_states"]), FEATURES, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16):
            basis.gates = router(features) if router is not None else None
            transformer(**inputs)[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def saved_bytes(step: Callable[[], None], weights: Iterable[Tensor], length: int) -> int:
    """What autograd keeps from forward to backward in a step, each storage once."""
    saved = SavedTensors({w.untyped_storage()._cdata for w in weights}, length)
    with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
        step()
    return saved.bytes


def measure_layouts(rounds: int, panel: int, double: int, single: int) -> None:
    """A training step of batch 1 in both layouts, the prompt as long beside its pictures as at 512
    pixels.
    """
    transformer = nn.Module.to(flux(double, single), torch.bfloat16)  # as training holds it
    basis = Basis(transformer, ELEMENTS, RANK, RANK)
    router = Router(len(basis.layers), ELEMENTS, FEATURES, KEY_WIDTH).to(DEVICE)
    side, words = panel // 16, 512 * panel**2 // 512**2
    tokens = {"paper": 2 * (2 * side) ** 2, "target-only": 4 * side**2}
    steps = {
        name: training_step(transformer, basis, router, inputs_of(1, count, words))
        for name, count in tokens.items()
    }
    print(
        f"a training step, panels of {panel} px, {double} double and {single} single blocks of "
        f"full width, {DEVICE}; tokens {tokens}"
    )
    tell("layouts", rounds_of(steps, rounds), {"target-only": "paper"})
    transformer.disable_gradient_checkpointing()
    saved = {
        name: saved_bytes(step, transformer.parameters(), tokens[name] + words)
        for name, step in steps.items()
    }
    sizes = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in saved.items())
    print(
        f"    kept for the backward pass, without checkpointing: {sizes}; "
        f"{saved['target-only'] / saved['paper']:.3f}",
        flush=True,
    )


def measure_whole(
    transformer: FluxTransformer2DModel, elements: int, rounds: int, tokens: int, batch: int
) -> None:
    """Seconds and memory of an image, gated and merged, and of a training step, with `elements` of
    a total rank of 128.
    """
    basis = Basis(transformer, elements, ELEMENTS * RANK // elements, ELEMENTS * RANK // elements)
    router = (
        Router(len(basis.layers), elements, FEATURES, KEY_WIDTH).to(DEVICE)
        if elements > 1
        else None
    )
    name = (
        f"LoRWeB, {elements} of rank {RANK}"
        if router is not None
        else f"single LoRA of rank {ELEMENTS * RANK}"
    )
    inputs = inputs_of(1, tokens, 512)

    def image() -> None:
        with torch.inference_mode():
            for _ in range(STEPS):
                transformer(**inputs)

    basis.gates = (
        torch.rand(len(basis.layers), 1, elements, device=DEVICE) if router is not None else None
    )
    print(f"{name}: an image of {STEPS} steps, {time_and_memory(image, rounds)}")
    if can_merge(basis):
        with merged(basis):
            print(f"{name}: the same, merged, {time_and_memory(image, rounds)}")
    step = training_step(transformer, basis, router, inputs_of(batch, tokens, 512))
    print(f"{name}: a training step of batch {batch}, {time_and_memory(step, rounds)}", flush=True)


def measure_full(rounds: int, tokens: int, batch: int) -> None:
    """A full-size transformer, quantised or not: ours beside a single LoRA of equal rank."""
    if DEVICE.type != "cuda":
        raise SystemExit(
            "--part full: a full-size transformer needs a GPU with 80 GiB, and there is none here"
        )
    print(
        f"FLUX.1-Kontext's transformer, random weights, {tokens} tokens, "
        f"{torch.cuda.get_device_name()}"
    )
    for bits in ("no", "8bit", "4bit"):
        print(f"quantised: {bits}")
        for elements in (1, ELEMENTS):
            transformer = flux(19, 38)
            if bits != "no":
                quantize(transformer, bits, DTYPE)
            measure_whole(transformer, elements, rounds, tokens, batch)
            del transformer
            torch.cuda.empty_cache()


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--part", choices=["layers", "step", "router", "layouts", "full"], action="append"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=512 if DEVICE.type == "cpu" else 4096)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument(
        "--panel",
        type=int,
        default=128 if DEVICE.type == "cpu" else 512,
        help="of --part layouts, in pixels",
    )
    arguments = parser.parse_args()
    random.seed(0)
    torch.manual_seed(0)
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    parts = arguments.part or ["layers", "step", "router"]
    if "layers" in parts:
        measure_layers(arguments.rounds, arguments.tokens, arguments.batch)
    if "step" in parts:
        measure_step(arguments.rounds, arguments.tokens, 1, 1)
    if "router" in parts:
        measure_router(arguments.rounds)
    if "layouts" in parts:
        measure_layouts(arguments.rounds, arguments.panel, 1, 1)
    if "full" in parts:
        measure_full(arguments.rounds, arguments.tokens, arguments.batch)


if __name__ == "__main__":
    main()
