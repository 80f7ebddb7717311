"""The card of a checkpoint or of a composed LoRA: a README.md that the hub and people read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorweb_bench.data.dataset_card import PAPER
from lorweb_bench.errors import InputError
from lorweb_bench.reports.report import Report, headline_of
from lorweb_bench.runtime.yaml_files import to_yaml
from reference_model.bases.registry import repository_of
from reference_model.checkpoints.checkpoint import read_config

KINDS = {
    "lorweb": "a LoRWeB: a basis of LoRAs and a router that mixes one for each analogy",
    "single-lora": "a single LoRA, the same for every analogy: the paper's baseline",
    "token-control": "a single LoRA that also reads the analogy as tokens beside the prompt",
    "delta-tokens": "a single LoRA that also reads what changed in the pair, as edit tokens",
}
GROUPS = ("unseen", "seen")
LIMITS = (
    "It was measured on the suites above and on nothing else. An edit of a kind that its training "
    "data does not have is a guess. The pictures that it makes are edits of the one it is given: "
    "who uses them answers for that picture's rights and for what the edit says of people in it."
)


def checkpoint_card(
    folder: Path, repo: str, reports: Sequence[Report], licence: str, base_model: str | None = None
) -> str:
    """The card of a checkpoint, from its `config.json` and from reports of it.

    Args:
        folder: The checkpoint's folder.
        repo: The repository that it goes to, `owner/name`.
        reports: What it scored; they go along.
        licence: The hub's identifier of its licence.
        base_model: The base's repository, where the checkpoint names a folder.

    Raises:
        InputError: The folder is no checkpoint, or a report is of another method.
    """
    config = read_config(folder, with_base=False)
    raw = json.loads((folder / "config.json").read_text())
    for report in reports:
        _check_method(report, config.name)
    matter = _front_matter(base_model or repository_of(config.base), licence, "lorweb-bench")
    trained_on = raw.get("training_dataset") or {}
    lines = [f"# {repo.rpartition('/')[2]}", "", f"{_article(config.adapter.kind)}", ""]
    lines += ["## Use", "", "```sh", "pip install 'lorweb-bench[model]'"]
    lines += [f"lorweb-bench apply --model hub:{repo} A A_PRIME B -o b_prime.png", "```", ""]
    lines += ["## Training", "", "| | |", "|---|---|"]
    facts = _facts(raw, trained_on)
    lines += [f"| {name} | {value} |" for name, value in facts.items() if value]
    lines += ["", "## Scores", "", *_scores(reports), "", "## Limits", "", LIMITS]
    return f"---\n{to_yaml(matter).rstrip()}\n---\n\n" + "\n".join(lines) + "\n"


def lora_card(file: Path, header: Mapping[str, str], repo: str, licence: str) -> str:
    """The card of a LoRA that `compose` wrote, from its header."""
    base = header.get("ss_base_model_version", "")
    matter = _front_matter(base if "/" in base else None, licence, "diffusers")
    matter["tags"] = ["lora", *matter["tags"]]
    about = header.get("modelspec.description", "The edit of one pair of pictures.")
    rank = header.get("ss_network_dim", "unknown")
    load = f'pipeline.load_lora_weights("{repo}", weight_name="{file.name}")'
    lines = [
        *(f"# {header.get('modelspec.title', file.stem)}", "", about, ""),
        f"A LoRA of rank {rank} on `{base or 'a base that its header does not name'}`, composed by "
        f"`lorweb-bench compose`; the method is [LoRWeB]({PAPER}).",
        *("", "```python", load, "```"),
    ]
    return f"---\n{to_yaml(matter).rstrip()}\n---\n\n" + "\n".join(lines) + "\n"


def _front_matter(base_model: str | None, licence: str, library: str) -> dict[str, Any]:
    matter: dict[str, Any] = {
        "license": licence,
        "library_name": library,
        "pipeline_tag": "image-to-image",
        "tags": ["visual-analogy", "image-editing", "lorweb-bench"],
    }
    if base_model is not None:
        matter |= {"base_model": base_model, "base_model_relation": "adapter"}
    return matter


def _article(kind: str) -> str:
    return (
        f"This is {KINDS[kind]}. It sees how `a` became `a_prime`, and does the same to `b`; the "
        f"method is [LoRWeB]({PAPER})."
    )


def _facts(raw: Mapping[str, Any], trained_on: Mapping[str, Any]) -> dict[str, Any]:
    adapter, training = raw["adapter"], raw["training"]
    fingerprint = trained_on.get("fingerprint")
    data = f"{trained_on.get('name')} {trained_on.get('version')}" if trained_on else ""
    shape = f"{adapter['elements']} elements of rank {adapter['rank']}, alpha {adapter['alpha']:g}"
    return {
        "base": f"`{raw['base']}`, weights `{str(raw.get('base_sha256', 'not stated'))[:12]}`",
        "adapter": f"{adapter['kind']}, {shape}",
        "trainable weights": f"{raw.get('trainable_parameters', 0):,}",
        "data": data + (f", fingerprint `{fingerprint[:12]}`" if fingerprint else ""),
        "steps": f"{training['steps']:,} of a batch of {training['batch']}",
        "learning rate": training["learning_rate"],
        "seed": str(training["seed"]),
        "panel": f"{raw['panel']} pixels",
        "imported from": raw.get("imported_from"),
    }


def _check_method(report: Report, name: str) -> None:
    if report.method.name not in (name, f"{name}-fit"):
        raise InputError(
            f"A report is of the method {report.method.name!r}, and the checkpoint is {name!r}; "
            "give reports of this checkpoint."
        )


def _scores(reports: Sequence[Report]) -> list[str]:
    """A table of every report's headline; each row names what it depends on."""
    if not reports:
        return ["None stated."]
    lines = ["| suite | method | track, prompt, seed | metric | unseen | seen | report |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for number, report in enumerate(reports):
        headline = headline_of(report.metrics) or "none"
        means = [_mean(report, group, headline) for group in GROUPS]
        suite = f"{report.suite.name} {report.suite.version} `{report.suite.fingerprint[:12]}`"
        mode = f"{report.track}, {report.prompt_mode}, {report.seed}"
        where = f"[report.json]({report_path(number)})"
        cells = [suite, report.method.name, mode, headline, *means, where]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def report_path(number: int) -> str:
    """Where a report lies in the repository."""
    return f"reports/{number}/report.json"


def _mean(report: Report, group: str, metric: str) -> str:
    score = report.scores.get(group, {}).get(metric)
    if score is None:
        return "–"
    if score.ci_low is None or score.ci_high is None:
        return f"{score.mean:.3f}"
    return f"{score.mean:.3f} ({score.ci_low:.3f} to {score.ci_high:.3f})"
