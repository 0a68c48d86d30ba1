# SPDX-License-Identifier: Apache-2.0
"""What a step sees: the float graph, the quantized graph, the calibration data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from hwquant.nn.quantizers import Quantizer, act_quantizer
from hwquant.ptq.insert import Site
from hwquant.ptq.recipe import Recipe

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One quantization under way.

    ``reference`` is the float graph after folding, ``model`` the same graph with quantizers;
    nodes that exist in both have the same name.  ``sites`` are in execution order.
    """

    reference: fx.GraphModule
    model: fx.GraphModule
    sites: tuple[Site, ...]
    batches: tuple[Tensor, ...]
    recipe: Recipe

    def layer(self, site: Site) -> Any:
        """Return the quantized module of ``site``."""
        return self.model.get_submodule(site.path)

    def float_layer(self, site: Site) -> nn.Module:
        """Return the float module of ``site``."""
        return self.reference.get_submodule(site.path)

    def act(self, path: str) -> Quantizer:
        """Return the activation quantizer at ``path``."""
        return act_quantizer(self.model.get_submodule(path))
