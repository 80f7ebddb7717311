"""Shared by the tests of the reference model.

A training dataset, a tiny base pretrained on it for three steps, trained checkpoints.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import FluxTransformer2DModel

from datagen.sources.scenes.compose import scene
from datagen.transformations import library
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode, to_image
from lorweb_bench.data.samples import Triplet
from lorweb_bench.data.shard_writer import ShardWriter
from reference_model.bases.base import Base
from reference_model.bases.registry import load_base
from reference_model.bases.tiny import UnshuffleCodec, new_tiny_base
from reference_model.config import TrainConfig
from reference_model.training.pretraining import Phase, PretrainingConfig, pretrain
from reference_model.training.train import train

SIZE = 16  # pixels, the smallest panel
STEPS = 5
# One double and one single block, 2 heads of 16.
SMALL: dict[str, Any] = {
    "num_layers": 1,
    "num_single_layers": 1,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": [4, 6, 6],
}
TRAINED = ("hue_shift", "invert", "brightness")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread: the same bytes here as in the processes that tests start."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _write_dataset(folder: Path, sizes: Sequence[tuple[int, int]]) -> Path:
    """Quadruplets of these heights and widths, of three transformations and a composition in turn.

    No scene is used twice.
    """
    lib = library()
    specs = [next(s for s in lib.singles().values() if s["family"] == family) for family in TRAINED]
    specs.append(lib.compose(specs[0], specs[1]))
    with ShardWriter(folder, "train", 0) as shard:
        for n, (height, width) in enumerate(sizes):
            spec = specs[n % len(specs)]
            a, b = scene(2 * n, height, width), scene(2 * n + 1, height, width)
            panels = {"a": a, "a_prime": lib.apply(spec, a), "b": b, "b_prime": lib.apply(spec, b)}
            record = {
                "id": f"q{n}",
                "transformation": spec["id"],
                "family": spec["family"],
                "kind": spec["kind"],
                "tier": "seen_single",
            }
            record |= {
                "instruction": spec["instruction"],
                "a_source": f"scene-{2 * n}",
                "b_source": f"scene-{2 * n + 1}",
            }
            record |= {
                "licence": "CC0-1.0",
                "attribution": "procedural",
                "width": width,
                "height": height,
            }
            shard.add(
                f"q{n}",
                {role: (encode(panel, "png"), "png") for role, panel in panels.items()},
                record,
            )
    listed = {
        s["id"]: {
            **{k: v for k, v in s.items() if k != "id"},
            "tier": "seen_single",
            "trained": True,
        }
        for s in specs
    }
    fields = {
        "name": "little-train",
        "version": "1",
        "view": "full",
        "recipe": {},
        "transformation_library": "datagen",
    }
    finish_dataset(folder, {**fields, "transformations": listed})
    return folder


@pytest.fixture(scope="session")
def training_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine quadruplets of 16 x 16 pixels."""
    return _write_dataset(tmp_path_factory.mktemp("datasets") / "train", [(SIZE, SIZE)] * 9)


