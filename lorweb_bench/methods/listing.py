"""The list of methods: what each does, what it needs, and whether that is there.

Installed methods are not imported: that takes seconds, and the list is wanted where their packages
are missing. What they need is named by the extras of their entry points. The docstring comes from
the source, and so do `weights_repository` (on the model hub) and `gpus`, where a class has them as
plain values in its body.
"""

import ast
import importlib.util
import inspect
import json
import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from lorweb_bench.methods.base import GROUP, TABLE
from lorweb_bench.runtime.extras import missing_for
from lorweb_bench.runtime.plugins import find, installed


@dataclass(frozen=True)
class MethodInfo:
    """A line of the list; `missing` says why the method cannot run here, or is None."""

    name: str
    what: str
    needs: str
    missing: str | None


def list_methods() -> list[MethodInfo]:
    """The built-in methods and the installed ones."""
    lines = []
    for name in TABLE:
        method = find(name, "method", TABLE, GROUP)
        lines.append(MethodInfo(name, _summary(inspect.getdoc(method)), method.needs, None))
    return lines + [_installed(entry) for entry in installed(GROUP, reserved=TABLE).values()]


def _installed(entry: EntryPoint) -> MethodInfo:
    node = _definition(entry)
    if node is None:
        return MethodInfo(entry.name, entry.value, "", f"{entry.module} is not there")
    values = _plain_values(node) if isinstance(node, ast.ClassDef) else {}
    needs = [f"the extra {extra}" for extra in entry.extras]
    lacking = missing_for(entry)
    missing = [lacking] if lacking else []
    if repository := values.get("weights_repository"):
        needs.append(f"the weights {repository}")
        if not weights_there(repository):
            missing.append(f"no weights: hf download {repository}")
    if values.get("gpus"):
        needs.append("a GPU")
        if not gpu_there():
            missing.append("no GPU")
    what = "" if isinstance(node, ast.Module) else _summary(ast.get_docstring(node))
    return MethodInfo(entry.name, what or entry.value, ", ".join(needs), "; ".join(missing) or None)


def _definition(entry: EntryPoint) -> ast.FunctionDef | ast.ClassDef | ast.Module | None:
    """What defines a method in its module's source.

    The module for anything else, None without a source.
    """
    try:
        spec = importlib.util.find_spec(entry.module)
    except ImportError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    module = ast.parse(Path(spec.origin).read_text())
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry.attr:
            return node
    return module


def _plain_values(node: ast.ClassDef) -> dict[str, Any]:
    """The constants that a class assigns in its body, by name."""
    values: dict[str, Any] = {}
    for item in node.body:
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            for target in item.targets:
                if isinstance(target, ast.Name):
                    values[target.id] = item.value.value
    return values


def weights_there(repository: str) -> bool:
    """Whether the hub's cache has a whole pipeline: each part of its index, with every file of its
    shards.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or caches / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(_whole_pipeline(index.parent) for index in snapshots.glob("*/model_index.json"))


def _whole_pipeline(folder: Path) -> bool:
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
        parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0]]
        shards: list[Path] = []
        for path in folder.glob("*/*.index.json"):
            names = json.loads(path.read_bytes())["weight_map"].values()
            shards += [path.parent / name for name in names]
    except (OSError, ValueError, KeyError, AttributeError):
        return False
    return all((folder / part).is_dir() for part in parts) and all(
        path.is_file() for path in shards
    )


def gpu_there() -> bool:
    """Whether PyTorch sees a GPU; without PyTorch there is none to use."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


def _summary(text: str | None) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((text or "").partition("\n\n")[0].split())
