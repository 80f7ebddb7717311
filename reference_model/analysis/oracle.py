"""What is reachable on each transformation of a suite, and where a checkpoint loses it.

For each transformation one mix in the hull, one in the span, one set of tokens and a fresh LoRA are
fitted on other pictures that the transformation was run on, then scored on the suite's items,
beside what the router gives and the base told in words. Three gaps add up to what is lost against a
LoRA made for that transformation alone:

router gap = hull - router, simplex gap = span - hull, span gap = LoRA - span.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lorweb_bench.compare.tables import write_csv
from lorweb_bench.data.dataset import Dataset, open_suite
from lorweb_bench.data.samples import Quadruplet
from lorweb_bench.errors import InputError
from lorweb_bench.metrics.edit_recovery import edit_recovery
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
from reference_model.checkpoints.checkpoint import checkpoint_folder, load_checkpoint, read_config
from reference_model.config import TrainConfig
from reference_model.fitting.adaptation import Adaptation, routed
from reference_model.fitting.reachable import (
    Bound,
    Examples,
    TaskMaker,
    analogies,
    edits,
    reach,
)
from reference_model.fitting.spaces import Space, Span, Tokens, fresh_lora, hull_of
from reference_model.method import best_device
from reference_model.model.adapter import Adapter
from reference_model.model.grid_layout import TokenSequence, context_sequence
from reference_model.model.panels import (
    decode_answer,
    encode_context,
    encode_negative,
    encode_words,
)
from reference_model.model.working_size import working_size
from reference_model.sampling import sample

FORMAT = "lorweb-bench/oracle"
LEAST_PAIRS = 2  # of one task, where no library can run it on other pictures
FREE_TOKENS = 4  # tokens searched for on the bare base
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


@dataclass(frozen=True)
class Settings:
    """How an oracle is computed.

    Attributes:
        steps: steps of each search.
        batch: analogies in each of them.
        examples: pictures that each transformation is run on.
        transformations: of each tier, at most so many; None for all.
        seed: seed of all choices and noise.
    """

    steps: int = 60
    batch: int = 8
    examples: int = 160
    transformations: int | None = None
    seed: int = 0


@dataclass
class Oracle:
    """A checkpoint, a suite and what both share while transformations are worked through."""

    adapter: Adapter
    config: TrainConfig
    suite: Dataset
    settings: Settings

    @cached_property
    def items(self) -> dict[str, list[Quadruplet]]:
        """The suite's items by transformation, at most so many transformations of each tier."""
        by_name: dict[str, list[Quadruplet]] = {}
        for split in self.suite.scored_splits:
            for item in self.suite.quadruplets(split):
                by_name.setdefault(item.record.transformation, []).append(item)
        count_of_tier: dict[str | None, int] = {}
        chosen = {}
        for name, items in sorted(by_name.items(), key=lambda entry: _order(entry[0])):
            tier = items[0].record.tier
            count_of_tier[tier] = count_of_tier.get(tier, 0) + 1
            if count_of_tier[tier] <= (self.settings.transformations or len(by_name)):
                chosen[name] = items
        return dict(sorted(chosen.items()))

    @cached_property
    def pictures(self) -> list[np.ndarray]:
        """Pictures to run a transformation on: the suite's a, none of which is a b."""
        by_source: dict[str, np.ndarray] = {}
        for split in self.suite.scored_splits:
            for item in self.suite.quadruplets(split):
                by_source.setdefault(item.record.a_source or item.key, np.asarray(item.a))
        order = sorted(by_source, key=_order)
        return [by_source[name] for name in order[: self.settings.examples]]

    def examples(self, name: str) -> Examples | None:
        """Pictures before and after a transformation.

        Without a library that runs it they are the pairs of its own items; None where these are too
        few.
        """
        first = self.items[name][0]
        size = working_size(self.config).panel(first.a, first.b)
        info = self.suite.manifest.transformations[name]
        if self.suite.manifest.transformation_library and info.deterministic:
            library = self.suite.library()
            before = self.pictures
            after = [library.apply(info.spec, image) for image in before]
        else:
            pairs = {item.record.a_source or item.key: item for item in self.items[name]}
            if len(pairs) < LEAST_PAIRS:
                return None
            before = [np.asarray(item.a) for item in pairs.values()]
            after = [np.asarray(item.a_prime) for item in pairs.values()]
        return Examples(self._tensor(before, size), self._tensor(after, size))

    def _tensor(self, images: Sequence[np.ndarray], size: tuple[int, int]) -> Tensor:
        from lorweb_bench.data.images import to_image

        sizes = working_size(self.config)
        return sizes.tensor([to_image(image) for image in images], size, best_device())

    def scores(self, name: str) -> dict[str, Any] | None:
        """Each bound's edit_recovery on each item of a transformation; None without examples."""
        examples = self.examples(name)
        if examples is None:
            return None
        items = self.items[name]
        sizes, device = working_size(self.config), best_device()
        size = sizes.panel(items[0].a, items[0].b)
        a = sizes.tensor([item.a for item in items], size, device)
        a_prime = sizes.tensor([item.a_prime for item in items], size, device)
        b = sizes.tensor([item.b for item in items], size, device)
        start = routed(self.adapter, [(a, a_prime)], b)
        predictions = {"router": self._predict((a, a_prime, b), start, "")}
        instruction = items[0].record.instruction
        if instruction:
            bare = Adaptation.none(self.adapter, len(items))
            predictions["prompt"] = self._edit(b, bare, instruction)
        for bound, (space, make, alone) in self._searches(start, examples).items():
            layout = "edit" if alone else self.config.layout
            config = self.config.model_copy(update={"layout": layout})
            limits = Bound(self.settings.steps, self.settings.batch, self.settings.seed)
            reached = reach(self.adapter, config, limits, space, make, len(examples))
            adaptation = reached.repeated(len(items))
            predictions[bound] = (
                self._edit(b, adaptation, "")
                if alone
                else self._predict((a, a_prime, b), adaptation, "")
            )
        scores = {}
        for bound, images in predictions.items():
            scores[bound] = [
                edit_recovery(_resized(image, item), np.asarray(item.b), np.asarray(item.b_prime))
                for image, item in zip(images, items, strict=True)
            ]
        return scores

    def _searches(
        self, start: Adaptation, examples: Examples
    ) -> dict[str, tuple[Space, TaskMaker, bool]]:
        """By bound its space, its tasks, and whether the bare base does it without a pair."""
        adapter, settings = self.adapter, self.config.adapter
        tasks, alone = analogies(adapter, self.config, examples), edits(adapter, examples)
        bare = Adaptation.none(adapter, 1)
        searches: dict[str, tuple[Space, TaskMaker, bool]] = {}
        if start.gates is not None:
            gates = start.gates.mean(0, keepdim=True)
            searches["hull"] = (hull_of(self.config, gates), tasks, False)
            searches["span"] = (Span(gates), tasks, False)
        if start.tokens is not None:
            searches["tokens"] = (Tokens(start.tokens.mean(0, keepdim=True)), tasks, False)
        else:
            searches["tokens"] = (self._free_tokens(bare), alone, True)
        ranks = {"lora_element": settings.rank, "lora": settings.elements * settings.rank}
        for bound, rank in ranks.items():
            if bound == "lora" or settings.elements > 1:
                space = fresh_lora(adapter, rank, 1, bare, self.settings.seed)
                searches[bound] = (space, alone, True)
        return searches

    def _free_tokens(self, bare: Adaptation) -> Tokens:
        """Tokens on the bare base, which begin like those of the empty prompt."""
        with torch.no_grad():
            tokens, _ = self.adapter.base.text_encoder([""])
        start = tokens[:, :1].repeat(1, FREE_TOKENS, 1).float()
        return Tokens(start, gates=bare.gates)

    def _predict(
        self, panels: tuple[Tensor, Tensor, Tensor], adaptation: Adaptation, prompt: str
    ) -> Tensor:
        names = dict(zip(("a", "a_prime", "b"), panels, strict=True))
        with torch.no_grad():
            context = encode_context(self.adapter.base, self.config, names)
        return self._sampled(context, adaptation, prompt, self.config.layout, names)

    def _edit(self, b: Tensor, adaptation: Adaptation, prompt: str) -> Tensor:
        with torch.no_grad():
            context = context_sequence("edit", None, None, self.adapter.base.codec.encode(b))
        return self._sampled(context, adaptation, prompt, "edit", {"b": b})

    @torch.no_grad()
    def _sampled(
        self,
        context: TokenSequence,
        adaptation: Adaptation,
        prompt: str,
        layout: str,
        panels: dict[str, Tensor],
    ) -> Tensor:
        base = self.adapter.base
        seeds = [self.settings.seed + n for n in range(len(panels["b"]))]
        words = adaptation.extend(encode_words(base, layout, [prompt], panels))
        negative = encode_negative(base, layout, panels)
        if negative is not None:
            negative = adaptation.extend(negative)
        with adaptation.on(self.adapter):
            tokens = sample(base, context, words, seeds, base.sampling_steps, negative=negative)
        return decode_answer(base, layout, tokens, context)


