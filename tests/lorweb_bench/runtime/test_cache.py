"""The user's cache: what was kept comes back whole or not at all, and no disk ends a run."""

import errno
from pathlib import Path

import numpy as np
import pytest

from lorweb_bench.runtime.cache import read_arrays, write_arrays


def test_what_was_written_comes_back_and_what_is_damaged_does_not(tmp_path: Path) -> None:
    write_arrays(tmp_path, "key", scores=np.array([0.1, 0.2]))
    found = read_arrays(tmp_path, "key")
    assert found is not None and found["scores"].tolist() == [0.1, 0.2]
    assert [path.name for path in tmp_path.iterdir()] == ["key.npz"]
    (tmp_path / "key.npz").write_bytes((tmp_path / "key.npz").read_bytes()[:-9])
    assert read_arrays(tmp_path, "key") is None


def test_a_read_only_disk_costs_time_and_not_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    write_arrays(tmp_path, "key", scores=np.array([0.1]))
    assert not list(tmp_path.iterdir())
