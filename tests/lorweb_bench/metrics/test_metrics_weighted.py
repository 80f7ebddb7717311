"""Metrics with weights: the real classes of lpips and open_clip at random weights, against
torchmetrics and plain formulas.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode, to_array
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.base import Scored, choose_metrics, load_metric, unsupported
from lorweb_bench.metrics.clip import Clip
from lorweb_bench.metrics.encoders import features_folder, suite_features
from lorweb_bench.metrics.lpips import Lpips, LpipsToB
from lorweb_bench.metrics.weights import digest
from lorweb_bench.scoring.evaluate import evaluate, score

torch = pytest.importorskip("torch")
lpips = pytest.importorskip("lpips")
open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
CLIP_METADATA = {  # open_clip's own preprocessing, which `embedded` takes from the model
    "mean": "0.48145466, 0.4578275, 0.40821073",
    "std": "0.26862954, 0.26130258, 0.27577711",
    "activation": "gelu",
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torchvision")
TOLERANCE = 2e-6  # of batches of other sizes, in float32


@dataclass(frozen=True)
class Files:
    """Weights' files made once: random, of the real classes."""

    clip: Path
    other_clip: Path
    lpips: Path
    network: Any


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from safetensors.torch import save_file, save_model

    folder = tmp_path_factory.mktemp("weights")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-clip.json")
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        paths.append(folder / f"clip-{seed}.safetensors")
        save_file(open_clip.create_model("tiny-clip").state_dict(), paths[-1], CLIP_METADATA)
    torch.manual_seed(2)
    network = lpips.LPIPS(
        net="alex", pnet_rand=True, pretrained=True, verbose=False
    )  # these linear layers ship with the package
    save_model(network, str(folder / "alex.safetensors"), CLIP_METADATA)
    return Files(*paths, folder / "alex.safetensors", network.eval())


@pytest.fixture
def scored(small_suite: Dataset) -> list[Scored]:
    """Six items with noisy predictions; the last one is b itself."""
    rng = np.random.default_rng(0)
    quadruplets = list(small_suite.quadruplets("unseen"))[:6]
    noisy = [
        np.clip(np.asarray(q.b_prime) + rng.normal(0, 30, (32, 32, 3)), 0, 255).astype(np.uint8)
        for q in quadruplets
    ]
    return [
        Scored(q, image)
        for q, image in zip(quadruplets, [*noisy[:-1], to_array(quadruplets[-1].b)], strict=True)
    ]


