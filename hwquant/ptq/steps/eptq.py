# SPDX-License-Identifier: Apache-2.0
"""EPTQ: the whole network at once, every layer on every item weighted by the prediction.

arXiv 2309.11531: one loss over all layers, the squared error of each weighted by sample-layer
attention, RAdam on the rounding, learned biases and activation scales, and activations annealed
from float to quantized.  Its Hessian-weighted scales are ``calibrate:weight=hessian``.
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
    """Options: the schedule, ``blocks``, ``attention`` (false: all layers and items alike).

    ``draws`` random vectors estimate the attention.  ``learn_scale`` learns a factor of each
    weight scale (float scales only); ``bias`` and ``acts`` learn biases and activation scales.
    """

    phase: ClassVar[str] = "rounding"
    rounds_weights: ClassVar[bool] = True

    iterations: int = 2000
    batch: int = 32
    lr: float = 1e-2
    act_lr: float = 1e-3
    weight: float = 0.01
    blocks: str = "network"
    attention: bool = True
    draws: int = 50
    bias: bool = True
    acts: bool = True
    learn_scale: bool = False
    seed: int = 0

    def apply(self, job: Job) -> None:
        """Learn rounding, biases and activation scales."""
        from functools import partial

        from hwquant.ptq.learn.fit import Schedule
        from hwquant.ptq.learn.method import learn
        from hwquant.ptq.learn.rounding import UpOrDown
        from hwquant.ptq.learn.sample_attention import attentive
        from hwquant.ptq.learn.terms import GridPenalty, Reconstruction

        if self.learn_scale and any(site.settings.scale == "po2" for site in job.sites):
            raise SpecError("step eptq: learn_scale=true needs recipe scale='float'")
        learn(
            job,
            "eptq",
            how=self.blocks,
            rounding=partial(UpOrDown, learn_scale=self.learn_scale),
            terms=(Reconstruction(), GridPenalty(self.weight)),
            schedule=Schedule(
                self.iterations,
                self.batch,
                self.lr,
                self.act_lr,
                penalize_warmup=True,
                anneal=True,
                seed=self.seed,
                optimizer="radam",
            ),
            learn_acts=self.acts,
            learn_bias=self.bias,
            prepare=partial(attentive, draws=self.draws, seed=self.seed)
            if self.attention
            else None,
        )
