"""Repositories on the hub: `hub:owner/name@revision` where a folder can stand, and uploads.

Files come into the cache of `huggingface_hub`, whose variables hold here too: `HF_HOME`,
`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`. Nothing that comes from a repository is run.
"""

import contextlib
import glob
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.extras import pip_line

PREFIX = "hub:"
NAME = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
Kind = Literal["dataset", "model"]
# What is fetched of a repository: of a checkpoint never code, of a dataset not its Parquet view.
FETCHED: dict[str, dict[str, list[str]]] = {
    "model": {"allow_patterns": ["*.json", "*.safetensors", "README.md"]},
    "dataset": {"ignore_patterns": ["parquet/*", "*.py"]},
}


@dataclass(frozen=True)
class Repository:
    """A repository on the hub: `owner/name`, and a branch, tag or commit (None: the main one)."""

    name: str
    revision: str | None = None

    def __str__(self) -> str:
        return PREFIX + self.name + (f"@{self.revision}" if self.revision else "")


def is_hub_name(name: str | Path) -> bool:
    """Whether a folder is named as a repository on the hub.

    >>> is_hub_name("hub:owner/photos@v1"), is_hub_name("suites/photos")
    (True, False)
    """
    return str(name).startswith(PREFIX)


def parse_name(name: str | Path) -> Repository:
    """The repository that `hub:owner/name@revision` names.

    Raises:
        InputError: It is no such name.

    >>> parse_name("hub:owner/photos@v1")
    Repository(name='owner/photos', revision='v1')
    """
    match = NAME.fullmatch(str(name))
    if match is None:
        raise InputError(
            f"{name} is no repository on the hub; write hub:owner/name or hub:owner/name@revision."
        )
    return Repository(match[1], match[2])


def local_folder(name: str | Path, kind: Kind) -> Path:
    """The folder that a name stands for; of a repository on the hub, its files in the cache.

    A name without `hub:` is a folder's own. Files that are in the cache are not fetched again.

    Args:
        name: A folder, or `hub:owner/name@revision`.
        kind: What sort of repository it is.

    Raises:
        InputError: There is no such repository or revision, it may not be read, or the hub cannot
            be reached.
    """
    if not is_hub_name(name):
        return Path(name)
    repository = parse_name(name)
    with told(repository, "read"):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            repository.name, repo_type=kind, revision=repository.revision, **FETCHED[kind]
        )
    return Path(folder)


def fetch_file(repository: Repository, kind: Kind, file: str) -> tuple[Path, str]:
    """One file of a repository, in the cache, and the commit that the revision stands for.

    Raises:
        InputError: As of `local_folder`; also where the repository has no such file.
    """
    with told(repository, "read"):
        from huggingface_hub import HfApi, hf_hub_download

        commit = (
            HfApi().repo_info(repository.name, repo_type=kind, revision=repository.revision).sha
        )
        path = hf_hub_download(repository.name, file, repo_type=kind, revision=commit)
    return Path(path), str(commit)


@dataclass(frozen=True)
class Upload:
    """What goes to the hub.

    Attributes:
        folder: The folder that the files lie in.
        files: Names relative to the folder, each with its size in bytes.
    """

    folder: Path
    files: tuple[tuple[str, int], ...]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(size for _, size in self.files)

    def lines(self, repo: str, kind: Kind, public: bool) -> Iterator[str]:
        """What a dry run prints: each file with its size, and the sum."""
        for name, size in self.files:
            yield f"{size:>15,}  {name}"
        where = f"{repo}, {'public' if public else 'private'} if it is new"
        yield (
            f"{self.bytes:>15,}  bytes in {len(self.files)} files would go to the {kind} "
            f"repository {where}"
        )


def push_files(
    upload: Upload, repo: str, kind: Kind, public: bool = False, revision: str | None = None
) -> str:
    """Upload files to a repository on the hub.

    Nothing else that lies in the folder goes, and nothing in the repository is deleted. After an
    upload that was stopped the same call goes on: files that are there already are not sent again.

    Args:
        upload: What goes.
        repo: The repository, `owner/name`; it is made where there is none.
        kind: What sort of repository it is.
        public: Whether a new repository is public.
        revision: The branch to push to, which is made where there is none.

    Returns:
        The repository's address.

    Raises:
        InputError: huggingface_hub is not installed, or the hub refuses, in its words.
    """
    with told(Repository(repo), "write"):
        from huggingface_hub import HfApi

        api = HfApi()
        api.create_repo(repo, repo_type=kind, private=not public, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, repo_type=kind, exist_ok=True)
        done: Any = api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=upload.folder,
            allow_patterns=[glob.escape(name) for name, _ in upload.files],
            revision=revision,
            commit_message="lorweb-bench push",
        )
    return str(done.repo_url)


@contextlib.contextmanager
def told(repository: Repository, what: Literal["read", "write"]) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into an InputError of one sentence.

    Args:
        repository: What the block reads or writes.
        what: Which of the two.
    """
    try:
        from huggingface_hub import errors
    except ImportError:
        raise InputError(
            f"{repository} needs huggingface_hub, which is not installed: {pip_line('hub')}."
        ) from None
    login = f"`hf auth login` with a token that may {what} it"
    try:
        yield
    except errors.HFValidationError as error:
        reason = str(error).strip().rstrip(".")
        raise InputError(
            f"{repository.name!r} is no repository of the hub ({reason}); give owner/name."
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(
            f"{repository}: the repository is there, but no such branch, tag or commit."
        ) from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise _unreachable(repository, error) from None
        raise InputError(f"{repository} has no such file ({_reason(error)}).") from None
    except errors.GatedRepoError:
        raise InputError(
            f"{repository} is gated: ask for access on its page, then {login}."
        ) from None
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"{repository}: there is no such repository, or none that you may see "
            f"({_reason(error)}); look at the name, or {login}."
        ) from None
    except errors.HfHubHTTPError as error:
        raise InputError(f"The hub refuses {repository}: {_reason(error)}; {login}.") from error
    except _connection_errors() as error:
        raise _unreachable(repository, error, stopped=what == "write") from error


def _connection_errors() -> tuple[type[Exception], ...]:
    """What the client raises where there is no network, or it goes away.

    Versions of the client differ in the library that they rest on.
    """
    loaded = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, *(module.TransportError for module in loaded))


def _unreachable(repository: Repository, error: Exception, stopped: bool = False) -> InputError:
    if stopped:
        return InputError(
            f"The hub cannot be reached for {repository} ({_reason(error)}); run the same command "
            "again, it goes on where it stopped; --dry-run needs no network."
        )
    return InputError(
        f"{repository} is not in the cache and the hub cannot be reached ({_reason(error)}); "
        "name a folder, or try again with a network."
    )


def _reason(error: Exception) -> str:
    """The last line of an error, which is the hub's own."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].strip().rstrip(".")
