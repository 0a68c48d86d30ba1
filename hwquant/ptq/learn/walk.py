# SPDX-License-Identifier: Apache-2.0
"""Bring each block its data: what the quantized network feeds it, and what the float one does.

The walk keeps, for all calibration items, only the values that later blocks read.  Its peak
memory is those of one boundary of both graphs plus one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from hwquant.ptq.insert import is_act_quantizer
from hwquant.ptq.job import Job
from hwquant.ptq.learn.blocks import Block
from hwquant.ptq.learn.piece import Piece, cut, itemwise

__all__ = ["BlockData", "run_piece", "walk"]

CHUNK = 64  # items per forward pass


@dataclass(frozen=True)
class BlockData:
    """A block and its data over all calibration items, first axis the item.

    ``piece`` computes the compared values from ``inputs``, which the quantized network before
    the block made; ``float_inputs`` are the float network's values at the same places (named
    ``float_names`` there), and
    `targets` its values of what is compared: stored, or for a block that is the whole network
    computed again for the items drawn.  ``rest`` is the network behind the block,
    from the compared values and ``rest_inputs`` (by name) to the network's outputs ``logits``;
    None unless asked for.  ``weights`` weigh the squared error of what is compared: one tensor
    per compared value, which broadcasts against it, or None for equal weights; ``importance``
    weighs the layers' penalties by path, equally if None.
    """

    block: Block
    piece: Piece
    inputs: tuple[Tensor, ...]
    float_inputs: tuple[Tensor, ...]
    float_names: tuple[str, ...]
    float_piece: Piece
    stored_targets: tuple[Tensor, ...] | None
    rest: Piece | None = None
    rest_inputs: dict[str, Tensor] = field(default_factory=dict)
    logits: tuple[Tensor, ...] = ()
    weights: tuple[Tensor, ...] | None = None
    importance: dict[str, float] | None = None

    @property
    def items(self) -> int:
        """Calibration items."""
        return len(self.inputs[0])

    def targets(self, index: Tensor) -> tuple[Tensor, ...]:
        """Return the float network's values of what is compared, for the items ``index``."""
        if self.stored_targets is not None:
            return tuple(value[index] for value in self.stored_targets)
        by_name = dict(zip(self.float_names, self.float_inputs, strict=True))
        with torch.no_grad():
            result: tuple[Tensor, ...] = self.float_piece.module(
                *(by_name[name][index] for name in self.float_piece.inputs)
            )
        return result


def run_piece(piece: Piece, inputs: Sequence[Tensor], chunk: int = CHUNK) -> tuple[Tensor, ...]:
    """Return the outputs of ``piece`` for all items, ``chunk`` at a time, without gradients."""
    starts = range(0, len(inputs[0]), chunk)
    with torch.no_grad():
        parts = [piece.module(*(v[start : start + chunk] for v in inputs)) for start in starts]
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


def walk(job: Job, parts: Sequence[Block], *, rest: str = "") -> Iterator[BlockData]:
    """Yield each block with its data; the caller changes ``job.model`` before taking the next.

    So every block sees the network before it as quantized and learned so far.  ``rest`` asks for
    the network behind each block too: ``float``, or ``quantized`` as it is then.
    """
    items = torch.cat(job.batches)
    stored = itemwise(job.model, items[:1])
    float_stored = itemwise(job.reference, items[:1])
    twins = {node.name: _twin(node) for node in job.model.graph.nodes}
    pieces = [cut(job.model, part.nodes, part.compared, stored) for part in parts]
    float_pieces = [cut(job.reference, part.nodes, part.compared, float_stored) for part in parts]
    source = next(n.name for n in job.model.graph.nodes if n.op == "placeholder")
    tails: Sequence[Piece] = ()
    logits: tuple[Tensor, ...] = ()
    if rest:
        if rest == "float":
            tails = _tails(job.reference, parts, float_stored)
        else:
            tails = _tails(job.model, parts, stored)
        whole = [node.name for node in job.reference.graph.nodes]
        logits = run_piece(cut(job.reference, whole, _outputs(job.reference), ()), (items,))
    values = {source: items}
    float_values = {source: items}
    for index, part in enumerate(parts):
        piece, float_piece = pieces[index], float_pieces[index]
        later = {name for p in pieces[index + 1 :] for name in p.inputs}
        float_later = {name for p in float_pieces[index + 1 :] for name in p.inputs}
        float_later |= {twins[name] for name in later}
        behind = {name for tail in tails[index:] for name in tail.inputs} - set(part.compared)
        (float_later if rest == "float" else later).update(behind)
        own_inputs = set(tails[index].inputs) if rest else set()
        whole_network = len(parts) == 1
        wanted = tuple(float_later) if whole_network else (*float_piece.outputs, *float_later)
        _extend(job.reference, part, wanted, float_values, float_stored)
        yield BlockData(
            part,
            piece,
            tuple(values[name] for name in piece.inputs),
            tuple(float_values[twins[name]] for name in piece.inputs),
            tuple(twins[name] for name in piece.inputs),
            float_piece,
            None if whole_network else tuple(float_values[name] for name in part.compared),
            tails[index] if rest else None,
            {n: (float_values if rest == "float" else values)[n] for n in behind & own_inputs},
            logits,
        )
        _extend(job.model, part, tuple(later), values, stored)
        _forget(values, later)
        _forget(float_values, float_later)


def _tails(
    graph_module: fx.GraphModule, parts: Sequence[Block], stored: frozenset[str]
) -> list[Piece]:
    """Return the network behind each block, from the values the block is compared by."""
    left = {node.name for node in graph_module.graph.nodes}
    ends = _outputs(graph_module)
    found = []
    for part in parts:
        left -= set(part.nodes)
        # What else the block makes, such as a quantizer that a shortcut reads, is made again.
        known = stored - (set(part.nodes) - set(part.compared))
        found.append(cut(graph_module, left, ends, known))
    return found


def _extend(
    graph_module: fx.GraphModule,
    part: Block,
    wanted: Sequence[str],
    values: dict[str, Tensor],
    stored: frozenset[str],
) -> None:
    """Add to ``values`` those of ``wanted`` that ``part`` computes."""
    inside = {node.name for node in graph_module.graph.nodes} & set(part.nodes)
    new = tuple(dict.fromkeys(n for n in wanted if n in inside and n not in values))
    if not new:
        return
    piece = cut(graph_module, inside, new, stored)
    results = run_piece(piece, [values[name] for name in piece.inputs])
    values.update(zip(new, results, strict=True))


def _forget(values: dict[str, Tensor], wanted: set[str]) -> None:
    for name in set(values) - wanted:
        del values[name]


def _twin(node: fx.Node) -> str:
    """Return the node of the float graph that holds the value ``node`` holds quantized."""
    while is_act_quantizer(node):
        node = node.all_input_nodes[0]
    return node.name


def _outputs(graph_module: fx.GraphModule) -> tuple[str, ...]:
    output = next(n for n in graph_module.graph.nodes if n.op == "output")
    return tuple(node.name for node in output.all_input_nodes)
