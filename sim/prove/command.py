# SPDX-License-Identifier: Apache-2.0
"""``hwquant prove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw.commands import kernel_options, spec_from_options
from hwquant.cli import emit, json_option
from hwquant.errors import InputError
from hwquant.progress import note

if TYPE_CHECKING:
    from .engine import ProofReport

__all__ = ["prove"]


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@kernel_options
@click.option("--all-styles", is_flag=True, help="Every accumulator style, on several formats.")
@click.option("--products", is_flag=True, help="Also let the solver prove every product.")
@click.option(
    "--timeout", type=float, default=60.0, show_default=True, help="CPU seconds per kernel."
)
@click.option("--allow-unknown", is_flag=True, help="Exit code 0 also when a proof gave up.")
@click.option("--jobs", type=int, help="Proofs at a time (default: one per core).")
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit XML file.")
@click.option("--save", type=click.Path(path_type=Path), help="Where a failing vector is written.")
@json_option
@click.pass_context
def prove(
    ctx: click.Context,
    folder: Path | None,
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    all_styles: bool,
    products: bool,
    timeout: float,
    allow_unknown: bool,
    jobs: int | None,
    junit: Path | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Prove kernels for every state and input: induction against a golden model.

    FOLDER is a folder written by `hwquant rtl`; its files are proved as they are now.
    Exit code 1 when a kernel is refuted, or a proof gave up (see --allow-unknown).

    \b
    Examples:
      hwquant prove rtl/
      hwquant prove --weight e2m1 --act int8 --lanes 16 --length 256
      hwquant prove --all-styles --junit prove.xml
    """
    if sum([folder is not None, weight is not None or act is not None, all_styles]) != 1:
        raise InputError("give one of: a folder, --weight and --act, --all-styles")
    if folder is None and not all_styles and (weight is None or act is None):
        raise InputError("--weight and --act go together")
    if folder is not None or all_styles:
        _refuse_options(ctx, str(folder) if folder is not None else "--all-styles")
    from .engine import STYLES
    from .engine import prove as run

    targets: list[Any] = list(STYLES)
    if folder is not None:
        targets = _kernels_in(folder)
    elif weight is not None and act is not None:
        targets = [spec_from_options(weight, act, lanes, length, acc, overflow)]
    report = run(targets, timeout=timeout, products=products, jobs=jobs)
    if junit is not None:
        report.write_junit(junit)
    _tell(report, folder, save)
    emit(report.to_json() if as_json else _summary(report), as_json=as_json)
    if report.count("refuted") or (report.count("gave up") and not allow_unknown):
        ctx.exit(1)


def _refuse_options(ctx: click.Context, target: str) -> None:
    default = click.core.ParameterSource.DEFAULT
    fixed = ("weight", "act", "lanes", "length", "acc", "overflow")
    given = [f"--{name}" for name in fixed if ctx.get_parameter_source(name) != default]
    if given:
        raise InputError(f"{', '.join(given)} cannot go with {target}, which fixes the kernels")


def _kernels_in(folder: Path) -> list[Any]:
    """Return the kernel of a folder, or all of a network's."""
    from sim.commands import kernels_in

    if not folder.exists():
        raise InputError(f"{folder} does not exist; give a folder written by hwquant rtl")
    return kernels_in(folder) if folder.is_dir() else [folder]


def _summary(report: ProofReport) -> dict[str, Any]:
    record = report.to_json()
    return {key: value for key, value in record.items() if key not in ("proofs", "warnings")}


def _tell(report: ProofReport, folder: Path | None, save: Path | None) -> None:
    """Say what is not proved, and how to see a failing vector again."""
    for warning in report.warnings:
        note(f"warning: {warning}")
    for proof in report.proofs:
        if proof.status != "proved":
            note(proof.describe())
    failures = [proof.failure for proof in report.proofs if proof.failure is not None]
    if failures:
        from sim.replay import save_failure

        path = save_failure(failures[0], save)
        where = f"{folder} " if folder is not None else ""
        note(f"replay: hwquant verify {where}--replay {path} --waves {path.with_suffix('.vcd')}")
