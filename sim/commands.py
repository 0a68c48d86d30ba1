# SPDX-License-Identifier: Apache-2.0
"""``hwquant verify``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hw.block_kernel import is_block_folder
from hw.block_options import block_spec
from hw.commands import kernel_options, spec_from_options, style_option
from hw.constant.kernel import is_constant_folder
from hw.constant.options import constant_request
from hw.tile_options import tile_options
from hwquant.cli import emit, json_option
from hwquant.errors import InputError, ToolError
from hwquant.progress import note

from .tile_command import verify_tile_target
from .unit_command import SHOWN, tell_report

if TYPE_CHECKING:
    from .report import Report

__all__ = ["kernels_in", "verify"]


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path))
@kernel_options
@tile_options
@style_option
@click.option("--all-pairs", is_flag=True, help="All 1089 pairs of int3..8 and ExMy of 3..8 bits.")
@click.option("--unsigned", is_flag=True, help="With --all-pairs: unsigned activations.")
@click.option("--sample", type=int, metavar="N", help="With --all-pairs: N kernels, by --seed.")
@click.option("--netlist", is_flag=True, help="Verify the mapped netlist (Yosys), not the RTL.")
@click.option("--dsp", is_flag=True, help="With --netlist: let the mapping use DSP blocks.")
@click.option("--nightly", is_flag=True, help="All that CI has no time for, into --out; resumes.")
@click.option("--out", type=click.Path(path_type=Path), help="With --nightly: the folder.")
@click.option("--steps", type=int, default=65_536, show_default=True, help="Accumulator steps.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--jobs", type=int, help="Simulators at a time (default: one per core).")
@click.option("--junit", type=click.Path(path_type=Path), help="Write a JUnit XML file.")
@click.option(
    "--coverage", type=click.Path(path_type=Path), help="Write every kernel's coverage as JSON."
)
@click.option("--save", type=click.Path(path_type=Path), help="Where a failing vector is written.")
@click.option("--replay", type=click.Path(path_type=Path), help="Run a saved failing vector again.")
@click.option("--waves", type=click.Path(path_type=Path), help="With --replay: write a VCD file.")
@click.option("--template", is_flag=True, help="Print a commented TOML for a module of your own.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    target: Path | None,
    weight: str | None,
    act: str | None,
    lanes: int,
    length: int | None,
    acc: str,
    overflow: str,
    style: str,
    all_pairs: bool,
    unsigned: bool,
    sample: int | None,
    netlist: bool,
    dsp: bool,
    nightly: bool,
    out: Path | None,
    steps: int,
    seed: int,
    jobs: int | None,
    junit: Path | None,
    coverage: Path | None,
    save: Path | None,
    replay: Path | None,
    waves: Path | None,
    template: bool,
    as_json: bool,
) -> None:
    """Prove kernels bit-exact: Verilator and cocotb against the reference arithmetic.

    TARGET is a folder written by `hwquant rtl` (its files are verified as they are now), a
    QONNX file (the kernels of all its layers, with --lanes and --overflow), or a TOML file that
    describes a MAC module of your own (--template prints one).
    Exit code 1 when any result differs.

    \b
    Examples:
      hwquant verify rtl/
      hwquant verify --weight e2m1 --act int8 --lanes 16 --length 256
      hwquant verify --weight mxfp4 --act mxint8 --lanes 8 --window 15:-16
      hwquant verify --constant weights.npy --weight int4 --act int4 --netlist
      hwquant verify --tile lut --weight e2m1 --act int3 --netlist --dsp
      hwquant verify --all-pairs --junit verify.xml
      hwquant verify --nightly --out nightly/
      hwquant verify --weight int8 --act int8 --netlist --dsp
      hwquant verify mymac.toml
      hwquant verify rtl/ --replay failure.json --waves failure.vcd
    """
    if template:
        from .own_template import TEMPLATE

        click.echo(TEMPLATE, nl=False)
        return
    if nightly:
        _nightly(ctx, out, seed=seed, count=sample, jobs=jobs, as_json=as_json)
        return
    if out is not None:
        raise InputError("--out goes with --nightly")
    if verify_tile_target(ctx) or _constant(ctx) or _blocks(ctx):
        return
    given = [target is not None, weight is not None or act is not None, all_pairs]
    if replay is not None:
        _replay(ctx, replay, target, waves, netlist=netlist, dsp=dsp, as_json=as_json)
        return
    if sum(given) != 1:
        raise InputError(
            "give one of: a folder, QONNX or TOML file, --weight and --act, --all-pairs"
        )
    if unsigned and not all_pairs:
        raise InputError("--unsigned goes with --all-pairs; else name the format, e.g. --act uint4")
    if sample is not None and not all_pairs:
        raise InputError("--sample goes with --all-pairs")
    if dsp and not netlist:
        raise InputError("--dsp goes with --netlist: RTL is the same with and without DSP blocks")
    if waves is not None:
        raise InputError("--waves goes with --replay FILE")
    if all_pairs:
        from .pairs import all_pairs as pairs

        targets: list[Any] = list(pairs(unsigned=unsigned))
        if sample is not None:
            from .gates import sample as choose

            targets = choose(targets, sample, seed)
    elif target is not None:
        _refuse_options(ctx, target)
        targets = _targets_of(target, lanes, overflow)
    else:
        if weight is None or act is None:
            raise InputError("--weight and --act go together")
        targets = [spec_from_options(weight, act, lanes, length, acc, overflow)]
    if netlist:
        from .gates import verify_netlists

        report = verify_netlists(targets, style=style, dsp=dsp, seed=seed, steps=steps, jobs=jobs)
    else:
        from .engine import verify as run

        report = run(targets, seed=seed, steps=steps, jobs=jobs, style=style)
    if junit is not None:
        report.write_junit(junit)
    if coverage is not None:
        report.write_coverage(coverage)
    _tell(report, target, save, dsp=dsp)
    emit(report.to_json(), as_json=as_json)
    if report.mismatches:
        ctx.exit(1)


def _constant(ctx: click.Context) -> bool:
    """Verify a constant kernel where one is meant, and return whether one is."""
    given, target = ctx.params, ctx.params["target"]
    request = constant_request(ctx)
    folder = target is not None and request is None and is_constant_folder(target)
    if request is None and not folder:
        return False
    if folder:
        _refuse_options(ctx, target)
    for name in ("coverage", "save", "waves", "replay", "junit", "all_pairs", "dsp"):
        if given[name]:
            raise InputError(f"--{name.replace('_', '-')} does not go with a constant kernel")
    from .constant import verify_constant, verify_constant_request

    numbers = {"seed": given["seed"], "steps": given["steps"], "netlist": given["netlist"]}
    if request is None:
        report = verify_constant(target, **numbers)
    else:
        report = verify_constant_request(request, **numbers)
    tell_report(ctx, report)
    return True


def _blocks(ctx: click.Context) -> bool:
    """Verify a block-dot kernel where one is meant, and return whether one is."""
    from .block import verify_block

    given, target = ctx.params, ctx.params["target"]
    if given["all_pairs"] or given["replay"] is not None:
        return False
    chosen: Any = target
    if target is None:
        names = ("weight", "act", "lanes", "length", "acc", "overflow")
        chosen = block_spec(*(given[name] for name in names))
    elif given["weight"] is not None or given["act"] is not None or not is_block_folder(target):
        return False
    else:
        _refuse_options(ctx, target)
    if chosen is None:
        return False
    for name in ("coverage", "save", "waves"):
        if given[name] is not None:
            raise InputError(f"--{name} does not go with block-scaled formats")
    report = verify_block(
        chosen,
        seed=given["seed"],
        steps=given["steps"],
        style=given["style"],
        netlist=given["netlist"],
        dsp=given["dsp"],
    )
    tell_report(ctx, report)
    return True


def _nightly(
    ctx: click.Context,
    out: Path | None,
    *,
    seed: int,
    count: int | None,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Run or resume all stages; exit 1 when any found a failure, 2 when one has no answer."""
    own = {"nightly", "out", "seed", "steps", "sample", "jobs", "as_json"}
    default = click.core.ParameterSource.DEFAULT
    other = [n for n in ctx.params if n not in own and ctx.get_parameter_source(n) != default]
    if other or out is None:
        raise InputError(
            "--nightly needs --out DIR, and takes --seed, --steps, --sample, --jobs, --json only"
        )
    from .nightly import run
    from .nightly_stages import STEPS, stages

    named = ctx.get_parameter_source("steps") != default
    steps = ctx.params["steps"] if named else STEPS
    summary = run(stages(seed=seed, steps=steps, count=count, jobs=jobs), out)
    emit(summary.to_json(), as_json=as_json)
    for record in summary.records:
        for failure in record.finding.failures[:SHOWN]:
            note(f"{record.stage}, {record.task}: {failure}")
    if summary.failures:
        ctx.exit(1)
    if not summary.passed:
        raise ToolError("not every task has an answer: " + "; ".join(summary.errors))


