# SPDX-License-Identifier: Apache-2.0
"""Learn every block of a network in turn: what the steps of this family share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hwquant.progress import note, track
from hwquant.ptq.job import Job
from hwquant.ptq.learn.blocks import blocks
from hwquant.ptq.learn.descent import polish
from hwquant.ptq.learn.fit import Schedule, Term, fit
from hwquant.ptq.learn.resume import Resume
from hwquant.ptq.learn.rounding import Rounding
from hwquant.ptq.learn.soft import SoftBlock
from hwquant.ptq.learn.terms import reconstruction_error
from hwquant.ptq.learn.walk import BlockData, walk

__all__ = ["learn"]


def learn(
    job: Job,
    name: str,
    *,
    how: str,
    rounding: Callable[[Any], Rounding] | None,
    terms: Sequence[Term],
    schedule: Schedule,
    learn_acts: bool = False,
    learn_bias: bool = False,
    rest: str = "",
    prepare: Callable[[Job, BlockData], BlockData] | None = None,
) -> None:
    """Train the blocks of ``job.model`` in order and write the result into it.

    ``name`` is shown beside the progress.  ``rounding`` of None learns activation scales only.
    ``prepare(job, data)`` may change a block's data before it is learned.  A block that comes out
    with a larger squared error than rounding to nearest has stays as it was.
    """
    parts = blocks(job, how)
    resume = Resume(job, name)
    with track(name, len(parts) * schedule.iterations) as advance:
        for data in walk(job, parts, rest=rest):
            if resume.restore(data.block):
                advance(schedule.iterations, detail=data.block.name)
                continue
            if prepare is not None:
                data = prepare(job, data)  # noqa: PLW2901 (the block's data from here on)
            start = reconstruction_error(data)
            soft = SoftBlock(job, data, rounding, learn_acts=learn_acts, learn_bias=learn_bias)
            shown = partial(advance, detail=data.block.name)
            fit(soft, data, terms, schedule, shown, resume)
            soft.fix()
            polish(soft, data)
            if reconstruction_error(data) <= start:
                soft.harden()
            else:
                note(f"{name}: {data.block.name} came out worse than it was and stays")
            resume.finished(data.block)
    resume.end()
