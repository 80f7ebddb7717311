"""Whatever dies in the middle of a build, the next run ends where an undisturbed one does."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from datagen.build import build
from datagen.planning.seeding import BUILDING
from datagen.recipe.reading import read_recipe
from datagen.sources.scenes.compose import scene
from lorweb_bench.data.dataset import Dataset
from lorweb_bench.data.images import encode
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import only_run
from lorweb_bench.runtime.workers import run_pieces
from lorweb_bench.suites.verify import verify

# Every line is a folder to build in, by a child; an empty line asks how the last child ended. It is
# forked, so that it costs nothing.
SERVER = """
import os, sys
from datagen import build as building
from datagen.recipe.reading import read_recipe
building.SHARD = building.LEAST = 4
recipe = read_recipe(sys.argv[1])
child = 0
for line in sys.stdin:
    if line.strip():
        child = os.fork()
        if child == 0:
            building.build(recipe, line.strip(), int(sys.argv[2]))
            os._exit(0)
        print(child, flush=True)
    else:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
SMALL: dict[str, Any] = {
    "source": {"kind": "scenes", "scenes": 20, "shares": {"train": 0.6, "calibration": 0.4}},
    "panel": {"square": 16},
    "transformations": {"families": ["invert", "flip"]},
    "tiers": {},
    "splits": {"train": 48},
}
PAIRS: dict[str, Any] = {
    "panel": {"long_edge": 32},
    "transformations": {},
    "tiers": {},
    "splits": {"train": "all"},
    "analogies_per_pair": "all",
}
DEATHS = 20


def recipe_keys(kind: str, folder: Path) -> dict[str, Any]:
    """The keys of a small recipe from scenes, or from eight pairs of images."""
    if kind == "scenes":
        return SMALL
    (folder / "pairs").mkdir()
    for i in range(8):
        picture = scene(i, 32, 48)
        (folder / "pairs" / f"{i}.before.png").write_bytes(encode(picture))
        (folder / "pairs" / f"{i}.after.png").write_bytes(encode(255 - picture))
    return {**PAIRS, "source": {"kind": "pairs", "path": str(folder / "pairs")}}


@pytest.fixture
def start(
    write: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[Path], Callable[[], int]]]:
    """Starts a build of a small recipe in a process; gives its process id, and what waits for its
    exit code.
    """
    kind, workers = request.param
    command = [
        sys.executable,
        "-c",
        SERVER,
        str(write(**recipe_keys(kind, tmp_path))),
        str(workers),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(line: object) -> int:
            print(line, file=server.stdin, flush=True)
            return int(server.stdout.readline())  # type: ignore[union-attr]

        yield lambda folder: (ask(folder), lambda: ask(""))  # type: ignore[misc, return-value]
        server.stdin.close()


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("start", "deaths"),
    [
        (("scenes", 1), DEATHS),
        (("pairs", 1), 6),
        (("scenes", 2), 2),
        pytest.param(("scenes", 2), DEATHS, marks=pytest.mark.slow),
        pytest.param(("pairs", 2), DEATHS, marks=pytest.mark.slow),
    ],
    indirect=["start"],
)
def test_deaths_at_random_moments_change_no_byte(start: Any, deaths: int, tmp_path: Path) -> None:
    _, code = start(tmp_path / "undisturbed")
    assert code() == 0
    shutil.rmtree(tmp_path / "undisturbed")
    began = time.monotonic()
    _, code = start(tmp_path / "undisturbed")
    assert code() == 0
    whole, seconds = content(tmp_path / "undisturbed"), time.monotonic() - began
    assert len(whole) >= 24
    moments, folder, ended = random.Random(5), tmp_path / "killed", []
    while ended.count(-signal.SIGKILL) < deaths or (folder / BUILDING).exists():
        process, code = start(folder)
        if ended.count(-signal.SIGKILL) < deaths:
            time.sleep(moments.uniform(0.0, 1.2 * seconds))
            os.kill(
                process, signal.SIGKILL
            )  # a child that has ended is not reaped yet, so this hits no other
        ended.append(code())
        if ended[-1] == 0:
            assert (
                content(folder) == whole
            )  # so no sample is lost or doubled, and nothing is left lying about
            shutil.rmtree(folder)
    assert set(ended) == {0, -signal.SIGKILL}


