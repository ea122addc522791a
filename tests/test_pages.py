"""What README and the pages of ``docs/`` have one type is what the program and the project know."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from geometrycrafter.cli.main import build_parser
from geometrycrafter.errors import how_to_install

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
