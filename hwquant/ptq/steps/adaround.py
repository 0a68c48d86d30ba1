# SPDX-License-Identifier: Apache-2.0
"""AdaRound: learn for each weight whether to round up or down (arXiv 2004.10568).

Layer by layer, on the inputs the quantized network before the layer gives, towards the outputs
of the float network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: ``iterations`` of ``batch`` items, rate ``lr``, penalty ``weight``, ``seed``."""

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    weight: float = 0.01
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the rounding of every layer with weights."""
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.rounding import UpOrDown
        from hwquant.ptq.learn.terms import GridPenalty, Reconstruction

        learn(
            job,
            "adaround",
            how="layer",
            rounding=UpOrDown,
            terms=(Reconstruction(), GridPenalty(self.weight)),
            schedule=Schedule(self.iterations, self.batch, self.lr, seed=self.seed),
        )
