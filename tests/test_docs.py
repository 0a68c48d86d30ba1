"""Every example in the docs and docstrings runs and prints what it says.

In Markdown, ``>>>`` examples are doctests; each ``$ hwquant`` line of a ``console`` block runs in
one scratch folder per page and must exit with 0, and where output is shown it must match (``...``
stands for anything).  A block headed ``LANGUAGE NAME.SUFFIX`` is that file, there before the first
command.  ``sh`` blocks are installation commands, which ``.ci/run`` executes.
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LIGHT = ["formats", "codec", "codec_np", "fixed", "mac", "progress", "cache", "atomic", "workload"]
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"^```\w+ (\S+\.\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(page: Path) -> list[tuple[str, str]]:
    """Return (command, expected output) for each ``$`` line of the page's console blocks."""
    found: list[tuple[str, str]] = []
    for block in CONSOLE.findall(page.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", " ").partition("\n")
            found.append((command.strip(), output.rstrip()))
    return found


@pytest.mark.parametrize("module", LIGHT)
def test_docstrings(module):
    result = doctest.testmod(importlib.import_module(f"hwquant.{module}"), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(str(page), module_relative=False, optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p)], ids=page_name)
def test_console_examples(page, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for name, source in FILE.findall(page.read_text()):
        (tmp_path / name).write_text(source)
    for command, expected in commands(page):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PATH": path},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        if expected:
            matches = doctest.OutputChecker().check_output(expected, done.stdout.rstrip(), FLAGS)
            assert matches, f"{command}\nexpected:\n{expected}\ngot:\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page_name(page)} links to {target}"


def test_the_readme_commands_are_the_ones_ci_runs():
    block = re.search(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.M)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line]
    assert lines == ["pip install . && hwquant demo", "pip install '.[test]' && pytest"]
    script = (ROOT / ".ci" / "run").read_text()
    for install, run in (line.split(" && ") for line in lines):
        assert install.replace("pip install", "pip install --quiet") + f" && {run}" in script
    assert shutil.which("bash")
