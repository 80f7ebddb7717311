"""The dataset card: a README.md that the hub, `datasets.load_dataset` and people read."""

from collections.abc import Collection

from lorweb_bench.data.manifest import Manifest
from lorweb_bench.runtime.yaml_files import to_yaml

MAX_CREDITS = 200


def card(manifest: Manifest, credits: Collection[tuple[str, str]] = ()) -> str:
    """The card as Markdown with YAML front matter, which lists the tars of each split.

    It depends on the manifest and the credits alone, so it is the same in every build.

    Args:
        manifest: What the card describes.
        credits: Pairs of a licence and an attribution.
    """
    data_files = [{"split": split, "path": f"{split}/*.tar"} for split in manifest.splits]
    front = {
        "pretty_name": f"{manifest.name} {manifest.version}",
        "license": "other",
        "tags": ["visual-analogy", "image-editing", "webdataset", "lorweb-bench"],
        "task_categories": ["image-to-image"],
        "configs": [{"config_name": "default", "data_files": data_files}],
    }
    lines = [
        "---",
        to_yaml(front).rstrip(),
        "---",
        "",
        f"# {manifest.name} {manifest.version}",
        "",
    ]
    roles = (
        "`a`, `a_prime` and `b`"
        if manifest.view == "public"
        else "`a`, `a_prime`, `b` and `b_prime`"
    )
    lines += [
        f"Visual analogies, a : a' :: b : b'. Each sample holds {roles}, and a JSON record.",
        "",
    ]
    if manifest.view == "public":
        lines += [
            "This is the public view of a suite: without answers, "
            "and in an order that says nothing.",
            "",
        ]
    lines += ["| split | samples | shards |", "|---|---|---|"]
    lines += [
        f"| {split} | {info.samples} | {len(info.shards)} |"
        for split, info in manifest.splits.items()
    ]
    lines += [
        "",
        f"Fingerprint: `{manifest.fingerprint}`",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
    ]
    first = next(iter(manifest.splits))
    lines += [
        f'samples = load_dataset("path/to/this/folder", split="{first}")',
        "```",
        "",
        "## Licences",
        "",
    ]
    if not credits:
        lines.append("None stated.")
    elif len(credits) > MAX_CREDITS:
        lines += [
            f"- {licence or 'no licence stated'}"
            for licence in sorted({_plain(licence) for licence, _ in credits})
        ]
        lines += ["", f"More than {MAX_CREDITS} attributions; each sample's record has its own."]
    else:
        lines += [
            f"- {_plain(licence) or 'no licence stated'}{f': {_plain(by)}' if by else ''}"
            for licence, by in sorted(credits)
        ]
    return "\n".join(lines) + "\n"


def _plain(words: str) -> str:
    """Somebody's words in one line, and no markup."""
    return " ".join(words.split()).replace("<", "&lt;")
