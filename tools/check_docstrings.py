"""Docstrings of public functions that take or return arrays say shapes, and what is raised.

    python tools/check_docstrings.py src/geometrycrafter

A function is public where no part of its name begins with an underscore. One whose signature has arrays must give a
shape, ``[H, W]``, somewhere in its docstring (named tensors of any shape, ``dict[str, Tensor]``, don't count); one that
raises ``InputError`` itself must have a ``Raises:`` section. Exits with status 1 where one doesn't.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ARRAYS = re.compile(r"\b(Tensor|ndarray|ArrayLike|NDArray)\b")
SHAPE = re.compile(r"``[^`]*\[[^`]*\][^`]*``")


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods with their dotted names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node


def has_arrays(node: ast.FunctionDef) -> bool:
    """Whether the signature names an array type."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    annotations = [a.annotation for a in arguments] + [node.returns]
    spelled = (ast.unparse(a) for a in annotations if a is not None)
    return any(ARRAYS.search(text.replace("dict[str, Tensor]", "")) for text in spelled)


def raises(node: ast.FunctionDef) -> bool:
    """Whether the function itself raises for bad input."""
    own = (n for n in ast.walk(node) if isinstance(n, ast.Raise) and n.exc is not None)
    return any(ast.unparse(n.exc).startswith(("InputError", "WriteError")) for n in own if n.exc is not None)


def faults(path: Path) -> Iterator[str]:
    """What is missing in a file."""
    for name, node in functions(ast.parse(path.read_text())):
        decorators = {ast.unparse(d) for d in node.decorator_list}
        if decorators & {"override", "overload", "typing.overload"}:
            continue
        text = ast.get_docstring(node) or ""
        if has_arrays(node) and not SHAPE.search(text):
            yield f"{path}:{node.lineno}: {name} takes or returns arrays; its docstring gives no shape, ``[H, W]``"
        if raises(node) and "Raises:" not in text:
            yield f"{path}:{node.lineno}: {name} raises InputError; its docstring has no 'Raises:'"


def main(root: str) -> int:
    """Print every fault below a folder."""
    found = [line for path in sorted(Path(root).rglob("*.py")) for line in faults(path)]
    print("\n".join(found) if found else "docstrings: all functions over arrays say their shapes")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
