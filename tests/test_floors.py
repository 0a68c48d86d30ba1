"""The floors: costmodel > sim > hw > hwquant, and inside each package only downward."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["hwquant", "hw", "sim", "costmodel"]
LINES_AT_MOST = 400
MODULES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the absolute names a module imports anywhere in its body."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_package_imports_upward():
    for path in MODULES:
        floor = FLOORS.index(path.relative_to(ROOT).parts[0])
        above = {name for name in imported(path) if name.split(".")[0] in FLOORS[floor + 1 :]}
        assert not above, f"{path} imports {above}"


def test_modules_import_each_other_in_one_direction():
    # A package's __init__ only re-exports, so it has no place in the order of its modules.
    named = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): imported(path)
        for path in MODULES
        if path.name != "__init__.py"
    }
    edges = {name: names & named.keys() - {name} for name, names in named.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(edges):
        visit(name, ())


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_fits_on_two_screens(path):
    text = path.read_text()
    assert len(text.splitlines()) <= LINES_AT_MOST
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")


def test_an_upward_import_is_noticed(tmp_path):
    """Negative control for the reader of imports."""
    module = tmp_path / "bad.py"
    module.write_text("def f():\n    from costmodel import kernel\n")
    assert imported(module) == {"costmodel", "costmodel.kernel"}
