"""Shared by all tests: a small suite made with the installed library, its public view, its answers.

And `tiny_flux_folder`, a FLUX.1-Kontext of random weights as diffusers saves it.
"""

import hashlib
import random
from collections.abc import Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from datagen.sources.scenes.compose import scene
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.images import encode
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.protocol import CANDIDATES, SEEN_TIERS, UNSEEN_TIERS
from lorweb_bench.suites.publish import publish

settings.register_profile("any-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any-machine")

SIZE = 32  # pixels
PER_TRANSFORMATION = 3
SHARDS = 2  # per split
LATENT_CHANNELS = 4  # of the tiny FLUX.1-Kontext
TEXT_WIDTH = 32
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,-#"
TIERS = (*SEEN_TIERS, *UNSEEN_TIERS[:3])


singles = cache(library().singles)
image_of = cache(partial(scene, height=SIZE, width=SIZE))


def _transformations() -> dict[str, dict[str, Any]]:
    """Two transformations of two families in four tiers, four in the last, and the trained rest."""
    lib = library()
    families: dict[str, list[dict[str, Any]]] = {}
    for spec in singles().values():
        families.setdefault(spec["family"], []).append(spec)
    mixed = random.Random(0).sample(list(families.values()), len(families))
    chosen = list(
        islice((f for f in mixed if len(f) >= 3 and _changes(f[0]) and _changes(f[2])), 12)
    )
    by_tier = {
        "seen_single": [chosen[0][0], chosen[1][0], chosen[2][0]],
        "new_parameters": [chosen[0][2], chosen[1][2], chosen[2][2]],
        "seen_composition": [lib.compose(chosen[i][0], chosen[i + 1][0]) for i in (0, 3, 5)],
        "new_composition": [lib.compose(chosen[i][0], chosen[i + 2][0]) for i in (0, 3, 5)],
        "new_family": [presets[0] for presets in chosen[8:]],
    }
    return {
        spec["id"]: {
            **{k: v for k, v in spec.items() if k != "id"},
            "tier": tier,
            "trained": tier in SEEN_TIERS,
        }
        for tier, specs in by_tier.items()
        for spec in specs
    }


def _rmse(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(((x.astype(float) - y) ** 2).mean()))


def _changes(spec: dict[str, Any]) -> bool:
    return all(_rmse(library().apply(spec, image), image) > 12 for image in map(image_of, range(2)))


def _item(
    key: str, name: str, spec: dict[str, Any], turn: int, b_seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    lib = library()
    a_seed = 1000 + sum(map(ord, name)) % 97
    a, b = image_of(a_seed), image_of(b_seed)
    while _rmse(b_prime := lib.apply(spec, b), b) < 8:
        b_seed += 100
        b = image_of(b_seed)
    shuffled = (
        other
        for other in random.Random(key).sample(sorted(singles()), len(singles()))
        if other != name
    )
    others = islice(
        (other for other in shuffled if _rmse(lib.apply(singles()[other], b), b_prime) > 1),
        CANDIDATES - 1,
    )
    candidates = sorted([name, *others])
    panels = {"a": a, "a_prime": lib.apply(spec, a), "b": b, "b_prime": b_prime}
    labels = {k: spec[k] for k in ("family", "kind", "tier", "instruction")}
    sources = {
        "a_source": f"scene-{a_seed}",
        "b_source": f"scene-{b_seed}",
        "licence": "CC0-1.0",
        "attribution": "procedural",
    }
    record = {"id": key, "transformation": name, **labels, **sources, "width": SIZE, "height": SIZE}
    record |= {"hard": turn % 2 == 0 and spec["kind"] != "colour", "candidates": candidates}
    return {role: (encode(panel, "png"), "png") for role, panel in panels.items()}, record


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache, or hangs on the width of a terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORWEB_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv(
            "COLUMNS", "132"
        )  # tables are as wide everywhere: a process of pytest-xdist would say 80
        patch.setenv(
            "RAY_worker_niceness", "0"
        )  # Ray's workers are nice to others (15), and then a test can wait for minutes
        yield


@pytest.fixture(scope="session")
def small_suite_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a suite of 48 items of 32 x 32 pixels.

    It has every tier but new_task, two shards per split and 50 candidates per item.
    """
    folder = tmp_path_factory.mktemp("suites") / "small"
    transformations = _transformations()
    planned = [(name, turn) for name in transformations for turn in range(PER_TRANSFORMATION)]
    items = {
        hashlib.sha256(f"{name} {turn}".encode()).hexdigest()[:16]: (name, turn)
        for name, turn in planned
    }
    used = dict(transformations)
    for split, tiers in (("seen", SEEN_TIERS), ("unseen", UNSEEN_TIERS)):
        keys = sorted(
            key for key, (name, _) in items.items() if transformations[name]["tier"] in tiers
        )
        for index in range(SHARDS):
            with ShardWriter(folder, split, index) as shard:
                for n, key in enumerate(keys[index::SHARDS]):
                    name, turn = items[key]
                    images, record = _item(key, name, transformations[name], turn, n % 12)
                    shard.add(key, images, record)
                    used |= {
                        c: {k: v for k, v in singles()[c].items() if k != "id"}
                        for c in record["candidates"]
                        if c not in used
                    }
    fields = {
        "name": "small",
        "version": "1",
        "view": "full",
        "recipe": {"seed": int(hashlib.sha256(b"of the small suite").hexdigest(), 16)},
        "transformations": used,
    }
    finish_dataset(
        folder, {**fields, "transformation_library": "datagen", "tiers_relative_to": "0" * 64}
    )
    return folder


@pytest.fixture(scope="session")
def small_suite(small_suite_path: Path) -> Dataset:
    """That suite, open."""
    return open_suite(small_suite_path)


@pytest.fixture(scope="session")
def small_public(small_suite_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Its public view, open."""
    return publish(small_suite_path, tmp_path_factory.mktemp("suites") / "small-public")


@pytest.fixture(scope="session")
def truth(small_suite: Dataset) -> dict[str, Image.Image]:
    """Its true answers by key."""
    return {
        q.key: q.b_prime
        for split in small_suite.scored_splits
        for q in small_suite.quadruplets(split)
        if q.b_prime is not None
    }


def clip_tokenizer() -> Any:
    """A CLIP tokenizer that knows single letters."""
    from transformers import CLIPTokenizer

    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    return CLIPTokenizer({word: i for i, word in enumerate(words)}, [], model_max_length=16)


def t5_tokenizer() -> Any:
    """A T5 tokenizer that knows single letters."""
    from transformers import T5TokenizerFast

    words = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((letter, -3.0) for letter in LETTERS),
    ]
    return T5TokenizerFast(words, extra_ids=0, model_max_length=512)


def write_flux_folder(folder: Path) -> Path:
    """Write a pipeline of the real classes with one double and two single blocks.

    Its VAE shrinks eightfold, as the real one does.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(11)
    transformer = FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=2,
        num_attention_heads=2,
        attention_head_dim=16,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    )
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    clip = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    t5 = T5Config(
        vocab_size=len(tokenizer_2), d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    )
    pipeline = FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    )
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `FluxKontextPipeline.from_pretrained` loads; copy it before changing it."""
    return write_flux_folder(tmp_path_factory.mktemp("flux"))
