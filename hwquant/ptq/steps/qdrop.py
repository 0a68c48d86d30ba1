# SPDX-License-Identifier: Apache-2.0
"""QDrop: weights and activation scales together, with activations randomly left float.

arXiv 2203.05740: per block, each element of an activation keeps its float value with probability
``drop``, at the block's input and inside, which flattens the loss around the solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule, ``drop``, penalty ``weight`` (0.1 suits MobileNetV2), ``seed``."""

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    act_lr: float = 1e-3
    weight: float = 0.01
    drop: float = 0.5
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn rounding and activation scales of every block."""
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.rounding import UpOrDown
        from hwquant.ptq.learn.terms import GridPenalty, Reconstruction

        learn(
            job,
            "qdrop",
            how="block",
            rounding=UpOrDown,
            terms=(Reconstruction(), GridPenalty(self.weight)),
            schedule=Schedule(
                self.iterations, self.batch, self.lr, self.act_lr, drop=self.drop, seed=self.seed
            ),
            learn_acts=True,
        )
