"""Training: the same bytes every time, also across a kill; what is refused, and what stops it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import open_dataset
from lorweb_bench.errors import InputError
from lorweb_bench.protocol import ROLES
from reference_model.bases.tiny import UnshuffleCodec
from reference_model.config import TrainConfig, TrainingConfig
from reference_model.model.adapter import new_adapter
from reference_model.training.batches import (
    Choice,
    InMemoryBatches,
    draw_choices,
    load_frozen_encoders,
    prompt_for,
    split_prompts,
)
from reference_model.training.flow import draw
from reference_model.training.quadruplets import read_quadruplets
from reference_model.training.train import (
    STATE,
    batch_loss,
    learning_rate_share,
    new_trained,
    run,
    train,
)

Config = Callable[..., TrainConfig]
WriteYaml = Callable[..., Path]
WEIGHTS = ("adapter_model.safetensors", "router.safetensors")
KINDS = ("lorweb", "single-lora", "token-control")


def in_memory(config: TrainConfig, dataset: Path) -> InMemoryBatches:
    quadruplets = read_quadruplets(open_dataset(dataset), "train", config.panel)
    return InMemoryBatches(
        quadruplets, [""] * len(quadruplets), load_frozen_encoders(config), config
    )


def weights_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in WEIGHTS]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_config_gives_the_same_bytes(
    config: Config, trained: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    again = train(config(kind), tmp_path / "again")
    looks_at_pairs = kind != "single-lora"
    assert sorted(p.name for p in again.iterdir()) == [
        "adapter_model.safetensors",
        "config.json",
        *(["known_pairs.safetensors"] if looks_at_pairs else []),
        "router.safetensors",
    ]
    for file in again.iterdir():
        assert file.read_bytes() == (trained(kind) / file.name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_training_moves_every_trainable_weight_and_no_other(
    config: Config, trained: Callable[[str], Path], kind: str
) -> None:
    fresh, settings = new_adapter(config(kind), seed=0), config(kind)
    before = {k: v.clone() for k, v in fresh.basis.tensors().items()}
    after = load_file(trained(kind) / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all((before[k] - after[k]).abs().max() > 0 for k in before)
    routing = load_file(trained(kind) / "router.safetensors")
    names = {
        "lorweb": {"router.projections", "router.keys"},
        "single-lora": set(),
        "token-control": {"token.weight", "token.bias"},
    }
    assert routing.keys() == names[kind]
    total = sum(v.numel() for v in [*after.values(), *routing.values()])
    assert json.loads((trained(kind) / "config.json").read_text())["trainable_parameters"] == total
    assert settings.adapter.kind == kind


def test_a_finished_run_is_not_run_again(config: Config, trained: Callable[[str], Path]) -> None:
    stamps = {p: p.stat().st_mtime_ns for p in trained("lorweb").iterdir()}
    assert train(config(), trained("lorweb")) == trained("lorweb")
    assert {p: p.stat().st_mtime_ns for p in trained("lorweb").iterdir()} == stamps


def test_training_lowers_the_loss(config: Config, training_dataset: Path, tmp_path: Path) -> None:
    """The same batch and noise before and after, on the samples that were trained on."""
    settings = config(
        training={"steps": 30, "batch": 4, "times": {"share_at_one": 1.0, "weight": "t2"}}
    )
    source = in_memory(settings, training_dataset)
    shown = source.batch([Choice(i) for i in range(9)], torch.device("cpu"))
    drawn = draw(settings.training.times, (9, 4, 192), torch.Generator().manual_seed(1))

    def loss(adapter_steps: int) -> float:
        adapter = new_trained(settings, source.features)
        if adapter_steps:
            run(adapter, settings, source, Accelerator(cpu=True), tmp_path / STATE, "x")
        with torch.no_grad():
            return batch_loss(adapter, settings, shown, drawn).item()

    assert loss(30) < 0.8 * loss(0)


def test_the_loop_is_adamw_on_clipped_gradients(
    config: Config, training_dataset: Path, tmp_path: Path
) -> None:
    """Against the same steps written out, without accelerate, progress or states."""
    settings = config(
        adapter={"alpha": 40}, training={"router_rate": 0.25}
    )  # alpha: gradients beyond the limit of 1
    source = in_memory(settings, training_dataset)
    adapter = new_adapter(settings, seed=0)
    weights = list(adapter.trainable().parameters())
    assert adapter.router is not None
    parts = ((adapter.basis.parameters(), 0.02), (list(adapter.router.parameters()), 0.005))
    optimizers = [
        torch.optim.AdamW(part, lr=rate, betas=(0.9, 0.99), weight_decay=0.05)
        for part, rate in parts
    ]
    norms = []
    for step in range(5):
        for optimizer, (_, rate) in zip(optimizers, parts, strict=True):
            optimizer.param_groups[0]["lr"] = rate * learning_rate_share(step, settings.training)
            optimizer.zero_grad()
        batch = source.batch(draw_choices(step, 9, settings.training), torch.device("cpu"))
        loss = batch_loss(
            adapter,
            settings,
            batch,
            draw(settings.training.times, (2, 4, 192), torch.Generator().manual_seed(step)),
        )
        loss.backward()
        norm = (
            torch.stack([w.grad.square().sum() for w in weights if w.grad is not None]).sum().sqrt()
        )
        norms.append(norm.item())
        for weight in weights:
            assert weight.grad is not None
            weight.grad /= norm.clamp(min=1)
        for optimizer in optimizers:
            optimizer.step()
    assert max(norms) > 1
    for name, weight in load_file(train(settings, tmp_path) / "adapter_model.safetensors").items():
        torch.testing.assert_close(
            adapter.basis.tensors()[name].detach(), weight, rtol=1e-3, atol=1e-4
        )
    for name, weight in load_file(tmp_path / "router.safetensors").items():
        torch.testing.assert_close(
            adapter.router.get_parameter(name.removeprefix("router.")).detach(),
            weight,
            rtol=1e-3,
            atol=1e-4,
        )


def stopped(config: TrainConfig, folder: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the state of step `after` is written, and then break off as Ctrl-C does."""
    from reference_model.training import train as training

    save = training.save_state

    def save_and_stop(path: Path, step: int, *rest: object) -> None:
        save(path, step, *rest)  # type: ignore[arg-type]
        if step == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder)


