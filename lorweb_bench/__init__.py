"""Visual analogies: datasets with a fixed contract, and a harness for any method that completes them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorweb_bench.data.dataset import open_dataset, open_suite
    from lorweb_bench.data.samples import Quadruplet, Triplet
    from lorweb_bench.errors import InputError
    from lorweb_bench.judging.endpoint import Endpoint
    from lorweb_bench.judging.judge import judge
    from lorweb_bench.scoring.evaluate import evaluate, score

_HOME = {
    "Endpoint": "lorweb_bench.judging.endpoint",
    "InputError": "lorweb_bench.errors",
    "Quadruplet": "lorweb_bench.data.samples",
    "Triplet": "lorweb_bench.data.samples",
    "evaluate": "lorweb_bench.scoring.evaluate",
    "judge": "lorweb_bench.judging.judge",
    "open_dataset": "lorweb_bench.data.dataset",
    "open_suite": "lorweb_bench.data.dataset",
    "score": "lorweb_bench.scoring.evaluate",
}

__all__ = [
    "Endpoint",
    "InputError",
    "Quadruplet",
    "Triplet",
    "evaluate",
    "judge",
    "open_dataset",
    "open_suite",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lorweb-bench")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