def embedded(model: Any, image: np.ndarray) -> np.ndarray:
    """The feature of one image of the tower's own size, in plain steps."""
    mean, std = (np.array(model.visual.preprocess_cfg[name]) for name in ("mean", "std"))
    pixels = torch.tensor((image / 255 - mean) / std, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        feature = model.encode_image(pixels)[0].double().numpy()
    return np.asarray(feature / np.linalg.norm(feature))


def scaled(image: np.ndarray) -> Any:
    """One image as LPIPS takes it: 1 x 3 x H x W, from -1 to 1."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float() / 127.5 - 1


def test_clip_metrics_are_their_formulas(
    files: Files, scored: list[Scored], small_suite: Dataset
) -> None:
    model = open_clip.create_model("tiny-clip", pretrained=str(files.clip)).eval()
    direction, image = (
        load_metric(f"{name}[tiny-clip/{files.clip}]") for name in ("clip_direction", "clip_image")
    )
    found, near = direction.values(scored, small_suite), image.values(scored, small_suite)
    for item, value, likeness in zip(scored, found, near, strict=True):
        a, a_prime, b, b_prime, p = (
            embedded(model, x)
            for x in (item.a, item.a_prime, item.b, item.b_prime, item.prediction)
        )
        shown, made = a_prime - a, p - b
        length = np.linalg.norm(shown) * np.linalg.norm(made)
        assert value == pytest.approx(shown @ made / length if length > 1e-6 else 0.0, abs=1e-4)
        assert likeness == pytest.approx(p @ b_prime, abs=1e-5)
    assert found[-1] == 0.0  # a copy of b has no direction
    right = [Scored(s.quadruplet, s.b_prime) for s in scored]
    assert image.values(right, small_suite) == pytest.approx(np.ones(6), abs=1e-6)
    pairs = [replace(s.quadruplet, a=s.quadruplet.b, a_prime=s.quadruplet.b_prime) for s in scored]
    itself = [Scored(q, s.b_prime) for q, s in zip(pairs, scored, strict=True)]
    assert direction.values(itself, small_suite) == pytest.approx(np.ones(6), abs=1e-4)


def test_lpips_is_that_of_torchmetrics_and_of_the_package(
    files: Files, scored: list[Scored], small_suite: Dataset
) -> None:
    from torchmetrics.functional.image.lpips import _LPIPS

    theirs = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    theirs.load_state_dict(files.network.state_dict(), strict=False)
    for name, reference in (("lpips_to_b", "b"), ("lpips_to_b_prime", "b_prime")):
        values = load_metric(f"{name}[alex/{files.lpips}]").values(scored, small_suite)
        for item, value in zip(scored, values, strict=True):
            pair = [
                torch.from_numpy(x.transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
                for x in (item.prediction, getattr(item, reference))
            ]
            with torch.inference_mode():
                assert value == pytest.approx(float(theirs.eval()(*pair).squeeze()), abs=1e-5)
                assert value == pytest.approx(float(files.network(*pair)), abs=1e-5)
        assert (values[-1] == 0.0) == (reference == "b")
        assert (values[:-1] > 0).all()


@pytest.mark.parametrize("name", ["lpips_to_b", "lpips_to_b_prime", "clip_direction", "clip_image"])
def test_values_do_not_depend_on_batch_or_order(
    name: str, files: Files, scored: list[Scored], small_suite: Dataset
) -> None:
    metric = load_metric(
        f"{name}[{f'alex/{files.lpips}' if 'lpips' in name else f'tiny-clip/{files.clip}'}]"
    )
    whole = metric.values(scored, small_suite)
    single = [float(metric.values([item], small_suite)[0]) for item in scored]
    tolerance = (
        TOLERANCE if "lpips" in name or name == "clip_image" else 1e-4
    )  # a direction is a small difference, divided by its length
    assert whole == pytest.approx(single, abs=tolerance)
    assert metric.values(scored[::-1], small_suite)[::-1] == pytest.approx(single, abs=tolerance)
    assert metric.values([], small_suite).shape == (0,) if "lpips" in name else True
    better = 1 if metric.higher_is_better else -1
    assert (better * (whole - metric.worst) >= 0).all()


def test_a_shift_and_a_blur_move_lpips_as_its_docs_say(files: Files) -> None:
    from cv2 import GaussianBlur

    truth = np.random.default_rng(1).integers(40, 180, (64, 64, 3), dtype=np.uint8)
    blurs = [GaussianBlur(truth, (0, 0), sigma) for sigma in (0.4, 0.8)]
    same, *found = Lpips(f"alex/{files.lpips}").distances(
        [truth, truth + 8, truth + 64, *blurs], [truth] * 5
    )
    assert same == 0.0
    assert 0.0 < found[0] < found[1] < 1.0  # a shift, and a larger one
    assert 0.0 < found[2] < found[3] < 1.0  # a blur, and a stronger one


def test_a_shift_and_a_blur_move_clip_image_as_its_docs_say(
    files: Files, small_suite: Dataset
) -> None:
    from cv2 import GaussianBlur

    metric = load_metric(f"clip_image[tiny-clip/{files.clip}]")
    q = next(iter(small_suite.quadruplets("unseen")))
    truth = to_array(q.b_prime).clip(0, 180)
    q = replace(q, b_prime=Image.fromarray(truth))
    made = [
        truth,
        truth + 2,
        truth + 60,
        GaussianBlur(truth, (0, 0), 0.5),
        GaussianBlur(truth, (0, 0), 4.0),
    ]
    same, small_shift, shift, small_blur, blur = metric.values(
        [Scored(q, image) for image in made], small_suite
    )
    assert same == pytest.approx(1.0, abs=1e-6)
    assert same > small_shift > shift and same > small_blur > blur


def test_identities_name_backbone_and_weights(files: Files) -> None:
    assert load_metric("clip_direction").identity == "clip_direction[ViT-L-14/openai]"
    assert (
        load_metric("clip_image[ViT-B-32/laion2b_s34b_b79k]").identity
        == "clip_image[ViT-B-32/laion2b_s34b_b79k]"
    )
    assert load_metric("lpips_to_b").identity == "lpips_to_b[alex/v0.1]"
    own, other = (
        load_metric(f"clip_image[tiny-clip/{path}]").identity
        for path in (files.clip, files.other_clip)
    )
    assert (
        own != other
        and own.startswith("clip_image[tiny-clip/sha256-")
        and str(files.clip.parent) not in own
    )


def test_two_identities_stand_side_by_side_and_are_never_compared(
    files: Files, small_suite: Dataset, truth: dict[str, Image.Image], tmp_path: Path
) -> None:
    from lorweb_bench.compare.compare import compare_reports

    specs = [f"clip_image[tiny-clip/{path}]" for path in (files.clip, files.other_clip)]
    both = score(truth, small_suite, specs)
    assert len(both.metrics) == 2
    assert set(both.metric_settings) == set(both.metrics)
    assert {s["resize"] for s in both.metric_settings.values()} == {
        "32 px, the whole image, area where both sides shrink, else cubic"
    }
    for spec, place in zip(specs, "ab", strict=True):
        score(truth, small_suite, [spec], out=tmp_path / place)
    with pytest.raises(InputError, match="no metric in common"):
        compare_reports([tmp_path / "a", tmp_path / "b"])


def test_features_of_the_suite_are_kept_and_used_again(
    files: Files, scored: list[Scored], small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Clip(f"tiny-clip/{files.other_clip}")
    asked = [(s, role) for s in scored for role in ("a", "b")]
    first = suite_features(made, small_suite, asked)
    monkeypatch.setattr(Clip, "features", lambda self, images: pytest.fail("computed again"))
    assert suite_features(made, small_suite, asked).tolist() == first.tolist()
    monkeypatch.undo()
    folder = features_folder(made, small_suite)
    assert folder is not None
    for path in folder.iterdir():
        path.write_bytes(b"cut")
    assert suite_features(made, small_suite, asked) == pytest.approx(first, abs=TOLERANCE)


def test_missing_weights_say_what_to_get_and_the_rest_is_scored_on_request(
    small_suite: Dataset,
    truth: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    wanted = ["mse", "lpips_to_b", "clip_direction"]
    with pytest.raises(
        InputError,
        match=(
            r"alexnet-owt-7be5be79\.pth and put it at .*checkpoints.*--skip-unavailable "
            r"scores the rest"
        ),
    ):
        score(truth, small_suite, wanted)
    report = score(truth, small_suite, wanted, skip_unavailable=True, out=tmp_path / "r")
    assert report.metrics == ("mse",)
    assert set(report.not_computed) == {"lpips_to_b[alex/v0.1]", "clip_direction[ViT-L-14/openai]"}
    assert (
        "hf download timm/vit_large_patch14_clip_224.openai open_clip_model.safetensors"
        in report.not_computed["clip_direction[ViT-L-14/openai]"]
    )
    assert "lpips_to_b[alex/v0.1]" in (tmp_path / "r" / "index.html").read_text()
    with pytest.raises(InputError, match="no other metric is left"):
        score(truth, small_suite, ["lpips_to_b"], skip_unavailable=True)


def test_missing_packages_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'lorweb-bench[model,metrics]'" in str(LpipsToB().unavailable())
    assert "open_clip" in str(load_metric("clip_image").unavailable())  # type: ignore[attr-defined]


def test_published_trunks_are_read_from_torchs_own_place(
    files: Files,
    scored: list[Scored],
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file of the right name is read, and one that is not the published one is refused: its name
    ends as its sha256 begins.
    """
    import torchvision

    from lorweb_bench.metrics import lpips as perceptual

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(3)
    trunk = torchvision.models.alexnet(weights=None)
    place = Lpips().published()
    place.parent.mkdir(parents=True)
    torch.save(trunk.state_dict(), place)
    perceptual._network.cache_clear()
    perceptual.digest.cache_clear()
    metric = LpipsToB()
    assert metric.unavailable() is None
    with pytest.raises(InputError, match="is damaged"):
        metric.values(scored, small_suite)
    monkeypatch.setattr(perceptual, "digest", lambda path: "7be5be79")
    expected = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
    names = [name for name, _ in expected.net.named_parameters()]
    expected.net.load_state_dict(
        {name: trunk.state_dict()[f"features.{name.partition('.')[2]}"] for name in names}
    )
    pair = [scaled(x) for x in (scored[0].prediction, scored[0].b)]
    with torch.inference_mode():
        assert metric.values(scored[:1], small_suite)[0] == pytest.approx(
            float(expected.eval()(*pair)), abs=1e-6
        )
    perceptual._network.cache_clear()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("lpips_to_b[resnet/v0.1]", "There is no LPIPS 'resnet/v0.1'; there are alex/v0.1"),
        ("lpips_to_b[alex/weights.pth]", "no safetensors"),
        ("lpips_to_b[alex/nowhere.safetensors]", "do not exist"),
        ("clip_image[ViT-B-33/openai]", "did you mean 'ViT-B-32'"),
        ("clip_image[ViT-B-32/openia]", "did you mean 'openai'"),
        ("clip_imgae[ViT-B-32/openai]", "did you mean 'clip_image'"),
    ],
)
def test_wrong_backbones_and_weights_are_named(
    spec: str, sentence: str, small_suite: Dataset
) -> None:
    with pytest.raises(InputError, match=sentence.replace("[", r"\[")):
        choose_metrics([spec], small_suite)


