# SPDX-License-Identifier: Apache-2.0
"""The input second moments of a layer, and its weights as rows that multiply them.

Every multiply layer is, per group, ``rows (outputs, columns) @ patches (columns, positions)``;
``H = 2/n X X^T`` over its patches is the Hessian of the layer's squared output error by a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwquant.errors import InputError
from hwquant.nn.layers import MatMul
from hwquant.ptq.insert import Site
from hwquant.ptq.job import Job
from hwquant.ptq.run import Lockstep

__all__ = ["Hessian", "from_rows", "gram", "patches", "pieces", "to_rows", "visit_inputs"]
__all__ += ["weighted_error"]

ITEMS: Final = 64  # items per forward pass: bounds what one batch keeps alive
PATCHES: Final = 1 << 23  # float32 values of unfolded patches at once: 32 MiB


def to_rows(layer: Any, weight: Tensor) -> Tensor:
    """Return ``weight`` of ``layer`` as (groups, outputs per group, columns)."""
    groups = int(getattr(layer, "groups", 1))
    if not isinstance(layer, nn.ConvTranspose2d):
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).flatten(2)


def from_rows(layer: Any, rows: Tensor) -> Tensor:
    """Return rows as the weight of ``layer``: undoes `to_rows`."""
    shape = layer.weight.shape
    if not isinstance(layer, nn.ConvTranspose2d):
        return rows.reshape(shape)
    groups = layer.groups
    split = rows.reshape(groups, shape[1], shape[0] // groups, -1)
    return split.transpose(1, 2).reshape(shape)


class Hessian:
    """Sums ``x x^T`` over every patch that a layer reads, float64, one matrix a group."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        groups, _, columns = to_rows(layer, layer.weight.detach()).shape
        self.total = torch.zeros(
            (groups, columns, columns),
            dtype=torch.float64,
            device=layer.weight.device,
        )
        self.patches = 0

    def add(self, x: Tensor, other: Tensor | None = None) -> None:
        """Add the patches of a batch of inputs; with ``other`` of its shape sum ``x other^T``."""
        items = self.items(x)
        for start in range(0, len(x), items):
            columns = patches(self.layer, x[start : start + items].float())
            if other is None:
                self.total += gram(columns)
            else:
                beside = patches(self.layer, other[start : start + items].float())
                self.total += torch.bmm(columns, beside.transpose(1, 2))
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

    def items(self, x: Tensor) -> int:
        """Return how many items may be unfolded at once."""
        taps = 1
        if not isinstance(self.layer, nn.Linear):
            taps = self.total.shape[0] * self.total.shape[1] // max(x.shape[1], 1)
            if isinstance(self.layer, nn.ConvTranspose2d):
                taps *= self.layer.stride[0] * self.layer.stride[1]
        return max(PATCHES // max(x[0].numel() * taps, 1), 1)


def patches(layer: Any, x: Tensor) -> Tensor:
    """Return what the rows of ``layer`` multiply: (groups, columns, patches)."""
    if isinstance(layer, nn.Linear):
        return x.reshape(1, -1, x.shape[-1]).transpose(1, 2)
    kernel, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
    if isinstance(layer, nn.ConvTranspose2d):
        x, stride = _spread(layer, x), (1, 1)
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x = functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)  # noqa: SLF001
    if isinstance(layer, nn.Conv1d):  # an image of one line
        x, kernel, dilation, stride = x.unsqueeze(2), (1, *kernel), (1, *dilation), (1, *stride)
    unfolded = _unfold(x, kernel, dilation, stride)
    if isinstance(layer, nn.ConvTranspose2d):
        unfolded = unfolded.flip(1, 2)
    return unfolded.reshape(layer.groups, len(unfolded) // layer.groups * kernel[0] * kernel[1], -1)


def _unfold(
    x: Tensor, kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]
) -> Tensor:
    """Return (channels, taps down, taps across, items, lines, positions in a line), a view.

    One copy of it makes the matrix that is wanted; `torch.nn.functional.unfold` makes another,
    slowly, with the items in front.
    """
    items, channels, height, width = x.shape
    x = x.transpose(0, 1).contiguous()
    step = x.stride()
    lines = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    across = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    return x.as_strided(
        (channels, kernel[0], kernel[1], items, lines, across),
        (
            *(step[0], dilation[0] * step[2], dilation[1] * step[3]),
            *(step[1], stride[0] * step[2], stride[1] * step[3]),
        ),
    )


def _spread(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return what a plain convolution with the kernel read backwards takes for a transposed one.

    Zeros go between the inputs (stride) and around them.
    """
    items, channels, height, width = x.shape
    lines, across = layer.stride
    spread = x.new_zeros(items, channels, (height - 1) * lines + 1, (width - 1) * across + 1)
    spread[:, :, ::lines, ::across] = x
    border = []
    for i in (1, 0):
        edge = layer.dilation[i] * (layer.kernel_size[i] - 1) - int(layer.padding[i])
        border += [edge, edge + layer.output_padding[i]]
    return functional.pad(spread, border)


def gram(columns: Tensor) -> Tensor:
    """Return ``x x^T`` (groups, columns, columns) of (groups, columns, patches), float64."""
    size = columns.shape[1]
    total = columns.new_empty(len(columns), size, size, dtype=torch.float64)
    step = max(-(-size // 4), 16)
    for start in range(0, size, step):  # the upper triangle only, roughly
        stop = min(start + step, size)
        part = torch.bmm(columns[:, start:stop], columns[:, start:].transpose(1, 2))
        total[:, start:stop, start:] = part
        total[:, stop:, start:stop] = part[:, :, stop - start :].transpose(1, 2)
    return total


def weighted_error(error: Tensor, hessian: Tensor) -> Tensor:
    """Return ``e H e^T`` of each row of ``error`` (groups, outputs, columns): (groups, outputs).

    That is twice the mean squared error of each output on the patches behind ``hessian``.
    """
    wide = error.double()
    return (torch.bmm(wide, hessian) * wide).sum(2)


def visit_inputs(job: Job, handle: Callable[[Site, Hessian], None], *, exact: bool = False) -> None:
    """Call ``handle(site, hessian)`` for every layer with weights, in execution order.

    The Hessian comes from the inputs that the quantized network before the layer makes, with
    whatever ``handle`` has done to earlier layers: one pass over the data.  With ``exact`` it comes
    from those of the float network.  A layer that is called several times is handled at its last
    call; earlier calls ran with its old weights.
    """
    graph = job.reference if exact else job.model
    waiting: dict[str, list[Site]] = {}
    left: dict[str, int] = {}
    sites = {s.path: s for s in job.sites if not isinstance(job.layer(s), MatMul)}
    hessians: dict[str, Hessian] = {}
    for node in graph.graph.nodes:
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
        Lockstep(graph, dict.fromkeys(waiting, look)).run(tuple(pieces(job.batches)))


def pieces(batches: Iterable[Tensor]) -> Iterable[Tensor]:
    """Yield the batches in parts of at most `ITEMS` items."""
    for batch in batches:
        yield from torch.split(batch, ITEMS)
