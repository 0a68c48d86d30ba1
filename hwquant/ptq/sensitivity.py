# SPDX-License-Identifier: Apache-2.0
"""How much the network suffers from each layer alone: measured, and foretold by curvature.

One layer at a time is quantized, weights, activations or both, and everything behind it is run
again in float.  What lies before it is computed once: each group of items passes through the
float network, then every layer is tried on the values kept from that pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from hwquant.errors import InputError, SpecError
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import weight_quantizer
from hwquant.progress import track
from hwquant.ptq.calibration import calibration_batches
from hwquant.ptq.curvature import DRAWS, float_outputs, label_free, pick, weighted
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job
from hwquant.ptq.quantize import applied
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.trace import overwrites

__all__ = ["PARTS", "Sensitivity", "calibrated", "sensitivities"]

PARTS: Final = ("weight", "act", "both")
ITEMS: Final = 32  # whose values, at every layer, are kept at once: bounds the memory


@dataclass(frozen=True)
class Sensitivity:
    """What quantizing ``part`` of the layer ``path`` alone does to the network's outputs.

    ``logit_mse`` is the mean squared change of an output; ``kl`` (nats) and ``agreement`` are of
    the classes on axis 1, ``accuracy`` needs labels: None where there is nothing to tell.
    ``foretold`` estimates ``logit_mse`` from the label-free Hessian and the rounding errors of
    the weights, ``trace`` is the sum of that Hessian's diagonal: both None without weights.
    """

    path: str
    part: str
    weight: str | None
    act: str | None
    logit_mse: float
    kl: float | None
    agreement: float | None
    accuracy: float | None
    foretold: float | None
    trace: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


def sensitivities(
    jobs: Sequence[Job],
    items: Tensor,
    labels: Tensor | None = None,
    *,
    parts: Sequence[str] = PARTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Sensitivity]:
    """Return one row per layer, part and distinct setting, in execution order of the layers.

    ``jobs`` are calibrated copies of one network under several recipes (`calibrated`): what they
    share (the float passes) is done once.  ``items`` are inputs to measure on, ``labels`` their
    classes (n, ...).  Raises `SpecError` for an unknown part, `InputError` without items.
    """
    for part in parts:
        if part not in PARTS:
            raise SpecError(f"sensitivity: part {part!r}, allowed: {', '.join(PARTS)}")
    if not jobs or not len(items):
        raise InputError("sensitivity needs a quantized network and at least one item to measure")
    if labels is not None and len(labels) != len(items):
        raise InputError(f"sensitivity: {len(labels)} labels for {len(items)} items, allowed equal")
    trials = list(_trials(jobs, parts))
    reference = jobs[0].reference
    groups = torch.split(items, ITEMS)
    sums = [_Sums() for _ in trials]
    with track("sensitivity", len(groups) * len(trials)) as advance, torch.no_grad():
        for number, group in enumerate(groups):
            given = None if labels is None else labels[number * ITEMS : number * ITEMS + len(group)]
            kept = _Kept(reference, group)
            for trial, total in zip(trials, sums, strict=True):
                total.add(kept.outputs, kept.rerun(trial.site.path, trial.call), given)
                advance(detail=trial.site.path)
    paths = weighted(jobs[0])
    some = pick(jobs[0].batches, 64)
    curvature = label_free(reference, paths, some, draws=draws, seed=seed) if paths else {}
    return [trial.row(total, curvature) for trial, total in zip(trials, sums, strict=True)]


@dataclass(frozen=True)
class _Trial:
    """One layer, quantized alone."""

    job: Job
    site: Site
    part: str

    def key(self) -> tuple[str, ...]:
        """Return what tells two trials apart: not the formats of what stays float."""
        settings = self.site.settings
        both = (str(settings.weight), str(settings.act))
        own = {"weight": both[:1], "act": both[1:], "both": both}[self.part]
        return (self.site.path, self.part, settings.scale, settings.granularity, *own)

    def call(self, *operands: Tensor) -> Tensor:
        """Return the layer's result with this part quantized."""
        layer, exact = self.job.layer(self.site), self.job.float_layer(self.site)
        if self.part != "weight":
            quantizers = [self.job.act(path) for path in self.site.acts]
            operands = tuple(q(x) for q, x in zip(quantizers, operands, strict=True))
        if self.part == "act":
            return exact(*operands)
        rounded = {"weight": weight_quantizer(layer)(layer.weight.detach())}
        return torch.func.functional_call(exact, rounded, operands)

    def row(self, total: _Sums, curvature: dict[str, Tensor]) -> Sensitivity:
        """Return the finished row."""
        path, settings = self.site.path, self.site.settings
        foretold = trace = None
        if path in curvature:
            trace = float(curvature[path].double().sum())
            if self.part == "weight":
                layer = self.job.layer(self.site)
                wrong = weight_quantizer(layer)(layer.weight.detach()) - layer.weight.detach()
                squares = curvature[path].double() * wrong.double().square()
                foretold = float(squares.sum()) / total.per_item
        return Sensitivity(
            path,
            self.part,
            None if self.part == "act" else str(settings.weight),
            None if self.part == "weight" else str(settings.act),
            total.squares / total.values,
            total.divergence / total.decisions if total.decisions else None,
            total.alike / total.decisions if total.decisions else None,
            total.right / total.labelled if total.labelled else None,
            foretold,
            trace,
        )


