# SPDX-License-Identifier: Apache-2.0
"""FlexRound: learn a divisor for each weight before it is rounded (arXiv 2306.00317).

Block by block on the quantized network's inputs, with some elements left float (QDrop); no
regulariser, because the weights are on the grid all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hwquant.errors import SpecError

if TYPE_CHECKING:
    from hwquant.ptq.job import Job

__all__ = ["Step"]


@dataclass(frozen=True)
class Step:
    """Options: the schedule, ``blocks`` (layer, block, network) and what is learned.

    ``learn_scale`` learns the weight scale as well (float scales only); ``acts`` learns the
    activation scales.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 1000
    batch: int = 32
    lr: float = 3e-3
    blocks: str = "block"
    drop: float = 0.5
    learn_scale: bool = False
    acts: bool = False
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn the weights of every block."""
        from functools import partial

        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.flex import Divided
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.terms import Reconstruction

        if self.learn_scale and any(site.settings.scale == "po2" for site in job.sites):
            raise SpecError(
                "step flexround: learn_scale=true needs recipe scale='float'; a learned scale is "
                "no power of two"
            )
        learn(
            job,
            "flexround",
            how=self.blocks,
            rounding=partial(Divided, learn_scale=self.learn_scale),
            terms=(Reconstruction(),),
            schedule=Schedule(
                self.iterations, self.batch, self.lr, drop=self.drop, cosine=True, seed=self.seed
            ),
            learn_acts=self.acts,
        )
