# SPDX-License-Identifier: Apache-2.0
"""Detection: maps to boxes, the loss of a one-stage detector, mean average precision."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from hwquant.errors import InputError

__all__ = ["decode", "detection_loss", "iou", "mean_average_precision"]

STRIDE: Final = 4  # pixels between cells of the maps
UNIT: Final = 8.0  # pixels of one unit of edge distance
NOTHING: Final = -1
Float = NDArray[np.floating]


def detection_loss(maps: Tensor, boxes: Tensor) -> Tensor:
    """Return object, class and edge loss of raw maps (n, 5 + classes, h, w).

    ``boxes`` (n, objects, 5) as (class or -1, left, top, right, bottom) in pixels.  The cell that
    holds a box's centre is its cell; where two share one the later box wins.
    """
    n, channels, height, width = maps.shape
    item, slot = torch.nonzero(boxes[..., 0] >= 0, as_tuple=True)
    label, edges = boxes[item, slot, 0].long(), boxes[item, slot, 1:]
    column = ((edges[:, 0] + edges[:, 2]) / 2 / STRIDE).long().clamp(0, width - 1)
    row = ((edges[:, 1] + edges[:, 3]) / 2 / STRIDE).long().clamp(0, height - 1)
    wanted = torch.zeros(n, height, width, device=maps.device)
    wanted[item, row, column] = 1
    found = maps[item, :, row, column]
    objects = functional.binary_cross_entropy_with_logits(maps[:, 0], wanted, reduction="sum")
    classes = functional.cross_entropy(found[:, 5:], label, reduction="sum")
    centre = torch.stack([column, row], 1) * STRIDE + STRIDE / 2
    target = torch.cat([centre - edges[:, :2], edges[:, 2:] - centre], 1) / UNIT
    distances = functional.smooth_l1_loss(found[:, 1:5], target, beta=0.2, reduction="sum")
    if channels <= 5:
        raise InputError(f"detector maps have {channels} channels, allowed 5 + classes")
    return (objects + classes + distances) / max(len(item), 1)


def decode(maps: Tensor, keep: int = 20, overlap: float = 0.5) -> list[Float]:
    """Return boxes of each item, best first: (objects, 6) as (class, score, l, t, r, b) in pixels.

    The score is object times class probability; a box that overlaps a better one of its class by
    more than ``overlap`` is dropped (greedy suppression); at most ``keep`` of the cells count.
    """
    maps = maps.detach().float().cpu()
    n, _, height, width = maps.shape
    score, label = maps[:, 5:].softmax(1).max(1)
    score = (score * maps[:, 0].sigmoid()).flatten(1)
    y = (torch.arange(height) * STRIDE + STRIDE / 2).view(1, -1, 1).expand(n, height, width)
    x = (torch.arange(width) * STRIDE + STRIDE / 2).view(1, 1, -1).expand(n, height, width)
    left, top, right, bottom = (maps[:, 1 + i] * UNIT for i in range(4))
    edges = torch.stack([x - left, y - top, x + right, y + bottom], -1).flatten(1, 2)
    best = score.topk(min(keep, score.shape[1]), 1).indices
    results: list[Float] = []
    for i in range(n):
        chosen = best[i]
        columns = [label.flatten(1)[i, chosen][:, None], score[i, chosen][:, None]]
        boxes = torch.cat([*columns, edges[i, chosen]], 1).numpy().astype(np.float64)
        results.append(_suppressed(boxes, overlap))
    return results


def _suppressed(boxes: Float, overlap: float) -> Float:
    table = iou(boxes[:, 2:], boxes[:, 2:])
    kept: list[int] = []
    for i in range(len(boxes)):
        same = [k for k in kept if boxes[k, 0] == boxes[i, 0]]
        if all(table[i, k] <= overlap for k in same):
            kept.append(i)
    return boxes[kept]


def iou(a: Float, b: Float) -> Float:
    """Return the overlap (intersection over union) of boxes (n, 4) and (m, 4): (n, m).

    Empty boxes overlap nothing.
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (np.clip(c[:, 2:] - c[:, :2], 0, None).prod(-1) for c in (a, b))
    union = area_a[:, None] + area_b[None, :] - inner
    table: Float = np.divide(inner, union, out=np.zeros_like(inner, float), where=union > 0)
    return table


def mean_average_precision(
    found: list[Float], truth: list[Float], thresholds: tuple[float, ...] = (0.5,)
) -> float:
    """Return the mean over classes and overlap thresholds of the average precision (0..1).

    ``found`` holds per item boxes (objects, 6) as (class, score, l, t, r, b), ``truth`` (objects,
    5) without the score; truth of class -1 is ignored.  Average precision is the area under the
    precision envelope over recall at every recall that occurs (PASCAL VOC from 2010 on); a box
    matches the unmatched true box of its class that it overlaps most, best scores first.  The
    thresholds 0.5, 0.55, ..., 0.95 give COCO's average (there at 101 recalls).
    """
    if len(found) != len(truth) or not truth:
        raise InputError(
            f"mean_average_precision: {len(found)} results and {len(truth)} truths, allowed "
            "equally many and at least one"
        )
    classes = sorted({int(c) for boxes in truth for c in boxes[:, 0] if c != NOTHING})
    if not classes:
        raise InputError("mean_average_precision: the truth holds no object")
    values = [
        _average_precision(
            [boxes[boxes[:, 0] == c][:, 1:] for boxes in found],
            [boxes[boxes[:, 0] == c][:, 1:] for boxes in truth],
            threshold,
        )
        for c in classes
        for threshold in thresholds
    ]
    return float(np.mean(values))


def _average_precision(found: list[Float], truth: list[Float], threshold: float) -> float:
    """Return one class's average precision; ``found`` (objects, 5) begin with the score."""
    total = sum(map(len, truth))
    item = np.concatenate([np.full(len(boxes), i) for i, boxes in enumerate(found)])
    boxes = np.concatenate(found)
    order = np.argsort(-boxes[:, 0], kind="stable")
    taken = [np.zeros(len(t), bool) for t in truth]
    hits = np.zeros(len(order), bool)
    for rank, index in enumerate(order):
        i = int(item[index])
        if not len(truth[i]):
            continue
        overlaps = np.where(taken[i], -1.0, iou(boxes[index : index + 1, 1:], truth[i])[0])
        best = int(overlaps.argmax())
        if overlaps[best] >= threshold:
            hits[rank] = taken[i][best] = True
    right = hits.cumsum()
    precision = right / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / total)
