# SPDX-License-Identifier: Apache-2.0
"""The one training loop: draw items, mix inputs, add up the loss terms, step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hwquant.errors import SpecError
from hwquant.ptq.learn.resume import Resume
from hwquant.ptq.learn.soft import SoftBlock
from hwquant.ptq.learn.walk import BlockData

__all__ = ["Moment", "Schedule", "Term", "fit"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    ``iterations`` of ``batch`` items; Adam with rate ``lr`` for the rounding, ``act_lr`` (cosine
    to 0) for the log2 of activation scales and ``bias_lr`` for biases; the penalty's exponent
    falls from ``beta_start`` to ``beta_end`` after the first ``warmup`` share, during which there
    is no penalty unless ``penalize_warmup``.  ``drop`` is the share of elements that stay float,
    at the block's input and inside it; ``anneal`` blends float activations in, from all to none
    over the run.  ``cosine`` lets ``lr`` fall to 0 too.  ``optimizer`` is adam or radam.
    """

    iterations: int = 1000
    batch: int = 32
    lr: float = 1e-2
    act_lr: float = 1e-3
    bias_lr: float = 1e-4
    warmup: float = 0.2
    penalize_warmup: bool = False
    beta_start: float = 20.0
    beta_end: float = 2.0
    drop: float = 0.0
    anneal: bool = False
    cosine: bool = False
    seed: int = 0
    optimizer: str = "adam"

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.batch < 1:
            raise SpecError(
                f"learning: iterations={self.iterations}, batch={self.batch}, allowed 1 or more"
            )
        for name, low, high in (("lr", 0, 10), ("act_lr", 0, 10), ("warmup", 0, 1), ("drop", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise SpecError(f"learning: {name}={getattr(self, name)}, allowed {low} to {high}")


@dataclass(frozen=True)
class Moment:
    """One iteration as a loss term sees it.

    ``index`` are the items drawn, ``outputs`` and ``targets`` the compared values of them;
    ``progress`` runs from 0 to 1, ``beta`` is the penalty's exponent, None during the warmup.
    """

    soft: SoftBlock
    data: BlockData
    index: Tensor
    outputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    progress: float
    beta: float | None


Term = Callable[[Moment], Tensor]


@dataclass
class _Rates:
    """The optimizers and their cosine schedules."""

    optimizers: list[torch.optim.Optimizer] = field(default_factory=list)
    schedulers: list[Any] = field(default_factory=list)

    def add(self, groups: list[dict[str, Any]], schedule: Schedule, *, cosine: bool) -> None:
        """Add an optimizer for ``groups``, if there are any."""
        if not groups:
            return
        kinds = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}
        optimizer = kinds[schedule.optimizer](groups)
        self.optimizers.append(optimizer)
        if cosine:
            total = schedule.iterations
            self.schedulers.append(torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total))

    def step(self) -> None:
        """Apply the gradients and move the schedules."""
        for optimizer in self.optimizers:
            optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()

    def state(self) -> list[Any]:
        """Return the state of all optimizers and schedules."""
        return [part.state_dict() for part in (*self.optimizers, *self.schedulers)]

    def load_state(self, state: list[Any]) -> None:
        """Bring all optimizers and schedules to a stored state."""
        for part, stored in zip((*self.optimizers, *self.schedulers), state, strict=True):
            part.load_state_dict(stored)

    def zero(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)


def fit(
    soft: SoftBlock,
    data: BlockData,
    terms: Sequence[Term],
    schedule: Schedule,
    advance: Callable[..., None],
    resume: Resume | None = None,
) -> list[float]:
    """Train ``soft`` on ``data`` for ``schedule.iterations``; return the loss of each iteration.

    ``advance()`` is called once per iteration.  The seed fixes the items and the dropped elements.
    With ``resume`` the training goes on where a killed one had stored its state.
    """
    rates = _Rates()
    rounding = [
        {"params": [p], "lr": schedule.lr * factor}
        for r in soft.roundings.values()
        for p, factor in r.rates().items()
        if p.requires_grad
    ]
    acts = [
        {"params": [a.log2_factor], "lr": schedule.act_lr * a.rate}
        for a in soft.acts.values()
        if a.learned
    ]
    rates.add(rounding, schedule, cosine=schedule.cosine)
    rates.add(acts, schedule, cosine=True)
    biases = [s.bias for s in soft.layers.values() if s.bias.requires_grad]
    group = {"params": biases, "lr": schedule.bias_lr}
    rates.add([group] if biases else [], schedule, cosine=False)
    for act in soft.acts.values():
        act.drop = schedule.drop
    losses = []
    device = data.inputs[0].device
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(schedule.seed)
        order = torch.empty(0, dtype=torch.long)
        first = 0
        stored = resume.training() if resume is not None else None
        if stored is not None:
            first, order = stored["iteration"], stored["order"]
            soft.load_state(stored["soft"])
            rates.load_state(stored["rates"])
            torch.set_rng_state(stored["random"])
            advance(first)
        for iteration in range(first, schedule.iterations):
            if len(order) < min(schedule.batch, data.items):
                order = torch.randperm(data.items)
            index, order = order[: schedule.batch], order[schedule.batch :]
            progress = iteration / schedule.iterations
            for act in soft.acts.values():
                act.float_share = 1 - progress if schedule.anneal else 0.0
            inputs = [
                _mixed(q[index], f[index], schedule.drop)
                for q, f in zip(data.inputs, data.float_inputs, strict=True)
            ]
            rates.zero()
            with torch.autocast(device.type, torch.bfloat16, enabled=soft.job.autocast):
                outputs = [value.float() for value in soft.module(*inputs)]
            moment = Moment(
                soft,
                data,
                index,
                outputs,
                data.targets(index),
                progress,
                _beta(schedule, progress),
            )
            loss = sum((term(moment) for term in terms), torch.zeros((), device=device))
            loss.backward()  # type: ignore[no-untyped-call]
            rates.step()
            losses.append(float(loss.detach()))
            advance()
            if resume is not None and resume.due():
                resume.train(
                    {
                        "iteration": iteration + 1,
                        "order": order,
                        "soft": soft.state(),
                        "rates": rates.state(),
                        "random": torch.get_rng_state(),
                    }
                )
    for act in soft.acts.values():
        act.drop = act.float_share = 0.0
    return losses


def _mixed(quantized: Tensor, exact: Tensor, drop: float) -> Tensor:
    """Return ``quantized`` with a share ``drop`` of its elements exact."""
    if not drop or not quantized.is_floating_point():
        return quantized
    return torch.where(torch.rand_like(quantized) < drop, exact, quantized)


def _beta(schedule: Schedule, progress: float) -> float | None:
    if progress < schedule.warmup:
        return schedule.beta_start if schedule.penalize_warmup else None
    share = (progress - schedule.warmup) / max(1 - schedule.warmup, 1e-9)
    return schedule.beta_start + (schedule.beta_end - schedule.beta_start) * share