@pytest.fixture
def write_panels(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`write_panels((height, width), ...)`: a training dataset with a quadruplet of each size."""
    return lambda *sizes: _write_dataset(tmp_path_factory.mktemp("datasets") / "panels", sizes)


@pytest.fixture(scope="session")
def pretraining_config(training_dataset: Path) -> PretrainingConfig:
    """Three steps of each part."""
    phase = Phase(steps=3, batch=2, learning_rate=0.02, warmup=1)
    return PretrainingConfig(
        dataset=training_dataset, transformer=SMALL, encoder=phase, base=phase, alignment=phase
    )


@pytest.fixture(scope="session")
def base_folder(
    pretraining_config: PretrainingConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A base and its pair encoder, written by `pretrain` itself."""
    folder = tmp_path_factory.mktemp("base")
    pretrain(pretraining_config, folder)
    return folder


@pytest.fixture
def base(base_folder: Path) -> Base:
    """That base, fresh, for a test that changes it."""
    return load_base(str(base_folder))


@pytest.fixture
def constant_base() -> Callable[[float], Base]:
    """`constant_base(c)`: a real base whose last layer ignores its input, so that it predicts the
    context under the target plus c.
    """

    def make(value: float) -> Base:
        made = new_tiny_base(["word"], 0, SMALL)
        torch.nn.init.zeros_(made.transformer.proj_out.weight)
        torch.nn.init.constant_(made.transformer.proj_out.bias, value)
        return made.freeze()

    return make


@pytest.fixture
def flux() -> Callable[..., FluxTransformer2DModel]:
    """`flux(dtype)`: diffusers' own transformer, one double and one single block, 4 channels,
    seeded weights of some size.
    """

    def make(dtype: torch.dtype = torch.float32) -> FluxTransformer2DModel:
        torch.manual_seed(1)
        return FluxTransformer2DModel(**SMALL, in_channels=4).to(dtype).eval()

    return make


@pytest.fixture
def flux_inputs() -> Callable[..., dict[str, Any]]:
    """`flux_inputs(dtype, batch)`.

    Seeded inputs for it, 5 image tokens and 3 prompt tokens a sample.
    """

    def make(dtype: torch.dtype = torch.float32, batch: int = 3) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(2)
        drawn = [
            torch.randn(*shape, generator=generator).to(dtype)
            for shape in ((batch, 5, 4), (batch, 3, 32), (batch, 32), (5, 3))
        ]
        names = ("hidden_states", "encoder_hidden_states", "pooled_projections", "img_ids")
        times = torch.linspace(0.2, 1, batch).to(dtype)
        return {
            **dict(zip(names, drawn, strict=True)),
            "timestep": times,
            "txt_ids": torch.zeros(3, 3, dtype=dtype),
            "return_dict": False,
        }

    return make


@pytest.fixture(scope="session")
def settings(base_folder: Path, training_dataset: Path) -> Callable[..., dict[str, Any]]:
    """`settings(kind, adapter={...}, training={...}, ...)`.

    The mapping of a training config on the small base.
    """

    def make(
        kind: str = "lorweb", adapter: Any = None, training: Any = None, **rest: Any
    ) -> dict[str, Any]:
        basis = (
            {"elements": 3, "rank": 2, "alpha": 2, "key_width": 4}
            if kind == "lorweb"
            else {"rank": 4, "alpha": 4}
        )
        optimisation = {
            "steps": STEPS,
            "batch": 2,
            "learning_rate": 0.02,
            "warmup": 1,
            "threads": 1,
            "exchange_pairs": 0.5,
        }
        common = {
            "name": kind,
            "base": str(base_folder),
            "layout": "target-only",
            "panel": SIZE,
            "encoder": "pair",
        }
        return {
            **common,
            "dataset": str(training_dataset),
            "adapter": {"kind": kind, **basis, **(adapter or {})},
            "training": {**optimisation, **(training or {})},
            **rest,
        }

    return make


@pytest.fixture(scope="session")
def config(settings: Callable[..., dict[str, Any]]) -> Callable[..., TrainConfig]:
    """The same as a checked config."""
    return lambda *args, **kwargs: TrainConfig.model_validate(settings(*args, **kwargs))


@pytest.fixture
def write_yaml(settings: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """The same as a YAML file."""

    def write(*args: Any, **kwargs: Any) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(settings(*args, **kwargs)))
        return path

    return write


@pytest.fixture(scope="session")
def trained(
    config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`trained(kind)`: the checkpoint of a run of five steps, made once.

    Copy it before changing it.
    """
    made: dict[str, Path] = {}

    def make(kind: str = "lorweb") -> Path:
        if kind not in made:
            made[kind] = train(config(kind), tmp_path_factory.mktemp("checkpoints") / kind)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def triplet() -> Callable[..., Triplet]:
    """`triplet(n, width, height, prompt)`: scenes of their own, and the seed n."""

    def make(n: int, width: int = SIZE, height: int = SIZE, prompt: str | None = None) -> Triplet:
        a, a_prime, b = (to_image(scene(100 + 3 * n + i, height, width)) for i in range(3))
        return Triplet(f"t{n}", a, a_prime, b, prompt, seed=n)

    return make


@pytest.fixture(scope="session")
def codec() -> UnshuffleCodec:
    """The codec of the tiny base."""
    return UnshuffleCodec()


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP backbone of small size, saved as the hub saves it."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    folder = tmp_path_factory.mktemp("backbone")
    torch.manual_seed(12)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=6,
    )
    CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16).save_pretrained(folder)
    return folder
