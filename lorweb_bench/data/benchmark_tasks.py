"""A suite as a benchmark of the hub: `eval.yaml`, whose tasks model repositories report to.

The form is that of https://huggingface.co/docs/hub/eval-results.
"""

from typing import Any

from lorweb_bench.data.manifest import Manifest
from lorweb_bench.protocol import PROMPT_MODES, PUBLIC_SPLIT, SUITE_SPLITS, TRACKS
from lorweb_bench.runtime.yaml_files import to_yaml

EVAL_FILE = "eval.yaml"
FRAMEWORK = "lorweb-bench"
DESCRIPTION = (
    "Visual analogies, a : a' :: b : b'. A method sees how a became a' and does the same to b. A "
    "task is a track (closed: adapted on the suite's training dataset alone) and a prompt mode; "
    "results of two tasks are never compared. The value is the mean of the headline metric on "
    "held-out transformations: edit_recovery where answers are exact, of which 0 is no better than "
    "handing b back and 1 is the answer itself."
)


def task_id(track: str, prompt_mode: str) -> str:
    """The task of `eval.yaml` that a result belongs to.

    >>> task_id("closed", "none")
    'closed-none'
    """
    return f"{track}-{prompt_mode}"


def eval_yaml(manifest: Manifest) -> str | None:
    """The `eval.yaml` of a suite; None for a dataset that is no suite."""
    split = next((s for s in (PUBLIC_SPLIT, SUITE_SPLITS[-1]) if s in manifest.splits), None)
    if split is None:
        return None
    content: dict[str, Any] = {
        "name": f"{manifest.name} {manifest.version}",
        "description": DESCRIPTION,
        "evaluation_framework": FRAMEWORK,
        "tasks": [
            {"id": task_id(track, mode), "config": "default", "split": split}
            for track in TRACKS
            for mode in PROMPT_MODES
        ],
    }
    return to_yaml(content)
