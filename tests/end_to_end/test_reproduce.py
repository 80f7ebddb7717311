"""The page on the paper's evaluation, from download to table, on a stand-in of the same layouts.

Every `lorweb-bench` command of the page runs, in order and without a network, with weights of the
real classes at random, and noise for pictures. Sizes, steps and weights' files are replaced here;
nothing else is.
"""

import csv
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from lorweb_bench.cli.main import main

torch = pytest.importorskip("torch")
lpips = pytest.importorskip("lpips")
open_clip = pytest.importorskip("open_clip")

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SMALL_TRAINING = (
    *("panel=32", "training.steps=1", "training.batch=2", "training.accumulation=1"),
    *("training.optimizer=adamw", "training.precision=no", "training.reverse_pairs=0"),
)
HELD_OUT = "tiers.new_task=[" + ", ".join(f"{n + 1}-Task {n}" for n in range(2, 12)) + "]"
# What is added to a command of the page, so that it takes seconds.
SMALLER = {
    "datagen build relation252k-train": ("splits={train: 6}", HELD_OUT),
    "datagen build relation252k-suite": ("splits={seen: 2, unseen: 12}", HELD_OUT),
    "train flux-kontext-paper": SMALL_TRAINING,
}
# Needs the network, or is a dry run at full size, which tests of its own cover.
LEFT_OUT = ("hf ", "lorweb-bench datagen build lorweb-evalset ", "vllm ")


