"""The list of methods: what each does, what it needs, and whether that is there. Installed ones are read, not imported: they
may take seconds to import, and the list is to be had where their packages are missing."""

import ast
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from lorweb_bench.methods import GROUP, TABLE
from lorweb_bench.registry import find, installed


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
    known = [MethodInfo(name, _first_line(inspect.getdoc(method)), getattr(method, "needs", ""), None) for name, method in built_in]
    return known + [_installed(entry) for entry in installed(GROUP, reserved=TABLE).values()]


def _installed(entry: EntryPoint) -> MethodInfo:
    source = _source(entry.module)
    if source is None:
        return MethodInfo(entry.name, entry.value, "", f"{entry.module} is not there")
    defined = {node.name: node for node in source.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    what = _first_line(ast.get_docstring(defined[entry.attr])) if entry.attr in defined else entry.value
    needed = sorted(_needed(entry.module, set()))
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return MethodInfo(entry.name, what, ", ".join(needed), f"not installed: {', '.join(absent)}" if absent else None)


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


def _needed(module: str, visited: set[str]) -> set[str]:
    """The top-level packages that a module imports when it is imported, through the modules of its own package."""
    own, needed = module.partition(".")[0], set[str]()
    visited.add(module)
    source = _source(module)
    for node in source.body if source else ():
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            top = name.partition(".")[0]
            if top == own and name not in visited:
                needed |= _needed(name, visited)
            elif top not in (own, "lorweb_bench") and top not in sys.stdlib_module_names:
                needed.add(top)
    return needed
