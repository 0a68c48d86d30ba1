# SPDX-License-Identifier: Apache-2.0
"""Start a compiled simulator under cocotb's runner and judge by its results file."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwquant.errors import ToolError

__all__ = ["Outcome", "run_job", "scratch"]

# Rewriting the assertions of every imported module would take longer than a simulation.
ENVIRONMENT = {"COCOTB_REWRITE_ASSERTION_FILES": "", "COCOTB_ANSI_OUTPUT": "0"}

Outcome = dict[str, bool]
"""Test name to whether it passed."""


def _run_cocotb(
    build: Path,
    top: str,
    module: str,
    *,
    folder: Path,
    seed: int,
    environment: Mapping[str, str],
    arguments: tuple[str, ...] = (),
) -> Outcome:
    """Run cocotb tests of ``module`` in the simulator ``build/top``; files go to ``folder``.

    The exit code of a simulation can be 0 although tests failed, so the results file decides.
    Raises `ToolError` with the end of the log when the simulation did not finish.
    """
    from cocotb_tools.runner import get_runner

    results, log = folder / "results.xml", folder / "simulation.log"
    runner = get_runner("verilator")
    runner.log.setLevel(logging.CRITICAL)
    # The results file is the judge, below; cocotb itself stumbles over a damaged one.
    with contextlib.suppress(SystemExit, RuntimeError, OSError, ET.ParseError):
        runner.test(
            test_module=module,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=build,
            test_dir=folder,
            results_xml=str(results),
            seed=seed,
            extra_env={**ENVIRONMENT, **environment},
            test_args=list(arguments),
            # Registers start with random contents: what reset or clear misses must show.
            plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{seed % 0x7FFFFFFF + 1}"],
            log_file=log,
        )
    return _outcome(results, log)


def run_job(
    build: Path,
    top: str,
    module: str,
    job: Mapping[str, Any],
    *,
    seed: int,
    arguments: tuple[str, ...] = (),
) -> tuple[Outcome, Any, str]:
    """Run a testbench on ``job``; return the outcome, what it wrote, the end of its log.

    ``module`` is found where this program finds its own.  The testbench reads the job from the JSON
    file ``HWQUANT_JOB`` and writes ``HWQUANT_OUTCOME``; ``arguments`` go to the simulator.
    Raises `ToolError` with the end of the log when it wrote nothing that can be read.
    """
    with scratch() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        outcome = _run_cocotb(
            build,
            top,
            module,
            folder=folder,
            seed=seed,
            environment={
                "HWQUANT_JOB": str(folder / "job.json"),
                "HWQUANT_OUTCOME": str(folder / "outcome.json"),
                "OMP_NUM_THREADS": "1",
            },
            arguments=arguments,
        )
        log = _tail(folder / "simulation.log", 25)
        try:
            return outcome, json.loads((folder / "outcome.json").read_text()), log
        except (OSError, ValueError) as error:
            raise ToolError("the testbench failed:\n" + log) from error


def _outcome(results: Path, log: Path) -> Outcome:
    try:
        cases = list(ET.parse(results).getroot().iter("testcase"))  # noqa: S314 - our own file
    except (OSError, ET.ParseError) as error:
        raise ToolError(f"the simulation did not finish; its last lines:\n{_tail(log)}") from error
    outcome: Outcome = {}
    for case in cases:
        trouble = case.find("failure"), case.find("error")
        if case.find("skipped") is not None:
            raise ToolError(f"cocotb skipped {case.get('name')}; its last lines:\n{_tail(log)}")
        outcome[case.get("name", "")] = all(part is None for part in trouble)
    if not outcome:
        raise ToolError(f"the simulation ran no test; its last lines:\n{_tail(log)}")
    return outcome


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder for one simulation."""
    return tempfile.TemporaryDirectory(prefix="hwquant-verify-")
