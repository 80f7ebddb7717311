"""Finding what a user names by a SPEC.

A SPEC is a built-in name, an installed entry point, `package.module:attribute`, or
`file.py:attribute`.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from lorweb_bench.errors import InputError, unknown_name
from lorweb_bench.runtime.extras import missing_for


def installed(group: str, reserved: Iterable[str] = ()) -> dict[str, EntryPoint]:
    """The entry points of a group by name.

    Raises:
        InputError: Two packages claim one name, or one claims a reserved name.
    """
    by_name: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        twice = entry.name in by_name and _target(by_name[entry.name]) != _target(entry)
        if twice or entry.name in reserved:
            raise InputError(
                f"The name {entry.name!r} in {group} is taken already, "
                f"and {entry.value} claims it too; uninstall one of them."
            )
        by_name[entry.name] = entry
    return by_name


def _target(entry: EntryPoint) -> tuple[str, str]:
    return entry.module, entry.attr


def find(spec: str, what: str, table: Mapping[str, str], group: str) -> Any:
    """The object that a SPEC names.

    Args:
        spec: The SPEC.
        what: What it should name, for errors: "method".
        table: `module:attribute` by built-in name.
        group: The group of entry points to look in.

    Raises:
        InputError: There is no such object, or it cannot be imported.
    """
    if spec in table:
        module, _, attribute = table[spec].partition(":")
        return getattr(importlib.import_module(module), attribute)
    source, colon, attribute = spec.rpartition(":")
    if colon and source.endswith(".py"):
        return _attribute(_module_from_file(Path(source)), attribute, spec)
    if colon and source:
        return _attribute(_module(source, spec), attribute, spec)
    entries = installed(group, reserved=table)
    if spec not in entries:
        raise unknown_name(what, spec, [*table, *entries])
    return load_entry(entries[spec])


def absolute(spec: str, table: Mapping[str, str]) -> str:
    """A SPEC with the file or folder that it names as an absolute path.

    A process on another machine has another working folder.
    """
    if spec in table:
        return spec
    source, colon, attribute = spec.rpartition(":")
    path = Path(source if colon else spec)
    named = path.suffix == ".py" if colon else path.is_dir()
    return f"{path.resolve()}{colon}{attribute if colon else ''}" if named else spec


def load_entry(entry: EntryPoint) -> Any:
    """Import what an entry point names; InputError when that fails, with the extra it lacks."""
    try:
        return entry.load()
    except Exception as e:
        lacking = missing_for(entry) if isinstance(e, ModuleNotFoundError) else None
        why = lacking or f"{type(e).__name__}: {e}"
        raise InputError(f"{entry.name!r} ({entry.value}) cannot be imported: {why}.") from e


def _module(name: str, spec: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        # The installed command, unlike `python -m`, does not look where it is run.
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as e:
        raise InputError(
            f"{spec!r}: the module {name} cannot be imported ({type(e).__name__}: {e})."
        ) from e


def _module_from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path} does not exist; give path/to/file.py:attribute.")
    path = path.resolve()
    name = f"_from_file_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is being imported
    sys.path.insert(0, str(path.parent))  # so that the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        raise InputError(f"{path} cannot be imported ({type(e).__name__}: {e}).") from e
    finally:
        sys.path.remove(str(path.parent))
    return module


def _attribute(module: ModuleType, attribute: str, spec: str) -> Any:
    if not hasattr(module, attribute):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise unknown_name(f"attribute in {spec.rpartition(':')[0]}", attribute, public)
    return getattr(module, attribute)
