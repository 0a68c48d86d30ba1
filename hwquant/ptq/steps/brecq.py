# SPDX-License-Identifier: Apache-2.0
"""BRECQ: AdaRound's rounding, a residual or attention block at a time (arXiv 2102.05426).

With ``fisher`` the squared error of each element of the block's output is weighted by the squared
gradient of the prediction's KL divergence there, measured at the rounded-to-nearest network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule, penalty ``weight``, ``fisher`` and ``seed``."""

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    weight: float = 0.01
    fisher: bool = False
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the rounding of every block."""
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.prediction import fisher_weights
        from hwquant.ptq.learn.rounding import UpOrDown
        from hwquant.ptq.learn.terms import GridPenalty, Reconstruction

        learn(
            job,
            "brecq",
            how="block",
            rounding=UpOrDown,
            terms=(Reconstruction(), GridPenalty(self.weight)),
            schedule=Schedule(self.iterations, self.batch, self.lr, seed=self.seed),
            rest="float" if self.fisher else "",
            prepare=fisher_weights if self.fisher else None,
        )
