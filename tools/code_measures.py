# SPDX-License-Identifier: Apache-2.0
"""Prints how the code reads, room by room: functions, density, blank lines, statements and longest
line.

Density is the number of syntax-tree nodes per code line, the median of the functions of a room. A
code line is not blank, not a comment and no part of a docstring. Statements are those of the whole
room, without docstrings. The last line counts the modules and lines that `import
lifting_ros.estimator` loads.

Usage: code_measures.py [ROOM]   With a room, also its functions, the densest first.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "lifting_ros"
IMPORTED = """
import sys, lifting_ros.estimator
for name, module in sorted(sys.modules.items()):
    if name.split(".")[0] == "lifting_ros":
        print(module.__file__)
"""
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Function(NamedTuple):
    """One function, nested ones and docstring included."""

    name: str
    density: float
    lines: int
    blank: int


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines of docstrings, and of strings below constants and fields."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr):
            continue

        value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            numbers = range(node.lineno, node.end_lineno + 1)
            lines.update(numbers)

    return lines


def functions_of(path: Path) -> list[Function]:
    """The functions of a file, in the order of ast.walk."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    source = [line.strip() for line in text.splitlines()]
    documented = docstring_lines(tree)

    functions = []
    for node in ast.walk(tree):
        if not isinstance(node, FUNCTIONS):
            continue

        numbers = range(node.lineno, node.end_lineno + 1)
        body = [source[number - 1] for number in numbers if number not in documented]
        code = [line for line in body if line and not line.startswith("#")]
        parts = list(ast.walk(node))
        functions.append(
            Function(
                name=f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}",
                density=len(parts) / len(code),
                lines=len(numbers),
                blank=body.count(""),
            )
        )
    return functions


def count_statements(path: Path) -> int:
    """Number of statements of a file; strings that stand alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    count = 0
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        count += isinstance(node, ast.stmt) and not is_text

    return count


def room_of(path: Path) -> str:
    """Name of the folder below the package; `.` for files beside the rooms."""
    folders = path.relative_to(PACKAGE).parts[:-1]
    if not folders:
        return "."
    return folders[0]


def main() -> None:
    rooms: dict[str, list[Function]] = {}
    statements: dict[str, int] = {}
    longest: dict[str, int] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path)
        rooms.setdefault(room, []).extend(functions_of(path))
        statements[room] = statements.get(room, 0) + count_statements(path)
        widths = map(len, path.read_text(encoding="utf-8").splitlines())
        longest[room] = max(longest.get(room, 0), *widths, 0)

    print(f"{'room':12} functions  nodes/line  blank  lines  statements  longest line")
    for room, functions in rooms.items():
        if functions:
            print_room(room, functions, statements[room], longest[room])

    print(f"{'all':12} {'':40}{sum(statements.values()):10}")
    print_imports()
    for room in sys.argv[1:]:
        for function in sorted(rooms[room], key=lambda function: -function.density):
            print(f"{function.density:6.1f} {function.name}")


def print_room(
    room: str,
    functions: list[Function],
    statements: int,
    longest: int,
) -> None:
    """Print the row of a room."""
    density = statistics.median(function.density for function in functions)
    lines = statistics.median(function.lines for function in functions)
    all_lines = sum(function.lines for function in functions)
    all_blank = sum(function.blank for function in functions)
    print(
        f"{room:12} {len(functions):9}  {density:10.1f}  {all_blank / all_lines:5.1%}  {lines:5.0f}"
        f"  {statements:10}  {longest:12}"
    )


def print_imports() -> None:
    """Print how much of the package `import lifting_ros.estimator` loads."""
    command = [sys.executable, "-c", IMPORTED]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    count = 0
    for name in loaded:
        text = Path(name).read_text(encoding="utf-8")
        count += len(text.splitlines())

    print(f"lifting_ros.estimator imports {len(loaded)} modules of this package, {count} lines")


if __name__ == "__main__":
    main()
