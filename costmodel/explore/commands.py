# SPDX-License-Identifier: Apache-2.0
"""``hwquant sweep``, ``hwquant pareto`` and ``hwquant demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hwquant.cli import emit, json_option
from hwquant.progress import note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from costmodel.explore.store import Row
    from costmodel.explore.take import Taken
    from costmodel.report.front import Front

__all__ = ["demo", "pareto", "sweep"]


def _split(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


@click.command()
@click.argument("model", required=False)
@click.option(
    "--data", help="digits, FILE.npz (x, y) or FILE.py:FUNCTION; a zoo model has its own."
)
@click.option("--weights", callback=_split, metavar="F,F,...", help="Formats of the weights.")
@click.option(
    "--acts", callback=_split, metavar="F,F,...", help="Of the activations; same: the weight's."
)
@click.option(
    "--step", "steps", multiple=True, metavar="STEP", help="A step of the recipe, in order."
)
@click.option("--scale", "scales", multiple=True, help="po2 or float; repeat to sweep both.")
@click.option("--granularity", "granularities", multiple=True, help="per_channel or per_tensor.")
@click.option("--lanes", type=int, help="Products a cycle in each kernel.  [default: 8]")
@click.option("--folding", help="per-layer, per-channel or shared.  [default: per-layer]")
@click.option("--seed", type=int, help="Seed of everything random.  [default: 0]")
@click.option("--space", "space_file", type=click.Path(), help="TOML file; options win over it.")
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler to work on.")
@click.option("--workers", type=click.IntRange(1), help="Local processes (default: the cores).")
@click.option("--dry-run", is_flag=True, help="Count and list the points, run nothing.")
@click.option("-o", "--output", type=click.Path(), metavar="RUN", help="Folder of the run.")
@json_option
@click.pass_context
def sweep(
    ctx: click.Context,
    /,
    space_file: str | None,
    scheduler: str,
    workers: int | None,
    dry_run: bool,
    output: str | None,
    as_json: bool,
    **choices: Any,
) -> None:
    """Measure and price every combination of formats and recipes; draw the Pareto front.

    Every point is quantized and tested, and its kernels are synthesized (equal ones once).
    A killed sweep resumes with the same command; a failed point is listed and the exit code is 1.

    \b
    Examples:
      hwquant sweep zoo:digits_cnn --weights int4,int8,e2m1 --acts same -o runs/a
      hwquant sweep net.py:make@net.pth --data x.npz --weights e2m1,e3m2 --acts int8 -o runs/b
      hwquant sweep --space space.toml --scheduler tcp://host:8786 -o runs/c
    """
    from costmodel.explore.space import Space, from_toml

    given = {name: value for name, value in choices.items() if value not in (None, ())}
    if "steps" in given:
        given["steps"] = (given["steps"],)
    space = Space(**((from_toml(space_file) if space_file else {}) | given))
    if dry_run:
        _dry_run(space, as_json=as_json)
        return
    if output is None:
        raise click.UsageError("give the folder of the run with -o RUN (or count with --dry-run)")

    from costmodel.explore.sweep import sweep as run
    from costmodel.report import plots
    from costmodel.report.front import find_front
    from costmodel.report.run import write_page

    done = run(space, output, scheduler=scheduler, workers=workers)
    _list_failures(done.failed, done.folder.logs)
    finished = len(done.rows) - len(done.failed)
    result: dict[str, Any] = {"run": output, "points": len(done.rows), "done": finished}
    result |= {"failed": len(done.failed), "seconds": round(done.seconds, 1)}
    if finished:
        front = find_front(done.rows, plots.axis("lut_sites"), plots.axis("top1"))
        write_page(done.folder, space, done.rows, front)
        result |= {"front": sum(front.mask), "knee": _name(front)}
        note(f"see {done.folder.report}")
    emit(result, as_json=as_json)
    ctx.exit(1 if done.failed else 0)


def _dry_run(space: Any, *, as_json: bool) -> None:
    from costmodel.explore.space import coordinates

    points = [coordinates(recipe) for recipe in space.points()]
    if as_json:
        emit({"points": len(points), "list": points}, as_json=True)
        return
    for point in points:
        click.echo("  ".join(str(value) for value in point.values()))
    note(f"{len(points)} points")


def _list_failures(failed: list[Row], logs: Any) -> None:
    from costmodel.explore.space import label

    for row in failed:
        note(f"failed: {label(row.point)}: {row.error}")
    if failed:
        note(f"details in {logs / 'failures.log'}; the same command tries these points again")


def _name(front: Front) -> str:
    from costmodel.explore.space import label

    return label(front.choice.point)


def _line(front: Front, index: int) -> dict[str, Any]:
    """Return one point of a front as a flat record."""
    from costmodel.explore.space import label

    row = front.rows[index]
    extra = ("weight_bits", "acc_bits")
    return (
        {"point": label(row.point)}
        | {front.x_axis.name: row.metrics[front.x_axis.name]}
        | {front.y_axis.name: row.metrics[front.y_axis.name]}
        | {name: row.metrics[name] for name in extra if name in row.metrics}
        | {"steps": row.point["steps"], "key": row.key}
    )


def _print_table(lines: list[dict[str, Any]], columns: list[str]) -> None:
    """Print aligned columns: text left, numbers right."""
    texts = [columns, *([_text(line[column]) for column in columns] for line in lines)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    for number, row in enumerate(texts):
        cells = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        mark = "" if number == 0 else lines[number - 1].get("mark", "")
        click.echo(f"{'  '.join(cells)}  {mark}".rstrip())


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@click.command()
@click.argument("run", type=click.Path())
@click.option("--x", default="lut_sites", show_default=True, help="Metric across.")
@click.option("--y", default="top1", show_default=True, help="Metric up.")
@click.option("--x-sense", type=click.Choice(["min", "max"]), help="Is small or large x good?")
@click.option("--y-sense", type=click.Choice(["min", "max"]), help="Is small or large y good?")
@click.option(
    "--pick",
    default="knee",
    show_default=True,
    metavar="RULE",
    help="knee, best (y), cheapest (x), a bound on y: '>=0.97', or any metrics: "
    "'max top1 where lut_sites<=2000 and dsp<=0'.",
)
@click.option("-o", "--output", type=click.Path(), help="Figure to write: .svg, .png or .pdf.")
@click.option(
    "--take", "taking", is_flag=True, help="Export, generate and verify the picked point in RUN."
)
@json_option
@click.pass_context
def pareto(
    ctx: click.Context,
    /,
    run: str,
    x: str,
    y: str,
    x_sense: str | None,
    y_sense: str | None,
    pick: str,
    output: str | None,
    taking: bool,
    as_json: bool,
) -> None:
    """Print the Pareto front of a run and pick one of its points; also while the run goes on.

    With --take the picked point becomes RUN/model.onnx (checked), RUN/rtl and RUN/verify.xml, and
    the report of the run tells of it; exit code 1 means that something is not bit-exact.

    \b
    Examples:
      hwquant pareto runs/a --x lut_sites --y top1 --json
      hwquant pareto runs/a --pick '>=0.97' -o front.svg
      hwquant pareto runs/a --pick 'max top1 where lut_sites<=400'
      hwquant pareto runs/a --x weight_bits --y top1 -o memory.pdf
      hwquant pareto runs/a --pick knee --take
    """
    from costmodel.explore import store
    from costmodel.explore.folder import load
    from costmodel.report import plots
    from costmodel.report.front import find_front
    from costmodel.report.run import draw_front

    folder, space = load(run)
    axes = plots.axis(x, x_sense or ""), plots.axis(y, y_sense or "")
    rows = store.read(folder.store)
    front = find_front(rows, *axes, pick)
    if output is not None:
        draw_front(front, space, output)
    taken = None
    if taking:
        from costmodel.explore.take import take
        from costmodel.report.run import write_page

        taken = take(folder, space, front.choice)
        write_page(folder, space, rows, front, taken)
    lines = [_line(front, index) for index in front.order]
    picked = _line(front, front.chosen)
    if as_json:
        flow = front.choice.metrics.get("flow", "")
        record = {"run": run, "x": x, "y": y, "points": len(front.rows), "front": lines}
        record |= {"pick": picked, "rule": pick, "hypervolume": front.hypervolume, "flow": flow}
        emit(record | ({} if taken is None else taken.to_json()), as_json=True)
    else:
        marked = [line | {"mark": "<- picked" if line == picked else ""} for line in lines]
        _print_table(marked, [name for name in picked if name != "key"])
        if taken is not None:
            click.echo(f"\n{_proof(taken)}")
    ctx.exit(0 if taken is None or taken.sound else 1)


@click.command()
@click.option(
    "-o", "--output", default="runs/demo", show_default=True, type=click.Path(), metavar="RUN"
)
@click.option("--workers", type=click.IntRange(1), help="Local processes (default: the cores).")
@json_option
@click.pass_context
def demo(ctx: click.Context, /, output: str, workers: int | None, as_json: bool) -> None:
    """Show the whole path on real data: train, sweep, price, pick, export, generate, prove.

    A small network is trained on scikit-learn's handwritten digits and quantized to thirteen
    formats; every point is priced by synthesis; the knee of the Pareto front is exported as
    QONNX, and its kernels are generated and verified bit for bit in Verilator.

    \b
    Examples:
      hwquant demo
      hwquant demo -o runs/first --json
    """
    from costmodel.explore.demo import DEMO
    from costmodel.explore.sweep import sweep as run
    from costmodel.explore.take import take
    from costmodel.report import plots
    from costmodel.report.front import find_front
    from costmodel.report.run import write_page

    note(f"demo: {len(DEMO.points())} formats on real handwritten digits; results in {output}")
    done = run(DEMO, output, workers=workers)
    _list_failures(done.failed, done.folder.logs)
    front = find_front(done.rows, plots.axis("lut_sites"), plots.axis("top1"))
    note(f"demo: the knee is {_name(front)}; exporting, generating and verifying it")
    taken = take(done.folder, DEMO, front.choice)
    write_page(done.folder, DEMO, done.rows, front, taken)
    good = taken.sound and not done.failed
    if as_json:
        emit(_demo_record(output, front, taken, len(done.failed)), as_json=True)
    else:
        _tell(output, front, taken)
    ctx.exit(0 if good else 1)


def _demo_record(output: str, front: Front, taken: Taken, failed: int) -> Mapping[str, Any]:
    points = [_line(front, index) | {"on_front": front.mask[index]} for index in _by_x(front)]
    return {
        "run": output,
        "points": points,
        "failed": failed,
        "chosen": _line(front, front.chosen),
        "float_top1": front.choice.metrics["float_top1"],
        "flow": front.choice.metrics["flow"],
    } | taken.to_json()


def _by_x(front: Front) -> list[int]:
    return sorted(range(len(front.rows)), key=lambda i: (front.x[i], front.y[i]))


def _proof(taken: Taken) -> str:
    check, proof = taken.check, taken.verification
    return (
        f"QONNX check     {check['codes_compared']:,} codes and accumulators, "
        f"{check['differences']} differences\n"
        f"RTL proof       {proof['kernels']} kernels, {proof['product_checks']:,} products, "
        f"{proof['mac_steps']:,} steps in Verilator, {proof['mismatches']} mismatches"
    )


def _tell(output: str, front: Front, taken: Taken) -> None:
    """Print the table of the demo, what was proven, and what to look at next."""
    lines = [
        _line(front, index)
        | {"mark": "<- knee" if index == front.chosen else "front" if front.mask[index] else ""}
        for index in _by_x(front)
    ]
    _print_table(lines, ["point", "lut_sites", "top1", "acc_bits", "weight_bits"])
    click.echo(
        f"\nfloat accuracy  {front.choice.metrics['float_top1']:.4f}\n"
        f"{_proof(taken)}\n"
        f"priced by       {front.choice.metrics['flow']}\n\n"
        f"Look next at\n"
        f"  {output}/report.html   the page of this run: figure, table, layers, commands\n"
        f"  {output}/pareto.svg    the front\n"
        f"  {output}/model.onnx    the chosen network, for any QONNX tool\n"
        f"  {output}/rtl/          its kernels: SystemVerilog and manifest\n"
        f"  hwquant pareto {output} --pick '>=0.98'"
    )
