# SPDX-License-Identifier: Apache-2.0
"""Learn the exponent biases of minifloats by the error they cause (arXiv 2208.09225).

Weights are rounded to the nearest value of the grid the bias moves; a bias is kept as a scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule, ``blocks``, and ``acts`` for the biases of the activations too."""

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 500
    batch: int = 32
    lr: float = 1e-3
    blocks: str = "block"
    acts: bool = True
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the bias of every weight, and of every activation."""
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.shift import Shifted
        from hwquant.ptq.learn.terms import Reconstruction

        learn(
            job,
            "learned_bias",
            how=self.blocks,
            rounding=Shifted,
            terms=(Reconstruction(),),
            schedule=Schedule(
                self.iterations, self.batch, self.lr, self.lr, cosine=True, seed=self.seed
            ),
            learn_acts=self.acts,
        )
