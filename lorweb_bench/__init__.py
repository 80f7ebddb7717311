"""Visual analogies: datasets with a fixed contract, and a harness for any method.

The names of `__all__` are imported when they are first used, so `import lorweb_bench` is quick.
`training_loader` needs the extra `model`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorweb_bench.compare.compare import compare_reports
    from lorweb_bench.data.dataset import open_dataset, open_suite
    from lorweb_bench.data.loader import training_loader
    from lorweb_bench.data.samples import Quadruplet, Triplet
    from lorweb_bench.data.webdataset import decode, read_shards, shard_urls
    from lorweb_bench.errors import InputError
    from lorweb_bench.judging.endpoint import Endpoint
    from lorweb_bench.judging.judge import judge
    from lorweb_bench.methods.base import Method, load_method
    from lorweb_bench.metrics.base import Metric
    from lorweb_bench.reports.report import Report
    from lorweb_bench.reports.results import results
    from lorweb_bench.scoring.evaluate import evaluate, score

_HOME = {
    "Endpoint": "lorweb_bench.judging.endpoint",
    "InputError": "lorweb_bench.errors",
    "Method": "lorweb_bench.methods.base",
    "Metric": "lorweb_bench.metrics.base",
    "Quadruplet": "lorweb_bench.data.samples",
    "Report": "lorweb_bench.reports.report",
    "Triplet": "lorweb_bench.data.samples",
    "decode": "lorweb_bench.data.webdataset",
    "compare_reports": "lorweb_bench.compare.compare",
    "evaluate": "lorweb_bench.scoring.evaluate",
    "judge": "lorweb_bench.judging.judge",
    "load_method": "lorweb_bench.methods.base",
    "open_dataset": "lorweb_bench.data.dataset",
    "open_suite": "lorweb_bench.data.dataset",
    "read_shards": "lorweb_bench.data.webdataset",
    "results": "lorweb_bench.reports.results",
    "score": "lorweb_bench.scoring.evaluate",
    "shard_urls": "lorweb_bench.data.webdataset",
    "training_loader": "lorweb_bench.data.loader",
}

__all__ = [
    "Endpoint",
    "InputError",
    "Method",
    "Metric",
    "Quadruplet",
    "Report",
    "Triplet",
    "compare_reports",
    "decode",
    "evaluate",
    "judge",
    "load_method",
    "open_dataset",
    "open_suite",
    "read_shards",
    "results",
    "score",
    "shard_urls",
    "training_loader",
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