def _trials(jobs: Sequence[Job], parts: Sequence[str]) -> Iterator[_Trial]:
    seen: set[tuple[str, ...]] = set()
    for index, site in enumerate(jobs[0].sites):
        for part in parts:
            for job in jobs:
                trial = _Trial(job, job.sites[index], part)
                if part != "act" and isinstance(job.layer(site), MatMul):
                    continue  # both operands are activations
                if trial.key() not in seen:
                    seen.add(trial.key())
                    yield trial


class _Sums:
    """Sums over items of how two outputs differ."""

    def __init__(self) -> None:
        self.squares = self.divergence = 0.0
        self.values = self.per_item = self.decisions = self.alike = self.right = self.labelled = 0

    def add(self, wanted: list[Tensor], found: list[Tensor], labels: Tensor | None) -> None:
        """Add a group of items; classes are on axis 1 of the first output."""
        for w, f in zip(wanted, found, strict=True):
            self.squares += float((f.double() - w.double()).square().sum())
            self.values += w.numel()
        self.per_item = sum(w[0].numel() for w in wanted)
        exact, logits = wanted[0], found[0]
        if exact.dim() < 2 or exact.shape[1] < 2:
            return
        p, q = (functional.log_softmax(t.double(), 1) for t in (exact, logits))
        self.divergence += float((p.exp() * (p - q)).sum())
        choice = logits.argmax(1)
        self.alike += int((choice == exact.argmax(1)).sum())
        self.decisions += choice.numel()
        if labels is not None and labels.shape == choice.shape:
            self.right += int((choice == labels).sum())
            self.labelled += choice.numel()


class _Kept(fx.Interpreter):
    """The float network's values on some items, from which it can be run again behind a layer."""

    def __init__(self, reference: fx.GraphModule, items: Tensor) -> None:
        super().__init__(reference, garbage_collect_values=False)
        self.modules = dict(reference.named_modules())
        self.outputs = float_outputs(self.run(items))

    def run_node(self, n: fx.Node) -> Any:
        """Run one call; one that works in place gets a copy, or it would change what is kept."""
        if n.all_input_nodes and overwrites(n, self.modules):
            source = n.all_input_nodes[0]
            kept = self.env[source]
            self.env[source] = kept.clone()
            try:
                return super().run_node(n)
            finally:
                self.env[source] = kept
        return super().run_node(n)

    def rerun(self, path: str, call: Callable[..., Tensor]) -> list[Tensor]:
        """Return the outputs when the layer at ``path`` computes ``call`` instead."""
        exact, changed = self.env, dict(self.env)
        touched: set[fx.Node] = set()
        self.env = changed
        try:
            for node in self.graph.nodes:
                own = node.op == "call_module" and str(node.target) == path
                if not own and touched.isdisjoint(node.all_input_nodes):
                    continue
                touched.add(node)
                if own:
                    operands, named = self.fetch_args_kwargs_from_env(node)
                    changed[node] = call(*operands, *named.values())
                else:
                    changed[node] = self.run_node(node)
                last = node
            return float_outputs(changed[last])
        finally:
            self.env = exact


def calibrated(
    model: nn.Module, recipes: Sequence[Recipe], calib: Iterable[Tensor] | Tensor
) -> list[Job]:
    """Return one job per recipe with scales found and nothing else done: for `sensitivities`.

    Of a recipe's steps only ``calibrate`` runs.  Raises what `hwquant.quantize` raises.
    """
    batches = calibration_batches(calib)
    jobs = []
    for recipe in recipes:
        steps = [spec for spec in recipe.steps if spec.name == "calibrate"]
        jobs.append(applied(model, replace(recipe, steps=steps), batches))
    return jobs
