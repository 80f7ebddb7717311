"""`compose`: the file that it writes runs in stock diffusers as the checkpoint runs here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet
from reference_model.bases.registry import load_base
from reference_model.checkpoints.checkpoint import load_checkpoint, write_checkpoint
from reference_model.config import TrainConfig
from reference_model.model.adapter import new_adapter
from reference_model.model.grid_layout import context_sequence
from reference_model.model.working_size import to_tensor
from reference_model.sampling import predict_velocity

Run = Callable[..., tuple[int, str, str]]
RANK = 6  # 3 elements of rank 2


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("compose", ...)`: exit code, stdout, stderr in one line."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in args])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, " ".join(err.split())

    return call


@pytest.fixture(scope="module")
def model(config: Callable[..., TrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random A and B; alpha is not the rank."""
    settings = config(adapter={"alpha": 3})
    adapter = new_adapter(settings, seed=1)
    torch.manual_seed(2)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=0.3)
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, adapter, settings, {"identity": "x"})
    return folder


@pytest.fixture
def pictures(triplet: Callable[..., Triplet], tmp_path: Path) -> list[Path]:
    """a, a', b and a second pair as PNG files."""
    shown, other = triplet(7), triplet(8)
    images = {
        "a": shown.a,
        "a_prime": shown.a_prime,
        "b": shown.b,
        "a2": other.a,
        "a2_prime": other.a_prime,
    }
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
    return [tmp_path / f"{name}.png" for name in images]


@pytest.mark.parametrize("rank", [None, RANK, 40])
def test_a_stock_transformer_with_the_file_gives_what_the_gated_one_gives(
    run: Run,
    model: Path,
    pictures: list[Path],
    triplet: Callable[..., Triplet],
    tmp_path: Path,
    rank: int | None,
) -> None:
    out = tmp_path / "lora.safetensors"
    code, said, _ = run(
        "compose", "--model", model, *pictures[:3], "-o", out, *(["--rank", rank] if rank else [])
    )
    assert (
        code == 0
        and "a LoRA of rank 6 on" in said
        and (rank is None or "keeps 100.00% of the energy" in said)
    )
    adapter, config = load_checkpoint(model)
    stock, untouched = load_base(config.base), load_base(config.base)
    stock.transformer.load_lora_adapter(load_file(out), prefix="transformer")
    t = triplet(7)
    panels = [to_tensor([image], (16, 16), torch.device("cpu")) for image in (t.a, t.a_prime, t.b)]
    adapter.gate(adapter.features(*panels))
    sequenced = context_sequence("target-only", *(adapter.base.codec.encode(x) for x in panels))
    prompt = adapter.prompt([""], None)
    with torch.inference_mode():
        ours, theirs, without = (
            predict_velocity(x, torch.ones(1, 4, 192), sequenced, torch.tensor([0.7]), prompt)
            for x in (adapter.base, stock, untouched)
        )
    torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-4)
    assert (ours - without).abs().max() > 1e-2


def test_a_lower_rank_says_what_it_keeps(
    run: Run, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    code, said, _ = run(
        "compose", "--model", model, *pictures[:3], "-o", out, "--rank", 2, "--dtype", "bfloat16"
    )
    assert code == 0 and "rank 2 of 6 keeps " in said and "100.00%" not in said
    tensors = load_file(out)
    assert (
        {w.shape[0] for n, w in tensors.items() if "lora_A" in n}
        == {w.shape[1] for n, w in tensors.items() if "lora_B" in n}
        == {2}
    )
    assert {w.dtype for w in tensors.values()} == {torch.bfloat16}


def test_a_walk_ends_at_the_second_pair(
    run: Run, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    a, a_prime, b, a2, a2_prime = pictures
    files = [tmp_path / f"{n}.safetensors" for n in range(3)]
    assert run("compose", "--model", model, a2, a2_prime, b, "-o", files[0])[0] == 0
    assert (
        run(
            "compose",
            "--model",
            model,
            a,
            a_prime,
            b,
            "-o",
            files[1],
            "--mix",
            a2,
            a2_prime,
            "--weight",
            1,
        )[0]
        == 0
    )
    assert (
        run("compose", "--model", model, a, a_prime, b, "-o", files[2], "--mix", a2, a2_prime)[0]
        == 0
    )
    second, walked, half = map(load_file, files)
    for name, weights in second.items():
        torch.testing.assert_close(walked[name], weights)
    assert any(not torch.allclose(half[name], second[name]) for name in second)


def test_the_same_analogy_gives_the_same_bytes_and_the_header_says_nothing_of_when_or_where(
    run: Run, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    files = [tmp_path / f"{n}.safetensors" for n in range(2)]
    for file in files:
        assert run("compose", "--model", model, *pictures[:3], "-o", file)[0] == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    with safe_open(files[0], framework="pt") as opened:
        about = opened.metadata()
    assert about["format"] == "pt"
    assert all(name.startswith(("format", "modelspec.", "ss_")) for name in about)
    assert not any(str(tmp_path) in value for value in about.values())


def test_wrong_use_is_one_sentence(
    run: Run, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "lora.safetensors"
    cases = {
        ("-o", tmp_path / "lora.bin"): "lora.bin: a LoRA is written as safetensors",
        ("-o", out, "--weight", 0.5): "add `--mix A2 A2_PRIME`",
        ("-o", out, "--mix", tmp_path / "none.png", pictures[0]): "none.png: cannot be read",
    }
    for options, sentence in cases.items():
        code, said, err = run("compose", "--model", model, *pictures[:3], *options)
        assert (code, said) == (2, "") and sentence in err and "Traceback" not in err
    assert not out.exists()


def test_numbers_too_large_for_the_type_are_not_written(
    run: Run, model: Path, pictures: list[Path], tmp_path: Path
) -> None:
    import json
    import shutil

    loud = shutil.copytree(model, tmp_path / "loud")
    config = json.loads((loud / "config.json").read_text())
    config["adapter"]["alpha"] = 1e7
    (loud / "config.json").write_text(json.dumps(config))
    code, _, err = run(
        "compose",
        "--model",
        loud,
        *pictures[:3],
        "-o",
        tmp_path / "lora.safetensors",
        "--dtype",
        "float16",
    )
    assert code == 2 and "has values that float16 cannot hold" in err
    assert not (tmp_path / "lora.safetensors").exists()
