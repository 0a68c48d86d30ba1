# SPDX-License-Identifier: Apache-2.0
"""Run one failing dot product again, alone, and record its waveform."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwquant import atomic
from hwquant.errors import HwquantError, InputError
from hwquant.progress import note

from .build import simulator
from .designs import design_of_spec, design_of_target
from .kernels import Design, Kernel
from .report import Failure
from .runner import run_job, scratch
from .viewers import viewer_files

if TYPE_CHECKING:
    from .agents import Row

__all__ = ["Replay", "failure_record", "load_failure", "play", "replay", "save_failure"]

DEFAULT_FILE = Path("hwquant-failure.json")
VERSION = 1


@dataclass(frozen=True)
class Replay:
    """Outcome of a replay: results compared, those that differ, and the waveform file.

    ``viewers`` says for each waveform viewer which command opens the waveform.
    """

    kernel: Kernel
    compared: int
    errors: tuple[dict[str, Any], ...]
    waves: Path | None
    viewers: Mapping[str, str] = field(default_factory=dict)

    @property
    def mismatches(self) -> int:
        """Results that differ from the model."""
        return len(self.errors)

    def to_json(self) -> dict[str, Any]:
        """Return what ``hwquant verify --replay`` prints."""
        return {
            "kernel": self.kernel.label,
            "compared": self.compared,
            "mismatches": self.mismatches,
            "errors": list(self.errors),
            "waves": None if self.waves is None else str(self.waves),
            "viewers": dict(self.viewers),
        }


def save_failure(failure: Failure, path: Path | None = None) -> Path:
    """Write a failing vector as JSON and return where."""
    target = DEFAULT_FILE if path is None else path
    atomic.write_text(target, json.dumps(failure_record(failure), indent=1) + "\n")
    return target


def failure_record(failure: Failure) -> dict[str, Any]:
    """Return a failing vector as the JSON-able content of its file."""
    return {"hwquant_failure": VERSION, **failure.to_json()}


def load_failure(path: str | Path) -> Failure:
    """Read a failing vector; raises `InputError` when the file is not one."""
    try:
        record = json.loads(Path(path).read_bytes())
        if record["hwquant_failure"] != VERSION:
            raise InputError(
                f"{path} is of version {record['hwquant_failure']}, allowed: {VERSION}"
            )
        return Failure.from_json(record)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no failing vector ({error!r}); hwquant verify writes one when it fails"
        ) from error


def replay(
    path: str | Path,
    *,
    folder: str | Path | None = None,
    waves: str | Path | None = None,
    netlist: bool = False,
    dsp: bool = False,
) -> Replay:
    """Run the failing dot product in ``path`` on its kernel alone.

    The RTL is that in ``folder``, or else the library's for the same spec.  A fault that needs
    the dot product before it is replayed together with that one.  ``waves`` names a VCD file;
    a save file for GTKWave and a command file for Surfer are written beside it.
    With ``netlist`` the mapped netlist is run (made with DSPs allowed if ``dsp``).
    Raises `InputError` for a bad file, `ToolError` when a tool is missing.
    """
    if waves is not None and Path(waves).suffix.lower() != ".vcd":
        raise InputError(f"waves {waves}, allowed: a file named X.vcd (no other format is written)")
    failure = load_failure(path)
    design = design_of_spec(failure.kernel.spec) if folder is None else _bundle(folder, failure)
    if netlist:
        from .gates import mapped

        design = mapped(design, dsp=dsp)
    outcome = play(design, failure.rows, waves=waves)
    if not outcome.mismatches and failure.before:
        note("the dot product alone passes; replaying it after the one before")
        outcome = play(design, (*failure.before, *failure.rows), waves=waves)
    return outcome


def _bundle(folder: str | Path, failure: Failure) -> Design:
    design, warnings, _ = design_of_target(folder)
    for warning in warnings:
        note(f"warning: {warning}")
    if design.kernels[0].spec != failure.kernel.spec:
        raise InputError(
            f"{folder} holds {design.kernels[0].label}; the failing vector is of "
            f"{failure.kernel.label}"
        )
    return design


def play(design: Design, rows: Sequence[Row], *, waves: str | Path | None = None) -> Replay:
    """Play ``rows`` (control bits, weight codes, activation codes) through the one kernel."""
    kernel = design.kernels[0]
    ports = ["clk_i", "rst_i", "en_i", "valid_i", "clear_i", "weight_i", "act_i", "valid_o"]
    ports += ["acc_o", *(["last_i"] if kernel.control.last else [])]
    ports += ["ready_o"] if kernel.control.ready else []
    lines = [f'public_flat_rw -module "{kernel.name}" -var "{port}"' for port in ports]
    build = simulator(
        design.sources,
        kernel.name,
        visible="\n".join(["`verilator_config", *lines, ""]),
        trace=waves is not None,
    )
    job = {"kernel": kernel.to_json(), "rows": [list(row) for row in rows]}
    viewers: dict[str, str] = {}
    with scratch() as name:
        vcd = Path(name) / "dump.vcd"
        outcome, found, _ = run_job(
            build,
            kernel.name,
            "sim.tb_kernel",
            job,
            seed=0,
            arguments=() if waves is None else ("--trace", "--trace-file", str(vcd)),
        )
        if bool(found["errors"]) == all(outcome.values()):
            raise HwquantError("the testbench and its results file disagree; run it again")
        if waves is not None:
            atomic.write_bytes(waves, vcd.read_bytes())
            viewers = viewer_files(Path(waves), kernel.name)
    return Replay(
        kernel,
        found["compared"],
        tuple(found["errors"]),
        None if waves is None else Path(waves),
        viewers,
    )
