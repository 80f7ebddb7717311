"""Tables of words and numbers: on the terminal, and as CSV, Markdown or LaTeX."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from lorweb_bench.errors import InputError
from lorweb_bench.runtime.files import write_atomic

FORMATS = (".csv", ".md", ".tex")
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}
_MARKDOWN = str.maketrans({"|": r"\|", "*": r"\*", "_": r"\_", "<": "&lt;", "\n": " "})


@dataclass(frozen=True)
class TextTable:
    """A table of text: `sections` are the indices of rows before which a line is drawn."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    sections: Sequence[int] = ()


@dataclass(frozen=True)
class Cell:
    """A cell of a table in a document; the best ones are set in bold."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class DocumentTable:
    """A table for a document, with what is said under it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""


def terminal_text(lead: str, tables: Iterable[TextTable], notes: Iterable[str], width: int) -> str:
    """Tables as they are shown on a terminal of `width` letters."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    text = StringIO()
    console = Console(file=text, width=width, no_color=True, highlight=False)
    console.print(lead, markup=False)
    for table in tables:
        drawn = Table(*table.header, title=table.title, title_justify="left")
        for i, row in enumerate(table.rows):
            if i in table.sections:
                drawn.add_section()
            drawn.add_row(*(Text(cell) for cell in row))
        console.print(drawn, markup=False)
    for note in notes:
        console.print(note, markup=False)
    return text.getvalue().rstrip()


def table_format(path: Path) -> str:
    """The ending of a table's file; InputError where no table can be written with it."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise InputError(f"{path}: a table is written as {', '.join(FORMATS)}; name the file so.")
    return ending


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, all with the same names, as CSV with a header; None is an empty field."""
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def write_document(path: Path, tables: Sequence[DocumentTable]) -> None:
    """Write tables as Markdown, or as LaTeX (with the package booktabs), by the file's ending."""
    documents = [
        _latex(table) if table_format(path) == ".tex" else _markdown(table) for table in tables
    ]
    write_atomic(path, "\n".join(documents))


def _markdown(table: DocumentTable) -> str:
    lines = [f"**{table.title.translate(_MARKDOWN)}**", ""]
    lines.append(_markdown_row(name.translate(_MARKDOWN) for name in table.header))
    lines.append(_markdown_row("---" for _ in table.header))
    for row in table.rows:
        texts = [(cell.text.translate(_MARKDOWN), cell.best) for cell in row]
        lines.append(_markdown_row(f"**{text}**" if best else text for text, best in texts))
    return "\n".join([*lines, "", table.note.translate(_MARKDOWN), ""])


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _latex(table: DocumentTable) -> str:
    columns = "l" + "r" * (len(table.header) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.note)}}}",
    ]
    lines += [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _tex_row(map(_tex, table.header))]
    lines.append(r"\midrule")
    for row in table.rows:
        texts = [(_tex(cell.text), cell.best) for cell in row]
        lines.append(_tex_row(rf"\textbf{{{text}}}" if best else text for text, best in texts))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _tex_row(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