@pytest.mark.parametrize("layout", ["target-only", "paper"])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    settings = config(layout=layout, training={"save_every": 2})
    undisturbed = train(settings, tmp_path / "undisturbed")
    stopped(settings, tmp_path / "stopped", 2, monkeypatch)
    assert (tmp_path / "stopped" / STATE).exists()
    assert weights_of(train(settings, tmp_path / "stopped")) == weights_of(undisturbed)
    assert (tmp_path / "stopped" / "config.json").read_bytes() == (
        undisturbed / "config.json"
    ).read_bytes()
    assert not (tmp_path / "stopped" / STATE).exists()


def test_gradient_checkpointing_and_the_save_interval_do_not_change_the_weights(
    config: Config, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    again = train(
        config(training={"gradient_checkpointing": True, "save_every": 1}), tmp_path / "again"
    )
    for name in WEIGHTS:
        ours, theirs = load_file(again / name), load_file(trained("lorweb") / name)
        for key in theirs:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


def test_a_resume_under_other_settings_is_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(config(training={"save_every": 1}), tmp_path, 1, monkeypatch)
    for other in (
        config(training={"learning_rate": 0.01}),
        config(adapter={"rank": 1}),
        config(layout="paper"),
    ):
        with pytest.raises(
            InputError, match="other settings; delete it, or name another output folder"
        ):
            train(other, tmp_path)
    train(config(training={"save_every": 50, "threads": 0}), tmp_path)  # these change no weight


def test_a_resume_on_another_base_is_refused(
    settings: Callable[..., dict[str, object]],
    base_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(base_folder, tmp_path / "base")
    config = TrainConfig.model_validate(
        settings(base=str(tmp_path / "base"), training={"save_every": 1})
    )
    stopped(config, tmp_path / "out", 1, monkeypatch)
    from safetensors.torch import save_file

    path = tmp_path / "base" / "base.safetensors"
    save_file({k: v * 1.5 for k, v in load_file(path).items()}, path)
    with pytest.raises(InputError, match="other settings"):
        train(config, tmp_path / "out")


def test_a_cut_state_is_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(config(training={"save_every": 1}), tmp_path, 1, monkeypatch)
    state = tmp_path / STATE
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(
        InputError, match=r"training_state\.safetensors: not a whole training state"
    ):
        train(config(), tmp_path)


def test_a_loss_that_is_no_number_stops_with_the_step_named(
    write_yaml: WriteYaml, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_yaml(training={"steps": 40, "learning_rate": 1e30})
    with pytest.raises(SystemExit) as exit_:
        main(["train", str(path), "-o", str(tmp_path / "out")])
    assert exit_.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        message.startswith("Error: ")
        and "at step" in message
        and "training.learning_rate" in message
    )
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_training_computes_with_the_threads_of_its_config(config: Config, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        train(
            config("single-lora", training={"steps": 1, "threads": before + 1}), tmp_path / "more"
        )
        assert torch.get_num_threads() == before + 1
        train(config("single-lora", training={"steps": 1, "threads": 0}), tmp_path / "as-they-are")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_an_output_that_holds_something_else_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds something else \(notes\.txt\)"):
        train(config(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "content", ["[]", "{}", "not json", '{"format": "lorweb-bench/checkpoint"}']
)
def test_an_output_whose_config_is_not_of_this_run_is_refused(
    config: Config, tmp_path: Path, content: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=str(tmp_path)):
        train(config(), tmp_path)
    assert (tmp_path / "config.json").read_text() == content


def test_a_finished_checkpoint_of_other_settings_is_not_overwritten(
    config: Config, trained: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError, match="other settings"):
        train(config(training={"seed": 1}), trained("lorweb"))


def test_an_output_that_is_a_file_is_refused(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="file"):
        train(config(), tmp_path / "file")


def test_what_cannot_be_trained_on_is_named(
    config: Config, small_suite_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no `dataset`"):
        train(config(dataset=None), tmp_path / "out")
    with pytest.raises(InputError, match="no split `train`, only seen, unseen"):
        train(config(dataset=small_suite_path, panel=32), tmp_path / "out")
    with pytest.raises(InputError, match="no-backbone"):
        train(config(encoder=str(tmp_path / "no-backbone")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_panels_of_the_wrong_size_are_refused(
    write_panels: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="larger than `panel: 16`"):
        read_quadruplets(open_dataset(write_panels((32, 32))), "train", 16)
    with pytest.raises(InputError, match="2 sizes"):
        read_quadruplets(open_dataset(write_panels((16, 16), (32, 16))), "train", 32)
    with pytest.raises(InputError, match="multiples of 16"):
        read_quadruplets(open_dataset(write_panels((20, 24))), "train", 32)


def choices(step: int, batch: int, samples: int, **shares: float) -> list[Choice]:
    return draw_choices(
        step, samples, TrainingConfig(steps=1, batch=batch, learning_rate=1.0, seed=5, **shares)
    )  # type: ignore[arg-type]


def test_every_epoch_shows_every_sample_once() -> None:
    shown = [c.index for step in range(14) for c in choices(step, 3, 7)]
    assert [sorted(shown[i : i + 7]) for i in range(0, 42, 7)] == [list(range(7))] * 6
    assert shown[:7] != shown[7:14]
    assert sorted(np.bincount([c.index for c in choices(0, 17, 7)]).tolist()) == [
        2,
        2,
        2,
        2,
        3,
        3,
        3,
    ]  # a batch larger than the dataset
    assert choices(4, 3, 7, exchange_pairs=0.5) == choices(4, 3, 7, exchange_pairs=0.5)


def test_exchanged_pairs_trade_places_and_backward_pairs_run_backwards() -> None:
    orders = {
        (0.0, 0.0): (0, 1, 2, 3),
        (1.0, 0.0): (2, 3, 0, 1),
        (0.0, 1.0): (1, 0, 3, 2),
        (1.0, 1.0): (3, 2, 1, 0),
    }
    for (exchange, reverse), order in orders.items():
        found = choices(0, 6, 6, exchange_pairs=exchange, reverse_pairs=reverse)
        assert {c.roles for c in found} == {tuple(ROLES[i] for i in order)}
    for share in ("exchange_pairs", "reverse_pairs", "caption_dropout", "hidden_pairs"):
        drawn = choices(0, 2000, 6, **{share: 0.3})
        shares = {
            "exchange_pairs": np.mean([c.exchanged for c in drawn]),
            "reverse_pairs": np.mean([c.backwards for c in drawn]),
            "caption_dropout": np.mean([not c.with_prompt for c in drawn]),
            "hidden_pairs": np.mean([c.pair_hidden for c in drawn]),
        }
        assert 0.25 < shares.pop(share) < 0.35 and set(shares.values()) == {0.0}


def test_panels_play_the_roles_that_were_drawn(config: Config, training_dataset: Path) -> None:
    settings = config()
    source = in_memory(settings, training_dataset)
    encode = UnshuffleCodec().encode
    for choice in (
        Choice(3),
        Choice(3, exchanged=True),
        Choice(3, backwards=True),
        Choice(3, exchanged=True, backwards=True),
    ):
        batch = source.batch([choice], torch.device("cpu"))
        a, a_prime, b, b_prime = (
            encode(source.images[ROLES.index(role), 3][None]) for role in choice.roles
        )
        assert all(
            torch.equal(x, y)
            for x, y in zip([*batch.context, batch.target], [b, a, a_prime, b_prime], strict=True)
        )


def test_of_a_hidden_pair_the_base_sees_grey_and_the_router_all(
    config: Config, training_dataset: Path
) -> None:
    source = in_memory(config(), training_dataset)
    cpu = torch.device("cpu")
    shown, hidden = (source.batch([Choice(3, pair_hidden=way)], cpu) for way in (False, True))
    b, a, a_prime = hidden.context
    grey = UnshuffleCodec().encode(torch.full_like(source.images[0, 3][None], 128))
    assert torch.equal(a, grey) and torch.equal(a_prime, grey)
    assert torch.equal(b, shown.context[0]) and torch.equal(hidden.target, shown.target)
    assert hidden.features is not None and shown.features is not None
    assert torch.equal(hidden.features, shown.features)


def test_hidden_pairs_beside_a_cache_are_refused(config: Config, tmp_path: Path) -> None:
    settings = config(training={"hidden_pairs": 0.5}, cache=str(tmp_path / "cache"))
    with pytest.raises(InputError, match="hidden_pairs: a cache holds .* leave `cache` out"):
        train(settings, tmp_path / "checkpoint")


def test_a_prompt_is_told_where_it_is_right(config: Config, training_dataset: Path) -> None:
    dataset = open_dataset(training_dataset)
    prompts = split_prompts(dataset, "train", "instruction")
    assert (
        prompts == [q.record.instruction for q in dataset.quadruplets("train")]
        and len(set(prompts)) == 4
    )
    assert (
        set(split_prompts(dataset, "train", "none")) == {""}
        and len(set(split_prompts(dataset, "train", "task"))) == 1
    )
    drop, keep = (config(training={"reversed_caption": way}).training for way in ("drop", "keep"))
    told = {
        "plain": prompt_for(Choice(1), prompts, drop),
        "exchanged": prompt_for(Choice(1, exchanged=True), prompts, drop),
        "backwards, kept": prompt_for(Choice(1, backwards=True), prompts, keep),
    }
    assert set(told.values()) == {prompts[1]}
    assert prompt_for(Choice(1, with_prompt=False), prompts, keep) == ""
    assert prompt_for(Choice(1, backwards=True), prompts, drop) == ""


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    training = TrainingConfig(steps=100, batch=1, learning_rate=1.0, warmup=10, decay_from=0.5)
    rates = [learning_rate_share(step, training) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:51] == [1.0] * 41
    assert rates[75] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.01 and rates[50:] == sorted(rates[50:], reverse=True)
    assert (
        learning_rate_share(
            0, TrainingConfig(steps=1, batch=1, learning_rate=1.0, warmup=0, decay_from=1.0)
        )
        == 1.0
    )
    constant, linear = (
        training.model_copy(update={"schedule": schedule}) for schedule in ("constant", "linear")
    )
    assert [learning_rate_share(step, constant) for step in range(9, 100)] == [1.0] * 91
    assert [learning_rate_share(step, linear) for step in range(50, 100)] == pytest.approx(
        [1 - i / 50 for i in range(50)]
    )
