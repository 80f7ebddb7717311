"""Running pieces of work in processes or on Ray, with the results in the order of the pieces."""

import contextlib
import functools
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from typing import Any, TypeVar

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import track

P = TypeVar("P")
R = TypeVar("R")
ENGINES = ("local", "ray")


def run_pieces(
    function: Callable[[P], R],
    pieces: Sequence[P],
    workers: int = 1,
    engine: str = "local",
    describe: str = "pieces",
    gpus: float = 0,
) -> Iterator[R]:
    """Yield `function(piece)` for each piece, in order, with progress on stderr.

    A piece must not depend on another; then results do not depend on workers and engine. An
    exception in a piece, and Ctrl-C, stop the other pieces and are raised here.

    Args:
        function: A picklable function, so one of a module or a partial of one. It must finish what
            it writes before it returns.
        pieces: What to call it with.
        workers: How many processes; one worker runs in this process.
        engine: "local" or "ray".
        describe: What the progress is called.
        gpus: How many GPUs a piece has for itself on Ray, where the cluster has any.

    Raises:
        InputError: An argument is wrong, or a worker process died.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine!r}; there are {' and '.join(ENGINES)}.")
    if workers < 1:
        raise InputError(f"{workers} workers cannot do anything; give 1 or more.")
    if engine == "ray":
        results = _on_ray(function, pieces, workers, gpus)
    elif workers == 1 or len(pieces) < 2:
        results = map(function, pieces)
    else:
        results = _in_processes(function, pieces, min(workers, len(pieces)))
    return track(results, len(pieces), describe)


def warm_up(*modules: str) -> None:
    """Start the process that local workers are forked from, and let it import these modules.

    It does so while this process goes on, and workers then start at once whenever `run_pieces` is
    called. Only the first call in a process has an effect. Without it, each worker imports what it
    needs.
    """
    if _start_method() != "forkserver":
        return
    forkserver.set_forkserver_preload(list(modules))
    # Modules come from where they are installed: the working folder may hold others of their names.
    # It computes in one thread, because it is forked.
    safe = {"PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    before = {name: os.environ.get(name) for name in safe}
    resource_tracker.ensure_running()  # it unblocks signals when it starts, so it goes first
    # Ctrl-C is for this process to answer: what it starts inherits the block.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(safe)
    try:
        forkserver.ensure_running()
    finally:
        _set_environment(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _start_method() -> str:
    """A plain fork is unsafe once a library has started threads."""
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def _set_environment(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _in_processes(function: Callable[[P], R], pieces: Sequence[P], workers: int) -> Iterator[R]:
    context = multiprocessing.get_context(_start_method())
    paths = {"PYTHONSAFEPATH": os.environ.get("PYTHONSAFEPATH")}
    executor = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(function, paths)
    )
    try:
        waiting: deque[Future[R]] = deque()
        for piece in pieces:
            waiting.append(executor.submit(_run, piece))
            if len(waiting) >= 2 * workers:  # no more in flight than keeps the workers busy
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise InputError(
            "A worker process died, most likely for want of memory; "
            "start again with fewer --workers."
        ) from None
    except BaseException:
        # There is no public way to stop running pieces before Python 3.14.
        for process in list((executor._processes or {}).values()):
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


# The function of a worker process: it is sent once, as it can hold a plan of megabytes.
_FUNCTION: list[Callable[[Any], Any]] = []


def _run(piece: Any) -> Any:
    return _FUNCTION[0](piece)


def _start_worker(function: Callable[[Any], Any], environment: Mapping[str, str | None]) -> None:
    _set_environment(environment)  # the parent's, which `warm_up` has not changed
    _FUNCTION[:] = [function]
    start_worker()


def start_worker() -> None:
    """Make this process a worker: it leaves Ctrl-C to its parent and ends when the parent is gone.

    It computes in one thread, since the processes are the parallelism.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: Any) -> None:
    parent.join()
    os._exit(1)  # a killed parent leaves no worker behind


def _on_ray(
    function: Callable[[P], R], pieces: Sequence[P], workers: int, gpus: float
) -> Iterator[R]:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise InputError("The engine 'ray' needs Ray: pip install 'lorweb-bench[ray]'.") from None
    ours = not ray.is_initialized()
    if ours:
        _start_ray(ray, workers)
    waiting: deque[Any] = deque()
    try:
        resources = {"num_gpus": gpus if ray.cluster_resources().get("GPU") else 0}
        # Without max_calls=0 Ray ends a process that had a GPU after each task, and a model would
        # be loaded again for each piece.
        remote = ray.remote(num_cpus=1, max_retries=3, max_calls=0, **resources)(_call)
        shared = ray.put(pickle.dumps(function))
        for piece in pieces:
            waiting.append(remote.remote(tuple(sys.path), shared, pickle.dumps(piece)))
            if len(waiting) >= 2 * workers:
                yield _ray_result(ray, waiting.popleft())
        while waiting:
            yield _ray_result(ray, waiting.popleft())
    finally:
        for task in waiting:
            with contextlib.suppress(Exception):
                ray.cancel(task, force=True)
        if ours:
            ray.shutdown()


def _start_ray(ray: Any, workers: int) -> None:
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = (
        {}
        if address
        else {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    )
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
    except Exception as e:  # Ray raises plain Exception when a node does not come up
        raise InputError(
            f"Ray could not be started or reached ({e}); --engine local needs no Ray."
        ) from e


def _call(path: tuple[str, ...], function: bytes, piece: bytes) -> Any:
    """Run a piece in a Ray worker, which finds modules where this process does."""
    sys.path.extend(folder for folder in path if folder not in sys.path)
    return _unpickled(function)(pickle.loads(piece))


@functools.lru_cache(maxsize=1)
def _unpickled(function: bytes) -> Callable[[Any], Any]:
    return pickle.loads(function)


def _ray_result(ray: Any, task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as e:
        raise e.cause if isinstance(e.cause, Exception) else e from None
    except ray.exceptions.RayError as e:  # after the retries: a crashed worker, a lost node
        why = str(e).strip().partition("\n")[0]
        raise InputError(
            f"A Ray worker died ({why}), most likely for want of memory; "
            "start again with fewer --workers."
        ) from None
