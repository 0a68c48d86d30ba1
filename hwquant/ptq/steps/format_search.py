# SPDX-License-Identifier: Apache-2.0
"""Choose each tensor's format by its own error: exponent against mantissa bits (arXiv 2408.06995).

Every minifloat of the recipe's width is tried on each weight and each activation, with the scale
that suits it best; the least squared error wins.  The exponent bias is part of the search: moving
it by k is a power-of-two scale of 2**k, and the scale is searched for every candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.formats import Format
    from hwquant.ptq.job import Job

__all__ = ["Step", "candidates"]


@dataclass(frozen=True)
class Step:
    """Options: search ``weights``, ``acts``; ``integers`` lets the integer of that width compete.

    Layers whose formats differ from the recipe's (first, last, overrides) keep them.
    """

    phase: ClassVar[str] = "formats"

    weights: bool = True
    acts: bool = True
    integers: bool = True

    def apply(self, job: Job) -> None:
        """Set the format of every quantizer that follows the recipe's."""
        from hwquant.nn.layers import MatMul
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.ptq.observe import observe
        from hwquant.ptq.reformat import set_act_format, set_weight_format
        from hwquant.ptq.scales import as_rows

        ordinary = [s for s in job.sites if s.settings.weight == job.recipe.weight]
        if self.weights:
            for site in ordinary:
                layer = job.layer(site)
                if not isinstance(layer, MatMul):
                    quantizer = weight_quantizer(layer)
                    rows = as_rows(layer.weight.detach(), quantizer.channel_axis)
                    set_weight_format(job.model, site.path, self._best(rows, quantizer))
        if self.acts:
            ours = [s for s in job.sites if s.settings.act == job.recipe.act]
            wanted = {path for site in ours for path in site.acts}
            for path, sample in observe(job).items():
                if path in wanted:
                    best = self._best(sample.reshape(1, -1), job.act(path))
                    set_act_format(job.model, path, best)

    def _best(self, rows: Tensor, quantizer: Any) -> Format:
        """Return the candidate of least squared error, the present format on a tie."""
        import torch

        from hwquant.ptq.scales import solve, squared_error

        fmt: Format = quantizer.fmt
        best, least = fmt, torch.inf
        for candidate in candidates(fmt, integers=self.integers):
            scale = solve(rows, candidate, quantizer.scale_kind, "mse")
            error = float(squared_error(rows, scale, candidate).sum())
            if error < least:
                best, least = candidate, error
        return best


def candidates(fmt: Format, *, integers: bool) -> tuple[Format, ...]:
    """Return the formats of ``fmt``'s width and sign, ``fmt`` itself first."""
    from hwquant.formats import Integer, Minifloat

    signed = fmt.min_int < 0
    fields = fmt.bits - signed
    found: list[Format] = [fmt]
    found += [Minifloat(e, fields - e, signed=signed) for e in range(1, min(fields, 7) + 1)]
    if integers:
        found.append(Integer(fmt.bits, signed=signed))
    return tuple(dict.fromkeys(found))
