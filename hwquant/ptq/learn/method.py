# SPDX-License-Identifier: Apache-2.0
"""Learn every block of a network in turn: what the steps of this family share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from hwquant.nn.quantizers import Quantizer
from hwquant.progress import track
from hwquant.ptq.job import Job
from hwquant.ptq.learn.blocks import blocks
from hwquant.ptq.learn.fit import Schedule, Term, fit
from hwquant.ptq.learn.rounding import Rounding
from hwquant.ptq.learn.soft import SoftBlock
from hwquant.ptq.learn.walk import walk

__all__ = ["learn"]


def learn(
    job: Job,
    name: str,
    *,
    how: str,
    rounding: Callable[[Tensor, Quantizer], Rounding] | None,
    terms: Sequence[Term],
    schedule: Schedule,
    learn_acts: bool = False,
    rest: bool = False,
) -> None:
    """Train the blocks of ``job.model`` in order and write the result into it.

    ``name`` is shown beside the progress.  ``rounding`` of None learns activation scales only.
    """
    parts = blocks(job, how)
    with track(name, len(parts) * schedule.iterations) as advance:
        for data in walk(job, parts, rest=rest):
            soft = SoftBlock(job, data, rounding, learn_acts=learn_acts)
            fit(soft, data, terms, schedule, lambda d=data.block.name: advance(detail=d))
            soft.harden()
