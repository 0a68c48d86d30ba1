# SPDX-License-Identifier: Apache-2.0
"""What a step sees: the float graph, the quantized graph, the data; and how steps are built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, ClassVar, Protocol

from torch import Tensor, fx, nn

from hwquant.errors import SpecError
from hwquant.nn.quantizers import Quantizer, act_quantizer
from hwquant.ptq.insert import Site
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.shared import Results, Shared, graph_key
from hwquant.ptq.step import PACKAGE, StepSpec

__all__ = ["AppliesToJob", "Job", "build_step"]


@dataclass(frozen=True)
class Job:
    """One quantization under way.

    ``reference`` is the float graph after folding, ``model`` the same graph with quantizers;
    nodes that exist in both have the same name.  ``sites`` are in execution order.  ``unfused`` is
    the float graph before batch norms were folded, kept for steps that ask for it by
    ``needs_unfused = True``.  ``autocast`` lets learned methods run layers in bfloat16.  ``shared``
    holds results that other quantizations of this network have found.
    """

    reference: fx.GraphModule
    model: fx.GraphModule
    sites: tuple[Site, ...]
    batches: tuple[Tensor, ...]
    recipe: Recipe
    unfused: fx.GraphModule | None = None
    autocast: bool = False
    shared: Shared | None = None

    def layer(self, site: Site) -> Any:
        """Return the quantized module of ``site``."""
        return self.model.get_submodule(site.path)

    def float_layer(self, site: Site) -> nn.Module:
        """Return the float module of ``site``."""
        return self.reference.get_submodule(site.path)

    def act(self, path: str) -> Quantizer:
        """Return the activation quantizer at ``path``."""
        return act_quantizer(self.model.get_submodule(path))

    def once(
        self, kind: str, ingredients: Iterable[Any], compute: Callable[[], Results]
    ) -> Results:
        """Return ``compute()``, or what another quantization found for equal ``ingredients``.

        ``ingredients`` are all that the result depends on.  The tensors must not be changed.
        """
        return compute() if self.shared is None else self.shared.once(kind, ingredients, compute)

    def float_key(self) -> str:
        """Return the key of the float network on the calibration data, empty if nothing is shared.

        It changes with every step that changes the float network.
        """
        return "" if self.shared is None else graph_key(self.reference, self.batches)


class AppliesToJob(Protocol):
    """One method of post-training quantization.

    ``phase`` is one of `hwquant.ptq.order.PHASES`; a step that rounds the weights says so by
    ``rounds_weights = True``.
    """

    phase: ClassVar[str]

    def apply(self, job: Job) -> None:
        """Change ``job.model`` in place."""


def build_step(spec: StepSpec) -> AppliesToJob:
    """Return the step object of ``spec``; imports its module.

    Option text is converted to the type of the option's default.  Raises `SpecError` for an
    option the step does not have, or a value it does not take.
    """
    cls: Any = import_module(f"{PACKAGE}.{spec.name}").Step
    known = {field.name: field.default for field in fields(cls)}
    arguments: dict[str, Any] = {}
    for key, text in spec.options:
        if key not in known:
            raise SpecError(
                f"step {spec.name}: unknown option {key!r}, allowed: {', '.join(known) or 'none'}"
            )
        arguments[key] = _convert(spec, key, text, known[key])
    step: AppliesToJob = cls(**arguments)
    return step


def _convert(spec: StepSpec, key: str, text: str, default: object) -> Any:
    kind: Any = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return text if default is None else kind(text)
    except (ValueError, KeyError) as error:
        raise SpecError(
            f"step {spec.name}: option {key}={text!r}, allowed a value like {default!r}"
        ) from error
