"""Methods: trivial ones and bounds against known truths, and loading by every kind of name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datagen.sources.scenes.compose import scene
from datagen.transformations import library
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import to_array
from lorweb_bench.errors import InputError
from lorweb_bench.methods import listing
from lorweb_bench.methods.base import TABLE, Method, load_method
from lorweb_bench.methods.baselines import affine_colour_transfer
from lorweb_bench.methods.image_analogies import patch_analogy
from lorweb_bench.methods.listing import list_methods
from lorweb_bench.methods.predict import predict
from lorweb_bench.methods.search import LibrarySearch, NearestSeen, Renderer

METHOD_FILE = """
class Mine:
    name = "mine"
    def __init__(self, gain=1):
        self.gain = gain
    def predict(self, triplets):
        return [t.b for t in triplets]
class Greedy:
    def __init__(self, needed):
        pass
mine = Mine()
def make():
    return Mine(2)
number = 3
"""
OPENER = """
class Opened:
    def __init__(self, folder):
        self.name = "opened " + folder.name
    def predict(self, triplets):
        return [t.b for t in triplets]
"""


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_colour_transfer_is_the_least_squares_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, a_prime, b = (rng.integers(0, 256, (9, 11, 3), dtype=np.uint8) for _ in range(3))

    def with_one(image: np.ndarray) -> np.ndarray:
        return np.column_stack([image.reshape(-1, 3), np.ones(image[..., 0].size)])

    expected = (
        with_one(b)
        @ np.linalg.lstsq(with_one(a), a_prime.reshape(-1, 3).astype(float), rcond=None)[0]
    )
    difference = affine_colour_transfer(a, a_prime, b).reshape(-1, 3) - expected.round().clip(
        0, 255
    )
    assert np.abs(difference).max() <= 1  # a value at .5 may round either way


def test_colour_transfer_recovers_affine_changes_and_bears_flat_images() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2))
    assert (affine_colour_transfer(a, 255 - a, b) == 255 - b).all()
    assert (affine_colour_transfer(a, a[..., ::-1], b) == b[..., ::-1]).all()
    grey = np.repeat(a[..., :1], 3, 2)
    assert (affine_colour_transfer(grey, 255 - grey, grey) == 255 - grey).all()
    assert (affine_colour_transfer(np.full_like(a, 7), np.full_like(a, 9), b) == 9).all()


def test_copies(small_suite: Dataset) -> None:
    triplets = [q.triplet() for q in list(small_suite.quadruplets("seen"))[:3]]
    assert load_method("copy-b").predict(triplets) == [t.b for t in triplets]
    assert load_method("copy-a-prime").predict(triplets) == [t.a_prime for t in triplets]


def recovered(answer: np.ndarray, b: np.ndarray, b_prime: np.ndarray) -> float:
    """How much of the change an answer recovers: 1 all of it, 0 none."""
    return float(
        1
        - np.square(answer.astype(float) - b_prime).mean()
        / np.square(b.astype(float) - b_prime).mean()
    )


@pytest.mark.parametrize("side", [64, 150])
def test_patch_analogy_carries_over_what_goes_by_appearance(side: int) -> None:
    """Tones, a negative, an outline of edges: what depends on the surroundings of a pixel alone."""
    a, b = scene(3, side, side), scene(8, side, side)
    singles = library().singles()
    for family, least in (
        ("brightness", 0.9),
        ("invert", 0.9),
        ("duotone", 0.4),
        ("laplacian", 0.4),
    ):
        spec = next(s for s in singles.values() if s["family"] == family)
        changed = library().apply(spec, b)
        assert recovered(patch_analogy(a, library().apply(spec, a), b), b, changed) > least, family


def test_patch_analogy_finds_what_goes_by_colour_alone_or_by_place() -> None:
    a, b = scene(3, 64, 64), scene(8, 64, 64)
    for family, least in (
        ("channel_swap", 0.95),
        ("fog", 0.8),
        ("half", 0.4),
        ("border", 0.3),
        ("sticker", 0.3),
    ):
        spec = next(s for s in library().singles().values() if s["family"] == family)
        assert (
            recovered(patch_analogy(a, library().apply(spec, a), b), b, library().apply(spec, b))
            > least
        ), family


def test_patch_analogy_of_a_picture_with_itself_is_nearly_exact() -> None:
    a = scene(3, 64, 64)
    spec = next(s for s in library().singles().values() if s["family"] == "emboss")
    a_prime = library().apply(spec, a)
    assert recovered(patch_analogy(a, a_prime, a), a, a_prime) > 0.8
    assert np.abs(patch_analogy(a, a, a).astype(int) - a).max() <= 1  # a pair that changes nothing


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 20), (47, 64)])
def test_patch_analogy_bears_every_size_and_flat_images_and_gives_the_same_bytes_again(
    size: tuple[int, int],
) -> None:
    rng = np.random.default_rng(0)
    a, a_prime, b = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(3))
    first = patch_analogy(a, a_prime, b)
    assert (first.shape, first.dtype) == (b.shape, np.uint8)
    assert (patch_analogy(a, a_prime, b) == first).all()
    flat = np.full_like(a, 90)
    assert np.abs(patch_analogy(flat, flat + 40, flat).astype(int) - 130).max() <= 1
    assert patch_analogy(a, a_prime, rng.integers(0, 256, (25, 31, 3), dtype=np.uint8)).shape == (
        25,
        31,
        3,
    )


def test_library_search_finds_singles_exactly_and_explains_compositions(
    small_suite: Dataset,
) -> None:
    method = LibrarySearch()
    method.prepare(small_suite)
    for q in list(small_suite.quadruplets("seen"))[:6]:
        a, a_prime = to_array(q.a), to_array(q.a_prime)
        result, errors = a, []
        for step in method.explain(a, a_prime):
            result = library().apply(step, result)
            errors.append(float(((result.astype(float) - a_prime) ** 2).mean()))
        if q.record.tier == "seen_single":
            assert errors == [0.0]
        else:
            assert errors[-1] == min(errors)


def test_nearest_seen_is_exact_on_what_was_trained_and_never_better_than_the_truth(
    small_suite: Dataset,
) -> None:
    method = NearestSeen()
    method.prepare(small_suite)
    seen = list(small_suite.quadruplets("seen"))[:8]
    for q, image in zip(seen, method.predict_quadruplets(seen, small_suite), strict=True):
        assert (to_array(image) == to_array(q.b_prime)).all()
    q = next(q for q in small_suite.quadruplets("unseen") if q.record.tier == "new_family")
    (image,) = method.predict_quadruplets([q], small_suite)
    trained = [
        info
        for info in small_suite.manifest.transformations.values()
        if info.trained and "+" not in info.family
    ]
    nearest = min(
        np.square(
            library().apply(info.spec, to_array(q.b)).astype(float) - to_array(q.b_prime)
        ).mean()
        for info in trained
    )
    assert np.square(to_array(image).astype(float) - to_array(q.b_prime)).mean() <= nearest
    with pytest.raises(InputError, match="full view"):
        method.predict([q.triplet()])


def test_the_renderer_keeps_within_its_memory() -> None:
    class Counting:
        runs = 0

        def apply(self, spec: dict, image: np.ndarray) -> np.ndarray:
            Counting.runs += 1
            return image + spec["by"]

    image = np.zeros((8, 8, 3), np.uint8)
    renderer = Renderer(Counting(), budget=3 * image.nbytes)
    for digest in ("one", "one", "two", "three", "four"):
        for by in (1, 2):
            assert (renderer.run(str(by), {"by": by}, image, digest) == by).all()
    assert Counting.runs == 8
    assert renderer.rendered.currsize <= 3 * image.nbytes


def test_methods_load_by_name_module_file_class_factory_and_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine_by_file.py"
    path.write_text(METHOD_FILE)
    for attribute, gain in (("Mine", 1), ("mine", 1), ("make", 2)):
        method = load_method(f"{path}:{attribute}")
        assert isinstance(method, Method)
        assert method.instance.gain == gain
    assert load_method(f"{path}:Mine", gain=5).instance.gain == 5
    (tmp_path / "mine_by_module.py").write_text(METHOD_FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_method("mine_by_module:mine").name == "mine"
    assert all(isinstance(load_method(name), Method) for name in TABLE)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("copy_b", "did you mean 'copy-b'"),
        ("zzz", "there are copy-b"),
        ("no/such/folder", "is no folder"),
        ("no_such_file.py:x", "does not exist"),
        ("no_such_module:x", "cannot be imported"),
        ("os.path:joim", "did you mean 'join'"),
        ("os:sep", "is no method"),
        ("{here}/own.py:Mime", "did you mean 'Mine'"),
        ("{here}/own.py:number", "is no method"),
        ("{here}/own.py:Greedy", "without more options"),
        ("{here}/broken.py:x", "SyntaxError"),
        ("{here}", "is no checkpoint"),
    ],
)
def test_wrong_specs_are_told_in_one_sentence(spec: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(METHOD_FILE)
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(InputError, match=sentence) as error:
        load_method(spec.format(here=tmp_path))
    assert "\n" not in str(error.value)


PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "halving"
version = "2.5"
[tool.setuptools]
py-modules = ["halving"]
[project.entry-points."lorweb_bench.methods"]
halving = "halving:Halving"
"""
HALVING = """
class Halving:
    \"\"\"Halves every level of b.\"\"\"
    name = "halving"
    version = "2.5"
    def __init__(self, by=2):
        self.by = by
    def predict(self, triplets):
        return [t.b.point(lambda level: level // self.by) for t in triplets]
"""


