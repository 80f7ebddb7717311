"""The command that repeats a result, as it is typed in the folder where the result was made."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorweb_bench.runtime.yaml_files import to_yaml


def named(place: str | Path) -> str:
    """A file or folder as it was given; one given from the root, as it is reached from the current folder."""
    return os.path.relpath(place) if Path(place).is_absolute() else str(place)


def named_spec(spec: str) -> str:
    """A SPEC as `named`, whose file or folder may be given from the root."""
    place, colon, attribute = spec.rpartition(":")
    return f"{named(place if colon else spec)}{colon}{attribute if colon else ''}"


def command_line(words: Sequence[str], options: Mapping[str, Any], out: str = "REPORT") -> str:
    """A command of this project: its words, its options by their names in Python, sorted, and the folder to write.

    None and False are left out, True is a flag; the items of a list stand between commas, those of a mapping are an option each,
    KEY=VALUE with the value in YAML.
    """
    given = [
        word
        for name, value in sorted(options.items())
        for word in _words(f"--{name.replace('_', '-')}", value)
    ]
    return shlex.join(["lorweb-bench", *words, *given, "-o", out])


def _words(option: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if isinstance(value, Mapping):
        return [
            word
            for key, own in value.items()
            for word in (option, f"{key}={to_yaml(own, flow=True)}")
        ]
    return [
        option,
        str(value) if isinstance(value, str | int | float) else ",".join(map(str, value)),
    ]
