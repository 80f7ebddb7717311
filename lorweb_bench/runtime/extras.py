"""Optional packages: which extra brings them, and what to say where one is missing."""

import importlib.util
import re
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, requires

PROJECT = "lorweb-bench"
# Packages that are imported by another name than they are installed by.
IMPORTED_AS = {"open_clip_torch": "open_clip"}
GATHERING = ("all", "dev", "docs")  # extras that no command needs as such


def pip_line(*extras: str, distribution: str = PROJECT) -> str:
    """What to type so that the packages of these extras are there.

    >>> pip_line("model", "metrics")
    "pip install 'lorweb-bench[model,metrics]'"
    """
    return f"pip install '{distribution}[{','.join(extras)}]'"


def extra_of(module: str) -> str | None:
    """The extra of this project that brings a module, by the first part of its dotted name.

    None for a module that the base install brings, or that no extra brings.

    >>> extra_of("torch.nn")
    'model'
    >>> extra_of("numpy") is None
    True
    """
    package = module.partition(".")[0]
    extras = [extra for extra, modules in _modules_of(PROJECT).items() if package in modules]
    return None if not extras or "" in extras else extras[0]


def missing_modules(distribution: str, extra: str) -> list[str]:
    """The modules that an extra brings and that are not installed here; nothing is imported.

    Extras that an extra is made of count as its own.
    """
    modules = _modules_of(distribution).get(extra, ())
    return [name for name in modules if importlib.util.find_spec(name) is None]


def missing_for(entry: EntryPoint) -> str | None:
    """What an entry point needs and lacks, with the pip line; None where all is there.

    An entry point names its extras in brackets: `name = "module:attribute [model]"`.
    """
    distribution = entry.dist.name if entry.dist else PROJECT
    missing = [name for extra in entry.extras for name in missing_modules(distribution, extra)]
    if not missing:
        return None
    return (
        f"{', '.join(missing)} not installed: {pip_line(*entry.extras, distribution=distribution)}"
    )


def explain_missing(error: ModuleNotFoundError, what: str) -> str | None:
    """The sentence for an import that failed for want of an extra; None where no extra would help.

    Args:
        error: What the import raised.
        what: What needs the module, as the sentence's subject.
    """
    extra = extra_of(error.name or "")
    if extra is None:
        return None
    module = (error.name or "").partition(".")[0]
    return f"{what} needs {module}, which is not installed: {pip_line(extra)}."


@cache
def _modules_of(distribution: str) -> dict[str, tuple[str, ...]]:
    """The modules that each extra of a distribution brings; those of the base install under ""."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        return {}
    modules: dict[str, tuple[str, ...]] = {}
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        marker = re.search(r"extra\s*==\s*[\"']([\w.-]+)[\"']", line)
        extra = marker[1] if marker else ""
        if name is None or name[0] == distribution or extra in GATHERING:
            continue
        module = IMPORTED_AS.get(name[0], name[0].replace("-", "_"))
        modules[extra] = (*modules.get(extra, ()), module)
    return modules
