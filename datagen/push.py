"""Putting a dataset on the hub: its manifest, card, shards and sidecars, once they are checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorweb_bench.data.dataset import Dataset, open_dataset
from lorweb_bench.data.manifest import MANIFEST, ShardEntry
from lorweb_bench.data.parquet_view import check_view, has_view, view_path
from lorweb_bench.errors import InputError
from lorweb_bench.runtime.progress import track

CARD = "README.md"


@dataclass(frozen=True)
class Upload:
    """What goes to the hub.

    Attributes:
        folder: The dataset's folder.
        files: Names relative to the folder, each with its size in bytes.
    """

    folder: Path
    files: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(size for _, size in self.files)


def collect_upload(path: Path | str) -> Upload:
    """List the files of a finished dataset, each shard compared with the manifest.

    A Parquet view goes too, once its rows are compared with the shards.

    Raises:
        InputError: A file is missing or damaged.
    """
    dataset = open_dataset(path)
    names = [MANIFEST, CARD]
    shards: list[ShardEntry] = []
    for split in dataset.splits:
        shards += dataset.split(split).shards
    for entry in track(shards, len(shards), "checking shards"):
        dataset.check_shard(entry)
        names += [entry.path, str(Path(entry.path).with_suffix(".json"))]
    if has_view(dataset):
        check_view(dataset)
        names += [str(view_path(dataset, entry).relative_to(dataset.path)) for entry in shards]
    return Upload(dataset.path, tuple((name, _size(dataset, name)) for name in names))


def _size(dataset: Dataset, name: str) -> int:
    file = dataset.path / name
    if not file.is_file():
        raise InputError(
            f"{file} is missing; build the dataset again, or take the file from where the others "
            "came from."
        )
    return file.stat().st_size


def push(upload: Upload, repo: str, public: bool = False, revision: str | None = None) -> str:
    """Upload a dataset to a dataset repository on the hub.

    Nothing else that lies in the folder goes, and nothing in the repository is deleted.

    Args:
        upload: What goes.
        repo: The repository, `owner/name`; it is made where there is none.
        public: Whether a new repository is public.
        revision: The branch to push to.

    Returns:
        The repository's address.

    Raises:
        InputError: huggingface_hub is not installed, or the hub refuses, in its words.
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
            allow_patterns=_as_patterns([name for name, _ in upload.files]),
            revision=revision,
            commit_message="lorweb-bench datagen push",
        )
    except HFValidationError as e:
        raise InputError(f"{repo!r} is no repository of the hub ({e}); give owner/name.") from None
    except HfHubHTTPError as e:
        why = str(e).strip().splitlines()[-1]
        raise InputError(
            f"The hub refuses {repo}: {why}; `hf auth login` with a token that may write."
        ) from e
    except OSError as e:  # no network: httpx and the operating system's own errors
        raise InputError(f"The hub cannot be reached ({e}); --dry-run needs no network.") from e
    return str(done.repo_url.url)


def _as_patterns(names: Sequence[str]) -> list[str]:
    """Names as the hub's patterns: none of ours has a sign that means something there."""
    assert not set("".join(names)) & set("*?[")
    return list(names)