def _resized(image: Tensor, item: Quadruplet) -> np.ndarray:
    from lorweb_bench.data.images import resize, to_array

    return to_array(resize(image.permute(1, 2, 0).cpu().numpy(), item.b.size))


def _order(name: str) -> bytes:
    """A fixed order that says nothing."""
    return hashlib.sha256(name.encode()).digest()


def open_oracle(checkpoint: Path, suite_path: Path, settings: Settings) -> Oracle:
    """Open a checkpoint and a suite for an oracle.

    Raises:
        InputError: the suite is a public view, or names no library and has no task with pairs to
            learn from; or the checkpoint is none.
    """
    suite = open_suite(suite_path)
    if suite.public:
        raise InputError(
            f"{suite_path} is a public view, which names no transformations and has no answers; "
            "name the full view"
        )
    folder = checkpoint_folder(checkpoint)
    read_config(folder)
    if suite.manifest.transformation_library is None:
        items: dict[str, int] = {}
        for split in suite.scored_splits:
            for record in suite.records(split):
                items[record.transformation] = items.get(record.transformation, 0) + 1
        if max(items.values(), default=0) < LEAST_PAIRS:
            raise InputError(
                f"{suite_path} names no library that runs its transformations, and no task has "
                f"{LEAST_PAIRS} pairs to learn from; build a suite of more pairs a task"
            )
    else:
        suite.library()
    adapter, config = load_checkpoint(folder)
    return Oracle(adapter.to(best_device()), config, suite, settings)


def write_oracle(
    checkpoint: Path, suite_path: Path, out: Path, settings: Settings
) -> Iterator[str]:
    """Compute what is reachable and write `oracle.json`, `oracle.csv` and `index.html`.

    Each transformation's scores are kept as they come, in `transformations/`; the same command goes
    on where a run was stopped. Yields what to tell the user.
    """
    folder = checkpoint_folder(checkpoint)
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
    return rows, left_out


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
    in_all_rows = set.intersection(*map(set, rows))
    measured = [name for name in WORDS if name in in_all_rows]
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
