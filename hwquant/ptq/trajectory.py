# SPDX-License-Identifier: Apache-2.0
"""Calibration inputs of a denoiser from its own sampler: what it meets, over all timesteps.

Images with noise added are not what a sampler meets: after a few steps the network sees the errors
of its own predictions.  Calibration data for diffusion models are therefore drawn from the float
model's trajectory (arXiv 2302.04304, 2408.06995).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwquant.errors import InputError
from hwquant.zoo.data import Data
from hwquant.zoo.tasks.diffusion import ddim_sample

__all__ = ["sampled_inputs", "trajectory"]

SPREAD = 4  # images sampled for each that a timestep gives, so that items differ in image too


def trajectory(
    model: nn.Module, noise: Tensor, *, items: int, steps: int = 20, seed: int = 0
) -> Tensor:
    """Return ``items`` inputs (items, 2, h, w) that DDIM sampling from ``noise`` feeds ``model``.

    Every one of ``steps`` timesteps gives equally many (the noisiest ones one more where they do
    not divide), of images drawn by ``seed``; the order is random.

    Raises `InputError` for more items than images times timesteps, or values that are not finite.
    """
    if not 1 <= items <= len(noise) * steps:
        raise InputError(
            f"trajectory: {items} items of {len(noise)} images and {steps} timesteps, allowed 1 to "
            f"{len(noise) * steps}"
        )
    met: list[Tensor] = []

    def watched(x: Tensor) -> Tensor:
        met.append(x)
        predicted: Tensor = model(x)
        return predicted

    ddim_sample(watched, noise, steps, batch=len(noise))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for step, inputs in enumerate(met):
        share = items // steps + (step < items % steps)
        parts.append(inputs[torch.randperm(len(noise), generator=generator)[:share]])
    drawn = torch.cat(parts)[torch.randperm(items, generator=generator)]
    if not bool(torch.isfinite(drawn).all()):
        raise InputError("trajectory: the sampler made NaN or infinity; train the model again")
    return drawn


def sampled_inputs(
    model: nn.Module, data: Data, *, items: int | None = None, steps: int = 20, seed: int = 0
) -> Tensor:
    """Return the `trajectory` of a denoiser for ``data``: as many items as it calibrates with.

    Raises `InputError` for data of another task.
    """
    if data.task != "denoise":
        raise InputError(
            f"trajectory: {data.name} is for {data.task}, allowed data of a diffusion model"
        )
    count = len(data.x_calib) if items is None else items
    images = max(SPREAD * -(-count // steps), 1)
    shape = (images, 1, *data.x_calib.shape[2:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return trajectory(model, noise, items=count, steps=steps, seed=seed)
