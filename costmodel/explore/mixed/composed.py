# SPDX-License-Identifier: Apache-2.0
"""A network under any formats, put together from layers that were calibrated once for each format.

Weight scales depend on the weights alone and activation scales on the float network, so the layers
of a mixed network are those of uniform ones: `Bench` quantizes once for each format, and a choice
is a matter of swapping modules before the recipe's later steps run.  The result is the network
that `hwquant.quantize` makes of the same recipe, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import zip_longest
from typing import Any, Final

import torch
from torch import Tensor, nn

from costmodel.explore.mixed.problem import Option
from hwquant.errors import InputError
from hwquant.nn.codes import workload
from hwquant.nn.frozen import frozen
from hwquant.nn.layers import MatMul
from hwquant.ptq.calibration import calibration_batches
from hwquant.ptq.curvature import float_outputs
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job, build_step
from hwquant.ptq.order import check_order
from hwquant.ptq.quantize import finish
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.sensitivity import calibrated, sensitivities
from hwquant.ptq.shared import Shared
from hwquant.zoo.tasks.outputs import kl_divergence

__all__ = ["Bench"]

CALIBRATE: Final = "calibrate"
BATCH: Final = 64
"""Items that run at once: few enough for the cache of a core."""


class Bench:
    """Quantizes and measures a network under many choices of formats.

    ``items`` are the inputs that losses are measured on; ``batches`` calibrate, as in
    `hwquant.quantize`.  Labels are not needed.  Raises `InputError` for a recipe whose layers
    cannot be put together, and what quantization raises.
    """

    def __init__(
        self,
        model: nn.Module,
        base: Recipe,
        weights: Sequence[str],
        acts: Sequence[str],
        batches: Sequence[Tensor],
        items: Tensor,
    ) -> None:
        _check(base)
        self.base = base
        self.weights, self.acts = tuple(weights), tuple(acts)
        self.items = items
        pairs = list(zip_longest(self.weights, self.acts))
        recipes = [
            replace(base, weight=w or self.weights[-1], act=a or self.acts[-1], first_last=None)
            for w, a in pairs
        ]
        self._jobs = calibrated(model, recipes, calibration_batches(list(batches)))
        self._by_weight = dict(zip(self.weights, self._jobs, strict=False))
        self._by_act = dict(zip(self.acts, self._jobs, strict=False))
        self._shell = copy.deepcopy(self._jobs[0].model)
        self._shared = Shared(disk=False)
        steps = [(spec, build_step(spec)) for spec in base.steps]
        check_order([(str(spec), step) for spec, step in steps])
        self._steps = [step for spec, step in steps if spec.name != CALIBRATE]

    @property
    def sites(self) -> tuple[Site, ...]:
        """The multiply layers, in execution order."""
        return self._jobs[0].sites

    @property
    def paths(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(site.path for site in self.sites)

    def options(self, site: Site) -> tuple[Option, ...]:
        """Return every pair of formats of a layer."""
        product = isinstance(self._jobs[0].layer(site), MatMul)
        names = ("",) if product else self.weights
        return tuple(Option(weight, act) for weight in names for act in self.acts)

    @cached_property
    def ties(self) -> tuple[tuple[int, ...], ...]:
        """Groups of layers (by number) that read through a common quantizer."""
        groups: list[tuple[set[str], list[int]]] = []
        for number, site in enumerate(self.sites):
            paths, members = set(site.acts), [number]
            for group in [g for g in groups if g[0] & paths]:
                groups.remove(group)
                paths, members = paths | group[0], group[1] + members
            groups.append((paths, members))
        return tuple(tuple(sorted(members)) for _, members in groups if len(members) > 1)

    @cached_property
    def outputs(self) -> Tensor:
        """The float network's outputs on the items."""
        return _outputs(self._jobs[0].reference, self.items)

    def job(self, formats: Sequence[Option]) -> Job:
        """Return the quantization of a choice, all steps done.

        Its network is overwritten by the next call.
        """
        shell = self._shell
        for site, option in zip(self.sites, formats, strict=True):
            source = self._by_weight.get(option.weight, self._jobs[0])
            layer = copy.deepcopy(source.layer(site))
            if not isinstance(layer, MatMul):
                bias = getattr(source.float_layer(site), "bias", None)
                with torch.no_grad():  # the calibrated one lies on its own accumulator's grid
                    layer.bias.zero_() if bias is None else layer.bias.copy_(bias)
            shell.set_submodule(site.path, layer)
            for path in site.acts:
                quantizer = self._by_act[option.act].model.get_submodule(path)
                shell.set_submodule(path, copy.deepcopy(quantizer))
        job = replace(self._jobs[0], model=shell, sites=self._sites(formats), shared=self._shared)
        for step in self._steps:
            step.apply(job)
        finish(shell)
        return job

    def _sites(self, formats: Sequence[Option]) -> tuple[Site, ...]:
        return tuple(
            replace(
                site,
                settings=replace(
                    site.settings,
                    weight=self._by_weight.get(option.weight, self._jobs[0])
                    .sites[number]
                    .settings.weight,
                    act=self._by_act[option.act].sites[number].settings.act,
                ),
            )
            for number, (site, option) in enumerate(zip(self.sites, formats, strict=True))
        )

    def measured(self, formats: Sequence[Option]) -> dict[str, Any]:
        """Return ``loss`` and ``layers`` (`hwquant.workload.Layer` records) of a choice.

        The loss says how far the outputs are from the float network's, on the items: the
        Kullback-Leibler divergence (nats) of the classes on axis 1, where there are any, else the
        mean squared error.
        """
        model = self.job(formats).model
        found = _outputs(frozen(model), self.items)
        if self.outputs.dim() < 2 or self.outputs.shape[1] < 2:
            loss = float((found - self.outputs).double().square().mean())
        else:
            loss = kl_divergence(found, self.outputs)
        work = workload(model, self.items[:1])
        return {"loss": loss, "layers": [layer.to_json() for layer in work.layers]}

    def sensitivities(self, seed: int = 0) -> dict[tuple[str, str, str], float]:
        """Return the loss of each layer quantized alone: by path, part and format.

        ``part`` is ``weight`` or ``act``; a pair of formats loses the sum of both.
        """
        rows = sensitivities(self._jobs, self.items, parts=("weight", "act"), draws=1, seed=seed)
        return {
            (row.path, row.part, str(row.weight if row.part == "weight" else row.act)): (
                row.logit_mse if row.kl is None else row.kl
            )
            for row in rows
        }


def _outputs(model: nn.Module, items: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [float_outputs(model(batch))[0] for batch in torch.split(items, BATCH)]
    return torch.cat(parts)


def _check(base: Recipe) -> None:
    names = [spec.name for spec in base.steps]
    if names[0] != CALIBRATE:
        raise InputError(
            f"search: step {names[0]} comes before calibrate and changes the float network; "
            "allowed: recipes that begin with calibrate"
        )
    if base.sums != "accumulator":
        raise InputError(f"search: sums {base.sums!r}, allowed: accumulator")
