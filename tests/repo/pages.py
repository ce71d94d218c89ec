"""Reads documents as their readers do: tables by their heads, names as whole words in code marks."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

from tests.harness import ROOT

CODE = re.compile(r"`([^`]+)`")
FENCE = re.compile(r"^ *```.*$", re.MULTILINE)


def page(name: str) -> str:
    """Return the text of a document, by its path."""
    return (ROOT / name).read_text()


def code_in(name: str) -> list[str]:
    """Return what a document shows as code: each line of a block, and each text in code marks."""
    blocks = FENCE.split(page(name))[1::2]
    return [line for block in blocks for line in block.splitlines()] + CODE.findall(prose_of(name))


def prose_of(name: str) -> str:
    """Return a document without its blocks of code."""
    return "\n".join(FENCE.split(page(name))[::2])


def tables(name: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield the head and the rows of every table of a document."""
    head: list[str] = []
    rows: list[list[str]] = []
    for line in [*page(name).splitlines(), ""]:
        if not line.startswith("|"):
            if head:
                yield head, rows
            head, rows = [], []
        elif not head:
            head = _cells(line)
        elif set(line) - set("|-: "):
            rows.append(_cells(line))


def column(name: str, head: str, column: int = 0) -> list[str]:
    """Return the names in code marks in one column of every table whose first head is this."""
    return [
        word for first, rows in tables(name) if first[0] == head for row in rows for word in CODE.findall(row[column])
    ]


def rows(name: str, head: str) -> list[list[str]]:
    """Return the rows of every table whose first head is this."""
    return [row for first, found in tables(name) if first[0] == head for row in found]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the tests of one file."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


@functools.cache
def every_test() -> frozenset[str]:
    """Return the names of all tests there are."""
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    return frozenset(name for path in files for name in names_in(path))


@functools.cache
def top_level_names(path: str) -> frozenset[str]:
    """Return what a module defines at its top level: classes, functions and values."""
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                names.add(node.name)
            case ast.Assign(targets=targets):
                names.update(target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return frozenset(names)
