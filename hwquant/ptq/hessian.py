# SPDX-License-Identifier: Apache-2.0
"""The input second moments of a layer, and its weights as rows that multiply them.

Every multiply layer is, per group, ``rows (outputs, columns) @ patches (columns, positions)``;
``H = 2/n X X^T`` over its patches is the Hessian of the layer's squared output error by a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwquant.errors import InputError
from hwquant.nn.layers import MatMul
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job
from hwquant.ptq.run import Lockstep

__all__ = ["Hessian", "from_rows", "to_rows", "visit_inputs", "weighted_error"]

ITEMS: Final = 64  # items per forward pass: bounds what one batch keeps alive
PATCHES: Final = 1 << 23  # float32 values of unfolded patches at once: 32 MiB


def to_rows(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return ``weight`` of ``layer`` as (groups, outputs per group, columns)."""
    groups = int(getattr(layer, "groups", 1))
    if not isinstance(layer, nn.ConvTranspose2d):
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).flatten(2)


def from_rows(layer: nn.Module, rows: Tensor) -> Tensor:
    """Return rows as the weight of ``layer``: undoes `to_rows`."""
    shape = layer.weight.shape
    if not isinstance(layer, nn.ConvTranspose2d):
        return rows.reshape(shape)
    groups = layer.groups
    split = rows.reshape(groups, shape[1], shape[0] // groups, -1)
    return split.transpose(1, 2).reshape(shape)


class Hessian:
    """Sums ``x x^T`` over every patch that a layer reads, float64, one matrix a group."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        groups, _, columns = to_rows(layer, layer.weight.detach()).shape  # type: ignore[arg-type]
        self.total = torch.zeros(
            (groups, columns, columns),
            dtype=torch.float64,
            device=layer.weight.device,  # type: ignore[arg-type]
        )
        self.patches = 0

    def add(self, x: Tensor) -> None:
        """Add the patches of a batch of inputs."""
        for part in torch.split(x, self._items(x)) if len(x) else ():
            columns = _patches(self.layer, part.float())  # (groups, columns, patches)
            self.total += torch.bmm(columns, columns.transpose(1, 2))
            self.patches += columns.shape[2]

    def matrix(self, path: str) -> Tensor:
        """Return ``H = 2/n sum x x^T`` (groups, columns, columns); zeros when nothing came.

        Raises `InputError` naming ``path`` when an input was NaN or infinite.
        """
        if not bool(torch.isfinite(self.total).all()):
            raise InputError(
                f"the activation read by {path!r} holds NaN or infinity (or overflows when "
                "squared) on the calibration data; check the data and the model"
            )
        return self.total * (2.0 / max(self.patches, 1))

    def _items(self, x: Tensor) -> int:
        """Return how many items may be unfolded at once."""
        taps = 1
        if not isinstance(self.layer, nn.Linear):
            taps = self.total.shape[0] * self.total.shape[1] // max(x.shape[1], 1)
            if isinstance(self.layer, nn.ConvTranspose2d):
                taps *= self.layer.stride[0] * self.layer.stride[1]
        return max(PATCHES // max(x[0].numel() * taps, 1), 1)


def _patches(layer: Any, x: Tensor) -> Tensor:
    """Return what the rows of ``layer`` multiply: (groups, columns, patches)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1]).transpose(1, 2)
    if isinstance(layer, nn.ConvTranspose2d):
        unfolded = _transposed_patches(layer, x)
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)  # noqa: SLF001
        kernel, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
        if isinstance(layer, nn.Conv1d):  # an image of one line
            x, kernel = x.unsqueeze(2), (1, *kernel)
            dilation, stride = (1, *dilation), (1, *stride)
        unfolded = functional.unfold(x, kernel, dilation=dilation, stride=stride)
    items, _, positions = unfolded.shape
    split = unfolded.reshape(items, layer.groups, -1, positions)
    return split.permute(1, 2, 0, 3).flatten(2)


def _transposed_patches(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return the patches of a transposed convolution: those of a plain one on spread inputs.

    Zeros go between the inputs (stride) and around them; the kernel is read backwards.
    """
    items, channels, height, width = x.shape
    kernel: Any = layer.kernel_size
    stride: Any = layer.stride
    dilation: Any = layer.dilation
    padding: Any = layer.padding
    extra: Any = layer.output_padding
    spread = x.new_zeros(items, channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    spread[:, :, :: stride[0], :: stride[1]] = x
    edge = [dilation[i] * (kernel[i] - 1) - padding[i] for i in (0, 1)]
    border = (edge[1], edge[1] + extra[1], edge[0], edge[0] + extra[0])
    unfolded = functional.unfold(functional.pad(spread, border), kernel, dilation=dilation)
    taps = kernel[0] * kernel[1]
    return unfolded.reshape(items, channels, taps, -1).flip(2).reshape(items, channels * taps, -1)


def weighted_error(error: Tensor, hessian: Tensor) -> Tensor:
    """Return ``e H e^T`` of each row of ``error`` (groups, outputs, columns): (groups, outputs).

    That is twice the mean squared error of each output on the patches behind ``hessian``.
    """
    wide = error.double()
    return (torch.bmm(wide, hessian) * wide).sum(2)


def visit_inputs(job: Job, handle: Callable[[Site, Hessian], None]) -> None:
    """Call ``handle(site, hessian)`` for every layer with weights, in execution order.

    The Hessian comes from the inputs that the quantized network before the layer makes, with
    whatever ``handle`` has done to earlier layers: one pass over the data.  A layer that is
    called several times is handled at its last call; earlier calls ran with its old weights.
    """
    waiting: dict[str, list[Site]] = {}
    left: dict[str, int] = {}
    sites = {s.path: s for s in job.sites if not isinstance(job.layer(s), MatMul)}
    hessians: dict[str, Hessian] = {}
    for node in job.model.graph.nodes:
        if node.op == "call_module" and str(node.target) in sites:
            path = str(node.target)
            source = node.all_input_nodes[0].name
            waiting.setdefault(source, []).append(sites[path])
            left[path] = left.get(path, 0) + 1

    def look(name: str, values: list[Tensor]) -> list[Tensor]:
        for site in waiting[name]:
            hessian = hessians.setdefault(site.path, Hessian(job.layer(site)))
            for value in values:
                hessian.add(value)
            left[site.path] -= 1
            if not left[site.path]:
                handle(site, hessian)
                hessians.pop(site.path)
        return values

    with torch.no_grad():
        Lockstep(job.model, dict.fromkeys(waiting, look)).run(tuple(_pieces(job.batches)))


def _pieces(batches: Iterable[Tensor]) -> Iterable[Tensor]:
    for batch in batches:
        yield from torch.split(batch, ITEMS)
