# SPDX-License-Identifier: Apache-2.0
"""Look at the activations of the float network: a bounded sample of what each quantizer reads."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hwquant.errors import InputError
from hwquant.ptq.job import Job
from hwquant.ptq.run import Recorder, activation_sources

__all__ = ["SAMPLES", "observe"]

SAMPLES: Final = 1 << 18


def observe(job: Job, samples: int = SAMPLES) -> dict[str, Tensor]:
    """Return values for each activation quantizer (by path), its extremes included.

    At most about ``samples`` values each, evenly spaced; a quantizer that reads empty tensors is
    left out.  Raises `InputError` for an activation that is not finite.
    """
    kept: dict[str, list[Tensor]] = {}
    per_batch = max(samples // len(job.batches), 1)

    def record(path: str, value: Tensor) -> None:
        flat = value.detach().reshape(-1).float()
        if not flat.numel():
            return
        if not bool(torch.isfinite(flat).all()):
            raise InputError(
                f"the activation read by {path!r} holds NaN or infinity on the calibration "
                "data; check the data and the model"
            )
        stride = -(-flat.numel() // per_batch)
        extremes = torch.stack([flat.amin(), flat.amax()])
        kept.setdefault(path, []).append(torch.cat([flat[::stride], extremes]))

    recorder = Recorder(job.reference, activation_sources(job.model), record)
    for batch in job.batches:
        with torch.no_grad():
            recorder.run(batch)
    return {path: torch.cat(parts) for path, parts in kept.items()}