def _refuse_options(ctx: click.Context, target: Path) -> None:
    """Refuse options that say otherwise than ``target`` does."""
    fixed = ["weight", "act", "length", "acc"]
    if target.is_dir() or target.suffix == ".toml":
        fixed += ["lanes", "overflow", "style"]
    default = click.core.ParameterSource.DEFAULT
    given = [f"--{name}" for name in fixed if ctx.get_parameter_source(name) != default]
    if given:
        raise InputError(f"{', '.join(given)} cannot go with {target}, which fixes the kernels")


def kernels_in(folder: Path) -> list[Path]:
    """Return the kernel folders in a folder of ``hwquant rtl``: itself, or a network's kernels."""
    from hw.layers import LAYERS

    if not (folder / LAYERS).is_file():
        return [folder]
    try:
        users = json.loads((folder / LAYERS).read_bytes())["layers"]
        return [folder / name for name in sorted(set(users.values()))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{folder / LAYERS} is damaged ({error!r}); run hwquant rtl again"
        ) from error


def _targets_of(target: Path, lanes: int, overflow: str) -> list[Any]:
    """Return the kernels of a folder (one kernel, or a network's) or of a QONNX file."""
    from hw.layers import layer_specs

    if target.is_dir():
        return list(kernels_in(target))
    if not target.exists():
        raise InputError(f"{target} does not exist; give a folder written by hwquant rtl")
    if target.suffix == ".toml":
        return [target]
    if target.suffix != ".onnx":
        raise InputError(
            f"{target} is neither a folder written by hwquant rtl nor a .onnx or .toml file"
        )
    from hwquant.graph import load

    specs, _ = layer_specs(load(target).workload().layers, lanes=lanes, overflow=overflow)
    return list(specs.values())


