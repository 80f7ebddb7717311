"""Scoring a stranger's archive in a process of its own, with limits on memory and time, and
rendering the site in another.
"""

import errno
import multiprocessing
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import write_atomic, write_json
from lorweb_bench.runtime.workers import start_worker

VERDICT, TABLE, FAILURE = "verdict.json", "per_sample.parquet", "failure.txt"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, or what we may write to it
LOADED = [
    "leaderboard.submission.verify",
    "leaderboard.board.render",
    "lorweb_bench.scoring.evaluate",
    "lorweb_bench.metrics.base",
    "datagen.transformations",
]
NO_DISK, KEEPERS_FAULT, TOO_MUCH_MEMORY = 3, 4, 5  # exit codes


@dataclass(frozen=True)
class Limits:
    """What scoring one archive may take.

    Seconds on the clock, seconds of computing, bytes of memory, bytes of a file it writes.
    """

    seconds: float = 1800.0
    cpu_seconds: int = 3600
    memory: int = 8 * 2**30
    file_bytes: int = 2 * 2**30


def start_scoring(
    archive: Path, name: str, suite: Path, folder: Path, limits: Limits
) -> BaseProcess:
    """Start to verify and score an archive; what is found will lie in `folder`.

    VERDICT and TABLE, or FAILURE.
    """
    return _start(_score, (archive, name, suite, folder, limits))


def start_rendering(folder: Path, url: str | None, site: Path, title: str) -> BaseProcess:
    """Start to render the site of a store."""
    return _start(_render, (folder, url, site, title))


def _start(target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
    """A process forked from a small server that has the libraries loaded.

    It starts at once, and shares no state with us.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def _score(archive: Path, name: str, suite: Path, folder: Path, limits: Limits) -> None:
    start_worker()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(
        resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 5)
    )  # first SIGXCPU, which says why
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    from leaderboard.submission.verify import verify
    from lorweb_bench.data.dataset import open_suite
    from lorweb_bench.reports.report import write_per_sample

    try:
        verdict = verify(archive, open_suite(suite)).model_copy(update={"submission": name})
        if verdict.accepted and verdict.report is not None:
            write_per_sample(folder / TABLE, verdict.report.per_sample or {})
        write_json(folder / VERDICT, verdict.model_dump(mode="json"))
    except InputError as e:  # of the suite: what is wrong with a submission stands in its verdict
        write_atomic(folder / FAILURE, str(e))
        os._exit(KEEPERS_FAULT)
    except MemoryError:
        os._exit(TOO_MUCH_MEMORY)
    except OSError as e:
        os._exit(NO_DISK if e.errno in FULL else TOO_MUCH_MEMORY if e.errno == errno.ENOMEM else 1)


def _lower(what: int, value: int) -> None:
    """Set a limit, unless a lower one holds already."""
    soft, hard = resource.getrlimit(what)
    value = min([value, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(what, (value, value))


def _render(folder: Path, url: str | None, site: Path, title: str) -> None:
    start_worker()
    from leaderboard.service.rendering import render_store
    from leaderboard.store.store import Store

    try:
        render_store(Store(folder, url), site, title)
    except OSError as e:
        os._exit(NO_DISK if e.errno in FULL else 1)
