"""A report as a record of Every Eval Ever, version 0.3.0 of its schema.

The aggregate record has every metric in every group. The records by item have `retrieval`, the one
metric by which an answer is right or wrong; see https://evalevalai.com/projects/every-eval-ever.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorweb_bench.errors import InputError
from lorweb_bench.protocol import CONFIDENCE
from lorweb_bench.reports.hub_results import check_comparable
from lorweb_bench.reports.report import Report, Score
from lorweb_bench.runtime.files import canonical_json, sha256_file, write_atomic, write_json

SCHEMA_VERSION = "0.3.0"
RIGHT_OR_WRONG = "retrieval"
RANGES = {
    **dict.fromkeys(("edit_recovery", "ssim", "clip_direction", "clip_image"), (-1.0, 1.0)),
    **dict.fromkeys(("dino_direction", "dino_image"), (-1.0, 1.0)),
    **dict.fromkeys(("mse", "l1", "retrieval", "lpips_to_b", "lpips_to_b_prime"), (0.0, 1.0)),
    "psnr": (0.0, 50.0),
}
LABELS = ("split", "transformation", "family", "kind", "tier")
Relationship = Literal["first_party", "third_party", "collaborative", "other"]


@dataclass(frozen=True)
class Source:
    """Who reports, and on what.

    Attributes:
        organization: Who ran the evaluation.
        model_id: The model, `developer/name`.
        relationship: What the evaluator is to the model's makers.
        dataset: The suite's dataset repository on the hub, where it is there.
        availability: Whether the model's weights are open.
    """

    organization: str
    model_id: str
    relationship: Relationship = "other"
    dataset: str | None = None
    availability: Literal["open_weights", "closed_weights", "unknown"] = "unknown"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.model_id):
            raise InputError(f"{self.model_id!r} is no model's name; give developer/name.")


def write_every_eval_ever(report: Report, source: Source, folder: Path | str) -> list[Path]:
    """Write a report's records under `<folder>/data/<suite>/<developer>/<model>/`, atomically.

    The files' names follow from what they hold, so that a second export of a report replaces the
    first one.

    Args:
        report: The report, with its values by item where records by item are to be written.
        source: Who reports, and on what.
        folder: A clone of the records' repository, or any folder.

    Returns:
        The record, and the records by item where the report has `retrieval` and its items.

    Raises:
        InputError: The report is of a part of the suite or of shuffled pairs, so it is no result.
    """
    check_comparable(report)
    record = aggregate(report, source)
    stable = {k: v for k, v in record.items() if k not in ("retrieved_timestamp", "evaluation_id")}
    digest = hashlib.sha256(canonical_json(stable).encode()).digest()
    name = str(uuid.UUID(bytes=digest[:16], version=4))
    place = f"data/{_plain(report.suite.name)}/{source.model_id}"
    path = Path(folder) / place / f"{name}.json"
    rows = list(instances(report, source, record["evaluation_id"]))
    if not rows:
        write_json(path, record)
        return [path]
    items = path.with_name(f"{name}_samples.jsonl")
    write_atomic(items, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    record["detailed_evaluation_results"] = {
        "format": "jsonl",
        "file_path": f"{place}/{items.name}",
        "hash_algorithm": "sha256",
        "checksum": sha256_file(items),
        "total_rows": len(rows),
    }
    write_json(path, record)
    return [path, items]


def aggregate(report: Report, source: Source, moment: int | None = None) -> dict[str, Any]:
    """The record of a report: a result for every metric in every group.

    Args:
        report: The report.
        source: Who reports, and on what.
        moment: When the record was made, in seconds since 1970; now by default.
    """
    now = str(int(time.time()) if moment is None else moment)
    settings = {
        "track": report.track,
        "prompt_mode": report.prompt_mode,
        "exemplars": str(report.exemplars),
        "seed": str(report.seed),
        "missing": str(report.missing),
        "method_version": str(report.method.version),
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{_plain(report.suite.name)}/{source.model_id}/{now}",
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": f"{report.suite.name} {report.suite.version}",
            "source_type": "evaluation_run",
            "source_organization_name": source.organization,
            "evaluator_relationship": source.relationship,
        },
        "eval_library": {
            "name": "lorweb-bench",
            "version": str(report.environment.get("lorweb-bench", "unknown")),
        },
        "model_info": {
            "name": report.method.name,
            "id": source.model_id,
            "developer": source.model_id.partition("/")[0],
            "additional_details": {
                "deployment_type": "self_deployed",
                "model_availability": source.availability,
            },
        },
        "evaluation_results": [
            _result(report, source, group, metric, score, settings)
            for group, scores in report.scores.items()
            for metric, score in scores.items()
        ],
    }


def _result(
    report: Report,
    source: Source,
    group: str,
    metric: str,
    score: Score,
    settings: dict[str, str],
) -> dict[str, Any]:
    dataset: dict[str, Any] = {"dataset_name": report.suite.name, "source_type": "other"}
    if source.dataset is not None:
        dataset |= {"source_type": "hf_dataset", "hf_repo": source.dataset, "hf_split": "test"}
    dataset["additional_details"] = {
        "version": report.suite.version,
        "fingerprint": report.suite.fingerprint,
    }
    arguments = {"execution_command": report.command} if report.command else {}
    return {
        "evaluation_result_id": f"{group}/{metric}",
        "evaluation_name": f"{report.suite.name}/{group}",
        "source_data": dataset,
        "metric_config": _metric(metric, score),
        "score_details": _score(score),
        "generation_config": {"generation_args": arguments, "additional_details": settings},
    }


def _metric(metric: str, score: Score) -> dict[str, Any]:
    name = metric.partition("[")[0]
    config: dict[str, Any] = {
        "metric_id": metric,
        "metric_name": name,
        "lower_is_better": not score.higher_is_better,
    }
    if name in RANGES:
        low, high = RANGES[name]
        config |= {"score_type": "continuous", "min_score": low, "max_score": high}
    return config


def _score(score: Score) -> dict[str, Any]:
    uncertainty: dict[str, Any] = {"num_samples": score.samples}
    if score.ci_low is not None and score.ci_high is not None:
        uncertainty["confidence_interval"] = {
            "lower": score.ci_low,
            "upper": score.ci_high,
            "confidence_level": CONFIDENCE,
            "method": "two-way bootstrap over families and sources of b",
        }
    details = {
        "transformations": str(score.transformations),
        "mean": "over the transformations of a tier, then over tiers",
    }
    return {"score": score.mean, "details": details, "uncertainty": uncertainty}


def instances(report: Report, source: Source, evaluation_id: str) -> Iterator[dict[str, Any]]:
    """A record for each item: whether the truth was the nearest of its candidates.

    None where the report has no `retrieval`, or was opened without its values by item.
    """
    table = report.per_sample
    metric = next((m for m in report.metrics if m.partition("[")[0] == RIGHT_OR_WRONG), None)
    if table is None or metric is None or metric not in table:
        return
    others = [m for m in report.metrics if m != metric and m in table]
    for row in range(len(table["key"])):
        key, value = str(table["key"][row]), float(table[metric][row])
        split, truth = str(table["split"][row]), str(table["transformation"][row])
        raw = f"{report.suite.name} {report.suite.version}, item {key}: images a, a_prime and b"
        yield {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": evaluation_id,
            "model_id": source.model_id,
            "evaluation_name": f"{report.suite.name}/{split}",
            "evaluation_result_id": f"{split}/{metric}",
            "sample_id": key,
            "sample_hash": hashlib.sha256((raw + truth).encode()).hexdigest(),
            "interaction_type": "single_turn",
            "input": {"raw": raw, "reference": [truth]},
            "output": {"raw": [f"image {key}"]},
            "answer_attribution": [],
            "evaluation": {"score": value, "is_correct": value == 1.0},
            "metadata": {
                **{label: str(table[label][row]) for label in LABELS if label in table},
                **{name: f"{float(table[name][row]):.6g}" for name in others},
                "is_correct": "b_prime is nearer to the answer than all other candidates",
            },
        }


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
