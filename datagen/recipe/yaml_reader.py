"""YAML as recipes need it: one mapping with words for keys, none of them twice; and the line of every key."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lorweb_bench.errors import InputError

WORD, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> tuple[Any, yaml.Node | None]:
    """What stands in a YAML file, and its nodes, which know their lines.

    InputError, naming file and line, for a file that cannot be read, is not UTF-8 or no YAML, and for keys that stand twice or are
    no words: YAML itself would take the last of two.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise InputError(f"The recipe {path} cannot be read ({e.strerror}).") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise InputError(
            f"The recipe {path} cannot be read: line {line} is not UTF-8; save it as UTF-8."
        ) from None
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _check_keys(path, tree, {})
        return yaml.safe_load(text), tree
    except yaml.YAMLError as e:
        raise InputError(_told(path, text, e)) from None
    except InputError:
        raise
    except (
        RecursionError,
        ValueError,
    ) as e:  # brackets in brackets without end; a date such as 2024-13-01
        why = "it is nested too deeply" if isinstance(e, RecursionError) else str(e)
        raise InputError(f"{path} is not YAML: {why}.") from None


def read_value(text: str) -> Any:
    """The value of a piece of YAML, such as stands behind --set; InputError when it is none, or has a key twice."""
    try:
        _check_keys("the value", yaml.compose(text, Loader=yaml.SafeLoader), {})
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        why = " ".join(str(getattr(e, "problem", None) or e).split())
        raise InputError(f"the value is not YAML ({why}); put it in quotes.") from None
    except InputError:
        raise
    except (RecursionError, ValueError) as e:
        raise InputError(
            f"the value is not YAML ({'nested too deeply' if isinstance(e, RecursionError) else e})."
        ) from None


def line_of(tree: yaml.Node | None, keys: Sequence[str]) -> int:
    """The line where a key stands, or that of the nearest key around it."""
    line = 1
    for key in keys:
        if isinstance(tree, yaml.MappingNode):
            found = next(((name, value) for name, value in tree.value if name.value == key), None)
        elif isinstance(tree, yaml.SequenceNode) and key.isdigit() and int(key) < len(tree.value):
            found = (tree.value[int(key)], tree.value[int(key)])
        else:
            found = None
        if found is None:
            return line
        line, tree = found[0].start_mark.line + 1, found[1]
    return line


def _check_keys(path: Path | str, node: yaml.Node | None, done: dict[int, bool]) -> None:
    """Refuse keys that stand twice in one mapping, keys that are no words, and anchors that hold themselves.

    `done` has the nodes that were begun, and whether they were ended: what many aliases name is looked at once.
    """
    if not isinstance(node, yaml.CollectionNode) or done.get(id(node)):
        return
    if id(node) in done:
        raise InputError(
            f"{path}, line {node.start_mark.line + 1}: the anchor holds itself; write out what is meant."
        )
    done[id(node)] = False
    lines: dict[str, int] = {}
    for child in node.value:
        if isinstance(node, yaml.MappingNode):
            key, child = child
            _check_key(path, key, lines)
        _check_keys(path, child, done)
    done[id(node)] = True


def _check_key(path: Path | str, key: yaml.Node, lines: dict[str, int]) -> None:
    """Refuse a key that is no word, or stands in `lines` already; else put it there."""
    line = key.start_mark.line + 1
    if key.tag not in (WORD, MERGE):
        shown = (
            f"the key {key.value!r}" if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
        )
        raise InputError(
            f"{path}, line {line}: {shown} is no word; keys are words, and numbers as keys stand in quotes."
        )
    if key.value in lines:
        raise InputError(
            f"{path}, line {line}: the key {key.value!r} stands in line {lines[key.value]} already; take one of them out."
        )
    lines[key.value] = line


def _told(path: Path, text: str, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    position = getattr(error, "position", None)  # of a character that YAML does not allow
    line = mark.line + 1 if mark else text[: position or 0].count("\n") + 1
    problem = " ".join(
        str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).split()
    )
    hint = "; YAML is indented with spaces, not with tabs" if "'\\t'" in problem else ""
    return f"{path}, line {line}: it is not YAML, {problem}{hint}."
