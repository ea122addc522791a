"""What README and the pages of ``docs/`` have one type is what the program and the project know."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

import geometrycrafter as gc
from geometrycrafter.cli.main import build_parser
from geometrycrafter.errors import how_to_install
from geometrycrafter.inference.estimator import Estimator
from geometrycrafter.poses.estimation import Estimate

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def typed(page: Path) -> set[str]:
    """What a page has one type: the lines of its blocks of code, and what stands between single backquotes."""
    text = page.read_text()
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.M | re.S)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^ *```\w*\n.*?^ *```", "", text, flags=re.M | re.S))
    return {line.strip() for block in blocks for line in block.splitlines()} | {" ".join(s.split()) for s in spans}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_are_the_program_s(page, capsys):
    parser = build_parser()
    for line in sorted(typed(page)):
        found = re.search(r"(?:^|-m )geometrycrafter(?:\.cli\.main)? (?!completion)(.*)", line)
        if found:
            try:
                parser.parse_args(shlex.split(found[1], comments=True))
            except SystemExit as stop:
                said = capsys.readouterr().err
                named = " " not in found[1] and "arguments are required" in said  # a command that the text speaks of
                assert named or not stop.code, f"{line}: {said}"


def test_targets_and_files_of_the_pages_are_there():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for line in typed(page):
            assert not (made := re.match(r"make ([\w-]+)", line)) or made[1] in targets, f"{page.name}: {line}"
            for file in re.findall(r"\b(?:benchmarks|examples|tools|docs|tests)/[\w/-]+\.\w+", line):
                assert (ROOT / file).exists(), f"{page.name}: {line}"


def test_python_of_a_page_is_the_package_s():
    """Its imports work, and what it reads of the package, or of what the package gives, is there; so are keywords."""
    scene = gc.Scene.from_depth(np.ones((2, 4, 6)), np.ones((2, 4, 6), bool), np.diag((5.0, 5.0, 1.0)))
    blocks = [b for page in PAGES for b in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)]
    assert len(blocks) > 3
    for block in blocks:
        known = {"gc": gc, "scene": scene, "estimator": Estimator.__new__(Estimator), "found": Estimate}
        tree = ast.parse(block)
        for node in [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]:
            exec(compile(ast.Module([node], []), "page", "exec"), known)

        def named(node, known=known):
            """What an expression of names and dots stands for; None where that takes a computation."""
            if isinstance(node, ast.Name):
                return known.get(node.id)
            if not isinstance(node, ast.Attribute) or (owner := named(node.value)) is None:
                return None
            fields = getattr(owner, "__annotations__", {}) if isinstance(owner, type) else {}
            assert hasattr(owner, node.attr) or node.attr in fields, ast.unparse(node)
            return getattr(owner, node.attr, None)

        for node in ast.walk(tree):
            named(node)
            if isinstance(node, ast.Call) and callable(value := named(node.func)):
                takes = inspect.signature(value).parameters
                free = any(p.kind is p.VAR_KEYWORD for p in takes.values())
                assert free or {k.arg for k in node.keywords} <= set(takes), ast.unparse(node)


def test_extras_are_those_of_the_project():
    """No index has the project: pages and messages name its extras as one installs them from the checkout."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = {path: path.read_text() for path in (ROOT / "src").rglob("*.py")}
    pages = {path: path.read_text() for path in [*PAGES, ROOT / "CHANGELOG.md"]}
    for path, text in (code | pages).items():
        assert "geometrycrafter[" not in text, path
        for extra in re.findall(r"'\.\[([\w-]+)\]'|how_to_install\([\"']([\w-]+)", text):
            assert "".join(extra) in extras, path
    assert how_to_install("data") == f"run pip install '.[data]' in {ROOT}"
