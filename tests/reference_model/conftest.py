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


TOKENS = 16  # channels of a token of the small pipelines


def byte_tokenizer(*special: str) -> Any:
    """A tokenizer of Qwen's class that knows single bytes and some special tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    words = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    tokenizer = Qwen2Tokenizer({word: i for i, word in enumerate(words)}, [])
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }} {% if m.content is string %}"
        "{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}<|im_end|>{% endfor %}"
    )
    return tokenizer


def flux2_parts(guidance: bool) -> dict[str, Any]:
    """A transformer, a VAE and a scheduler of FLUX.2's classes, small and random."""
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2Transformer2DModel,
    )

    torch.manual_seed(21)
    transformer = Flux2Transformer2DModel(
        in_channels=TOKENS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=TOKENS // 4,
        norm_num_groups=4,
    )
    torch.nn.init.normal_(vae.bn.running_mean, std=0.2)
    torch.nn.init.uniform_(vae.bn.running_var, 0.5, 2)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return {"transformer": transformer, "vae": vae, "scheduler": scheduler}


@pytest.fixture(scope="session")
def klein_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `Flux2KleinPipeline` with random weights; copy it before changing it."""
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = byte_tokenizer("<|im_start|>", "<|im_end|>")
    parts = flux2_parts(guidance=False)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=28,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
    )
    folder = tmp_path_factory.mktemp("klein")
    pipeline = Flux2KleinPipeline(
        text_encoder=Qwen3ForCausalLM(config), tokenizer=tokenizer, **parts
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def flux2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `Flux2Pipeline` with random weights; copy it before changing it."""
    from diffusers import Flux2Pipeline
    from transformers import (
        Mistral3Config,
        Mistral3ForConditionalGeneration,
        PixtralImageProcessor,
        PixtralProcessor,
    )

    tokenizer = byte_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    parts = flux2_parts(guidance=True)
    size: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "head_dim": 8}
    text = {**size, "model_type": "mistral", "num_hidden_layers": 31, "num_attention_heads": 1}
    vision = {**size, "model_type": "pixtral", "num_hidden_layers": 1, "num_attention_heads": 1}
    text |= {"num_key_value_heads": 1, "vocab_size": len(tokenizer)}
    config = Mistral3Config(text_config=text, vision_config=vision)
    processor = PixtralProcessor(
        PixtralImageProcessor(), tokenizer, chat_template=tokenizer.chat_template
    )
    folder = tmp_path_factory.mktemp("flux2")
    pipeline = Flux2Pipeline(
        text_encoder=Mistral3ForConditionalGeneration(config), tokenizer=processor, **parts
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `QwenImageEditPlusPipeline` with random weights; copy it before changing it."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPlusPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    special = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
    tokenizer = byte_tokenizer(*special, "<|image_pad|>", "<|video_pad|>")
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start"}
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in {**names, "vision_end": "vision_end"}.items()
    }
    torch.manual_seed(31)
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    text = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, **heads}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    text |= {"vocab_size": len(tokenizer), "rope_scaling": {"mrope_section": [2, 3, 3]}, **ends}
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config={**vision, "out_hidden_size": 32}, **ids
    )
    transformer = QwenImageTransformer2DModel(
        in_channels=TOKENS,
        out_channels=TOKENS // 4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=TOKENS // 4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.2, 0.8, 1.5, 1.0],
    )
    # Random weights of the last layer's usual size would make every picture grey.
    torch.nn.init.normal_(vae.decoder.conv_out.weight, std=0.5)
    processor = Qwen2VLProcessor(Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor())
    folder = tmp_path_factory.mktemp("qwen")
    pipeline = QwenImageEditPlusPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=tokenizer,
        processor=processor,
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder
