"""The peers that diffusers ships, through the real pipelines with tiny random weights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline, FluxTransformer2DModel, VisualClozePipeline
from PIL import Image

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.samples import Triplet
from lorweb_bench.errors import InputError
from lorweb_bench.methods.base import load_method
from lorweb_bench.methods.listing import list_methods
from lorweb_bench.methods.predict import predict
from lorweb_bench.predictions.format import read_manifest
from reference_model.baselines import (
    GRID_WORDS,
    KontextGrid,
    KontextInstruction,
    PipelineBaseline,
    VisualCloze,
    revision_of,
    to_levels,
)

MakeTriplet = Callable[..., Triplet]
QUICK: dict[str, Any] = {"steps": 2, "dtype": "float32"}
MASK = (
    256  # channels of a token's mask, eightfold in both directions and four latent pixels a token
)


@pytest.fixture(scope="module")
def cloze_folder(tiny_flux_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VisualCloze pipeline of random weights.

    As FLUX.1-Kontext, but its transformer also sees what is known, and the mask.
    """
    parts = FluxKontextPipeline.from_pretrained(tiny_flux_folder).components
    config = parts["transformer"].config
    kept = {
        name: config[name]
        for name in ("num_layers", "num_single_layers", "num_attention_heads", "attention_head_dim")
    }
    kept |= {
        name: config[name]
        for name in (
            "joint_attention_dim",
            "pooled_projection_dim",
            "guidance_embeds",
            "axes_dims_rope",
        )
    }
    torch.manual_seed(12)
    token = config["in_channels"]
    parts["transformer"] = FluxTransformer2DModel(
        in_channels=2 * token + MASK, out_channels=token, **kept
    )
    names = (
        "scheduler",
        "vae",
        "text_encoder",
        "tokenizer",
        "text_encoder_2",
        "tokenizer_2",
        "transformer",
    )
    folder = tmp_path_factory.mktemp("cloze")
    VisualClozePipeline(**{name: parts[name] for name in names}, resolution=32).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module", params=["grid", "instruction", "cloze"])
def peer(
    request: pytest.FixtureRequest, tiny_flux_folder: Path, cloze_folder: Path
) -> PipelineBaseline:
    if request.param == "cloze":
        return VisualCloze(str(cloze_folder), **QUICK)
    kind = KontextGrid if request.param == "grid" else KontextInstruction
    return kind(str(tiny_flux_folder), **QUICK)


def far(one: Image.Image, other: Image.Image) -> int:
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())


def test_answers_have_the_size_of_b_and_go_by_the_triplet_and_its_seed_alone(
    peer: PipelineBaseline, triplet: MakeTriplet
) -> None:
    triplets = [
        triplet(n, *size, prompt="invert it")
        for n, size in enumerate([(32, 32), (48, 32), (32, 32), (37, 21)])
    ]
    together = peer.predict(triplets)
    assert [image.size for image in together] == [t.b.size for t in triplets]
    assert {image.mode for image in together} == {"RGB"}
    for t, image in zip(triplets, together, strict=True):
        assert far(peer.predict([t])[0], image) <= 1  # a batch of another size may round otherwise
    one = triplets[0]
    assert (
        far(
            peer.predict([Triplet("k", one.a, one.a_prime, one.b, one.prompt, seed=99)])[0],
            together[0],
        )
        > 1
    )
    assert (
        far(
            peer.predict([Triplet("k", one.a, one.a_prime, triplets[2].b, one.prompt, seed=0)])[0],
            together[0],
        )
        > 0
    )


@pytest.mark.parametrize("kind", [KontextGrid, VisualCloze])
def test_the_pair_is_looked_at(
    kind: type[PipelineBaseline], tiny_flux_folder: Path, cloze_folder: Path, triplet: MakeTriplet
) -> None:
    peer = kind(str(cloze_folder if kind is VisualCloze else tiny_flux_folder), **QUICK)
    one, other = triplet(0, 32, 32), triplet(1, 32, 32)
    changed = Triplet("k", other.a, other.a_prime, one.b, None, one.seed)
    assert far(peer.predict([one])[0], peer.predict([changed])[0]) > 0


def test_the_instruction_alone_sees_nothing_of_the_pair_and_must_be_given(
    tiny_flux_folder: Path, triplet: MakeTriplet
) -> None:
    peer = KontextInstruction(str(tiny_flux_folder), **QUICK)
    one, other = triplet(0, 32, 32), triplet(1, 32, 32)
    told = [Triplet("k", t.a, t.a_prime, one.b, "invert", 3) for t in (one, other)]
    assert far(*peer.predict(told)) <= 1
    with pytest.raises(InputError, match="--prompt instruction"):
        peer.predict([one])


