"""Results come in order whatever the workers, errors and Ctrl-C stop everything, and nothing is
left running.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.workers import run_pieces

WORK = '''
"""Pieces for the tests of the engine, importable by worker processes."""
import os, sys, time
from pathlib import Path
from lorweb_bench.runtime.workers import run_pieces

def square(x):
    time.sleep(0.02 * (x % 3))
    return x * x, os.getpid()

def fail(x):
    if x == 3:
        raise KeyError("piece 3")
    return x

def die(x):
    os._exit(9)

def slow(folder, x):
    (Path(folder) / f"{os.getpid()}").touch()
    time.sleep(60)

if __name__ == "__main__":
    import functools
    list(run_pieces(functools.partial(slow, sys.argv[1]), range(8), workers=2))
'''


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that the tests and their worker processes can import."""
    path = tmp_path_factory.mktemp("engine") / "engine_work.py"
    path.write_text(WORK)
    return path


@pytest.fixture
def functions(work: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(work.parent))
    import engine_work  # type: ignore[import-not-found]

    return engine_work


def test_two_workers_give_what_one_gives_in_order(functions) -> None:
    one, two = (
        list(run_pieces(functions.square, range(12), workers=workers)) for workers in (1, 2)
    )
    assert [value for value, _ in one] == [value for value, _ in two] == [x * x for x in range(12)]
    assert {pid for _, pid in one} == {os.getpid()}
    assert os.getpid() not in {pid for _, pid in two}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_piece_is_raised_here(functions, workers: int) -> None:
    with pytest.raises(KeyError, match="piece 3"):
        list(run_pieces(functions.fail, range(8), workers=workers))


def test_a_worker_that_dies_is_told(functions) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="A worker process died"):
        list(run_pieces(functions.die, range(4), workers=2))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="no engine 'dask'"):
        run_pieces(abs, [1], engine="dask")
    with pytest.raises(InputError, match="0 workers"):
        run_pieces(abs, [1], workers=0)


@given(st.lists(st.integers(), max_size=20))
@settings(deadline=None, max_examples=20)
def test_one_worker_is_a_map(pieces: list[int]) -> None:
    assert list(run_pieces(functools.partial(pow, exp=2), pieces)) == [x**2 for x in pieces]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(work: Path, tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, str(work), str(tmp_path)], stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert len(workers) == 2
    process.send_signal(how)
    process.communicate(timeout=30)
    while any(alive(pid) for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in workers)


WARM = """
import os, sys
from lorweb_bench.runtime.workers import run_pieces, warm_up

def imported(name):
    return name in sys.modules, os.environ.get("PYTHONSAFEPATH")

if __name__ == "__main__":
    warm_up("fractions", "colorsys")
    print(*run_pieces(imported, ["fractions", "colorsys", "antigravity"], workers=2))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks servers")
def test_workers_start_with_what_was_imported_and_nothing_of_the_working_folder(
    tmp_path: Path,
) -> None:
    """A folder of one's own may hold modules of any name; only those that are installed are
    imported.
    """
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "colorsys.py").write_text("open('imported', 'w')")
    (tmp_path / "warm.py").write_text(WARM)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "warm.py")],
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split(") (") == ["(True, None", "True, None", "False, None)\n"], done.stderr
    assert not (tmp_path / "here" / "imported").exists()


def test_ray_gives_the_same(functions) -> None:  # type: ignore[no-untyped-def]
    assert [
        value for value, _ in run_pieces(functions.square, range(6), workers=2, engine="ray")
    ] == [x * x for x in range(6)]
    with pytest.raises(KeyError, match="piece 3"):
        list(run_pieces(functions.fail, range(8), workers=2, engine="ray"))


def test_without_ray_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="pip install"):
        list(run_pieces(abs, [1, 2], engine="ray"))
