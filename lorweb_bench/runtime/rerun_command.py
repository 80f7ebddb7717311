"""The command that repeats a result, as it is typed in the folder where the result was made."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lorweb_bench.runtime.yaml_files import to_yaml


class InFolder(Protocol):
    """Something that lies in a folder, such as an open dataset."""

    path: Path


def rerun_command(
    command: str,
    inputs: Sequence[object],
    suite: str | Path | InFolder,
    options: Mapping[str, object],
    *,
    method: object = None,
    metrics: Sequence[object] | None = None,
    out: str = "REPORT",
) -> str | None:
    """The command line that repeats a result, or None where an object of Python stands in its way.

    Args:
        command: The command's name.
        inputs: What it reads, as paths; anything else cannot be named on a command line.
        suite: The suite, or its folder.
        options: Other options by their names in Python. None and False are left out and True is a
            flag; a mapping becomes one KEY=VALUE for each of its keys, with the value in YAML.
        method: The method's SPEC, where the command runs one.
        metrics: The metrics' names or SPECs; None where the default ones were computed.
        out: What stands for the folder to write.

    >>> rerun_command("score", ["made"], "photos", {"seed": 3, "resize": True}, metrics=["mse"])
    'lorweb-bench score made --suite photos --metrics mse --resize --seed 3 -o REPORT'
    """
    paths = [path for path in inputs if isinstance(path, str | Path)]
    specs = [spec for spec in metrics or () if isinstance(spec, str)]
    objects_given = len(paths) < len(inputs) or len(specs) < len(metrics or ())
    if objects_given or not isinstance(method, str | None):
        return None
    words = [command, *map(relative_path, paths)]
    if method is not None:
        words += ["--method", relative_spec(method)]
    words += ["--suite", relative_path(suite if isinstance(suite, str | Path) else suite.path)]
    if metrics is not None:
        options = {**options, "metrics": ",".join(map(relative_spec, specs))}
    for name, value in sorted(options.items()):
        words += _option(f"--{name.replace('_', '-')}", value)
    return shlex.join(["lorweb-bench", *words, "-o", out])


def relative_path(path: str | Path) -> str:
    """A path as it was given; an absolute one as it is reached from the current folder."""
    return os.path.relpath(path) if Path(path).is_absolute() else str(path)


def relative_spec(spec: str) -> str:
    """A SPEC whose file or folder, where it has one, is given as `relative_path`."""
    path, colon, attribute = spec.rpartition(":")
    return f"{relative_path(path if colon else spec)}{colon}{attribute if colon else ''}"


def _option(name: str, value: object) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [name]
    if isinstance(value, Path):
        return [name, relative_path(value)]
    if not isinstance(value, Mapping):
        return [name, str(value)]
    words = []
    for key, inner in value.items():
        words += [name, f"{key}={to_yaml(inner, flow=True)}"]
    return words
