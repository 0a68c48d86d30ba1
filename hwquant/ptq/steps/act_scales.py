# SPDX-License-Identifier: Apache-2.0
"""Learn the scales of the activations, the weights staying as they are (LSQ, arXiv 1902.08153)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule and ``blocks`` (layer, block, network)."""

    phase: ClassVar[str] = "rounding"

    iterations: int = 500
    batch: int = 32
    lr: float = 1e-3
    blocks: str = "block"
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the scale of every activation quantizer."""
        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.terms import Reconstruction

        learn(
            job,
            "act_scales",
            how=self.blocks,
            rounding=None,
            terms=(Reconstruction(),),
            schedule=Schedule(self.iterations, self.batch, act_lr=self.lr, seed=self.seed),
            learn_acts=True,
        )
