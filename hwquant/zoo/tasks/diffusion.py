# SPDX-License-Identifier: Apache-2.0
"""Diffusion: the noise schedule, DDIM sampling, distances between sets of samples.

A denoiser takes (n, 2, h, w): the noisy image and, as a second channel, its noise level 0..1.  So
it is a network of one input like any other.  Level ``u`` keeps a share ``cos(pi u / 2)`` of the
image and ``sin(pi u / 2)`` of noise (cosine schedule, Nichol and Dhariwal 2021, 2102.09672).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwquant.errors import InputError

__all__ = ["add_noise", "ddim_sample", "frechet_distance", "noisy_inputs", "sample_distance"]

TOP_LEVEL: Final = 0.98  # at level 1 nothing of the image is left to divide by


def add_noise(x: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Return denoiser inputs (n, 2, h, w) of images and noise (n, 1, h, w) at ``level`` (n,)."""
    angle = (level * TOP_LEVEL * (math.pi / 2)).view(-1, 1, 1, 1)
    noisy = torch.cos(angle) * x + torch.sin(angle) * noise
    return torch.cat([noisy, level.view(-1, 1, 1, 1).expand_as(noisy)], 1)


def noisy_inputs(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return denoiser inputs with noise levels spread evenly over 0..1, and the noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images.shape, generator=generator)
    level = (torch.arange(len(images)) + 0.5) / len(images)
    level = level[torch.randperm(len(images), generator=generator)]
    return add_noise(images, noise, level), noise


def ddim_sample(
    model: Callable[[Tensor], Tensor], noise: Tensor, steps: int = 20, batch: int = 256
) -> Tensor:
    """Return images (n, 1, h, w) that ``model`` makes of ``noise``, deterministically.

    DDIM with eta 0 (Song et al. 2021, 2010.02502): predict the noise, from it the image (cut to
    -1..1), and go to the next lower level.  The same noise gives samples that can be compared one
    by one between a float and a quantized model.
    """
    if steps < 1:
        raise InputError(f"ddim_sample: {steps} steps, allowed at least 1")
    levels = torch.linspace(1, 0, steps + 1)
    parts = []
    with torch.no_grad():
        for start in torch.split(noise, batch):
            x = start
            for now, after in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
                channel = torch.full_like(x, now)
                predicted = model(torch.cat([x, channel], 1))
                angle, target = (u * TOP_LEVEL * math.pi / 2 for u in (now, after))
                image = ((x - math.sin(angle) * predicted) / math.cos(angle)).clamp(-1, 1)
                # the noise that goes with the cut image, so that both stay on the schedule
                rest = (x - math.cos(angle) * image) / max(math.sin(angle), 1e-6)
                x = math.cos(target) * image + math.sin(target) * rest
            parts.append(x)
    return torch.cat(parts)


def sample_distance(samples: Tensor, reference: Tensor) -> float:
    """Return the mean square distance of samples to a model's own samples from the same noise."""
    if samples.shape != reference.shape or not samples.numel():
        raise InputError(
            f"sample_distance: samples {tuple(samples.shape)} and reference "
            f"{tuple(reference.shape)}, allowed one shape"
        )
    return float(((samples.double() - reference.double()) ** 2).mean())


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the Frechet distance of two sets of features (n, d), taken as Gaussian.

    ``|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2))`` (Heusel et al. 2017, 1706.08500), the trace of
    the root from the eigenvalues of ``A^(1/2) B A^(1/2)``, which is symmetric.  It depends on the
    number of samples: compare equal numbers only.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise InputError(
            f"frechet_distance: features {a.shape} and {b.shape}, allowed (n >= 2, d) twice"
        )
    mean_a, mean_b = a.mean(0, dtype=np.float64), b.mean(0, dtype=np.float64)
    cov_a = np.atleast_2d(np.cov(a.astype(np.float64), rowvar=False))
    cov_b = np.atleast_2d(np.cov(b.astype(np.float64), rowvar=False))
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_b @ root), 0, None)).sum()
    apart = float(((mean_a - mean_b) ** 2).sum())
    return max(apart + float(np.trace(cov_a) + np.trace(cov_b) - 2 * cross), 0.0)
