# SPDX-License-Identifier: Apache-2.0
"""Batch norm re-estimation: give each normalised channel its mean and deviation back.

Rounding shifts and stretches what a batch norm reads.  Its statistics are measured again on the
quantized network, against those of the float network on the same items, and every channel is
corrected by ``y -> a (y - mean) + float mean`` with ``a`` the ratio of the deviations.  A batch
norm that stayed an operation of its own takes that up in its running statistics.  Behind a folded
one the mean goes into the bias; ``a`` goes into the weight scales, all codes unchanged, where these
are float and per channel, and is 1 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import InputError, SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.channel_stats import ChannelStats
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """``limit`` bounds the change of a deviation: ``a`` stays within 1/limit and limit."""

    phase: ClassVar[str] = "correction"
    needs_unfused: ClassVar[bool] = True

    limit: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 100:
            raise SpecError(f"step bn_reestimation: limit={self.limit}, allowed 1 to 100")

    def apply(self, job: Job) -> None:
        """Correct every channel behind a batch norm, in execution order, in one pass.

        Raises `InputError` when the model has no batch norm.
        """
        import torch

        from hwquant.ptq.channel_stats import ChannelStats, output_axis
        from hwquant.ptq.fold import folded_norms
        from hwquant.ptq.run import Lockstep, Recorder

        folded = folded_norms(job.unfused, job.reference) if job.unfused is not None else {}
        layers = {site.node: job.layer(site) for site in job.sites if site.path in folded}
        norms = _live_norms(job)
        if not layers and not norms:
            raise InputError(
                "step bn_reestimation: the model has no batch norm (in front of which layers are "
                "quantized); bias_correction gives the means of any model back"
            )
        watched = (*layers, *norms)
        exact: dict[str, ChannelStats] = {}

        def axis(name: str, value: Tensor) -> int:
            return output_axis(layers[name], value) if name in layers else 1

        def record(name: str, value: Tensor) -> None:
            exact.setdefault(name, ChannelStats()).add(value, axis(name, value))

        def correct(name: str, values: list[Tensor]) -> list[Tensor]:
            found = ChannelStats()
            for value in values:
                found.add(value, axis(name, value))
            for norm in norms.get(name, ()):
                gain = self._gain(found, exact[name])
                shift = exact[name].mean - gain * found.mean
                variance = (norm.running_var.double() + norm.eps) / gain**2 - norm.eps
                norm.running_mean.copy_((norm.running_mean.double() - shift) / gain)
                norm.running_var.copy_(variance.clamp(min=0))
            if name not in layers:
                return values
            gain = self._gain(found, exact[name])
            gain = gain if _stretches(layers[name]) else torch.ones_like(gain)
            shift = exact[name].mean - gain * found.mean
            _correct_layer(layers[name], gain, shift)
            ones = [1] * values[0].dim()
            ones[axis(name, values[0])] = -1
            a, b = gain.float().reshape(ones), shift.float().reshape(ones)
            return [a * value + b for value in values]

        recorder = Recorder(job.reference, {name: (name,) for name in watched}, record)
        with torch.no_grad():
            for batch in job.batches:
                recorder.run(batch)
            Lockstep(job.model, dict.fromkeys(watched, correct)).run(job.batches)

    def _gain(self, found: ChannelStats, exact: ChannelStats) -> Tensor:
        """Return the ratio of deviations, within the limit; 1 where a channel is constant."""
        import torch

        constant = (found.deviation <= 0) | (exact.deviation <= 0)
        ratio = exact.deviation / torch.where(constant, 1.0, found.deviation)
        return torch.where(constant, 1.0, ratio).clamp(1 / self.limit, self.limit)


def _live_norms(job: Job) -> dict[str, list[Any]]:
    """Return the batch norms that are still operations, called once, by the node they read."""
    from torch import nn

    calls: dict[str, list[str]] = {}
    for node in job.model.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node.all_input_nodes[0].name)
    found: dict[str, list[Any]] = {}
    for path, sources in calls.items():
        norm = job.model.get_submodule(path)
        own = isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_var is not None
        if own and len(sources) == 1:
            found.setdefault(sources[0], []).append(norm)
    return found


def _stretches(layer: Any) -> bool:
    """Return whether a gain per output channel can go into the weight scales of ``layer``."""
    from torch import nn

    from hwquant.nn.block_quantizer import BlockQuantizer
    from hwquant.nn.quantizers import weight_quantizer

    quantizer = weight_quantizer(layer)
    if isinstance(quantizer, BlockQuantizer) or quantizer.channel_axis is None:
        return False
    shared = isinstance(layer, nn.ConvTranspose2d) and layer.groups > 1  # groups share scales
    return quantizer.scale_kind == "float" and not shared


def _correct_layer(layer: Any, gain: Tensor, shift: Tensor) -> None:
    """Make ``layer`` return ``gain y + shift`` for ``y``, without changing a code."""
    from hwquant.nn.quantizers import weight_quantizer

    layer.bias.copy_(gain * layer.bias.double() + shift)
    if bool((gain == 1).all()):
        return
    quantizer = weight_quantizer(layer)
    factor = gain.float().reshape(quantizer.scale.shape)
    layer.weight.copy_(quantizer(layer.weight) * factor)  # on the grid first: no code can flip
    quantizer.set_scale(quantizer.scale * factor)