def _tell(report: Report, target: Path | None, save: Path | None, *, dsp: bool) -> None:
    """Say what was found, and how to see it again."""
    for warning in report.warnings:
        note(f"warning: {warning}")
    for text in report.untested:
        note(f"not tested: {text}")
    _tell_coverage(report.coverage()["missed"])
    if not report.mismatches:
        return
    note(f"{report.mismatches} results differ; the first:")
    for failure in report.failures[:SHOWN]:
        note(failure.describe())
    if report.failures:
        from .replay import save_failure

        path = save_failure(report.failures[0], save)
        where = f"{target} " if target is not None and target.suffix != ".onnx" else ""
        level = f"--netlist {'--dsp ' if dsp else ''}" if report.flow else ""
        waves = path.with_suffix(".vcd")
        note(f"replay: hwquant verify {where}{level}--replay {path} --waves {waves}")


def _tell_coverage(missed: dict[str, list[str]]) -> None:
    """Name the kernels that the stimulus did not take everywhere it could."""
    for label, bins in list(missed.items())[:SHOWN]:
        note(f"not covered: {label}: {', '.join(bins)} (more --steps may reach it)")
    if len(missed) > SHOWN:
        note(f"not covered: {len(missed) - SHOWN} more kernels; --coverage FILE.json lists them")


def _replay(
    ctx: click.Context,
    path: Path,
    target: Path | None,
    waves: Path | None,
    *,
    netlist: bool,
    dsp: bool,
    as_json: bool,
) -> None:
    from .replay import replay

    outcome = replay(path, folder=target, waves=waves, netlist=netlist, dsp=dsp)
    for command in outcome.viewers.values():
        note(f"open: {command}")
    emit(outcome.to_json(), as_json=as_json)
    if outcome.mismatches:
        ctx.exit(1)
