# SPDX-License-Identifier: Apache-2.0
"""Pick each activation's scale by the network's prediction, PD-Quant's metric alone.

arXiv 2212.07048, equation 8, as a search: quantizer by quantizer in execution order, the scale
among candidates around the calibrated one that changes the prediction least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

    from hwquant.ptq.job import Job
    from hwquant.ptq.learn.walk import BlockData

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: ``candidates`` from one octave below to one above, ``items``, ``temperature``.

    ``rest``: the network behind the layer is ``float``, as in the paper, or ``quantized`` as
    calibrated, which cannot end with a worse prediction on the calibration items but fits them.
    """

    phase: ClassVar[str] = "scales"

    candidates: int = 13
    items: int = 256
    temperature: float = 1.0
    rest: str = "float"

    def __post_init__(self) -> None:
        if self.candidates < 3 or self.items < 1:
            raise SpecError(
                f"step pd_scale: candidates={self.candidates}, items={self.items}, "
                "allowed 3 or more, 1 or more"
            )
        if self.rest not in ("float", "quantized"):
            raise SpecError(f"step pd_scale: rest={self.rest!r}, allowed: float, quantized")

    def apply(self, job: Job) -> None:
        """Choose the scale of every activation quantizer."""
        from hwquant.progress import track
        from hwquant.ptq.learn.blocks import blocks
        from hwquant.ptq.learn.walk import walk

        parts = blocks(job, "layer")
        done: set[str] = set()
        with track("pd_scale", len(parts)) as advance:
            for data in walk(job, parts, rest=self.rest):
                for path in _quantizers(data):
                    if path not in done:
                        self._choose(job, data, path)
                    done.add(path)
                advance(detail=data.block.name)

    def _choose(self, job: Job, data: BlockData, path: str) -> None:
        import torch

        quantizer = job.act(path)
        start = quantizer.scale.clone()
        octaves = (
            torch.arange(-2.0, 3.0)
            if quantizer.scale_kind == "po2"
            else torch.linspace(-1, 1, self.candidates)
        )
        best, least = start, self._difference(data)
        for octave in octaves.tolist():
            scale = start * 2.0**octave
            quantizer.set_scale(scale)
            difference = self._difference(data)
            if difference < least:
                best, least = scale, difference
        quantizer.set_scale(best)

    def _difference(self, data: BlockData) -> float:
        """Return the divergence of the prediction with the block as it is now."""
        import torch

        from hwquant.ptq.learn.prediction import divergence, logits_behind

        index = torch.arange(min(self.items, data.items))
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = data.piece.module(*(v[index] for v in data.inputs))
            logits = logits_behind(data, outputs, index)
            return float(divergence(logits, data.logits[0][index], self.temperature))


def _quantizers(data: BlockData) -> list[Any]:
    """Return the paths of the activation quantizers of the block."""
    from hwquant.ptq.insert import ACT_PREFIX

    nodes = data.piece.module.graph.nodes
    targets = [str(node.target) for node in nodes if node.op == "call_module"]
    return [target for target in targets if target.startswith(f"{ACT_PREFIX}.")]
