"""Measure the code itself at two commits: modules, lines, functions, and the base install.

    python benchmarks/house.py 87c9f2f HEAD [--install]

Prints a Markdown table with a column for each commit. `--install` also installs each commit without
extras into a fresh environment, with the commit's own constraints, and measures that; it takes
minutes and needs a package index.
"""

import argparse
import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("lorweb_bench", "datagen", "reference_model", "leaderboard")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONG_FUNCTION = 50  # lines
WIDE = 100  # columns


def checkout(commit: str, folder: Path) -> None:
    """Write the files of a commit to a folder."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def modules(folder: Path) -> Iterator[Path]:
    """The modules of the four packages in a checkout."""
    for package in PACKAGES:
        yield from sorted((folder / package).rglob("*.py"))


def is_nested(node: ast.AST) -> bool:
    """Whether a comprehension holds another one."""
    inner = (child for child in ast.walk(node) if child is not node)
    return any(isinstance(child, COMPREHENSIONS) for child in inner)


def measure(folder: Path) -> dict[str, str]:
    """What the table says of one checkout, by row."""
    texts = [file.read_text(encoding="utf-8") for file in modules(folder)]
    nodes = [node for text in texts for node in ast.walk(ast.parse(text))]
    functions = [node for node in nodes if isinstance(node, FUNCTIONS)]
    nested = [node for node in nodes if isinstance(node, COMPREHENSIONS) and is_nested(node)]
    lengths = [text.count("\n") for text in texts]
    columns = [len(line) for text in texts for line in text.splitlines()]
    flat = len(list((folder / "lorweb_bench").glob("*.py")))
    sizes = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    return {
        "modules in the four packages": str(len(texts)),
        "of these, flat in `lorweb_bench`": str(flat),
        "lines of code": f"{sum(lengths):,}",
        "median module, in lines": f"{statistics.median(lengths):.0f}",
        "longest module, in lines": str(max(lengths)),
        "functions": f"{len(functions):,}",
        f"functions over {LONG_FUNCTION} lines": str(sum(size > LONG_FUNCTION for size in sizes)),
        "widest line, in columns": str(max(columns)),
        f"lines over {WIDE} columns": f"{sum(width > WIDE for width in columns):,}",
        "nested comprehensions": str(len(nested)),
    }


def installed_megabytes(folder: Path) -> float:
    """The size of an environment with the base install of a checkout, in MB of 10^6 bytes.

    What every new environment holds, pip and setuptools, is not counted.
    """
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    empty = size_of(environment)
    install = ["install", "-q", "-c", "constraints.txt", "."]
    pip = str(environment / "bin" / "pip")
    subprocess.run([pip, *install], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return (size_of(environment) - empty) / 1e6


def size_of(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commits", nargs="+", metavar="COMMIT")
    parser.add_argument("--install", action="store_true", help="Measure the base install too.")
    arguments = parser.parse_args()
    columns = []
    for commit in arguments.commits:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            checkout(commit, folder)
            column = measure(folder)
            if arguments.install:
                column["base install, in MB"] = f"{installed_megabytes(folder):.0f}"
            columns.append(column)
    print("| | " + " | ".join(f"`{commit}`" for commit in arguments.commits) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


if __name__ == "__main__":
    main()
