# SPDX-License-Identifier: Apache-2.0
"""NUPES: learn the codes and the exponents of power-exponent weights (arXiv 2308.05600)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule and ``blocks``; the weights must be ``powBaXfN`` (see power_quant)."""

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    blocks: str = "block"
    drop: float = 0.0
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the weights of every block."""
        from hwquant.codebook import Power
        from hwquant.nn.layers import MatMul
        from hwquant.nn.quantizers import weight_quantizer
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.power import PowerCodes
        from hwquant.ptq.learn.rounding import Rounding, UpOrDown
        from hwquant.ptq.learn.terms import GridPenalty, Reconstruction

        ours = [s for s in job.sites if s.settings.weight == job.recipe.weight]
        paths = {s.path for s in ours if not isinstance(job.layer(s), MatMul)}

        def rounding(layer: object) -> Rounding:
            # First and last layers of another kind of format are learned by AdaRound's rounding.
            quantizer = weight_quantizer(layer)  # type: ignore[arg-type]
            other = quantizer.module_path not in paths and not isinstance(quantizer.fmt, Power)
            return UpOrDown(layer) if other else PowerCodes(layer)

        learn(
            job,
            "nupes",
            how=self.blocks,
            rounding=rounding,
            terms=(Reconstruction(), GridPenalty()),
            schedule=Schedule(
                self.iterations, self.batch, self.lr, drop=self.drop, cosine=True, seed=self.seed
            ),
        )