def commands() -> Iterator[str]:
    for block in FENCE.findall(PAGE.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            if line and not line.startswith(("#", *LEFT_OUT)) and "--dry-run" not in line:
                yield line


def picture(path: Path, rng: np.random.Generator, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = rng.integers(0, 256, (6, 6 * size[0] // size[1], 3), np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


def write_relation252k(root: Path, rng: np.random.Generator) -> None:
    """Twelve categories, of which two have enough pairs to be trained on and seen."""
    for number in range(12):
        folder = root / f"{number + 1}-Task {number}" / "Group1"
        labels = []
        for pair in range(60 if number < 2 else 4):
            name = f"photo-{number}-{pair}.png"
            picture(folder / name, rng, (64, 32))
            labels.append({"img_name": name, "edit_instruction": f"make it edit {number}"})
        (folder / "labels.json").write_text(json.dumps(labels))


def write_evalset(root: Path, rng: np.random.Generator) -> None:
    for category in ("animals", "objects"):
        for n in range(6):
            picture(root / f"unsplash_{category}" / f"jane-{category}-{n}.jpg", rng, (48, 32))
        for words in ("Give_it_armor", "Turn_it_to_clay"):
            for n in range(3):
                file = root / "loras" / category / words / f"jane-{category}-{n}_{n}.png"
                picture(file, rng, (48, 32))


def write_release(folder: Path, base: Path, encoder: Path) -> None:
    """A file and a config in the released format for a FLUX folder."""
    from safetensors.torch import save_file

    from reference_model.bases.registry import shaped_transformer

    with torch.device("meta"):
        modules = dict(shaped_transformer(str(base)).named_modules())
    generator, weights = torch.Generator().manual_seed(3), {}
    for name, layer in modules.items():
        if not (isinstance(layer, torch.nn.Linear) and "transformer_blocks." in name):
            continue
        parts = {
            "lora_A": (2, layer.in_features, 4),
            "lora_B": (2, 4, layer.out_features),
            "lora_keys": (2, 8),
            "att_lora_to_q.weight": (8, 18),
        }
        for part, size in parts.items():
            weights[f"transformer.{name}.{part}"] = torch.randn(size, generator=generator).half()
    folder.mkdir(parents=True)
    save_file(weights, folder / "lorweb.safetensors")
    options = {
        "loras_num": 2,
        "lora_keys_dim": 8,
        "lora_heads": 1,
        "lora_softmax": True,
        "mixing_coeffs_type": "mean",
        "external_query": True,
        "query_mode": "cat-aa'b",
        "query_projection_type": "linear",
        "external_query_model": str(encoder),
    }
    network = {"linear": 4, "linear_alpha": 1, "network_kwargs": options}
    config = {"config": {"process": [{"network": network}]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def write_metric_weights(folder: Path) -> str:
    """Random weights for the two metrics; returns what names them in `--metrics`."""
    from safetensors.torch import save_file, save_model

    folder.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    tiny = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (folder / "tiny-clip.json").write_text(json.dumps(tiny))
    open_clip.add_model_config(folder / "tiny-clip.json")
    about = {"mean": "0.5, 0.5, 0.5", "std": "0.3, 0.3, 0.3", "activation": "gelu"}
    torch.manual_seed(1)
    clip, alex = folder / "clip.safetensors", folder / "alex.safetensors"
    save_file(open_clip.create_model("tiny-clip").state_dict(), clip, about)
    network = lpips.LPIPS(net="alex", pnet_rand=True, pretrained=True, verbose=False)
    save_model(network, str(alex), about)
    return f"lpips_to_b[alex/{alex}],clip_direction[tiny-clip/{clip}]"


class Judge(BaseHTTPRequestHandler):
    """Rates every picture alike, and prefers the first of two."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = body["messages"][1]["content"]
        pictures = sum(part["type"] == "image_url" for part in parts)
        numbers = {"better": 1} if pictures == 5 else {"accuracy": 5, "consistency": 7}
        said = json.dumps({"change": "an edit", **numbers})
        content = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def replaced(
    tiny_flux_folder: Path,
    backbone: Path,
    endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], list[str]]:
    """`replaced(command)`: its words on the stand-in, which lies in the working folder."""
    from diffusers.pipelines.flux import pipeline_flux_kontext

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("reference_model.bases.flux_kontext.FluxKontext.steps", 1)
    monkeypatch.setattr("reference_model.model.working_size.MEGAPIXEL", 64 * 64)
    monkeypatch.setattr(pipeline_flux_kontext, "PREFERRED_KONTEXT_RESOLUTIONS", [(64, 64)])
    rng = np.random.default_rng(0)
    write_relation252k(tmp_path / "data" / "Relation252K", rng)
    write_evalset(tmp_path / "data" / "LoRWeB_evalset", rng)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "kontext").symlink_to(tiny_flux_folder)
    (tmp_path / "models" / "clip").symlink_to(backbone)
    write_release(tmp_path / "models" / "lorweb", tiny_flux_folder, tmp_path / "models" / "clip")
    metrics = write_metric_weights(tmp_path / "metrics")

    def replace(command: str) -> list[str]:
        words = shlex.split(command)[1:]
        for start, settings in SMALLER.items():
            if command.startswith(f"lorweb-bench {start} "):
                for setting in settings:
                    words += ["--set", setting]
                if start.startswith("train") and "name=single-lora" not in command:
                    words += ["--set", "adapter.elements=2"]
        swaps = {"lpips_to_b,clip_direction": metrics, "http://127.0.0.1:8000/v1": endpoint}
        return [swaps.get(word, word).replace("square: 512", "square: 32") for word in words]

    return replace


def test_every_command_of_the_page_runs_on_a_stand_in_and_ends_in_the_table(
    replaced: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in commands():
        with pytest.raises(SystemExit) as ended:
            main(replaced(command))
        said = capsys.readouterr()
        assert not ended.value.code, f"{command}\n{said.out}\n{said.err}"
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    metrics = {(row["method"].split()[0], row["metric"].partition("[")[0]) for row in rows}
    methods = {"lorweb-released", "lorweb", "single-lora"}
    assert metrics >= {(m, name) for m in methods for name in ("lpips_to_b", "clip_direction")}
    assert metrics >= {("lorweb", f"judge_{name}") for name in ("accuracy", "consistency")}
    for row in rows:
        assert row["suites"] == "lorweb-authors-set 1, relation252k-suite 1"
        # Four tasks of the authors' set, with 3 pairs and 2 b each, and ten of Relation252K.
        assert (int(row["tasks"]), int(row["triplets"])) == (4 + 10, 24 + 12)