@pytest.fixture(scope="module")
def installed_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip installed a little distribution into; on the path of a process, its method
    is there by name.
    """
    source, target = tmp_path_factory.mktemp("halving"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "halving.py").write_text(HALVING)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
    ]
    subprocess.run([*pip, str(target), str(source)], check=True, capture_output=True)
    return target


def test_what_pip_installs_is_a_method_by_name(
    installed_package: Path, small_suite: Dataset, tmp_path: Path
) -> None:
    def command(*words: object) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(
            [str(installed_package), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        words = (sys.executable, "-m", "lorweb_bench", *words)
        return subprocess.run(
            [str(w) for w in words],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )

    listed = command("methods").stdout.split("halving")[1].splitlines()
    assert listed[0].strip() == "can be run here"
    assert listed[1].strip() == "Halves every level of b."
    run = (
        "predict",
        "--method",
        "halving",
        "--suite",
        small_suite.path,
        "-o",
        tmp_path / "p",
        "--limit",
        2,
    )
    done = command(*run, "--set", "by=3")
    assert (done.returncode, "2 predictions of halving" in done.stdout) == (0, True), done.stderr
    about = json.loads((tmp_path / "p" / "predictions.json").read_text())["method"]
    assert len(about.pop("code_sha256")) == 64
    assert about == {"name": "halving", "version": "2.5", "options": {"by": 3}}
    refused = command(*run, "--set", "by=4")
    assert (refused.returncode, "method.options.by 3 instead of 4" in refused.stderr) == (2, True)
    assert "did you mean 'halving'" in command(*run[:2], "halvin", *run[3:]).stderr
    with pytest.raises(InputError, match="no method 'halving'"):
        load_method("halving")


def test_an_installed_package_brings_methods_and_opens_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real little distribution on the path; the list reads it without importing it."""
    (tmp_path / "little_methods.py").write_text(
        "import json\nimport absent_package.part\n"
        + METHOD_FILE.replace("class Mine:", "class Mine:\n    'Hands b on.'")
    )
    (tmp_path / "little_opener.py").write_text(OPENER)
    info = tmp_path / "little-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: little\nVersion: 1.0\nProvides-Extra: heavy\n"
        'Requires-Dist: absent_package>=2; extra == "heavy"\n'
    )
    (info / "entry_points.txt").write_text(
        "[lorweb_bench.methods]\nlittle = little_methods:Mine [heavy]\n"
        "opener = little_opener:Opened\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert load_method("opener", folder=tmp_path).name == f"opened {tmp_path.name}"
    with pytest.raises(
        InputError, match=r"absent_package not installed: pip install 'little\[heavy\]'"
    ):
        load_method("little")
    listed = {info.name: info for info in list_methods()}
    assert (listed["little"].what, listed["little"].needs) == ("Hands b on.", "the extra heavy")
    assert listed["little"].missing == "absent_package not installed: pip install 'little[heavy]'"
    assert listed["opener"].missing is None
    assert list(listed)[: len(TABLE)] == list(TABLE)
    assert "little_methods" not in sys.modules


def test_the_list_says_what_a_class_needs_besides_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights count as there when the hub's cache has every part of the pipeline, and every file
    that a part's index names.
    """
    text = METHOD_FILE.replace(
        "class Mine:", "class Mine:\n    weights_repository = 'some/where'\n    gpus = 1"
    )
    (tmp_path / "hungry_methods.py").write_text(text)
    (info := tmp_path / "hungry-1.0.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hungry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lorweb_bench.methods]\nhungry = hungry_methods:Mine\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(listing, "gpu_there", lambda: False)

    def hungry() -> tuple[str, str | None]:
        return next((info.needs, info.missing) for info in list_methods() if info.name == "hungry")

    assert hungry() == (
        "the weights some/where, a GPU",
        "no weights: hf download some/where; no GPU",
    )
    snapshot = tmp_path / "hub" / "models--some--where" / "snapshots" / "abc"
    (snapshot / "vae").mkdir(parents=True)
    (snapshot / "model_index.json").write_text(
        '{"_class_name": "P", "vae": ["diffusers", "AutoencoderKL"], "extra": [null, null]}'
    )
    (snapshot / "vae" / "w.safetensors.index.json").write_text(
        '{"weight_map": {"x": "w-1.safetensors"}}'
    )
    assert (
        hungry()[1] == "no weights: hf download some/where; no GPU"
    )  # a download that was stopped
    (snapshot / "vae" / "w-1.safetensors").touch()
    assert hungry()[1] == "no GPU"
    monkeypatch.setattr(listing, "gpu_there", lambda: True)
    assert hungry()[1] is None


def test_two_packages_cannot_claim_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from lorweb_bench.runtime import plugins

    twice = [EntryPoint("x", f"m{i}:X", "g") for i in range(2)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: twice)
    with pytest.raises(InputError, match="'x'.*claims it too"):
        plugins.installed("g")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("copy-b", "m:X", "g")])
    with pytest.raises(InputError, match="'copy-b'.*claims it too"):
        plugins.installed("g", reserved=TABLE)


def test_predictions_have_the_size_of_b() -> None:
    a = Image.new("RGB", (20, 12), (10, 20, 30))
    from lorweb_bench.data.samples import Triplet

    (image,) = load_method("color-transfer").predict([Triplet("k", a, a, a)])
    assert image.size == (20, 12)


FUNCTIONS = """
import functools
from neighbour import darken

def darker(triplets, by=2):
    return [darken(t.b, by) for t in triplets]

half = functools.partial(darker, by=4)
"""


def test_a_plain_function_is_a_method_by_name_and_by_itself(
    small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "neighbour.py").write_text(
        "def darken(image, by):\n    return image.point(lambda level: level // by)\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    q = next(small_suite.quadruplets("seen"))
    for spec, options, by in (("darker", {}, 2), ("darker", {"by": 3}, 3)):
        method = load_method(f"{tmp_path / 'functions.py'}:{spec}", **options)
        assert (method.name, method.options) == ("darker", options)
        (image,) = method.predict([q.triplet()])
        assert (to_array(image) == to_array(q.b) // by).all()

    def unchanged(triplets: list) -> list:
        return [t.b for t in triplets]

    manifest = predict(unchanged, small_suite, tmp_path / "p", limit=3)
    assert manifest is not None
    assert (manifest.method.name, manifest.samples) == ("unchanged", 3)
    with pytest.raises(InputError, match="Recorder is a class; give a method, for instance Rec"):
        predict(type("Recorder", (), {"name": "x", "predict": unchanged}), small_suite, "p")


def test_the_digest_of_the_code_follows_a_file_and_what_it_refers_to(tmp_path: Path) -> None:
    """In processes of their own, as a module is imported once in each."""
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    neighbour, other = tmp_path / "neighbour.py", tmp_path / "other.py"
    neighbour.write_text("def darken(image, by): return image\n")
    other.write_text("unrelated = 1\n")
    script = (
        "import sys; from lorweb_bench.methods.base import load_method; "
        "print(load_method(sys.argv[1]).code_sha256)"
    )

    def digest(folder: Path) -> str:
        words = [sys.executable, "-c", script, f"{folder / 'functions.py'}:darker"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    first = digest(tmp_path)
    other.write_text("unrelated = 2\n")
    assert digest(tmp_path) == first
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in (tmp_path / "functions.py", neighbour):
        (copy / path.name).write_bytes(path.read_bytes())
    assert digest(copy) == first  # wherever it lies
    neighbour.write_text("def darken(image, by): return image.copy()\n")
    assert digest(tmp_path) != first
    assert load_method("copy-b").code_sha256 is None  # goes by the package's version


def test_a_prepare_that_fails_is_one_sentence(small_suite: Dataset, tmp_path: Path) -> None:
    (tmp_path / "unprepared.py").write_text(
        "class Unprepared:\n    name = 'unprepared'\n    def prepare(self, suite):\n"
        "        raise OSError('no weights here')\n    def predict(self, triplets):\n"
        "        return []\n"
    )
    for workers in (1, 2):
        with pytest.raises(
            InputError, match="'unprepared' cannot be prepared for .*: OSError: no weights here"
        ):
            predict(
                f"{tmp_path / 'unprepared.py'}:Unprepared",
                small_suite,
                tmp_path / f"p{workers}",
                workers=workers,
            )
