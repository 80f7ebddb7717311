"""Putting a dataset on the hub: its manifest, card, shards and sidecars, after each shard was compared with the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import MANIFEST
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import track

CARD = "README.md"


@dataclass(frozen=True)
class Upload:
    """What goes to the hub: files relative to the dataset's folder, each with its bytes."""

    folder: Path
    files: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(size for _, size in self.files)


def what_goes(path: Path | str) -> Upload:
    """The files of a finished dataset, each shard compared with the manifest; InputError for what is missing or damaged."""
    dataset = open_dataset(path)
    shards = [entry for split in dataset.splits for entry in dataset.split(split).shards]
    for entry in track(shards, len(shards), "checking shards"):
        dataset.check_shard(entry)
    names = [
        MANIFEST,
        CARD,
        *(
            name
            for entry in shards
            for name in (entry.path, str(Path(entry.path).with_suffix(".json")))
        ),
    ]
    return Upload(dataset.path, tuple((name, _size(dataset, name)) for name in names))


def _size(dataset: Dataset, name: str) -> int:
    file = dataset.path / name
    if not file.is_file():
        raise InputError(
            f"{file} is missing; build the dataset again, or take the file from where the others came from."
        )
    return file.stat().st_size


def push(upload: Upload, repo: str, public: bool = False, revision: str | None = None) -> str:
    """Upload to the dataset repository `owner/name`, which is made where there is none, private unless `public`; its address.

    Nothing else that lies in the folder goes, and nothing in the repository is deleted. InputError when huggingface_hub is not
    installed, or the hub refuses, in its words.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise InputError(
            "Pushing needs huggingface_hub: pip install 'lorweb-bench[model]'."
        ) from None
    api = HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=upload.folder,
            allow_patterns=_literally([name for name, _ in upload.files]),
            revision=revision,
            commit_message="lorweb-bench datagen push",
        )
    except HFValidationError as e:
        raise InputError(f"{repo!r} is no repository of the hub ({e}); give owner/name.") from None
    except HfHubHTTPError as e:
        raise InputError(
            f"The hub refuses {repo}: {str(e).strip().splitlines()[-1]}; `hf auth login` with a token that may write."
        ) from e
    except OSError as e:  # no network: httpx and the operating system's own errors
        raise InputError(f"The hub cannot be reached ({e}); --dry-run needs no network.") from e
    return str(done.repo_url.url)


def _literally(names: Sequence[str]) -> list[str]:
    """Names as the hub's patterns: none of ours has a sign that means something there."""
    assert not any(sign in name for name in names for sign in "*?[")
    return list(names)