def test_weights_that_do_not_fit_and_items_without_a_value_are_named(
    files: Files, scored: list[Scored], small_suite: Dataset, tmp_path: Path
) -> None:
    for spec in (f"clip_image[tiny-clip/{files.lpips}]", f"lpips_to_b[alex/{files.clip}]"):
        with pytest.raises(InputError, match="do not fit"):
            load_metric(spec).values(scored, small_suite)
    q = scored[0].quadruplet
    same = Scored(replace(q, a_prime=q.a), scored[0].prediction)
    with pytest.raises(InputError, match=f"not defined for '{q.key}'"):
        load_metric(f"clip_direction[tiny-clip/{files.clip}]").values([same], small_suite)
    tiny = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="needs sides of 31 pixels, not 8x8"):
        Lpips(f"alex/{files.lpips}").distances([tiny], [tiny])


def test_a_suite_without_right_answers_offers_what_needs_none(
    files: Files, small_suite: Dataset, truth: dict[str, Image.Image]
) -> None:
    manifest = small_suite.manifest
    edited = {
        name: info.model_copy(update={"deterministic": False})
        for name, info in manifest.transformations.items()
    }
    suite = Dataset(small_suite.path, manifest.model_copy(update={"transformations": edited}))
    offered = "lpips_to_b, lpips_to_b_prime, clip_direction, clip_image"
    with pytest.raises(
        InputError, match=f"no metric that needs no weights; name some with --metrics: {offered}"
    ):
        score(truth, suite)
    with pytest.raises(
        InputError, match=f"does not support the metric retrieval: .* it supports {offered}"
    ):
        score(truth, suite, ["retrieval"])
    report = score(
        truth, suite, [f"lpips_to_b[alex/{files.lpips}]", f"clip_direction[tiny-clip/{files.clip}]"]
    )
    assert len(report.metrics) == 2 and report.chance == {}


