"""The dataset card: a README.md that the hub, `datasets.load_dataset` and people read."""

from collections.abc import Collection, Mapping
from typing import Any

from lorweb_bench.data.manifest import Manifest
from lorweb_bench.runtime.yaml_files import parse_yaml, to_yaml

MAX_CREDITS = 200
PAPER = "https://arxiv.org/abs/2602.15727"
# Licences that the hub has an identifier for, among those that images come with.
HUB_LICENCES = (
    *("cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0"),
    *("cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-2.0"),
    *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "apache-2.0"),
    *("mit", "bsd-2-clause", "bsd-3-clause", "pddl", "odbl", "unlicense"),
)
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))
TRAINING_USE = (
    "For training methods that complete visual analogies, and for choosing among their checkpoints "
    "(`dev`). Scores are taken on a suite, never on this data."
)
SUITE_USE = (
    "For scoring methods that complete visual analogies. It is no training data: a method that was "
    "trained on it, or on its answers, has no score on it. This line marks the text as of a "
    "benchmark:"
)
LIMITS = (
    "What is measured is how well a method carries an edit over from one pair of images to another "
    "image, on the transformations and images that are here. It says nothing of edits of another "
    "kind, of larger images, or of whether an image pleases. The photographs show what their "
    "photographers chose to show."
)
COLUMNS = "## Columns"


def card(manifest: Manifest, credits: Collection[tuple[str, str]] = ()) -> str:
    """The card as Markdown with YAML front matter, in the hub's form.

    It depends on the manifest and the credits alone, so it is the same in every build.

    Args:
        manifest: What the card describes.
        credits: Pairs of a licence and an attribution.
    """
    title = f"{manifest.name} {manifest.version}"
    lines = ["---", to_yaml(_front_matter(manifest, credits)).rstrip(), "---", "", f"# {title}", ""]
    lines += [*_about(manifest), "", *_contents(manifest), ""]
    lines += ["## Intended use", "", SUITE_USE if manifest.canary else TRAINING_USE, ""]
    if manifest.canary:
        lines += [f"    {manifest.canary}", ""]
    lines += ["## Limits", "", LIMITS, "", "## Licences", "", *_licences(credits)]
    return "\n".join(lines) + "\n"


def with_view(text: str, manifest: Manifest, columns: Mapping[str, str]) -> str:
    """A card that names the Parquet view in place of the shards, as what `load_dataset` reads.

    Args:
        text: The card, with or without a view.
        manifest: What it describes.
        columns: The view's columns with their types: `image`, `string`, `int64` or `bool`.
    """
    _, front, body = text.split("---\n", 2)
    matter = parse_yaml(front)
    files = [{"split": split, "path": f"parquet/{split}/*.parquet"} for split in manifest.splits]
    matter["configs"] = [{"config_name": "default", "data_files": files}]
    matter["dataset_info"] = {
        "config_name": "default",
        "features": [{"name": name, "dtype": kind} for name, kind in columns.items()],
    }
    if f"\n{COLUMNS}\n" not in body:
        named = ", ".join(f"`{name}`" for name in columns)
        section = (
            f"{COLUMNS}\n\n{named}.\n\nThe same samples lie beside them as WebDataset shards, "
            "`<split>/*.tar`, for training and for `lorweb-bench`."
        )
        body = body.replace("\n## Intended use\n", f"\n{section}\n\n## Intended use\n", 1)
    return f"---\n{to_yaml(matter).rstrip()}\n---\n{body}"


def _front_matter(manifest: Manifest, credits: Collection[tuple[str, str]]) -> dict[str, Any]:
    """The header that the hub reads; it lists the tars of each split, not their sidecars."""
    data_files = [{"split": split, "path": f"{split}/*.tar"} for split in manifest.splits]
    samples = sum(info.samples for info in manifest.splits.values())
    return {
        "pretty_name": f"{manifest.name} {manifest.version}",
        "license": hub_licence(credits),
        "language": ["en"],
        "tags": ["visual-analogy", "image-editing", "webdataset", "lorweb-bench"],
        "task_categories": ["image-to-image"],
        "size_categories": [next((name for size, name in SIZES if samples < size), "n>1M")],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }


def hub_licence(credits: Collection[tuple[str, str]]) -> str | list[str]:
    """The hub's identifiers of all licences, or "other" where it has none for one of them."""
    licences = sorted({licence.strip().lower() for licence, _ in credits})
    if not licences or not set(licences) <= set(HUB_LICENCES):
        return "other"
    return licences[0] if len(licences) == 1 else licences


def _about(manifest: Manifest) -> list[str]:
    public = manifest.view == "public"
    bare = public or manifest.answers is False
    roles = "`a`, `a_prime` and `b`" if bare else "`a`, `a_prime`, `b` and `b_prime`"
    lines = [
        f"Visual analogies, a : a' :: b : b'. Each sample holds {roles}, and a JSON record. "
        f"The task is that of [LoRWeB]({PAPER}): see how `a` became `a_prime`, and do the same to "
        "`b`.",
    ]
    if public:
        lines += [
            "",
            "This is the public view of a suite: without answers, "
            "and in an order that says nothing.",
        ]
    return lines


def _contents(manifest: Manifest) -> list[str]:
    lines = ["| split | samples | shards |", "|---|---|---|"]
    for split, info in manifest.splits.items():
        lines.append(f"| {split} | {info.samples} | {len(info.shards)} |")
    first = next(iter(manifest.splits))
    base = [f"Declared base: {manifest.base_words}.", ""] if manifest.base_words else []
    return [
        *lines,
        "",
        f"Fingerprint: `{manifest.fingerprint}`",
        "",
        *base,
        "```python",
        "from datasets import load_dataset",
        "",
        f'samples = load_dataset("path/to/this/folder", split="{first}")',
        "```",
    ]


def _licences(credits: Collection[tuple[str, str]]) -> list[str]:
    if not credits:
        return ["None stated."]
    if len(credits) <= MAX_CREDITS:
        return [_credit(licence, attribution) for licence, attribution in sorted(credits)]
    licences = {licence for licence, _ in credits}
    lines = [_credit(licence, "") for licence in sorted(licences)]
    more = f"More than {MAX_CREDITS} attributions; each sample's record has its own."
    return [*lines, "", more]


def _credit(licence: str, attribution: str) -> str:
    by = f": {_plain(attribution)}" if attribution else ""
    return f"- {_plain(licence) or 'no licence stated'}{by}"


def _plain(words: str) -> str:
    """Somebody's words in one line, and no markup."""
    return " ".join(words.split()).replace("<", "&lt;")
