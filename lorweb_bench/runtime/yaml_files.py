"""YAML 1.2 as people write settings in it: words for keys, no key twice, a line for each key."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorweb_bench.errors import InputError

if TYPE_CHECKING:
    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import Node

WORD, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
WIDE = 2**31 - 1  # columns: never break a line


def read_yaml(
    path: Path, what: str, limit: int | None = None, hint: str = ""
) -> tuple[Any, "Node | None"]:
    """Read a YAML file strictly.

    Args:
        path: The file.
        what: What the file is, for errors: "recipe".
        limit: The most bytes that such a file may have.
        hint: What to do where the file is not there.

    Returns:
        The content as plain Python values, and the tree of nodes for `line_of`.

    Raises:
        InputError: It names the file and the line. The file cannot be read, is not UTF-8 or not
            YAML, or it has a key that stands twice in one mapping or is not a word.
    """
    try:
        with path.open("rb") as file:
            data = file.read(-1 if limit is None else limit + 1)
    except OSError as e:
        way_out = f"; {hint}" if hint else ""
        raise InputError(f"The {what} {path} cannot be read ({e.strerror}){way_out}.") from None
    if limit is not None and len(data) > limit:
        raise InputError(
            f"{path} is larger than {limit:,} bytes; a {what} is a short text, so name that one."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise InputError(
            f"The {what} {path} cannot be read: line {line} is not UTF-8; save it as UTF-8."
        ) from None
    return _parse(text, str(path), ", line {line}")


def parse_yaml(text: str) -> Any:
    """The value of a piece of YAML, such as stands after `--set KEY=`.

    Raises:
        InputError: The text is not YAML, or it has a key twice.

    >>> parse_yaml("[1, 2.5, yes]")
    [1, 2.5, 'yes']
    """
    return _parse(text, "the value", "")[0]


def to_yaml(value: Any, flow: bool = False) -> str:
    """A value as YAML, with the keys in their order and no line broken; `flow` writes one line.

    >>> to_yaml({"steps": 20, "names": ["a", "b"]}, flow=True)
    '{steps: 20, names: [a, b]}'
    """
    yaml = _reader()
    yaml.default_flow_style = flow
    yaml.width = WIDE
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    file = io.StringIO()
    yaml.dump(value, file)
    text = file.getvalue()
    return text.removesuffix("...\n").strip() if flow else text


def line_of(tree: "Node | None", keys: Sequence[str]) -> int:
    """The line on which a key stands, counted from 1, or that of the nearest key around it.

    Args:
        tree: The nodes that `read_yaml` gave.
        keys: The way to the key: names in mappings, numbers from 0 in lists.
    """
    from ruamel.yaml.nodes import MappingNode, SequenceNode

    line = 1
    for key in keys:
        if isinstance(tree, MappingNode):
            children = {name.value: (name, value) for name, value in reversed(tree.value)}
        elif isinstance(tree, SequenceNode):
            children = {str(n): (value, value) for n, value in enumerate(tree.value)}
        else:
            return line
        if key not in children:
            return line
        start, tree = children[key]
        line = start.start_mark.line + 1
    return line


def _reader() -> "YAML":
    """A reader and writer of plain values; the one in C knows YAML 1.1 only."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True)


def _parse(text: str, name: str, at_line: str) -> tuple[Any, "Node | None"]:
    """The values and the nodes of a YAML document; InputError names `name` and its line."""
    from ruamel.yaml.error import YAMLError

    yaml = _reader()
    try:
        tree = yaml.compose(text)
        if tree is None:
            return None, None
        _check_keys(name, tree, {})
        return yaml.constructor.construct_document(tree), tree
    except InputError:
        raise
    except YAMLError as e:
        where = at_line.format(line=_line_of_error(text, e))
        hint = "" if at_line else "; put it in quotes"
        raise InputError(f"{name}{where}: it is not YAML, {_problem(e)}{hint}.") from None
    except RecursionError:
        raise InputError(f"{name} is not YAML: it is nested too deeply.") from None
    except ValueError as e:  # a date such as 2024-13-01
        raise InputError(f"{name} is not YAML: {e}.") from None


def _check_keys(name: str, node: "Node", done: dict[int, bool]) -> None:
    """Refuse keys that stand twice or are not words, and anchors that hold themselves.

    `done` has each node that was begun, and whether it was ended: a node that many aliases name is
    looked at once.
    """
    from ruamel.yaml.nodes import CollectionNode, MappingNode

    if not isinstance(node, CollectionNode) or done.get(id(node)):
        return
    if id(node) in done:
        line = node.start_mark.line + 1
        raise InputError(f"{name}, line {line}: the anchor holds itself; write out what is meant.")
    done[id(node)] = False
    lines: dict[str, int] = {}
    for child in node.value:
        if isinstance(node, MappingNode):
            key, child = child
            _check_key(name, key, lines)
        _check_keys(name, child, done)
    done[id(node)] = True


def _check_key(name: str, key: "Node", lines: dict[str, int]) -> None:
    """Refuse a key that is not a word or stands in `lines` already, and note its line there."""
    from ruamel.yaml.nodes import ScalarNode

    line = key.start_mark.line + 1
    if key.tag not in (WORD, MERGE):
        scalar = isinstance(key, ScalarNode)
        subject = f"the key {key.value!r}" if scalar else "a list or a mapping"
        raise InputError(
            f"{name}, line {line}: {subject} is no word; "
            "keys are words, and numbers as keys stand in quotes."
        )
    if key.value in lines:
        raise InputError(
            f"{name}, line {line}: the key {key.value!r} stands in line {lines[key.value]} "
            "already; take one of them out."
        )
    lines[key.value] = line


def _line_of_error(text: str, error: Exception) -> int:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    position = getattr(error, "position", None)  # of a character that YAML does not allow
    return text[: position or 0].count("\n") + 1


def _problem(error: Exception) -> str:
    message = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    problem = " ".join(str(message).split())[:200]
    tabs = "; YAML is indented with spaces, not with tabs" if "'\\t'" in problem else ""
    return problem + tabs
