"""The list of methods: what each does, what it needs, and whether that is there. Installed ones are read, not imported: they
may take seconds to import, and the list is to be had where their packages are missing. A class may say what else it needs:
`weights_repository`, on the model hub, and `gpus`, each a plain value in its body."""

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
    built_in = [(name, find(name, "method", TABLE, GROUP)) for name in TABLE]
    known = [
        MethodInfo(name, _first_line(inspect.getdoc(method)), getattr(method, "needs", ""), None)
        for name, method in built_in
    ]
    return known + [_installed(entry) for entry in installed(GROUP, reserved=TABLE).values()]


def _installed(entry: EntryPoint) -> MethodInfo:
    source = _source(entry.module)
    if source is None:
        return MethodInfo(entry.name, entry.value, "", f"{entry.module} is not there")
    defined = {
        node.name: node for node in source.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    node = defined.get(entry.attr)
    said = _said(node) if isinstance(node, ast.ClassDef) else {}
    needs = [f"the extra {extra}" for extra in entry.extras]
    lacking = missing_for(entry)
    missing = [lacking] if lacking else []
    if repository := said.get("weights_repository"):
        needs.append(f"the weights {repository}")
        missing += [f"no weights: hf download {repository}"] * (not weights_there(repository))
    if said.get("gpus"):
        needs.append("a GPU")
        missing += ["no GPU"] * (not gpu_there())
    what = _first_line(ast.get_docstring(node)) if node else entry.value
    return MethodInfo(entry.name, what, ", ".join(needs), "; ".join(missing) or None)


def _said(node: ast.ClassDef) -> dict[str, Any]:
    """The plain values in the body of a class, by name."""
    plain = [
        item
        for item in node.body
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant)
    ]
    return {
        target.id: ast.literal_eval(item.value)
        for item in plain
        for target in item.targets
        if isinstance(target, ast.Name)
    }


def weights_there(repository: str) -> bool:
    """Whether the hub's cache on this machine has a whole pipeline: each part that its index names, with every file of its shards."""
    home = Path(
        os.environ.get("HF_HOME")
        or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    )
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = cache / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(_whole_pipeline(index.parent) for index in snapshots.glob("*/model_index.json"))


def _whole_pipeline(folder: Path) -> bool:
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
        parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0]]
        shards = [
            path.parent / name
            for path in folder.glob("*/*.index.json")
            for name in json.loads(path.read_bytes())["weight_map"].values()
        ]
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


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def _source(module: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text())
