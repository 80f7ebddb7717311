"""Shared by all tests: a small suite made with the installed library, its public view, its answers.

And `tiny_flux_folder`, a FLUX.1-Kontext of random weights as diffusers saves it; and `hub`, a
server on this machine that speaks the protocol of huggingface.co; and `backbone`, a small CLIP.
"""

import base64
import hashlib
import json
import random
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
def suite_with_base(small_suite: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The small suite with a declared base, to which two of its four new families are new too."""
    folder = tmp_path_factory.mktemp("suites") / "small-with-base"
    listed = {n: i.model_dump(mode="json") for n, i in small_suite.manifest.transformations.items()}
    new = sorted(name for name, info in listed.items() if info["tier"] == "new_family")[:2]
    for name, info in listed.items():
        info["known_to_base"] = name not in new
        info["tier"] = "new_to_base" if name in new else info["tier"]
    for split in small_suite.splits:
        with ShardWriter(folder, split, 0) as shard:
            for sample in small_suite.samples(split):
                record = {**sample.record, "tier": listed[sample.record["transformation"]]["tier"]}
                images = {role: (data, sample.ext) for role, data in sample.images.items()}
                shard.add(sample.key, images, record)
    fields = small_suite.manifest.model_dump(mode="json", include={"recipe", "tiers_relative_to"})
    return finish_dataset(
        folder,
        {
            **fields,
            "name": "small-with-base",
            "version": "1",
            "view": "full",
            "transformations": listed,
            "transformation_library": "datagen",
            "base": {"name": "not-here", "fingerprint": "b" * 64},
        },
    )


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


class HubRepository:
    """A repository on the local hub: what each branch and commit holds."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.branches: dict[str, str] = {}
        self.private = True
        self.gated = False
        self.put("main", {})

    def put(self, branch: str, files: dict[str, bytes]) -> str:
        """Add files to a branch as a commit, and give the commit's name."""
        held = {**self.commits.get(self.branches.get(branch, ""), {}), **files}
        names = "".join(f"{n} {hashlib.sha1(d).hexdigest()}" for n, d in sorted(held.items()))
        commit = hashlib.sha1(f"{len(self.commits)} {names}".encode()).hexdigest()
        self.commits[commit] = held
        self.branches[branch] = commit
        return commit

    def commit(self, revision: str) -> str | None:
        """The commit that a branch or a commit's name stands for."""
        return self.branches.get(revision, revision if revision in self.commits else None)

    @property
    def files(self) -> dict[str, bytes]:
        """What the main branch holds."""
        return self.commits[self.branches["main"]]


class LocalHub(BaseHTTPRequestHandler):
    """The calls of the hub's protocol that uploads and downloads make; files go in the commit."""

    TOKEN = "hf_good"
    CALL = re.compile(r"/api/(datasets|models)/([\w.-]+/[\w.-]+)(?:/(\w+)(?:/(.+))?)?")
    FILE = re.compile(r"/(datasets/)?([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")
    repositories: dict[tuple[str, str], HubRepository] = {}
    commits_left: int | None = None  # how many are taken until the connection is cut

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {self.TOKEN}":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            return self.create(json.loads(body))
        call = self.CALL.match(urllib.parse.urlparse(self.path).path)
        assert call is not None, self.path
        repository = self.repositories[call[1], call[2]]
        if call[3] == "preupload":
            return self.preupload(repository, call[4], json.loads(body)["files"])
        if call[3] == "branch":
            repository.put(urllib.parse.unquote(call[4]), repository.files)
            return self.answer({})
        return self.commit(repository, call, body)

    def create(self, asked: dict[str, Any]) -> None:
        kind = f"{asked.get('type', 'model')}s"
        name = f"{asked['organization']}/{asked['name']}"
        repository = self.repositories.setdefault((kind, name), HubRepository())
        repository.private = asked["visibility"] == "private"
        prefix = "datasets/" if kind == "datasets" else ""
        self.answer({"url": f"http://{self.headers['Host']}/{prefix}{name}"})

    def preupload(self, repository: HubRepository, revision: str, files: list[Any]) -> None:
        held = repository.commits[repository.commit(revision) or ""]
        answers = []
        for file in files:
            data = held.get(file["path"])
            blob = b"" if data is None else b"blob %d\0" % len(data) + data
            answer = {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
            answers.append(answer | ({"oid": hashlib.sha1(blob).hexdigest()} if blob else {}))
        self.answer({"files": answers})

    def commit(self, repository: HubRepository, call: re.Match[str], body: bytes) -> None:
        if self.commits_left == 0:
            return self.connection.close()  # as when a network goes away
        if self.commits_left is not None:
            type(self).commits_left -= 1
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        oid = repository.put(call[4], files)
        prefix = "datasets/" if call[1] == "datasets" else ""
        url = f"http://{self.headers['Host']}/{prefix}{call[2]}/commit/{oid}"
        return self.answer({"commitUrl": url, "commitOid": oid, "success": True})

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlparse(self.path).path)
        call, file = self.CALL.fullmatch(path), self.FILE.fullmatch(path)
        found = call or file
        if found is None:
            return self.answer({"error": "not found"}, 404)
        kind = call[1] if call else ("datasets" if found[1] else "models")
        repository = self.repositories.get((kind, found[2]))
        if repository is None:
            return self.missing("RepoNotFound", "Repository not found")
        if repository.gated:
            return self.missing("GatedRepo", "Access to it is restricted", 403)
        if repository.private and self.headers["Authorization"] != f"Bearer {self.TOKEN}":
            return self.missing("RepoNotFound", "Repository not found", 401)
        commit = repository.commit((found[4] if call else found[3]) or "main")
        if commit is None:
            return self.missing("RevisionNotFound", "Invalid rev id")
        files = repository.commits[commit]
        if call and call[3] == "tree":
            return self.answer([self.entry(name, files[name]) for name in sorted(files)])
        if call:
            siblings = [{"rfilename": name} for name in sorted(files)]
            return self.answer({"id": found[2], "sha": commit, "siblings": siblings})
        if found[4] not in files:
            return self.missing("EntryNotFound", "Entry not found")
        return self.send_file(files[found[4]], commit)

    do_HEAD = do_GET

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        return {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": hashlib.sha1(data).hexdigest(),
        }

    def missing(self, code: str, message: str, status: int = 404) -> None:
        self.answer({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    def send_file(self, data: bytes, commit: str) -> None:
        self.send(
            data, 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        )

    def answer(
        self, content: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        json_headers = {"Content-Type": "application/json", **(headers or {})}
        self.send(json.dumps(content).encode(), status, json_headers)

    def send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[LocalHub]]:
    """A hub on this machine that `huggingface_hub` talks to, here and in processes started here.

    It starts empty, and the client has a token that may read and write.
    """
    constants = pytest.importorskip("huggingface_hub.constants")
    LocalHub.repositories, LocalHub.commits_left = {}, None
    server = ThreadingHTTPServer(("127.0.0.1", 0), LocalHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, home = f"http://127.0.0.1:{server.server_port}", tmp_path / "hub-home"
    variables = {"HF_ENDPOINT": address, "HF_TOKEN": LocalHub.TOKEN, "HF_HOME": str(home)}
    for name, value in {**variables, "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    # What the client read of these variables when it was imported.
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield LocalHub
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub_repository(hub: type[LocalHub]) -> Callable[..., HubRepository]:
    """`hub_repository("me/small", folder)`: a repository on the local hub with a folder's files."""

    def make(name: str, folder: Path, kind: str = "datasets") -> HubRepository:
        repository = hub.repositories.setdefault((kind, name), HubRepository())
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        repository.put("main", files)
        return repository

    return make


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP backbone of small size, saved as the hub saves it."""
    import torch
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
