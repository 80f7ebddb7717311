"""The commands: train, apply."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.cli.main import main
from lorweb_bench.data.samples import Triplet
from reference_model.method import from_checkpoint

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("train", ...)`: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in args])
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


@pytest.fixture
def pictures(triplet: Callable[..., Triplet], tmp_path: Path) -> list[Path]:
    """a, a' and b as PNG files of 40 x 24 pixels."""
    shown = triplet(7, 40, 24)
    paths = [tmp_path / f"{role}.png" for role in ("a", "a_prime", "b")]
    for path in paths:
        getattr(shown, path.stem).save(path)
    return paths


def test_apply_makes_b_prime(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out.png"
    code, said, _ = run("apply", "--model", trained("lorweb"), *pictures, "-o", out, "--seed", 5)
    assert code == 0
    assert "40 x 24, by lorweb (works at up to 16 px)" in said
    a, a_prime, b = (Image.open(path).convert("RGB") for path in pictures)
    expected = from_checkpoint(trained("lorweb")).predict([Triplet("b", a, a_prime, b, seed=5)])[0]
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(expected))


def test_apply_names_the_image_that_it_cannot_read(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(pictures[0].read_bytes()[:200])
    text = tmp_path / "text.png"
    text.write_text("no image")
    for bad in (cut, text, tmp_path / "none.png", tmp_path):
        code, _, err = run(
            "apply",
            "--model",
            trained("lorweb"),
            pictures[0],
            bad,
            pictures[2],
            "-o",
            tmp_path / "out.png",
        )
        assert code == 2 and str(bad) in err and "Traceback" not in err
    assert not (tmp_path / "out.png").exists()


def test_apply_refuses_an_output_that_is_a_folder(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    code, _, err = run("apply", "--model", trained("lorweb"), *pictures, "-o", tmp_path)
    assert code == 2 and str(tmp_path) in err.replace("\n", "")


def test_apply_names_a_model_that_is_none(run: Run, pictures: list[Path], tmp_path: Path) -> None:
    code, _, err = run("apply", "--model", tmp_path / "none", *pictures, "-o", tmp_path / "out.png")
    assert code == 2
    assert "none/config.json: no checkpoint there" in err.replace("\n", " ")


def test_train_trains_and_a_second_call_is_done_at_once(
    run: Run, write_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_yaml("single-lora")
    for _ in range(2):
        code, said, err = run("train", path, "-o", tmp_path / "out", "--set", "training.steps=2")
        assert (code, said) == (0, f"checkpoint: {tmp_path / 'out'}\n")
    assert "training" not in err


def test_train_needs_an_output_or_a_dry_run(
    run: Run, write_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = write_yaml()
    assert run("train", path)[0] == 2
    code, said, _ = run("train", path, "--dry-run", "--set", "adapter.elements=7")
    assert code == 0 and "trainable parameters" in said
    assert sorted(tmp_path.rglob("*")) == [*before, path]


def test_a_wrong_key_is_one_sentence_and_exit_code_2(
    run: Run, write_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    code, said, err = run(
        "train", write_yaml(), "-o", tmp_path / "out", "--set", "training.stpes=3"
    )
    assert (code, said) == (2, "")
    assert (
        err.startswith("Error: ") and "did you mean 'steps'?" in err and len(err.splitlines()) == 1
    )
    assert not (tmp_path / "out").exists()


def test_apply_writes_png_under_a_name_that_says_so(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    code, _, err = run("apply", "--model", trained("lorweb"), *pictures, "-o", tmp_path / "out.jpg")
    assert code == 2 and "out.jpg: the answer is written as PNG" in err.replace("\n", " ")
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize("command", ["apply", "compose", "inspect-model", "oracle", "train"])
def test_an_output_that_cannot_be_written_is_named_before_any_work(
    run: Run,
    pictures: list[Path],
    trained: Callable[[str], Path],
    write_yaml: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    model, config = trained("lorweb"), write_yaml()
    for place in ("model.adapter.load_base", "bases.tiny.TinyBase.load"):
        monkeypatch.setattr(f"reference_model.{place}", worked)
    file = tmp_path / "file"
    file.write_text("in the way")
    arguments = {
        "apply": ["--model", model, *pictures, "-o", file / "out.png"],
        "compose": ["--model", model, *pictures, "-o", file / "out.safetensors"],
        "inspect-model": [model, "--suite", tmp_path, "-o", file / "out.html"],
        "oracle": [model, "--suite", tmp_path, "-o", file / "out"],
        "train": [config, "-o", file / "out"],
    }[command]
    code, said, err = run(command, *arguments)
    assert (code, said) == (2, "")
    assert f"{file} is a file; choose another name with -o" in " ".join(err.split())


def test_apply_draws_a_sheet_and_a_walk(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    sheet, strip = tmp_path / "sheet.png", tmp_path / "strip.png"
    code, said, _ = run("apply", "--model", trained("lorweb"), *pictures, "--sheet", sheet)
    assert code == 0 and str(sheet) in said
    assert Image.open(sheet).width > 4 * 160  # four panels, enlarged to be looked at
    second = [pictures[1], pictures[0]]
    walk = ["--mix", *second, "--steps", 4, "-o", strip, "--sheet", sheet]
    code, said, _ = run("apply", "--model", trained("lorweb"), *pictures, *walk)
    assert code == 0 and str(strip) in said and str(sheet) in said
    assert Image.open(sheet).height > Image.open(strip).height


def test_apply_refuses_options_that_do_not_go_together(
    run: Run, pictures: list[Path], trained: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.png"
    for options, sentence in (
        ((), "no output"),
        (("-o", out, "--sheet", out), "name two files"),
        (("-o", out, "--steps", 5), "add `--mix"),
        (("--sheet", tmp_path / "sheet.jpg"), "ends in .png"),
    ):
        code, _, err = run("apply", "--model", trained("lorweb"), *pictures, *options)
        assert code == 2 and sentence in err.replace("\n", " ")
    assert not out.exists()


def test_apply_says_when_an_analogy_is_unlike_its_training(
    run: Run,
    pictures: list[Path],
    trained: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    strict = shutil.copytree(trained("lorweb"), tmp_path / "strict")
    config = strict / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "novelty_threshold": 0.0}))
    for folder, is_told in ((strict, True), (trained("lorweb"), False)):
        code, said, _ = run("apply", "--model", folder, *pictures, "-o", tmp_path / "out.png")
        assert code == 0 and ("unlike anything" in said) == is_told
