# SPDX-License-Identifier: Apache-2.0
"""Bias correction: give each channel of each layer back its mean (arXiv 1906.04721, section 4.2).

Quantization shifts the mean of what a layer hands on; the shift, measured on calibration data with
every earlier layer already quantized and corrected (appendix D there), is taken out by the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job
    from hwquant.ptq.levels import Level

__all__ = ["Step"]

BEHIND = ("function", "layer")


@dataclass(frozen=True)
class Step:
    """``behind``: the mean restored is that behind the activation ``function``, or the layer's.

    The paper restores the layer's.  But quantized weights also lose variance: a ReLU behind a
    layer whose mean is right and whose deviation is too small hands on too little, every layer
    loses more, and the logits shrink.  So the mean that counts is the one the next layer reads,
    behind ReLU and its like (see `hwquant.ptq.levels`), residuals added; without such a function
    it is the layer's.
    """

    phase: ClassVar[str] = "correction"

    behind: str = "function"

    def __post_init__(self) -> None:
        if self.behind not in BEHIND:
            raise SpecError(
                f"step bias_correction: behind={self.behind!r}, allowed: {', '.join(BEHIND)}"
            )

    def apply(self, job: Job) -> None:
        """Correct every bias, in execution order, in one pass of both graphs."""
        import torch

        from hwquant.ptq.run import Lockstep

        found = self._levels(job)
        places = [(name, len(level.functions)) for name, (_, level) in found.items()]
        with torch.no_grad():
            wanted = job.once("means", (job.float_key(), places), lambda: _float_means(job, found))

            def correct(name: str, values: list[Tensor]) -> list[Tensor]:
                if name not in wanted:  # no data came by: no mean to correct
                    return values
                layer, level = found[name]
                shift = _shift(layer, level, values, wanted[name])
                layer.bias.add_(shift)
                return [value + _broadcast(layer, shift, value) for value in values]

            Lockstep(job.model, dict.fromkeys(found, correct)).run(job.batches)

    def _levels(self, job: Job) -> dict[str, tuple[Any, Level]]:
        """Return the layer and its level, by the level's node."""
        from hwquant.nn.layers import MatMul
        from hwquant.ptq.levels import Level, level

        found: dict[str, tuple[Any, Level]] = {}
        for site in job.sites:
            layer = job.layer(site)
            if isinstance(layer, MatMul):
                continue
            place = Level(site.node)
            if self.behind == "function":
                place = level(job.reference, site.node)
                # A quantizer in between, in one graph alone, would spoil the sum.
                if level(job.model, site.node).node != place.node:
                    place = Level(site.node)
            found[place.node] = (layer, place)
        return found


def _float_means(job: Job, found: dict[str, tuple[Any, Level]]) -> dict[str, Tensor]:
    """Return each channel's mean behind each level of the float network, float64, by node."""
    import torch

    from hwquant.ptq.run import Recorder

    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def record(name: str, value: Tensor) -> None:
        layer, level = found[name]
        total, count = _channel_sums(layer, level(value))
        sums[name] = sums.get(name, torch.zeros_like(total)) + total
        counts[name] = counts.get(name, 0) + count

    recorder = Recorder(job.reference, {name: (name,) for name in found}, record)
    for batch in job.batches:
        recorder.run(batch)
    return {name: total / counts[name] for name, total in sums.items() if counts[name]}


def _shift(layer: Any, level: Level, values: list[Tensor], wanted: Tensor) -> Tensor:
    """Return what to add to each channel so that its mean behind ``level`` is ``wanted``."""
    import torch

    from hwquant.ptq.levels import shift_for

    def mean(shift: Tensor | None, behind: Level | None = level) -> Tensor:
        parts = []
        for value in values:
            moved = value if shift is None else value + _broadcast(layer, shift.float(), value)
            parts.append(_channel_sums(layer, moved if behind is None else behind(moved)))
        return torch.stack([total for total, _ in parts]).sum(0) / sum(n for _, n in parts)

    if not level.functions:
        return (wanted - mean(None)).float()
    own = mean(None, None)
    squares = partial(_squares, layer, own)
    deviation = torch.stack([squares(value) for value in values]).mean(0).sqrt()
    unit = (deviation / 8).clamp(min=1e-6)
    return shift_for(lambda shift: mean(shift) - wanted, torch.zeros_like(own), unit).float()


def _squares(layer: Any, mean: Tensor, value: Tensor) -> Tensor:
    """Return the mean square of each channel of ``value`` around ``mean``."""
    around = value - _broadcast(layer, mean.float(), value)
    total, count = _channel_sums(layer, around.square())
    return total / count


def _channel_dim(layer: Any, value: Tensor) -> int:
    from torch import nn

    if isinstance(layer, nn.Linear):
        return value.dim() - 1
    return value.dim() - 2 if isinstance(layer, nn.Conv1d) else value.dim() - 3


def _channel_sums(layer: Any, value: Tensor) -> tuple[Tensor, int]:
    """Return the float64 sum per output channel, and how many values each sum holds.

    One item's values are summed in float32, pairwise, items in float64: no copy of ``value``.
    """
    channel = _channel_dim(layer, value)
    inside = [dim for dim in range(1, value.dim()) if dim != channel]
    items = value.sum(inside) if inside and channel else value.movedim(channel, -1).flatten(0, -2)
    total = items.double().sum(0)
    return total, value.numel() // max(value.shape[channel], 1)


def _broadcast(layer: Any, per_channel: Tensor, value: Tensor) -> Tensor:
    ones = [1] * value.dim()
    ones[_channel_dim(layer, value)] = -1
    return per_channel.reshape(ones)