LIMITED = """
import resource, sys
from lorweb_bench.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[2:])
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_and_the_build_goes_on(
    train: Dataset, tmp_path: Path, workers: int
) -> None:
    words = [
        "datagen",
        "build",
        str(train.path.parent / "train.yaml"),
        "-o",
        str(tmp_path / "out"),
        "--workers",
        str(workers),
    ]
    # No file may grow beyond these bytes: dev's shard fits, train's does not. A full disk gives the
    # same kind of error.
    limited = [
        sys.executable,
        "-c",
        LIMITED,
        str((train.path / train.split("train").shards[0].path).stat().st_size - 512),
        *words,
    ]
    done = subprocess.run(limited, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no space left" in done.stderr
    assert str(tmp_path / "out") in done.stderr
    assert "Traceback" not in done.stderr
    assert (
        not list(tmp_path.rglob("*.tmp")) or workers > 1
    )  # a worker that was stopped leaves what the next run takes away first
    assert (
        build(read_recipe(train.path.parent / "train.yaml"), tmp_path / "out").dataset.fingerprint
        == train.fingerprint
    )  # type: ignore[union-attr]
    assert content(tmp_path / "out") == content(train.path)


def test_parts_in_any_order_make_the_same_bytes(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.build.SHARD", 16)
    recipe = read_recipe(write(**SMALL))
    whole = content(build(recipe, tmp_path / "whole").dataset.path)  # type: ignore[union-attr]
    assert [build(recipe, tmp_path / "parts", part=(i, 4)) is not None for i in (3, 1, 4, 2)] == [
        False,
        False,
        False,
        True,
    ]
    assert content(tmp_path / "parts") == whole
    assert build(recipe, tmp_path / "rest", part=(2, 3)) is None
    assert build(recipe, tmp_path / "rest") is not None  # a plain run makes what is missing
    assert content(tmp_path / "rest") == whole


def test_parts_at_once_share_a_folder(write: Callable[..., Path], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lorweb_bench",
        "datagen",
        "build",
        str(write(**SMALL)),
        "-o",
        str(tmp_path / "out"),
        "--shard",
    ]
    jobs = [
        subprocess.Popen([*command, f"{i}/3"], stdout=subprocess.PIPE, text=True) for i in (1, 2, 3)
    ]
    said = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0]
    assert any("48 train, fingerprint" in line for line in said)
    assert verify(tmp_path / "out").problems == []
    assert not [path.name for path in tmp_path.rglob(".*")]


def test_a_second_run_in_the_same_folder_is_refused(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.build.SHARD", 32)
    recipe, folder = read_recipe(write(**SMALL)), tmp_path / "out"
    folder.mkdir()
    with only_run(folder):
        for part in ((1, 1), (1, 2)):
            with pytest.raises(InputError, match="Another run is at work in"):
                build(recipe, folder, part=part)
    with only_run(folder, shared=True):  # as a part does
        build(recipe, folder, part=(1, 2))
        with pytest.raises(InputError, match="Another run is at work in"):
            build(recipe, folder)
    assert build(recipe, folder) is not None
    assert verify(folder).problems == []


def test_a_shard_that_goes_away_in_mid_build_is_told(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = read_recipe(write(**SMALL)), tmp_path / "out"

    def lose(*args: Any) -> Iterator[Any]:
        yield from run_pieces(*args)
        (folder / "train" / "000000.json").unlink()

    with monkeypatch.context() as patch:
        patch.setattr("datagen.build.run_pieces", lose)
        with pytest.raises(InputError, match="the shard train/000000 is gone"):
            build(recipe, folder)
    assert build(recipe, folder).dataset.split("train").samples == 48  # type: ignore[union-attr]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Ray cluster of one node on the loopback address, with this process connected to it."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER", False
    )  # or 127.0.0.1 is taken for the machine's outer address
    head = {
        "num_cpus": 1,
        "include_dashboard": False,
        "node_ip_address": "127.0.0.1",
        "object_store_memory": 80 * 2**20,
    }
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(
            address=nodes.address,
            log_to_driver=False,
            logging_level="error",
            _node_ip_address="127.0.0.1",
        )
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


def kill_a_ray_worker(folder: Path, killed: list[int]) -> None:
    """Once a first shard is there: kill a worker that is at one."""
    until = time.monotonic() + 60
    while not killed and time.monotonic() < until:
        time.sleep(0.01)
        for process in (
            psutil.Process().children(recursive=True) if list(folder.glob("*/*.json")) else ()
        ):
            if not killed and process.name().startswith("ray::_call"):
                process.kill()
                killed.append(process.pid)


def test_a_ray_worker_that_is_killed_changes_nothing(
    cluster: None, train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.build.SHARD", 4)
    killed: list[int] = []
    thread = threading.Thread(target=kill_a_ray_worker, args=(tmp_path / "out", killed))
    thread.start()
    built = build(
        read_recipe(train.path.parent / "train.yaml"), tmp_path / "out", workers=2, engine="ray"
    )
    thread.join()
    assert killed
    assert built is not None
    assert len(built.dataset.split("train").shards) == 15
    assert built.dataset.fingerprint == train.fingerprint
    assert built.dataset.manifest.targets_fingerprint == train.manifest.targets_fingerprint
    assert verify(tmp_path / "out").problems == []
