# SPDX-License-Identifier: Apache-2.0
"""``hwquant search``: formats for every layer, within a budget."""

from __future__ import annotations

from typing import Any

import click

from costmodel.explore.listing import name_of
from hwquant import atomic
from hwquant.cli import emit, json_option
from hwquant.progress import note

__all__ = ["search"]


def _split(_ctx: click.Context, _param: click.Parameter, text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@click.command()
@click.argument("model")
@click.option(
    "--data",
    default="",
    help="digits, FILE.npz (x, y) or FILE.py:FUNCTION; a zoo model has its own.",
)
@click.option(
    "--weights",
    callback=_split,
    default="int3,int4,e2m1,e3m2,int6,int8",
    show_default=True,
    metavar="F,F,...",
    help="Formats that weights may have.",
)
@click.option(
    "--acts",
    callback=_split,
    default="int4,e2m1,e3m2,int6,int8",
    show_default=True,
    metavar="F,F,...",
    help="Formats that activations may have.",
)
@click.option(
    "--budget",
    default="",
    metavar="COST=N,...",
    help="Upper bounds: lut_sites, dsp, memory_bram18, weight_bits, latency_cycles, ...",
)
@click.option(
    "--objective",
    default="lut_sites",
    show_default=True,
    metavar="COST",
    help="Cost that is traded for accuracy; loss: only the best network within the budget.",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="exact (integer programme), nsga2 or tpe (Optuna); auto: exact where costs add up.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Networks that Optuna tries beyond its starts.",
)
@click.option(
    "--images",
    "items",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Calibration inputs that losses are measured on.",
)
@click.option(
    "--points",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="Networks to keep and score, at most.",
)
@click.option("--step", "steps", multiple=True, metavar="STEP", help="A step, in order.")
@click.option("--scale", default="po2", show_default=True, help="po2 or float.")
@click.option("--granularity", default="per_channel", show_default=True)
@click.option("--act-unsigned/--act-signed", default=True, show_default=True)
@click.option("--lanes", type=int, default=8, show_default=True, help="Products a cycle.")
@click.option("--folding", default="per-layer", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--synth", is_flag=True, help="Price the kept networks by Yosys, not by formula.")
@click.option("-o", "--output", type=click.Path(), metavar="RUN", required=True)
@json_option
def search(
    *,
    model: str,
    data: str,
    weights: tuple[str, ...],
    acts: tuple[str, ...],
    budget: str,
    objective: str,
    method: str,
    trials: int,
    items: int,
    points: int,
    steps: tuple[str, ...],
    scale: str,
    granularity: str,
    act_unsigned: bool,
    lanes: int,
    folding: str,
    seed: int,
    synth: bool,
    output: str,
    as_json: bool,
) -> None:
    """Choose a weight and an activation format for every layer of MODEL.

    Losses are measured on calibration inputs, no label is read; costs come from formulas.  The
    networks that remain are scored once on the test part and left in RUN, which `hwquant pareto`
    reads like that of a sweep.  A killed search goes on with the same command.

    \b
    Examples:
      hwquant search zoo:digits_cnn --weights int3,int4,int8 --acts int4,int8 -o runs/m
      hwquant search zoo:digits_cnn --budget lut_sites=900 --objective loss -o runs/n
      hwquant search zoo:glyphs_resnet8 --method nsga2 --trials 400 --folding shared -o runs/s
      hwquant pareto runs/m --pick 'max top1 where lut_sites<=700' --take
    """
    from costmodel.explore.mixed.budget import check_cost, parse_budget
    from costmodel.explore.mixed.run import Question
    from costmodel.explore.mixed.run import search as run
    from costmodel.explore.space import Space

    chosen: dict[str, Any] = {"steps": (steps,)} if steps else {}
    space = Space(
        model=model,
        data=data,
        weights=weights,
        acts=acts,
        scales=(scale,),
        granularities=(granularity,),
        lanes=lanes,
        folding=folding,
        seed=seed,
        recipe={"act_unsigned": act_unsigned},
        price="synthesis" if synth else "formula",
        **chosen,
    )
    if objective != "loss":
        objective = check_cost(objective, "objective", ("loss",))
    limits = parse_budget(budget)
    question = Question(space, objective, limits, method, trials, items, points)
    found = run(question, output)

    from costmodel.report.live import View
    from costmodel.report.run import write_page

    front = View(question.axis).front(found.rows)
    write_page(found.folder, space, found.rows, front)
    atomic.write_text(found.folder.recipe, found.recipes[front.choice.key].to_toml())
    note(f"see {found.folder.report}")
    result: dict[str, Any] = {"run": output, "method": found.method, "measured": found.measured}
    result |= {"points": len(found.rows), "front": sum(front.mask), "knee": name_of(front)}
    emit(result, as_json=as_json)
