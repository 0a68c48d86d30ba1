# SPDX-License-Identifier: Apache-2.0
"""Claims of the literature as named experiments: two recipes on the same networks.  No torch here.

Both arms share all that is not the claim: network, formats, scales, calibration items, iterations.
`hwquant.ptq.paired` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any, Final

from hwquant.errors import InputError
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.step import PACKAGE, StepSpec

__all__ = ["EXPERIMENTS", "Experiment", "experiment", "shortened"]

INT8: Final = ("int8", "int8")


@dataclass(frozen=True)
class Experiment:
    """A claim: on ``model`` the recipe ``first`` is better than ``second``.

    ``model`` is a network of the zoo without its seed, ``metric`` what is compared: ``top1``,
    in points.  ``source`` names the paper, or says that the claim is ours.
    """

    name: str
    claim: str
    model: str
    first: Recipe
    second: Recipe
    metric: str
    source: str


def _pair(
    name: str,
    claim: str,
    source: str,
    first: tuple[str, ...],
    second: tuple[str, ...],
    *,
    model: str = "glyphs_resnet8",
    **settings: Any,
) -> Experiment:
    """Return the experiment whose arms differ in their steps."""
    shared: dict[str, Any] = {"act": "int8", "scale": "float", "first_last": INT8} | settings
    arm, other = (Recipe(**shared, steps=steps) for steps in (first, second))
    return Experiment(name, claim, model, arm, other, "top1", source)


_MSE: Final = "calibrate:rule=mse"
_A2: Final[dict[str, Any]] = {"weight": "int8", "act": "uint2", "act_unsigned": True}

EXPERIMENTS: Final[dict[str, Experiment]] = {
    item.name: item
    for item in (
        _pair(
            "mse-absmax",
            "scales of least squared error beat those that clip nothing, at W3",
            "1810.05723",
            (_MSE,),
            ("calibrate:rule=absmax",),
            weight="int3",
        ),
        _pair(
            "gptq-nearest",
            "GPTQ beats rounding to nearest, at W3",
            "2210.17323",
            (_MSE, "gptq"),
            (_MSE,),
            weight="int3",
        ),
        _pair(
            "adaround-nearest",
            "AdaRound beats rounding to nearest, at W3",
            "2004.10568",
            (_MSE, "adaround"),
            (_MSE,),
            weight="int3",
        ),
        _pair(
            "pd-mse",
            "PD-Quant beats activation scales of least squared error, at A2",
            "2212.07048",
            (_MSE, "pd_quant"),
            (_MSE,),
            **_A2,
        ),
        _pair(
            "pd-mse-w4",
            "PD-Quant beats round-to-nearest under scales of least squared error, at W4A2",
            "2212.07048",
            (_MSE, "pd_quant:steps=0"),
            (_MSE,),
            **(_A2 | {"weight": "int4"}),
        ),
        _pair(
            "pd-qdrop",
            "PD-Quant's prediction difference helps QDrop, at W4A2",
            "2212.07048",
            (_MSE, "pd_quant:steps=0"),
            (_MSE, "qdrop"),
            **(_A2 | {"weight": "int4"}),
        ),
        _pair(
            "pd-scale-mse",
            "activation scales by PD-Quant's metric alone beat those of least squared error, at A2",
            "2212.07048",
            (_MSE, "pd_scale"),
            (_MSE,),
            **_A2,
        ),
        _pair(
            "eptq-network-layer",
            "EPTQ over the whole network beats EPTQ layer by layer, at W3",
            "2309.11531",
            (_MSE, "eptq:iterations=1000"),
            (_MSE, "eptq:blocks=layer,iterations=1000"),
            weight="int3",
        ),
        _pair(
            "eptq-attention-uniform",
            "sample-layer attention beats equal weights in EPTQ, at W3",
            "2309.11531",
            (_MSE, "eptq:iterations=1000"),
            (_MSE, "eptq:attention=false,iterations=1000"),
            weight="int3",
        ),
        _pair(
            "flexround-adaround-w2",
            "FlexRound beats AdaRound, at W2",
            "2306.00317",
            (_MSE, "flexround:blocks=layer,drop=0,acts=false"),
            (_MSE, "adaround"),
            weight="int2",
        ),
        _pair(
            "flexround-adaround-mobilenet",
            "FlexRound beats AdaRound on MobileNetV2, at W3",
            "2306.00317",
            (_MSE, "flexround:blocks=layer,drop=0,acts=false"),
            (_MSE, "adaround"),
            model="glyphs_mobilenet",
            weight="int3",
        ),
        _pair(
            "power-uniform",
            "a power codebook beats the uniform grid, both under scales of least error, at W4",
            "2301.09858",
            ("power_quant", _MSE),
            (_MSE,),
            weight="int4",
        ),
        _pair(
            "nupes-power",
            "NUPES beats PowerQuant, at W3",
            "2308.05600",
            ("power_quant", _MSE, "nupes"),
            ("power_quant", _MSE),
            weight="int3",
        ),
        _pair(
            "qdrop-brecq",
            "QDrop beats BRECQ with learned activation scales, at A2",
            "2203.05740",
            (_MSE, "qdrop"),
            (_MSE, "brecq", "act_scales"),
            **(_A2 | {"weight": "int4"}),
        ),
        _pair(
            "qdrop-undropped",
            "dropping quantization at random helps QDrop, at A2",
            "2203.05740",
            (_MSE, "qdrop"),
            (_MSE, "qdrop:drop=0"),
            **(_A2 | {"weight": "int4"}),
        ),
    )
}


def experiment(name: str) -> Experiment:
    """Return the experiment called ``name``; raises `InputError` with all names for another."""
    if name not in EXPERIMENTS:
        raise InputError(f"experiment {name!r} is unknown, allowed: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def shortened(item: Experiment, iterations: int) -> Experiment:
    """Return ``item`` with ``iterations`` in every step that learns, in both arms."""
    return replace(
        item, first=_shorter(item.first, iterations), second=_shorter(item.second, iterations)
    )


def _shorter(recipe: Recipe, iterations: int) -> Recipe:
    steps = []
    for spec in recipe.steps:
        options = dict(spec.options)
        step: Any = import_module(f"{PACKAGE}.{spec.name}").Step
        if spec.name != "equalize" and "iterations" in {field.name for field in fields(step)}:
            options["iterations"] = str(iterations)
        steps.append(StepSpec(spec.name, tuple(options.items())))
    return replace(recipe, steps=steps)
