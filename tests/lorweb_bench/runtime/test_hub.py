"""Names of repositories on the hub, read by the hub's real client from a server on this machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorweb_bench.data.dataset import Dataset, open_dataset, open_suite
from lorweb_bench.errors import InputError
from lorweb_bench.methods.base import load_method
from lorweb_bench.runtime.hub import local_folder
from lorweb_bench.scoring.evaluate import evaluate


def test_a_dataset_is_opened_by_its_name_on_the_hub(
    tiny: Dataset, hub_repository: Callable[..., Any]
) -> None:
    hub_repository("me/small", tiny.path)
    opened = open_dataset("hub:me/small")
    assert opened.fingerprint == tiny.fingerprint
    assert [s.images for s in opened.samples("dev")] == [s.images for s in tiny.samples("dev")]


def test_a_revision_is_what_the_name_says(
    tiny: Dataset, tmp_path: Path, write_dataset: Callable[..., Dataset], hub_repository: Any
) -> None:
    repository = hub_repository("me/small", tiny.path)
    before = repository.branches["main"]
    repository.branches["v1"] = before
    other = write_dataset(tmp_path / "other", {"train": ["x0"]})
    hub_repository("me/small", other.path)
    assert open_dataset("hub:me/small").fingerprint == other.fingerprint
    assert open_dataset("hub:me/small@v1").fingerprint == tiny.fingerprint
    assert open_dataset(f"hub:me/small@{before}").fingerprint == tiny.fingerprint


def test_a_suite_on_the_hub_is_scored(
    small_suite: Dataset, tiny: Dataset, hub_repository: Any, tmp_path: Path
) -> None:
    hub_repository("me/suite", small_suite.path)
    hub_repository("me/small", tiny.path)
    report = evaluate(
        "copy-b",
        "hub:me/suite",
        metrics=["mse"],
        out=tmp_path / "report",
        trained_on=["hub:me/small"],
    )
    assert report.suite.fingerprint == open_suite(small_suite.path).fingerprint
    assert report.novelty is not None and report.novelty.trained_on is not None
    assert [d.fingerprint for d in report.novelty.trained_on] == [tiny.fingerprint]


def test_code_of_a_repository_is_not_fetched(hub_repository: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "adapter_model.safetensors", "evil.py", "weights.bin"):
        (tmp_path / "model" / name).write_text("{}")
    hub_repository("me/model", tmp_path / "model", "models")
    folder = local_folder("hub:me/model", "model")
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_model.safetensors", "config.json"]


def test_what_is_in_the_cache_needs_no_network(
    tiny: Dataset, hub_repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_repository("me/small", tiny.path)
    open_dataset("hub:me/small")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert open_dataset("hub:me/small").fingerprint == tiny.fingerprint
    with pytest.raises(InputError, match="hub:me/other is not in the cache and the hub cannot be"):
        open_dataset("hub:me/other")


def test_what_the_hub_refuses_is_one_sentence(tiny: Dataset, hub: Any, hub_repository: Any) -> None:
    repository = hub_repository("me/small", tiny.path)
    with pytest.raises(InputError, match="hub:me/none: there is no such repository, or none that"):
        open_dataset("hub:me/none")
    with pytest.raises(InputError, match="hub:me/none: there is no such repository"):
        load_method("hub:me/none")
    with pytest.raises(InputError, match="hub:me/small@v9: the repository is there, but no such"):
        open_dataset("hub:me/small@v9")
    repository.gated = True
    with pytest.raises(InputError, match="hub:me/small is gated: ask for access on its page"):
        open_dataset("hub:me/small")
    for name in ("hub:small", "hub:me/small@", "hub:../../etc", "hub:a/b/c"):
        with pytest.raises(InputError, match="is no repository on the hub; write hub:owner/name"):
            open_dataset(name)


def test_a_token_that_may_not_read_is_told(
    tiny: Dataset, hub_repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_repository("me/small", tiny.path)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    with pytest.raises(InputError, match="or none that you may see.*`hf auth login`") as error:
        open_dataset("hub:me/small")
    assert "\n" not in str(error.value)


def test_a_hub_that_is_away_is_told(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="the hub cannot be reached"):
        open_dataset("hub:me/small")
