"""Weights that metrics need and this project does not ship: where they lie, and what to do where
they do not.
"""

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import sha256_file


def lacks_packages(names: Sequence[str]) -> str | None:
    """Which of these modules are not installed, and how to install them, or None where all are."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return (
        f"{' and '.join(missing)} not installed, pip install 'lorweb-bench[model,metrics]'"
        if missing
        else None
    )


def own_file(named: str) -> Path | None:
    """The weights' file that a metric's argument names, a `.safetensors`, or None where it names
    published weights.

    InputError where the file is not there, or where it is of a format that could run code on
    loading.
    """
    path = Path(named)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"The weights {path} do not exist.")
        return path.resolve()
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise InputError(f"The weights {path} are no safetensors; save them as safetensors first.")
    return None


def absolute_spec(spec: str) -> str:
    """NETWORK/FILE with the file's absolute path: another process may have another working folder.

    Other names as they are.
    """
    network, _, named = spec.partition("/")
    file = own_file(named)
    return f"{network}/{file}" if file else spec


@lru_cache(maxsize=16)
def digest(path: Path) -> str:
    """The sha256 of a weights' file, in hex; read once a process."""
    return sha256_file(path)


def short_digest(path: Path) -> str:
    """What an identity calls a weights' file of one's own: it tells two files apart, whatever they
    are called.
    """
    return f"sha256-{digest(path)[:12]}"


def device() -> str:
    """Where metrics with weights are computed: on a GPU where PyTorch sees one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
