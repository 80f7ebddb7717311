"""Commands without the packages of an extra: one sentence with the pip line, exit code 2, no
traceback.

The packages are hidden from a real process by an import hook, so that what is tested is what the
commands import, in the order in which they import it.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from lorweb_bench.data.dataset import Dataset
from lorweb_bench.runtime.extras import explain_missing, extra_of, pip_line

ROOT = Path(__file__).parents[3]
# What the extras bring, by the names of imports; written out here, not read from the metadata.
MODEL = ("torch", "torchvision", "diffusers", "transformers", "peft", "accelerate", "safetensors")
LEADERBOARD = ("fastapi", "uvicorn", "httpx", "starlette", "psycopg", "tenacity")
METRICS = ("open_clip", "lpips", "torchmetrics")
HIDING = """
import sys
HIDDEN = {hidden!r}
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
from lorweb_bench.cli.main import main
main(sys.argv[1:])
"""


def run_without(hidden: tuple[str, ...], *words: object) -> subprocess.CompletedProcess[str]:
    code = HIDING.format(hidden=hidden)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )


def refused(done: subprocess.CompletedProcess[str], extra: str) -> str:
    """The one sentence on standard error, which ends with the pip line of the extra."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert f"pip install 'lorweb-bench[{extra}]'" in last
    return last


@pytest.fixture
def analogy(tmp_path: Path, small_suite: Dataset) -> list[Path]:
    """The files of a, a_prime and b of a real item."""
    item = next(iter(small_suite.quadruplets("seen")))
    paths = [tmp_path / f"{role}.png" for role in ("a", "a_prime", "b")]
    for path, image in zip(paths, (item.a, item.a_prime, item.b), strict=True):
        image.save(path)
    return paths


def test_the_commands_of_the_model_name_their_extra(tmp_path: Path, analogy: list[Path]) -> None:
    checkpoint = ROOT / "reference_model" / "assets" / "lorweb"
    assert checkpoint.is_dir()
    config = ROOT / "reference_model" / "configs" / "tiny-lorweb.yaml"
    out = tmp_path / "out"
    commands: list[tuple[object, ...]] = [
        ("train", config, "--dry-run"),
        ("train", config, "-o", out),
        ("pretrain-tiny", config, "-o", out),
        ("apply", "--model", checkpoint, *analogy, "-o", out.with_suffix(".png")),
        ("compose", "--model", checkpoint, *analogy, "-o", out.with_suffix(".safetensors")),
        ("import-lorweb", analogy[0], "--config", config, "-o", out),
        ("inspect-model", checkpoint, "--suite", tmp_path, "-o", out),
    ]
    for words in commands:
        sentence = refused(run_without(MODEL, *words), "model")
        assert sentence.startswith(f"Error: `lorweb-bench {words[0]}` needs ")
        assert not list(tmp_path.glob("out*"))


def test_a_method_that_is_not_there_names_its_extra(small_suite: Dataset, tmp_path: Path) -> None:
    words = ("predict", "--method", "lorweb", "--suite", small_suite.path, "-o", tmp_path / "p")
    assert "'lorweb'" in refused(run_without(MODEL, *words), "model")
    assert not (tmp_path / "p").exists()


def test_the_list_of_methods_is_had_without_their_packages() -> None:
    done = run_without(MODEL, "methods")
    assert done.returncode == 0
    assert "pip install 'lorweb-bench[model]'" in done.stdout
    assert "copy-b" in done.stdout


def test_the_service_names_its_extra(tmp_path: Path) -> None:
    store = tmp_path / "store"
    refused(run_without(LEADERBOARD, "leaderboard", "serve", "--store", store), "leaderboard")
    address = "http://127.0.0.1:9"
    submit = ("leaderboard", "submit", tmp_path / "s.zip", "--to", address, "--suite", "x")
    done = run_without(LEADERBOARD, *submit)
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_a_weighted_metric_names_its_extras(small_suite: Dataset, tmp_path: Path) -> None:
    words = ("--metrics", "lpips_to_b", "-o", tmp_path / "r")
    evaluate = ("evaluate", "--method", "copy-b", "--suite", small_suite.path, *words)
    refused(run_without((*MODEL, *METRICS), *evaluate), "model,metrics")


def test_the_base_install_does_the_main_work(small_suite: Dataset, tmp_path: Path) -> None:
    hidden = (*MODEL, *LEADERBOARD, *METRICS, "ray", "datasets", "huggingface_hub", "gradio")
    evaluate = ("evaluate", "--method", "copy-b", "--suite", small_suite.path, "--limit", 4)
    done = run_without(hidden, *evaluate, "-o", tmp_path / "r")
    assert done.returncode == 0, done.stderr
    done = run_without(hidden, "verify", small_suite.path)
    assert done.returncode == 0, done.stderr


def test_a_module_of_no_extra_keeps_its_traceback() -> None:
    done = run_without(("cv2",), "datagen", "transformations")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_the_extra_of_a_module() -> None:
    assert [extra_of(name) for name in ("torch.nn", "open_clip", "fastapi", "ray", "numpy")] == [
        "model",
        "metrics",
        "leaderboard",
        "ray",
        None,
    ]
    error = ModuleNotFoundError("No module named 'peft'", name="peft")
    assert explain_missing(error, "It") == (
        f"It needs peft, which is not installed: {pip_line('model')}."
    )
    assert explain_missing(ModuleNotFoundError("x", name="nowhere"), "It") is None


@pytest.mark.parametrize("words", [("verify", "hub:me/x"), ("datagen", "recipes")])
def test_only_names_on_the_hub_need_its_client(words: tuple[str, ...]) -> None:
    done = run_without(("huggingface_hub",), *words)
    if words[0] == "verify":
        assert "hub:me/x needs huggingface_hub" in refused(done, "hub")
    else:
        assert done.returncode == 0, done.stderr
