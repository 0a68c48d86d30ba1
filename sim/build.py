# SPDX-License-Identifier: Apache-2.0
"""Compiled simulators, cached by the content they are made of.

Verilator's runtime never changes, so it is compiled once into an archive; what remains per farm is
one translation unit at -O1.  cocotb's own build step is not used because it makes every signal
public, which costs two orders of magnitude in compile time; its runner starts what is built here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hwquant import cache
from hwquant.errors import CacheError
from hwquant.progress import note

from . import toolchain
from .toolchain import Toolchain

__all__ = ["simulator"]

RUNTIME_SOURCES = ("verilated_vpi", "verilated", "verilated_dpi", "verilated_threads")
DEFINES = ("VM_COVERAGE=0", "VM_SC=0", "VM_TRACE_FST=0", "VM_TRACE_SAIF=0", "VM_TIMING=0")
RUNTIME_FLAGS = ("-std=c++20", "-O1", "-w", "-faligned-new")
MODEL_FLAGS = ("-std=c++20", "-O1", "-w", "-faligned-new")
VERILATE_FLAGS = (
    "--cc", "--vpi", "--prefix", "Vtop", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--x-initial", "unique", "--output-split", "0", "--output-split-cfuncs", "300",
)  # fmt: skip
SEAL = "seal"
UNFINISHED = ".build-"
STALE_SECONDS = 86_400  # no build takes a day
HEADER = "runtime.h"
PRECOMPILED = """#include "verilated.h"
#include "verilated_dpi.h"
#include "verilated_syms.h"
#include "verilated_vpi.h"
"""
_RUNTIME_LOCK = threading.Lock()
_RUNTIMES: dict[str, Path] = {}


def _flags(tools: Toolchain, *, trace: bool) -> list[str]:
    defines = [*DEFINES, f"VM_TRACE={int(trace)}", f"VM_TRACE_VCD={int(trace)}"]
    return [
        *(f"-D{define}" for define in defines),
        f"-I{tools.include}",
        f"-I{tools.include / 'vltstd'}",
    ]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.name != SEAL):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _intact(folder: Path) -> bool:
    """Say whether a cached build is what was stored; a damaged one is rebuilt, with a note."""
    if not os.path.lexists(folder):
        return False
    try:
        if (folder / SEAL).read_bytes() == _digest(folder).encode():
            return True
    except OSError:  # no folder, no seal, or a file that cannot be read
        pass
    note(f"cached build {folder} is damaged; building it again")
    return False


def _entry(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a cached build, made by ``make`` in a temporary folder if need be.

    The finished folder is renamed into place; whoever comes second uses the first one's.
    Raises `CacheError` when the cache cannot be written.
    """
    folder = cache.entry_path(kind, key, "")
    if _intact(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    try:
        make(temporary)
        (temporary / SEAL).write_text(_digest(temporary))
        _put(temporary, folder)
    except OSError as error:
        raise _unwritable(folder.parent, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _put(finished: Path, folder: Path) -> None:
    """Rename a finished build into place, unless another process was first."""
    if os.path.lexists(folder) and not _intact(folder):
        aside = finished.with_name(f"{finished.name}-damaged")
        folder.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()
    try:
        finished.rename(folder)
    except OSError:
        if not _intact(folder):
            raise


def _sweep(parent: Path) -> None:
    """Remove what builds that were killed long ago left behind."""
    for left in parent.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _unwritable(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"cache folder {folder} cannot be written ({error.strerror or error}); "
        "set HWQUANT_CACHE to a folder you may write to, with space left"
    )


def _runtime(tools: Toolchain, *, trace: bool) -> Path:
    """Return the folder of Verilator's compiled runtime, compiling it the first time."""
    flags = [*RUNTIME_FLAGS, *_flags(tools, trace=trace)]
    sources = [*RUNTIME_SOURCES, *(["verilated_vcd_c"] if trace else [])]

    def make(folder: Path) -> None:
        note("compiling Verilator's runtime (once per machine)")
        paths = [str(tools.include / f"{source}.cpp") for source in sources]
        (folder / HEADER).write_text(PRECOMPILED)
        header = [tools.compiler, *MODEL_FLAGS, *_flags(tools, trace=trace), "-x", "c++-header"]
        jobs = [[tools.compiler, *flags, "-c", path] for path in paths]
        jobs.append([*header, HEADER, "-o", f"{HEADER}.gch"])
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda job: toolchain.run(job, folder), jobs))
        objects = [f"{source}.o" for source in sources]
        toolchain.run([tools.archiver, "rcs", "libruntime.a", *objects], folder)
        for name in objects:
            (folder / name).unlink()

    key = cache.content_key(tools.identity, flags, MODEL_FLAGS, PRECOMPILED, sources)
    with _RUNTIME_LOCK:
        if key not in _RUNTIMES:  # hashing a large header once a process is enough
            _RUNTIMES[key] = _entry("verilator-runtime", key, make)
        return _RUNTIMES[key]


def _unity(model: Path, cpp: str, tools: Toolchain) -> str:
    """Return one translation unit of everything; what runs once is compiled without effort."""
    parts = sorted(path.name for path in model.glob("*.cpp"))
    slow = [f'#include "{name}"' for name in parts if "Slow" in name]
    fast = [f'#include "{name}"' for name in parts if "Slow" not in name]
    return "\n".join(
        [
            f'#include "{HEADER}"',
            "#pragma GCC push_options",
            '#pragma GCC optimize("O0")',
            *slow,
            "#pragma GCC pop_options",
            *fast,
            cpp,
            f'#include "{tools.cocotb_main}"',
            "",
        ]
    )


def simulator(
    sources: Mapping[str, str], top: str, *, visible: str, cpp: str = "", trace: bool = False
) -> Path:
    """Return a folder holding the program ``top``: ``sources`` compiled and linked with cocotb.

    ``sources`` maps file names to SystemVerilog text, in compile order; ``visible`` is the
    Verilator control file that makes signals public; ``cpp`` is compiled in (DPI functions);
    ``trace`` adds VCD.
    Raises `ToolError` when the sources do not compile.
    """
    tools = toolchain.find()
    verilate = [*VERILATE_FLAGS, *(["--trace-vcd"] if trace else [])]
    flags = [*MODEL_FLAGS, *_flags(tools, trace=trace)]
    key = cache.content_key(
        tools.identity, verilate, flags, list(sources.items()), top, visible, cpp, PRECOMPILED
    )

    def make(folder: Path) -> None:
        work = folder / "work"
        work.mkdir()
        (work / "visible.vlt").write_text(visible)
        for name, text in sources.items():
            (work / name).write_text(text)
        toolchain.run(
            [tools.verilator, *verilate, "--Mdir", "model", "--top-module", top,
             "visible.vlt", *sources],
            work,
            VERILATOR_ROOT=str(tools.verilator_root),
        )  # fmt: skip
        runtime = _runtime(tools, trace=trace)
        (work / "model" / "unity.cc").write_text(_unity(work / "model", cpp, tools))
        toolchain.run(
            [tools.compiler, *flags, "-I.", f"-I{runtime}", "unity.cc",
             str(runtime / "libruntime.a"), "-o", str(folder / top), "-s", "-rdynamic", "-pthread",
             f"-Wl,-rpath,{tools.cocotb_libs}", f"-L{tools.cocotb_libs}", "-lcocotbvpi_verilator"],
            work / "model",
        )  # fmt: skip
        shutil.rmtree(work)

    return _entry("farm", key, make)
