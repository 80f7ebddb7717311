"""`lorweb-bench datagen`: exit codes and sentences, and a listing of the library."""

import subprocess
import sys
from pathlib import Path

import pytest

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset, open_dataset


def _run(*words: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in ("datagen", *words)])
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def test_build_prints_the_fingerprint(write, tmp_path: Path, capsys) -> None:
    settings = (
        "--set",
        "splits={train: 5}",
        "--set",
        "transformations={families: [invert, flip]}",
        "--set",
        "tiers={}",
    )
    code, out, _ = _run(
        "build", write(), "-o", tmp_path / "out", *settings, "--workers", 1, capsys=capsys
    )
    assert code == 0
    assert open_dataset(tmp_path / "out").fingerprint in out
    assert "5 train" in out


def test_errors_are_one_sentence_and_exit_2(write, train: Dataset, tmp_path: Path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    new = ("-o", tmp_path / "new")
    cases = (
        (("build", tmp_path / "none.yaml", *new), "There is no recipe"),
        (("build", write(), *new, "--set", "sead=3"), "did you mean 'seed'"),
        (("build", write(), "-o", tmp_path / "full"), "something else"),
        (("build", write(), "-o", train.path, "--set", "version=2"), "version"),
        (
            (
                "build",
                write(),
                *new,
                "--set",
                f"source={{kind: photographs, path: {tmp_path / 'empty'}}}",
            ),
            "no usable photographs",
        ),
        (("build", write(), *new, "--set", "tiers.new_family=[sobbel]"), "did you mean 'sobel'"),
        (("build", write(), *new, "--set", "splits={seen: 4, unseen: 4}"), "tiers.relative_to"),
        (("build", write(), *new, "--workers", 0), "workers"),
        (("build", write(), *new, "--engine", "slurm"), "slurm"),
        (("transformations", "-o", tmp_path / "gallery.gif"), ".png"),
    )
    for words, said in cases:
        code, _, err = _run(*words, capsys=capsys)
        assert code == 2, words
        assert said in err
        assert "Traceback" not in err


def test_transformations_lists_the_library(capsys) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = _run("transformations", capsys=capsys)
    assert code == 0
    for words in ("hue_shift-degrees_180", "shift the hue by 180 degrees", "geometry"):
        assert words in out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import datagen.cli; from click.testing import CliRunner; "
        "r = CliRunner().invoke(datagen.cli.datagen, ['build', '--help']); assert r.exit_code == "
        "0; "
        "print([m for m in ('numpy', 'cv2', 'pydantic', 'yaml', 'torch', 'rich') if m in "
        "sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
