"""The files of an oracle: every item's bounds, their means by group, and a page.

Three gaps add up to what is lost against a LoRA made for one transformation alone:

router gap = hull - router, simplex gap = span - hull, span gap = LoRA - span.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lorweb_bench.compare.tables import write_csv
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.reports.html import write_page
from lorweb_bench.runtime.files import (
    canonical_json,
    claim_output,
    finish_output,
    only_run,
    read_json,
    sha256_file,
    write_json,
)
from lorweb_bench.runtime.progress import track
from lorweb_bench.stats.aggregate import summarise
from reference_model.analysis.oracle import LEAST_PAIRS, Oracle, Settings, open_oracle
from reference_model.checkpoints.checkpoint import checkpoint_folder, read_config

FORMAT = "lorweb-bench/oracle"
# Each gap with the bound above it and what stands below, by the kind of a checkpoint.
GAPS: dict[str, dict[str, tuple[str, str]]] = {
    "lorweb": {
        "router_gap": ("hull", "router"),
        "simplex_gap": ("span", "hull"),
        "span_gap": ("lora", "span"),
    },
    "token-control": {"router_gap": ("tokens", "router"), "token_gap": ("lora", "tokens")},
    "delta-tokens": {"router_gap": ("tokens", "router"), "token_gap": ("lora", "tokens")},
    "single-lora": {"router_gap": ("lora", "router")},
}
WORDS = {
    "router": "what the checkpoint gives by itself",
    "hull": "best mix that its router could give",
    "span": "best mix of any real coefficients",
    "tokens": "best tokens",
    "prompt": "the bare base, told in words",
    "lora_element": "a fresh LoRA of one element's rank, alone on the base",
    "lora": "a fresh LoRA of the whole rank, alone on the base",
    "router_gap": "lost by the router",
    "simplex_gap": "lost by mixing positively",
    "span_gap": "lost by the basis",
    "token_gap": "lost by tokens",
}


def write_oracle(
    checkpoint: Path, suite_path: Path, out: Path, settings: Settings
) -> Iterator[str]:
    """Compute what is reachable and write `oracle.json`, `oracle.csv` and `index.html`.

    Each transformation's scores are kept as they come, in `transformations/`; the same command goes
    on where a run was stopped. Yields what to tell the user.
    """
    folder = checkpoint_folder(checkpoint)
    read_config(folder)
    identity = _identity(folder, open_suite(suite_path), settings)
    manifest = out / "oracle.json"
    if manifest.is_file():
        held = read_json(manifest)
        if not isinstance(held, dict) or held.get("identity") != identity:
            raise InputError(
                f"{out} holds something else, or an oracle of another checkpoint, suite or "
                "settings; name another folder with -o"
            )
        yield from table_lines(held)
        return
    oracle = open_oracle(checkpoint, suite_path, settings)
    claim_output(out, FORMAT, identity)
    with only_run(out):
        rows, left_out = _work_through(oracle, out / "transformations")
        if not rows:
            raise InputError(
                f"{suite_path}: no task has pairs of {LEAST_PAIRS} photographs to learn from, and "
                "no library runs its transformations"
            )
        content = _content(oracle, rows, left_out, identity)
        write_csv(out / "oracle.csv", rows)
        _write_page(out / "index.html", content)
        write_json(manifest, content)
        finish_output(out)
    yield from table_lines(content)


def _identity(folder: Path, suite: Dataset, settings: Settings) -> str:
    files = sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors"))
    digests = [(path.name, sha256_file(path)) for path in files]
    about = [digests, suite.fingerprint, suite.manifest.targets_fingerprint, vars(settings)]
    return hashlib.sha256(canonical_json(about).encode()).hexdigest()


def _work_through(oracle: Oracle, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for every item, by transformation; and the transformations without examples."""
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    for name in track(oracle.items, len(oracle.items), "searching what is reachable"):
        path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.json"
        if not path.is_file():
            write_json(path, {"transformation": name, "scores": oracle.scores(name)})
        scores = read_json(path)["scores"]
        if scores is None:
            left_out.append(name)
            continue
        for number, item in enumerate(oracle.items[name]):
            values = {bound: of_items[number] for bound, of_items in scores.items()}
            rows.append(_row(oracle, item, values))
    return _in_common(rows), left_out


def _in_common(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the columns that all of them have: not every task is told in words."""
    common = set.intersection(*map(set, rows)) if rows else set()
    kept = []
    for row in rows:
        kept.append({name: row[name] for name in row if name in common})
    return kept


def _row(oracle: Oracle, item: Quadruplet, values: Mapping[str, float]) -> dict[str, Any]:
    record = item.record
    split = "seen" if (record.tier or "").startswith("seen") else "unseen"
    gaps = {}
    for gap, (upper, lower) in GAPS[oracle.config.adapter.kind].items():
        gaps[gap] = values[upper] - values[lower]
    labels = record.model_dump(
        include={"transformation", "family", "kind", "tier", "a_source", "b_source"}
    )
    return {"key": item.key, "split": split, **labels, "hard": bool(record.hard), **values, **gaps}


def _content(
    oracle: Oracle, rows: Sequence[Mapping[str, Any]], left_out: Sequence[str], identity: str
) -> dict[str, Any]:
    """What `oracle.json` holds."""
    measured = [name for name in WORDS if name in rows[0]]
    table = {}
    for column in rows[0]:
        table[column] = np.array([row[column] for row in rows])
    summary = summarise(table, measured)
    groups = {name: of for name, of in summary.items() if "/" not in name and "_hard" not in name}
    by_transformation = {}
    for name in sorted({str(row["transformation"]) for row in rows}):
        members = [row for row in rows if row["transformation"] == name]
        means = {}
        for column in measured:
            means[column] = float(np.mean([row[column] for row in members]))
        by_transformation[name] = {"tier": members[0]["tier"], "items": len(members), **means}
    return {
        "format": FORMAT,
        "format_version": 1,
        "identity": identity,
        "checkpoint": {"name": oracle.config.name, "kind": oracle.config.adapter.kind},
        "suite": {
            "name": oracle.suite.name,
            "version": oracle.suite.version,
            "fingerprint": oracle.suite.fingerprint,
        },
        "settings": vars(oracle.settings),
        "metric": "edit_recovery",
        "words": {name: WORDS[name] for name in measured},
        "groups": groups,
        "transformations": by_transformation,
        "left_out": list(left_out),
    }


def table_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """The groups of an oracle as lines for a terminal."""
    names = list(content["words"])
    suite = content["suite"]
    yield f"{content['checkpoint']['name']} on {suite['name']} {suite['version']}, edit_recovery"
    yield f"{'':18}" + "".join(f"{name:>14}" for name in names)
    for group, scores in content["groups"].items():
        cells = [f"{scores[name]['mean']:14.3f}" for name in names]
        yield f"{group:18}" + "".join(cells)
    for name in content["left_out"]:
        yield f"left out, too few pairs: {name}"


def _write_page(path: Path, content: Mapping[str, Any]) -> None:
    suite = content["suite"]
    bounds = [name for name in content["words"] if not name.endswith("_gap")]
    gaps = [name for name in content["words"] if name.endswith("_gap")]
    write_page(
        path,
        "oracle.html.j2",
        package="reference_model",
        folder="analysis/page",
        title=f"What is reachable: {content['checkpoint']['name']}",
        kicker="Oracle",
        lead=f"edit_recovery on {suite['name']} {suite['version']}",
        footer=f"lorweb-bench oracle, suite {suite['fingerprint'][:12]}. "
        "This page needs no network.",
        content=content,
        bounds=bounds,
        gaps=gaps,
    )
