"""Pushing to the hub: what would go, and that it goes, to a server on this machine that speaks the
hub's protocol.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datagen.push import collect_upload
from lorweb_bench.cli.main import main
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.parquet_view import write_view
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.hub import push_files


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_dry_run_shows_the_files_and_their_bytes(
    train: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["datagen", "push", str(train.path), "me/small", "--dry-run"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in lines[:-1]}
    there = {name: len(data) for name, data in files_of(train.path).items()}
    assert shown == there
    assert f"{sum(there.values()):,}" in lines[-1]
    assert "me/small, private" in lines[-1]


def test_a_damaged_dataset_does_not_go(tmp_path: Path, train: Dataset) -> None:
    copy = Path(shutil.copytree(train.path, tmp_path / "copy"))
    (copy / "notes.txt").write_text("mine")
    assert "notes.txt" not in dict(collect_upload(copy).files)
    shard = copy / "train" / "000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512] + bytes(511) + b"x")
    with pytest.raises(InputError, match=r"train/000000\.tar is damaged"):
        collect_upload(copy)


def test_a_parquet_view_goes_with_its_dataset(tmp_path: Path, train: Dataset) -> None:
    copy = Dataset(Path(shutil.copytree(train.path, tmp_path / "copy")), train.manifest)
    written = [str(file.relative_to(copy.path)) for file in write_view(copy)]
    assert set(written) < set(dict(collect_upload(copy.path).files))
    shutil.copy(copy.path / written[0], copy.path / written[-1])
    with pytest.raises(InputError, match="is not the sample of"):
        collect_upload(copy.path)


def pushed(dataset: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lorweb_bench", "datagen", "push", str(dataset), "me/small"]
    return subprocess.run(command, capture_output=True, text=True)


def test_all_of_it_goes_and_nothing_else(train: Dataset, hub: Any) -> None:
    done = pushed(train.path)
    assert done.returncode == 0, done.stderr
    assert "/datasets/me/small" in done.stdout
    repository = hub.repositories["datasets", "me/small"]
    assert repository.private
    assert repository.files == files_of(train.path)


def test_a_refusal_of_the_hub_is_told(
    train: Dataset, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    done = pushed(train.path)
    assert done.returncode == 2
    assert "me/small" in done.stderr
    assert "Invalid username or password" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_upload_that_stops_goes_on_with_what_is_missing(
    train: Dataset, hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client commits files in batches; here in twos, and the network goes at the second."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    pipeline = pytest.importorskip("huggingface_hub._upload_pipeline")
    monkeypatch.setattr(pipeline, "COMMIT_SIZE_SCALE", [2])
    monkeypatch.setattr(pipeline, "INITIAL_COMMIT_SIZE_INDEX", 0)
    upload = collect_upload(train.path)
    hub.commits_left = 1
    with pytest.raises(InputError, match="run the same command again, it goes on"):
        push_files(upload, "me/small", "dataset")
    repository = hub.repositories["datasets", "me/small"]
    first = dict(repository.files)
    assert len(first) == 2
    hub.commits_left = None
    assert push_files(upload, "me/small", "dataset").endswith("/datasets/me/small")
    assert repository.files == files_of(train.path)
