"""Running pieces of work in several processes or on Ray, with the results in the order of the pieces."""

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from lorweb_bench.errors import InputError
from lorweb_bench.progress import track

P = TypeVar("P")
R = TypeVar("R")
ENGINES = ("local", "ray")


def run_pieces(
    function: Callable[[P], R], pieces: Sequence[P], workers: int = 1, engine: str = "local", describe: str = "pieces"
) -> Iterator[R]:
    """Yield `function(piece)` for each piece, in order, from `workers` processes; progress stands on stderr as `describe`.

    `function` is picklable: defined at module level, or a partial of such a one. It must finish what it writes before it
    returns, and a piece must not depend on another: then a result does not depend on workers or engine. One worker runs in
    this process. An exception in a piece, and Ctrl-C, stop the others and are raised here. InputError for bad arguments, and
    when a worker process dies.
    """
    if engine not in ENGINES:
        raise InputError(f"There is no engine {engine!r}; there are {' and '.join(ENGINES)}.")
    if workers < 1:
        raise InputError(f"{workers} workers cannot do anything; give 1 or more.")
    if engine == "ray":
        results = _on_ray(function, pieces, workers)
    elif workers == 1 or len(pieces) < 2:
        results = map(function, pieces)
    else:
        results = _in_processes(function, pieces, min(workers, len(pieces)))
    return track(results, len(pieces), describe)


def _in_processes(function: Callable[[P], R], pieces: Sequence[P], workers: int) -> Iterator[R]:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)  # a plain fork is unsafe once a library has started threads
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        waiting: deque[Future[R]] = deque()
        for piece in pieces:
            waiting.append(executor.submit(function, piece))
            if len(waiting) >= 2 * workers:  # no more in flight than keeps the workers busy
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise InputError("A worker process died, most likely for want of memory; start again with fewer --workers.") from None
    except BaseException:
        for process in list((executor._processes or {}).values()):  # no public way to stop running pieces before Python 3.14
            process.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C, and stops its workers
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: Any) -> None:
    parent.join()
    os._exit(1)  # a killed parent leaves no worker behind


def _on_ray(function: Callable[[P], R], pieces: Sequence[P], workers: int) -> Iterator[R]:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise InputError("The engine 'ray' needs Ray: pip install 'lorweb-bench[ray]'.") from None
    ours = not ray.is_initialized()
    if ours:
        _start_ray(ray, workers)
    waiting: deque[Any] = deque()
    try:
        remote, shared = ray.remote(num_cpus=1, max_retries=3)(_call), ray.put(function)  # the function is sent once
        for piece in pieces:
            waiting.append(remote.remote(shared, piece))
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
    local: dict[str, Any] = {} if address else {"num_cpus": workers, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **local)
    except Exception as e:  # Ray raises plain Exception when a node does not come up
        raise InputError(f"Ray could not be started or reached ({e}); --engine local needs no Ray.") from e


def _call(function: Callable[[P], R], piece: P) -> R:
    return function(piece)


def _ray_result(ray: Any, task: Any) -> Any:
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as e:
        raise e.cause if isinstance(e.cause, Exception) else e from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        raise InputError("A worker process died, most likely for want of memory; start again with fewer --workers.") from None
