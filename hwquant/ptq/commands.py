# SPDX-License-Identifier: Apache-2.0
"""``hwquant quantize``: float model in, QONNX file out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hwquant.cli import emit, json_option
from hwquant.ptq.recipe import CONCATS, GRANULARITIES, RULES, SCALES, Recipe

__all__ = ["quantize", "recipe_from", "recipe_options"]


F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--data",
        help="A set of the zoo, imagefolder:PATH, FILE.npz (x, y), ...; a zoo model has its own.",
    ),
    click.option("--weight", help="Format of the weights, such as e2m1.  [default: int8]"),
    click.option("--act", help="Format of the activations, such as int8.  [default: int8]"),
    click.option(
        "--scale", type=click.Choice(SCALES), help="Powers of two, or any.  [default: po2]"
    ),
    click.option("--granularity", type=click.Choice(GRANULARITIES), help="Of the weight scales."),
    click.option("--calibration", type=click.Choice(RULES), help="Rule for the scales."),
    click.option(
        "--act-unsigned", is_flag=True, help="Unsigned formats where activations are >= 0."
    ),
    click.option(
        "--concat",
        type=click.Choice(CONCATS),
        help="One scale for concatenated channels, or one for each operand.  [default: joint]",
    ),
    click.option("--first-last", metavar="W,A", help="Formats of the first and the last layer."),
    click.option(
        "--exclude", multiple=True, metavar="LAYER", help="Leave a layer float; repeatable."
    ),
    click.option(
        "--step", "steps", multiple=True, metavar="STEP", help="calibrate:rule=mse; in order."
    ),
    click.option("--recipe", type=click.Path(), help="TOML file; options given here win over it."),
)


def recipe_options(command: F) -> F:
    """Add ``--data`` and the options that say how to quantize; `recipe_from` reads the latter."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def recipe_from(*, recipe: str | None, **options: Any) -> Recipe:
    """Return the recipe of `recipe_options`: the TOML file if any, and what was given over it."""
    given = {
        **options,
        "act_unsigned": options["act_unsigned"] or None,
        "first_last": options["first_last"].split(",") if options["first_last"] else None,
        "exclude": options["exclude"] or None,
        "steps": options["steps"] or None,
    }
    base = Recipe() if recipe is None else _read_recipe(recipe)
    changes = {key: item for key, item in given.items() if item is not None}
    return Recipe.from_dict(base.to_dict() | changes)


@click.command()
@click.argument("model")
@recipe_options
@click.option("-o", "--output", type=click.Path(), help="QONNX file to write.")
@click.option("--save", type=click.Path(), help="Quantized PyTorch model to write.")
@click.option(
    "--plots",
    type=click.Path(file_okay=False),
    help="Folder for figures (PNG and SVG) of errors, weights, ranges and rounding.",
)
@click.option(
    "--trajectory",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Diffusion: calibrate on what the float sampler meets in STEPS timesteps.",
)
@click.option("--items", type=click.IntRange(1), help="Calibrate on so many items.  [all]")
@click.option("--device", default="cpu", show_default=True, help="Where to work, such as cuda.")
@click.option("--autocast", is_flag=True, help="Learned steps run layers in bfloat16.")
@json_option
def quantize(
    model: str,
    data: str | None,
    items: int | None,
    device: str,
    autocast: bool,
    trajectory: int | None,
    output: str | None,
    save: str | None,
    plots: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize MODEL (zoo:NAME, FILE.py:FUNCTION or torchvision:NAME) after training.

    A file and torchvision take trained weights behind it: FILE.py:FUNCTION@WEIGHTS.pth.

    \b
    Examples:
      hwquant quantize zoo:digits_cnn --data digits --weight e2m1 --act int8 -o cnn.onnx
      hwquant quantize net.py:make@net.pth --data images.npz --weight int4 --act int8 \\
          --step calibrate:rule=mse --step bias_correction -o net.onnx --save net.pt
      hwquant quantize zoo:digits_cnn --weight int3 --step calibrate --step gptq --plots figures
    """
    chosen = recipe_from(**options)

    from hwquant.nn.checkpoint import save_quantized
    from hwquant.ptq.quantize import quantize as run
    from hwquant.zoo.resolve import resolve
    from hwquant.zoo.tasks.score import score

    trained = resolve(model, data)
    calib = trained.data.x_calib
    if trajectory is not None:
        from hwquant.ptq.trajectory import sampled_inputs

        calib = sampled_inputs(trained.model, trained.data, steps=trajectory)
    calib = calib[:items]
    place: dict[str, Any] = {"device": device, "autocast": autocast}
    start = time.monotonic()
    if plots is None:
        qmodel, facts = run(trained.model, chosen, calib, **place), None
    else:
        from hwquant.ptq.facts import quantize_with_facts

        qmodel, facts = quantize_with_facts(trained.model, chosen, calib, **place)
    seconds = time.monotonic() - start
    result = {
        "model": model,
        "recipe": chosen.to_dict(),
        **{f"float_{name}": value for name, value in trained.figures.items()},
        **score(qmodel, trained.data, trained.model),
        "seconds": round(seconds, 3),
    }
    if output is not None:
        from hwquant.export.qonnx import export_qonnx

        export_qonnx(qmodel, output, trained.data.sample)
        result["output"] = output
    if save is not None:
        save_quantized(qmodel, save)
        result["saved"] = save
    if plots is not None and facts is not None:
        from hwquant.ptq.plots import save_plots

        result["plots"] = [str(path) for path in save_plots(facts, plots)]
    emit(result, as_json=as_json)


def _read_recipe(path: str) -> Recipe:
    from pathlib import Path

    from hwquant.errors import InputError

    try:
        return Recipe.from_toml(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"recipe file {path} cannot be read: {error}") from error
