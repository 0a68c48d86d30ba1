# SPDX-License-Identifier: Apache-2.0
"""PD-Quant: judge a block by what it does to the network's prediction (arXiv 2212.07048).

To the block's reconstruction error comes the KL divergence of the prediction when the block's
output runs through the rest of the network in float.  Distribution correction (section 3.3)
moves the block's float input towards the statistics its batch norms hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule, ``pd`` and ``temperature`` of the prediction difference, and DC.

    ``temperature`` 4 suits ResNets, 1 MobileNets.  ``correction`` weighs the distance from the
    original input in the distribution correction (``steps`` of Adam per batch); 0 steps, or a
    block without batch norm, leaves the input as it is.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True
    needs_unfused: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    act_lr: float = 1e-3
    weight: float = 0.01
    drop: float = 0.5
    pd: float = 10.0
    temperature: float = 4.0
    steps: int = 100
    correction: float = 0.02
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn rounding and activation scales of every block."""
        from functools import partial

        from hwquant.ptq.learn.distribution import corrected
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.rounding import UpOrDown
        from hwquant.ptq.learn.terms import GridPenalty, PredictionDifference, Reconstruction

        learn(
            job,
            "pd_quant",
            how="block",
            rounding=UpOrDown,
            terms=(
                Reconstruction(),
                PredictionDifference(self.pd, self.temperature),
                GridPenalty(self.weight),
            ),
            schedule=Schedule(
                self.iterations, self.batch, self.lr, self.act_lr, drop=self.drop, seed=self.seed
            ),
            learn_acts=True,
            rest="float",
            prepare=partial(corrected, steps=self.steps, weight=self.correction)
            if self.steps
            else None,
        )
