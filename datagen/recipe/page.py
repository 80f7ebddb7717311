"""The page of the docs on recipes, made from the models that check them."""

import json
import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from datagen.recipe.reading import ready_recipes
from datagen.recipe.schema import Recipe

INTRODUCTION = (
    "This page is made by `lorweb-bench datagen recipes --page` from the code that checks recipes. "
    "A key that a recipe does not know is "
    "refused, with its line and the nearest key that there is. Any key can be set on the command "
    "line: `--set source.path=elsewhere`. "
    "Exactly one of `panel.square` and `panel.long_edge` is given. `[]` stands for each entry of a "
    "list. [datasets.md](datasets.md) tells "
    "how recipes are used."
)
HEAD = f"""# Recipes, key by key

{INTRODUCTION}

## Ready recipes

`lorweb-bench datagen build NAME` takes them by name.

| name | what it builds |
|---|---|
"""


def page() -> str:
    """The whole page, as Markdown."""
    ready = "".join(f"| `{name}` | {about} |\n" for name, about in summaries().items())
    rows = "\n".join(rows_of(Recipe))
    return f"{HEAD}{ready}\n## Keys\n\n| key | default | meaning |\n|---|---|---|\n{rows}\n"


def summaries() -> dict[str, str]:
    """What each ready recipe builds: the first line of its file."""
    return {
        name: path.read_text("utf-8").partition("\n")[0].removeprefix("#").strip()
        for name, path in ready_recipes().items()
    }


def rows_of(model: type[BaseModel], name: str = "") -> Iterator[str]:
    """The rows of the table: each key of a model and of those in it, default and meaning."""
    for key, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if isinstance(field.annotation, type) and inner is field.annotation:
            yield from rows_of(inner, f"{name}{key}.")
            continue
        default = _shown(field.get_default(call_default_factory=True))
        yield f"| `{name}{key}` | {default} | {field.description} |"
        if inner is not None:
            yield from rows_of(inner, f"{name}{key}[].")


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a key holds: itself, or as the entries of a list."""
    candidates = [annotation, *typing.get_args(annotation)]
    classes = [candidate for candidate in candidates if isinstance(candidate, type)]
    return next((kind for kind in classes if issubclass(kind, BaseModel)), None)


def _shown(default: object) -> str:
    if default is PydanticUndefined:
        return "needed"
    text = json.dumps(default).replace('"', "")
    return "" if text in ("", "null", "{}", "[]") else f"`{text}`"
