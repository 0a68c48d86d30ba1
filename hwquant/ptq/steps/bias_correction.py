# SPDX-License-Identifier: Apache-2.0
"""Bias correction: give each channel of each layer back its mean (arXiv 1906.04721, section 4.2).

Quantization shifts the mean of a layer's output; the shift, measured on calibration data with
every earlier layer already quantized and corrected, is subtracted through the bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """No options."""

    phase: ClassVar[str] = "correction"

    def apply(self, job: Job) -> None:
        """Correct every bias, in execution order, in one pass of both graphs."""
        import torch

        from hwquant.nn.layers import MatMul
        from hwquant.ptq.run import Lockstep, Recorder

        layers = {s.node: job.layer(s) for s in job.sites if not isinstance(job.layer(s), MatMul)}
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}

        def record(name: str, value: Tensor) -> None:
            total, count = _channel_sums(layers[name], value)
            sums[name] = sums.get(name, torch.zeros_like(total)) + total
            counts[name] = counts.get(name, 0) + count

        recorder = Recorder(job.reference, {name: (name,) for name in layers}, record)
        with torch.no_grad():
            for batch in job.batches:
                recorder.run(batch)

            def correct(name: str, values: list[Tensor]) -> list[Tensor]:
                if not counts[name]:  # no data came by: no mean to correct
                    return values
                parts = [_channel_sums(layers[name], value) for value in values]
                mean = torch.stack([total for total, _ in parts]).sum(0) / counts[name]
                shift = (sums[name] / counts[name] - mean).float()
                layers[name].bias.add_(shift)
                return [value + _broadcast(layers[name], shift, value) for value in values]

            Lockstep(job.model, dict.fromkeys(layers, correct)).run(job.batches)


def _channel_dim(layer: Any, value: Tensor) -> int:
    from torch import nn

    if isinstance(layer, nn.Linear):
        return value.dim() - 1
    return value.dim() - 2 if isinstance(layer, nn.Conv1d) else value.dim() - 3


def _channel_sums(layer: Any, value: Tensor) -> tuple[Tensor, int]:
    """Return the float64 sum per output channel, and how many values each sum holds."""
    rows = value.movedim(_channel_dim(layer, value), 0).flatten(1)
    return rows.double().sum(1), rows.shape[1]


def _broadcast(layer: Any, per_channel: Tensor, value: Tensor) -> Tensor:
    ones = [1] * value.dim()
    ones[_channel_dim(layer, value)] = -1
    return per_channel.reshape(ones)
