"""Rendering a page: jinja2 with autoescape, the shared base and style inlined, images embedded.
Pages open from disk.
"""

import base64
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from lorweb_bench.data.images import encode
from lorweb_bench.protocol import EXTENSIONS
from lorweb_bench.runtime.files import write_atomic

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


@functools.cache
def environment(package: str = "lorweb_bench", folder: str = "reports") -> Environment:
    """The templates of `package/folder`, with this package's `base.html.j2` to extend.

    Everything is escaped, and an undefined name is an error.
    """
    loaders = [PackageLoader(package, folder), PackageLoader("lorweb_bench", "reports")]
    result = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    result.globals.update(
        style=Markup(style), title="lorweb-bench", kicker=None, lead=None, footer=None
    )
    result.filters.update(data_uri=data_uri, number=number, significant=significant)
    return result


def render(
    template: str, package: str = "lorweb_bench", folder: str = "reports", **context: Any
) -> str:
    """Render a template (it starts with `{% extends "base.html.j2" %}`) to HTML; base takes
    title, kicker, lead, footer.
    """
    return environment(package, folder).get_template(template).render(**context)


def write_page(
    path: Path | str,
    template: str,
    package: str = "lorweb_bench",
    folder: str = "reports",
    **context: Any,
) -> None:
    """Render a template and write it atomically to `path`."""
    write_atomic(path, render(template, package, folder, **context))


def data_uri(image: Image.Image | np.ndarray | bytes, ext: str = "png") -> str:
    """A `data:` address of an image: encoded here as `ext`, or bytes that are `ext` already."""
    if ext not in EXTENSIONS:
        raise ValueError(f"{ext!r} is none of {', '.join(EXTENSIONS)}")
    data = image if isinstance(image, bytes) else encode(image, ext)
    return f"data:{MEDIA_TYPES[ext]};base64,{base64.b64encode(data).decode()}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading, with a true minus sign; a dash where there is none."""
    if value is None or value != value:
        return "–"
    text = f"{value:,.{digits}f}"
    return (text if text.strip("-0.,") else text.removeprefix("-")).replace(
        "-", "−"
    )  # what rounds to 0 has no sign


def significant(value: float | None) -> str:
    """A positive amount for reading, with three digits that count; a dash where there is none."""
    return number(
        value, min(12, max(0, 2 - math.floor(math.log10(value)))) if value and value == value else 0
    )