class Shown:
    """Stands before a real pipeline and keeps what it is called with."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline, self.calls = pipeline, []

    def __call__(self, **given: Any) -> Any:
        self.calls.append(given)
        return self.pipeline(**given)


def test_the_grid_is_a_a_prime_over_b_b_and_its_last_quarter_is_the_answer(
    tiny_flux_folder: Path, triplet: MakeTriplet
) -> None:
    peer = KontextGrid(str(tiny_flux_folder), **QUICK)
    peer.prepare(None)
    peer.pipeline = shown = Shown(peer.pipeline)
    one = triplet(0, 48, 32)
    (answer,) = peer.predict([one])
    (call,) = shown.calls
    grid = np.asarray(call["image"][0])
    assert grid.shape == (64, 96, 3)
    for panel, (row, column) in zip(
        (one.a, one.a_prime, one.b, one.b), [(0, 0), (0, 48), (32, 0), (32, 48)], strict=True
    ):
        assert (grid[row : row + 32, column : column + 48] == np.asarray(panel)).all()
    assert call["prompt"] == [GRID_WORDS]
    call["generator"] = [torch.Generator("cpu").manual_seed(one.seed)]
    whole = to_levels(np.asarray(shown.pipeline(**call).images[0]))
    assert (whole[32:, 48:] == np.asarray(answer)).all()


def test_what_a_peer_is_told_in_words_is_what_the_prompt_mode_gives(
    tiny_flux_folder: Path, cloze_folder: Path, triplet: MakeTriplet
) -> None:
    for peer, key in (
        (KontextGrid(str(tiny_flux_folder), **QUICK), "prompt"),
        (VisualCloze(str(cloze_folder), **QUICK), "task_prompt"),
    ):
        peer.prepare(None)
        peer.pipeline = shown = Shown(peer.pipeline)
        peer.predict([triplet(0, 32, 32)])
        peer.predict([triplet(0, 32, 32, prompt="turn it blue")])
        untold, told = (str(call[key]) for call in shown.calls)
        assert "blue" not in untold
        assert "The edit: turn it blue" in told


def test_visualcloze_without_its_second_pass(cloze_folder: Path, triplet: MakeTriplet) -> None:
    one = triplet(0, 48, 32)
    quick, whole = (
        VisualCloze(str(cloze_folder), upsampling=strength, **QUICK).predict([one])[0]
        for strength in (0.0, 1.0)
    )
    assert quick.size == whole.size == (48, 32)
    assert far(quick, whole) > 0


def test_not_a_number_is_an_error_and_not_a_black_picture(
    tiny_flux_folder: Path, triplet: MakeTriplet
) -> None:
    peer = KontextGrid(str(tiny_flux_folder), **QUICK)
    peer.prepare(None)
    torch.nn.init.constant_(peer.pipeline.transformer.proj_out.bias, float("nan"))
    with pytest.raises(ValueError, match="gave NaN"):
        peer.predict([triplet(0, 32, 32)])


def test_a_peer_runs_in_the_harness_by_name_and_its_predictions_say_what_made_them(
    tiny_flux_folder: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    options = {"weights": str(tiny_flux_folder), **QUICK}
    manifest = predict(
        "flux-kontext-grid", small_suite, tmp_path / "p", limit=2, batch=2, options=options
    )
    assert manifest is not None
    about = manifest.method.model_dump()
    assert (about["name"], about["revision"], about["guidance"]) == (
        "flux-kontext-grid",
        revision_of(str(tiny_flux_folder)),
        2.5,
    )
    assert about["options"] == options
    assert (manifest.track, manifest.samples, manifest.cost.sampling_steps) == ("open", 2, 2)
    with pytest.raises(InputError, match="method.guidance 2.5 instead of 3.5"):
        predict(
            "flux-kontext-grid",
            small_suite,
            tmp_path / "p",
            limit=3,
            options={**options, "guidance": 3.5},
        )


def test_weights_that_are_not_there_are_told_with_the_way_out(
    triplet: MakeTriplet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "model_index.json").write_text("{}")
    for weights in (str(tmp_path), "nobody/nothing-of-the-kind"):
        peer = load_method("visualcloze", weights=weights)
        with pytest.raises(
            InputError, match=r"cannot be loaded .*hf download .*--set weights=FOLDER"
        ):
            peer.predict([triplet(0)])
    with pytest.raises(InputError, match="no dtype 'int8'"):
        load_method("visualcloze", dtype="int8")
    assert revision_of("nobody/nothing-of-the-kind") is None


def test_the_list_says_which_weights_a_peer_needs() -> None:
    listed = {info.name: info for info in list_methods()}
    assert {"flux-kontext-grid", "flux-kontext-instruction", "visualcloze"} <= set(listed)
    assert "the weights VisualCloze/VisualClozePipeline-384" in listed["visualcloze"].needs
    assert "a GPU" in listed["visualcloze"].needs


def test_weights_in_the_hub_s_cache_are_found_loaded_and_named_by_their_revision(
    cloze_folder: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    """As `hf download` leaves them, in a process that has no network."""
    revision, repository = (
        "0123456789abcdef" * 2 + "01234567",
        tmp_path / "hub" / "models--VisualCloze--VisualClozePipeline-384",
    )
    shutil.copytree(cloze_folder, repository / "snapshots" / revision)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("HF_HUB_CACHE", None)
    script = (
        "import sys\n"
        "from lorweb_bench.cli.main import main\n"
        "from lorweb_bench.methods.listing import weights_there\n"
        "assert weights_there('VisualCloze/VisualClozePipeline-384') and not "
        "weights_there('black-forest-labs/FLUX.1-Kontext-dev')\n"
        "main(sys.argv[1:])\n"
    )
    words = [
        "predict",
        "--method",
        "visualcloze",
        "--set",
        "steps=2",
        "--set",
        "dtype=float32",
        "--limit",
        "1",
    ]
    run = [
        sys.executable,
        "-c",
        script,
        *words,
        "--suite",
        str(small_suite.path),
        "-o",
        str(tmp_path / "p"),
    ]
    done = subprocess.run(run, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "p").method.model_dump()["revision"] == revision
