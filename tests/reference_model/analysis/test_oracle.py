"""`oracle`: gaps that add up, work that is kept, the page, and what it says no to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.finalize import finish_dataset
from lorweb_bench.data.shard_writer import ShardWriter
from lorweb_bench.metrics.edit_recovery import edit_recovery
from reference_model.analysis import oracle as module
from reference_model.analysis.oracle import Oracle, Settings, cut, open_oracle
from reference_model.analysis.oracle_output import write_oracle
from reference_model.checkpoints.checkpoint import write_checkpoint
from reference_model.config import TrainConfig
from reference_model.fitting.adaptation import Adaptation, routed
from reference_model.fitting.fit import Task
from reference_model.fitting.reachable import Bound, Examples, analogies, reach
from reference_model.fitting.spaces import hull_of
from reference_model.method import from_checkpoint
from reference_model.model.adapter import Adapter, new_adapter
from reference_model.model.panels import decode_answer, encode_context
from reference_model.sampling import sample

Config = Callable[..., TrainConfig]
QUICK = Settings(steps=2, batch=2, examples=4, transformations=1)


def scrambled(settings: TrainConfig, seed: int = 2, std: float = 0.2) -> Adapter:
    adapter = new_adapter(settings, seed=1)
    torch.manual_seed(seed)
    for parameter in adapter.trainable().parameters():
        nn.init.normal_(parameter, std=std)
    adapter.trainable().requires_grad_(False)
    return adapter


@pytest.fixture(scope="module")
def checkpoint(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            settings = config(kind, panel=32)
            made[kind] = tmp_path_factory.mktemp(kind)
            write_checkpoint(made[kind], scrambled(settings), settings, {"identity": "x"})
        return made[kind]

    return make


@pytest.mark.parametrize("kind", ["lorweb", "token-control", "single-lora"])
def test_gaps_add_up_to_what_is_lost_against_a_lora(
    checkpoint: Callable[[str], Path], small_suite: Dataset, tmp_path: Path, kind: str
) -> None:
    lines = list(write_oracle(checkpoint(kind), small_suite.path, tmp_path / "o", QUICK))
    content = json.loads((tmp_path / "o" / "oracle.json").read_text())
    assert len(content["transformations"]) == 5 == sum(1 for _ in content["transformations"])
    for row in content["transformations"].values():
        gaps = [value for name, value in row.items() if name.endswith("_gap")]
        assert sum(gaps) == pytest.approx(row["lora"] - row["router"])
    assert set(content["groups"]) >= {"seen", "unseen", "new_family"}
    assert any(line.startswith("unseen") for line in lines)
    page = (tmp_path / "o" / "index.html").read_text()
    assert "Where it is lost" in page and "http" not in page.replace("http://www.w3.org", "")
    assert len((tmp_path / "o" / "oracle.csv").read_text().splitlines()) > 5


def test_what_was_found_is_kept(
    checkpoint: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[str] = []
    scores = Oracle.scores

    def stop_at_the_third(self: Oracle, name: str) -> object:
        if len(computed) == 2:
            raise KeyboardInterrupt
        computed.append(name)
        return scores(self, name)

    monkeypatch.setattr(Oracle, "scores", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        list(write_oracle(checkpoint("lorweb"), small_suite.path, tmp_path / "o", QUICK))
    first = list(computed)

    def count(self: Oracle, name: str) -> object:
        computed.append(name)
        return scores(self, name)

    monkeypatch.setattr(Oracle, "scores", count)
    once = list(write_oracle(checkpoint("lorweb"), small_suite.path, tmp_path / "o", QUICK))
    assert len(computed) == len(set(computed)) == 5 and computed[:2] == first
    again = list(write_oracle(checkpoint("lorweb"), small_suite.path, tmp_path / "o", QUICK))
    assert again == once and len(computed) == 5


def test_the_bare_base_is_searched_once_for_all_checkpoints_on_it(
    config: Config, small_suite: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []

    def count(adapter: Adapter, config: TrainConfig, *given: Any) -> Adaptation:
        searched.append(config.layout)
        return reach(adapter, config, *given)

    monkeypatch.setattr(module, "reach", count)
    settings = config("lorweb", panel=32, base="tiny")  # answers well enough to differ

    def scores_of(seed: int) -> dict[str, list[float]]:
        searched.clear()
        oracle = Oracle(scrambled(settings, seed, 0.02), settings, small_suite, QUICK)
        found = oracle.scores(next(iter(oracle.items)))
        assert found is not None
        return found

    monkeypatch.setenv("LORWEB_BENCH_CACHE", "")
    alone = scores_of(2)
    assert searched.count("edit") == 3  # tokens and two LoRAs
    monkeypatch.setenv("LORWEB_BENCH_CACHE", str(tmp_path))
    other = scores_of(1)
    assert searched.count("edit") == 3
    assert other["hull"] != alone["hull"]
    assert scores_of(2) == alone
    assert "edit" not in searched

    next(tmp_path.rglob("*.npz")).write_bytes(b"not a zip")
    assert scores_of(2) == alone
    assert searched.count("edit") == 1


def test_what_decides_the_bare_bases_bounds_is_in_their_place(
    config: Config, small_suite: Dataset
) -> None:
    folders = set()
    for changes in ({}, {"training": {"precision": "bf16"}}, {"panel": 32}, {"name": "other"}):
        settings = config("lorweb", **changes)
        oracle = Oracle(new_adapter(settings, 0), settings, small_suite, QUICK)
        folders.add(oracle.bare_folder)
    assert len(folders) == 3  # a name decides nothing


def test_items_of_any_size_are_worked_on_at_their_own(
    config: Config, small_suite: Dataset, tmp_path: Path
) -> None:
    settings = config("lorweb", panel=32, base="tiny")
    adapter = scrambled(settings, std=0.02)
    write_checkpoint(tmp_path, adapter, settings, {"identity": "x"})
    oracle = Oracle(adapter, settings, small_suite, QUICK)
    name, items = next(iter(oracle.items.items()))
    sizes = [(32, 32), (32, 16), (16, 32), (32, 16)]
    several = []
    for number, size in enumerate(sizes):
        panels = {}
        for role in ("a", "a_prime", "b", "b_prime"):
            panels[role] = getattr(items[number % len(items)], role).crop((0, 0, *size))
        several.append(replace(items[0], **panels))
    oracle.items = {name: several}
    method = from_checkpoint(tmp_path)
    answers = method.predict([item.triplet(seed=place) for place, item in enumerate(several)])
    expected = []
    for answer, item in zip(answers, several, strict=True):
        expected.append(edit_recovery(*(np.asarray(x) for x in (answer, item.b, item.b_prime))))
    scores = oracle.scores(name)
    assert scores is not None and set(map(len, scores.values())) == {4}
    assert scores["router"] == pytest.approx(expected, abs=0.02)


def test_a_cut_is_the_middle_in_the_aspect_that_is_asked_for() -> None:
    image = np.arange(4 * 12).reshape(4, 12)
    assert cut(image, (8, 8)).tolist() == image[:, 4:8].tolist()
    assert cut(image, (6, 1)).shape == (2, 12)
    assert cut(image, (3, 1)).tolist() == image.tolist()


@pytest.mark.parametrize("count", [2, 4, 5, 7, 8, 40])
def test_no_example_is_its_own_pair(config: Config, count: int) -> None:
    settings = config("lorweb")
    adapter = scrambled(settings)
    pictures = torch.zeros(count, 3, 16, 16, dtype=torch.uint8)
    make = analogies(adapter, settings, Examples(pictures, pictures))
    shown: list[tuple[int, int]] = []

    def note(pairs: Sequence[int], queries: Sequence[int]) -> Task:
        shown.extend(zip(pairs, queries, strict=True))
        return make(pairs, queries)

    start = routed(adapter, [(pictures[:1], pictures[:1])], pictures[:1])
    assert start.gates is not None
    reach(adapter, settings, Bound(2, 3, 0), hull_of(settings, start.gates), note, count)
    assert all(pair != query for pair, query in shown)


def test_tasks_without_words_cost_the_column_and_not_the_run(
    checkpoint: Callable[[str], Path], small_suite: Dataset, tmp_path: Path
) -> None:
    silent = next(iter(open_oracle(checkpoint("single-lora"), small_suite.path, QUICK).items))
    suite = tmp_path / "suite"
    for split in small_suite.splits:
        with ShardWriter(suite, split, 0) as shard:
            for sample in small_suite.samples(split):
                record = dict(sample.record)
                if record["transformation"] == silent:
                    record["instruction"] = ""
                images = {role: (data, sample.ext) for role, data in sample.images.items()}
                shard.add(sample.key, images, record)
    fields = small_suite.manifest.model_dump(mode="json")
    for computed in ("splits", "fingerprint", "targets_fingerprint"):
        fields.pop(computed, None)
    finish_dataset(suite, fields)
    list(write_oracle(checkpoint("single-lora"), suite, tmp_path / "o", QUICK))
    content = json.loads((tmp_path / "o" / "oracle.json").read_text())
    assert "lora" in content["words"] and "prompt" not in content["words"]


def test_another_checkpoint_is_not_mixed_in(
    checkpoint: Callable[[str], Path],
    small_suite: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--suite", str(small_suite.path), "-o", str(tmp_path / "o")]
    arguments += ["--steps", "1", "--examples", "2", "--transformations", "1"]
    for kind, code in (("single-lora", 0), ("lorweb", 2)):
        with pytest.raises(SystemExit) as ended:
            main(["oracle", str(checkpoint(kind)), *arguments])
        assert (ended.value.code or 0) == code
    said = capsys.readouterr().err
    assert "an oracle of another checkpoint" in said and "Traceback" not in said


def test_what_cannot_be_looked_into_is_said(
    checkpoint: Callable[[str], Path],
    small_public: Dataset,
    small_suite: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(suite: Path) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["oracle", str(checkpoint("lorweb")), "--suite", str(suite), "-o", "o"])
        assert ended.value.code == 2
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    assert "is a public view, which names no transformations" in refused(small_public.path)
    monkeypatch.setattr(module, "LEAST_PAIRS", 1000)
    alone = tmp_path / "alone"
    alone.mkdir()
    for part in small_suite.path.iterdir():
        (alone / part.name).symlink_to(part)
    manifest = json.loads((alone / "dataset.json").read_text())
    (alone / "dataset.json").unlink()
    (alone / "dataset.json").write_text(json.dumps({**manifest, "transformation_library": None}))
    assert "names no library that runs its transformations" in refused(alone)
    (alone / "dataset.json").write_text(json.dumps({**manifest, "answers": False}))
    assert "has no answers to hold a bound against" in refused(alone)
    with pytest.raises(SystemExit) as ended:
        main(["oracle", "nope", "--suite", str(small_suite.path), "-o", "o"])
    assert ended.value.code == 2 and "nope" in capsys.readouterr().err


def test_a_known_mix_is_reached_from_examples_of_it(config: Config) -> None:
    settings = config("lorweb", training={"times": {"share_at_one": 1.0, "weight": "t2"}})
    adapter = scrambled(settings)
    with torch.no_grad():
        for parameter in adapter.basis.parameters():
            parameter *= 2
        adapter.transformer.x_embedder.weight[:, :192] = 0  # blind to noise
    generator = torch.Generator().manual_seed(0)
    before = torch.randint(96, 160, (12, 3, 16, 16), dtype=torch.uint8, generator=generator)
    pair = (before, before.flip(0))
    start = routed(adapter, [pair], before)
    assert start.gates is not None
    alone = torch.zeros_like(start.gates[:1])
    alone[..., 0] = 1  # the first element by itself
    truth = Adaptation(alone)

    def made(adaptation: Adaptation) -> torch.Tensor:
        panels = {"a": pair[0], "a_prime": pair[1], "b": before}
        context = encode_context(adapter.base, settings, panels)
        prompt = adapter.base.text_encoder([""] * 12)
        with torch.no_grad(), adaptation.repeated(12).on(adapter):
            tokens = sample(adapter.base, context, prompt, [0] * 12, 1)
        return decode_answer(adapter.base, settings.layout, tokens, context).float()

    examples = Examples(before, made(truth).to(torch.uint8))
    space = hull_of(settings, start.gates.mean(0, keepdim=True))
    make = analogies(adapter, settings, examples)
    found = reach(adapter, settings, Bound(60, 4, 0), space, make, len(examples))
    first = (made(space.at(space.zeros())) - made(truth)).square().mean()
    last = (made(found) - made(truth)).square().mean()
    assert last < 0.5 * first