def chosen_with(suite: Dataset, name: str, weights: Path) -> Dataset:
    """The suite as if its items had been chosen with an encoder."""
    return Dataset(
        suite.path, suite.manifest.model_copy(update={"chosen_with": {name: digest(weights)}})
    )


def test_a_backbone_that_chose_the_items_does_not_judge_them_whatever_it_is_called(
    files: Files, small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, name, there = Clip("ViT-B-32/openai").published()
    assert there is None
    published = chosen_with(small_suite, "ViT-B-32/openai", files.clip)
    for metric in (
        "clip_direction[ViT-B-32/openai]",
        "clip_image[ViT-B-32/openai]",
    ):  # by name: the weights are not even here
        with pytest.raises(InputError, match="its items were chosen with ViT-B-32/openai"):
            choose_metrics([metric], published)
    copy = tmp_path / "my copy.safetensors"
    copy.write_bytes(files.clip.read_bytes())
    with pytest.raises(
        InputError, match="its items were chosen with ViT-B-32/openai"
    ):  # a file against the published name
        choose_metrics([f"clip_direction[tiny-clip/{copy}]"], published)
    own = chosen_with(small_suite, "ViT-B-32/sha256-0123456789ab", files.clip)
    assert unsupported(load_metric("clip_image[ViT-B-32/openai]"), own) is None
    snapshot = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    (snapshot / name).write_bytes(files.clip.read_bytes())
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("1234")
    with pytest.raises(
        InputError, match="its items were chosen with ViT-B-32/sha256-0123456789ab"
    ):  # the published name against a file
        choose_metrics(["clip_image[ViT-B-32/openai]"], own)
    assert unsupported(load_metric("clip_image[ViT-L-14/openai]"), own) is None
    assert unsupported(load_metric(f"lpips_to_b[alex/{files.lpips}]"), own) is None


def test_the_command_scores_with_weights_and_says_what_it_left_out(
    files: Files,
    small_suite_path: Path,
    truth: dict[str, Image.Image],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(*words: object) -> object:
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        return stopped.value.code or 0

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    (tmp_path / "p").mkdir()
    for key, image in truth.items():
        (tmp_path / "p" / f"{key}.png").write_bytes(encode(image))
    command = (
        "score",
        tmp_path / "p",
        "--name",
        "oracle",
        "--suite",
        small_suite_path,
        "-o",
        tmp_path / "r",
    )
    wanted = ("--metrics", f"edit_recovery,clip_image[tiny-clip/{files.clip}],lpips_to_b")
    assert run(*command, *wanted) == 2
    assert "put it at" in capsys.readouterr().err
    assert run(*command, *wanted, "--skip-unavailable") == 0
    said = capsys.readouterr().out
    assert "lpips_to_b[alex/v0.1] was not computed: its weights are missing" in said
    content = json.loads((tmp_path / "r" / "report.json").read_text())
    assert list(content["scores"]["seen"]) == [
        "edit_recovery",
        load_metric(f"clip_image[tiny-clip/{files.clip}]").identity,
    ]


def test_workers_give_the_same_numbers(
    files: Files, small_suite: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights named by a relative path are found by other processes too."""
    monkeypatch.chdir(files.lpips.parent)
    metrics = ["mse", f"lpips_to_b[alex/{files.lpips.name}]"]
    assert str(files.lpips.parent) in load_metric(metrics[1]).lpips.spec
    one, two = (
        evaluate("color-transfer", small_suite, metrics, workers=workers) for workers in (1, 2)
    )
    assert one.per_sample is not None and two.per_sample is not None
    assert one.per_sample["mse"].tolist() == two.per_sample["mse"].tolist()
    assert two.per_sample[one.metrics[1]] == pytest.approx(
        one.per_sample[one.metrics[1]], abs=TOLERANCE
    )


def clip_file(folder: Path, name: str, metadata: dict[str, str] | None) -> Path:
    """A tiny CLIP of random weights, the same each time, with other metadata."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    path = folder / name
    save_file(open_clip.create_model("tiny-clip").state_dict(), path, metadata)
    return path


def test_weights_that_do_not_say_how_images_are_prepared_are_refused(
    files: Files, tmp_path: Path
) -> None:
    complete = dict(CLIP_METADATA)
    for name, metadata in {
        "nothing": None,
        "no-activation": {k: v for k, v in complete.items() if k != "activation"},
        "no-std": {k: v for k, v in complete.items() if k != "std"},
        "two-means": {**complete, "mean": "0.5, 0.5"},
        "words": {**complete, "mean": "a, b, c"},
        "relu": {**complete, "activation": "relu"},
        "zero": {**complete, "std": "0, 1, 1"},
    }.items():
        path = clip_file(tmp_path, f"{name}.safetensors", metadata)
        with pytest.raises(
            InputError, match=r"does not say how images are prepared.*mean, std and"
        ):
            load_metric(f"clip_image[tiny-clip/{path}]")


def test_a_config_beside_the_weights_says_it_too(files: Files, tmp_path: Path) -> None:
    """As open_clip writes it for the hub."""
    path = clip_file(tmp_path, "open_clip_model.safetensors", None)
    config = {
        "model_cfg": {**TINY, "quick_gelu": True},
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "size": 32},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    identity = load_metric(f"clip_image[tiny-clip/{path}]").identity
    assert identity.endswith(";quick_gelu;mean 0.5 0.5 0.5;std 0.25 0.25 0.25]")
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(InputError, match="open_clip_config.json has no model_cfg"):
        load_metric(f"clip_image[tiny-clip/{path}]")


def test_preprocessing_and_activation_are_part_of_the_number_and_of_the_identity(
    files: Files, scored: list[Scored], small_suite: Dataset, tmp_path: Path
) -> None:
    """The same weights, prepared otherwise: another identity, and other features, as the formula
    has them.
    """
    variants = {
        "plain": CLIP_METADATA,
        "quick": {**CLIP_METADATA, "activation": "quick_gelu"},
        "half": {**CLIP_METADATA, "mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"},
    }
    metrics = {
        name: load_metric(
            f"clip_image[tiny-clip/{clip_file(tmp_path, f'{name}.safetensors', metadata)}]"
        )
        for name, metadata in variants.items()
    }
    assert len({metric.identity.partition(";")[2] for metric in metrics.values()}) == 3
    values = {name: metric.values(scored, small_suite) for name, metric in metrics.items()}
    assert np.abs(values["plain"] - values["quick"]).max() > 10 * TOLERANCE
    assert np.abs(values["plain"] - values["half"]).max() > 1e-4
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clip").eval()
    for item, value in zip(scored, values["half"], strict=True):
        features = []
        for image in (item.prediction, item.b_prime):
            pixels = torch.tensor(image / 127.5 - 1, dtype=torch.float32).permute(2, 0, 1)[None]
            with torch.inference_mode():
                features.append(model.encode_image(pixels)[0].double().numpy())
        p, truth = (feature / np.linalg.norm(feature) for feature in features)
        assert value == pytest.approx(p @ truth, abs=1e-5)
    settings = metrics["half"].settings()  # type: ignore[attr-defined]
    assert (settings["mean"], settings["activation"]) == ([0.5, 0.5, 0.5], "gelu")


DINO = "vit_tiny_patch16_224"  # the smallest transformer that timm lists


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Random weights of a small encoder of timm, and the encoder."""
    from safetensors.torch import save_file

    timm = pytest.importorskip("timm")
    torch.manual_seed(4)
    model = timm.create_model(DINO, num_classes=0).eval()
    path = tmp_path_factory.mktemp("dino") / "mine.safetensors"
    save_file(model.state_dict(), path, {"mean": "0.4 0.5 0.6", "std": "0.2 0.25 0.3"})
    return path, model


def test_dino_metrics_are_their_formulas(
    dino: tuple[Path, Any], scored: list[Scored], small_suite: Dataset
) -> None:
    path, model = dino

    def feature(image: np.ndarray) -> np.ndarray:
        from lorweb_bench.data.images import resize

        large = resize(image, (224, 224)) / 255
        pixels = (large - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.25, 0.3])
        with torch.inference_mode():
            found = model(torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None])
        unit = found[0].double().numpy()
        return np.asarray(unit / np.linalg.norm(unit))

    some = [scored[0], scored[-1]]
    direction, likeness = (
        load_metric(f"{n}[{DINO}/{path}]") for n in ("dino_direction", "dino_image")
    )
    directions = direction.values(some, small_suite)
    likenesses = likeness.values(some, small_suite)
    for item, way, like in zip(some, directions, likenesses, strict=True):
        a, a_prime, b, b_prime, p = (
            feature(x) for x in (item.a, item.a_prime, item.b, item.b_prime, item.prediction)
        )
        length = np.linalg.norm(a_prime - a) * np.linalg.norm(p - b)
        expected = (a_prime - a) @ (p - b) / length if length > 1e-6 else 0.0
        assert way == pytest.approx(expected, abs=2e-3)
        assert like == pytest.approx(p @ b_prime, abs=1e-5)
    assert directions[-1] == 0.0
    assert direction.identity.startswith(f"dino_direction[{DINO}/sha256-")
    assert direction.identity.endswith(";mean 0.4 0.5 0.6;std 0.2 0.25 0.3]")


def test_dino_says_what_to_get_and_names_what_is_wrong(files: Files, small_suite: Dataset) -> None:
    pytest.importorskip("timm")
    metric = load_metric("dino_image")
    assert metric.identity == "dino_image[vit_small_patch16_224/dino]"
    assert "hf download timm/vit_small_patch16_224.dino model.safetensors" in str(
        metric.unavailable()  # type: ignore[attr-defined]
    )
    for spec, sentence in (
        ("dino_image[vit_smal_patch16_224/dino]", "did you mean 'vit_small_patch16_224"),
        ("dino_image[vit_small_patch16_224/dinno]", "did you mean 'dino'"),
    ):
        with pytest.raises(InputError, match=sentence):
            choose_metrics([spec], small_suite)


def test_siglip_2_gives_a_direction_by_the_same_code() -> None:
    """By name: the weights are not here, and the way to them is told."""
    metric = load_metric("clip_direction[ViT-B-16-SigLIP2/webli]")
    assert metric.identity == "clip_direction[ViT-B-16-SigLIP2/webli]"
    assert "hf download timm/ViT-B-16-SigLIP2" in str(metric.unavailable())
