# SPDX-License-Identifier: Apache-2.0
"""Codebook quantizers of a file: a ``Gather`` from a list of values, seen as one node.

Stored weights are ``Gather(values, ranks)`` with constant ranks.  An activation's rank is counted
by ``MultiThreshold`` and cast to an integer.  Both become one node ``LookUp`` with inputs (what is
quantized, values, thresholds), which rounds like any other quantizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

import numpy as np

from hwquant import codec_np
from hwquant.errors import ExportError, UnsupportedError
from hwquant.formats import Codebook, Format
from hwquant.graph.exact import Array
from hwquant.graph.model import Model, Node, links

__all__ = ["LOOK_UP", "merge_look_ups", "read_codebook"]

LOOK_UP: Final = "LookUp"


def merge_look_ups(model: Model) -> Model:
    """Return the model with the nodes of each codebook quantizer replaced by one."""
    merged: dict[str, tuple[Node, tuple[Node, ...]]] = {}
    constants = dict(model.constants)
    for node in model.nodes:
        if node.op != "Gather" or not _is_list(model, node):
            continue
        out, rank = node.outputs[0], node.inputs[1]
        if rank in constants:
            weights = f"{out}#values"
            constants[weights] = _gathered(model, node)
            merged[out] = node_of(node, weights), (node,)
        elif (counted := _counted(model, rank)) is not None:
            cast, count = counted
            merged[out] = node_of(node, *count.inputs), (count, cast, node)
    if not merged:
        return model
    gone = {id(part) for _, parts in merged.values() for part in parts}
    nodes = tuple(_replaced(model, {out: new for out, (new, _) in merged.items()}, gone))
    consumers, producers = links(nodes)
    return replace(
        model, nodes=nodes, constants=constants, consumers=consumers, producers=producers
    )


def _replaced(model: Model, new: dict[str, Node], gone: set[int]) -> Iterator[Node]:
    for node in model.nodes:
        if node.outputs[0] in new:
            yield new[node.outputs[0]]
        elif id(node) not in gone:
            yield node


def node_of(gather: Node, source: str, thresholds: str = "") -> Node:
    """Return the quantizer of ``source`` by the values of ``gather``."""
    inputs = (source, gather.inputs[0], thresholds) if thresholds else (source, gather.inputs[0])
    return Node(gather.name, LOOK_UP, "hwquant", inputs, gather.outputs, {})


def _is_list(model: Model, node: Node) -> bool:
    values = model.constants.get(node.inputs[0])
    told = node.outputs[0] in model.metadata.get("quantizers", {})
    return (
        values is not None
        and values.ndim == 1
        and values.dtype == np.float32
        and int(node.attrs.get("axis", 0)) == 0
        and (told or bool((np.diff(values) > 0).all()))
    )


def _gathered(model: Model, node: Node) -> Array:
    values, ranks = (np.asarray(model.constants[name]) for name in node.inputs[:2])
    if ranks.dtype.kind not in "iu" or (
        ranks.size and not 0 <= ranks.min() <= ranks.max() < len(values)
    ):
        raise ExportError(
            f"{model.path}: {node.label} reads ranks beyond its {len(values)} values; "
            "the file may be damaged: export it again"
        )
    found: Array = values[ranks]
    return found


def _counted(model: Model, rank: str) -> tuple[Node, Node] | None:
    """Return the nodes that count the thresholds below a number, for one reader only."""
    cast = model.producers.get(rank)
    if cast is None or cast.op != "Cast" or len(model.consumers[rank]) != 1:
        return None
    count = model.producers.get(cast.inputs[0])
    if count is None or count.op != "MultiThreshold" or len(model.consumers[cast.inputs[0]]) != 1:
        return None
    thresholds = model.constants.get(count.inputs[1])
    plain = count.attrs.get("out_scale", 1.0) == 1.0 and count.attrs.get("out_bias", 0.0) == 0.0
    return (cast, count) if plain and thresholds is not None and len(thresholds) == 1 else None


def _codebook(values: Array) -> Codebook:
    """Return the codebook of a list of float32 values, with the fewest fraction bits."""
    exact = [Fraction(float(value)) for value in values]
    unit = max(value.denominator for value in exact)
    return Codebook(tuple(int(value * unit) for value in exact), unit.bit_length() - 1)


def read_codebook(model: Model, node: Node, told: Format | None, *, strict: bool) -> Format:
    """Return the format of a ``LookUp`` node; ``told`` is what our metadata says.

    ``strict`` refuses a node whose values or thresholds are not those of the format.
    """
    values = np.asarray(model.constants[node.inputs[1]], np.float32)
    fmt = _codebook(values) if told is None else told
    if not strict:
        return fmt
    if not isinstance(fmt, Codebook) or not np.array_equal(
        codec_np.values(fmt, fmt.ordered_codes), values
    ):
        raise ExportError(
            f"{node.label} looks up other values than those of {fmt}, which the file's metadata "
            "says; the file was changed after export: export it again"
        )
    if len(node.inputs) > 2:
        thresholds = np.asarray(model.constants[node.inputs[2]], np.float32).ravel()
        if not np.array_equal(codec_np.steps_up(fmt, np.float32), thresholds):
            raise UnsupportedError(
                f"{model.path}: {node.label} does not round to the nearest value of {fmt}, "
                "allowed: thresholds in the middle between values, ties to even rank"
            )
    return fmt
