# SPDX-License-Identifier: Apache-2.0
"""Graphs of the codebook twins compute the product: an estimate of something else is none."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.mapping.aig import Graph
from costmodel.mapping.twins import BUILDERS
from hw.styles.table import magnitudes
from hwquant.formats import parse

PAIRS = (
    ("table", "e2m1", "e2m1"), ("table", "int3", "int3"), ("table", "pow3a0.5f6", "int4"),
    ("rom", "e2m1", "pow4a0.75f6"), ("rom", "pow3a0.75f5", "int3"),
    ("digit", "int5", "pow4a0.75f6"), ("digit", "pow4a0.5f6", "uint4"),
    ("decode", "pow5a0.75f6", "int3"), ("decode", "uint6", "pow3a0.75f5"),
    ("decode", "pow4a0.75f6", "pow4a0.75f6"), ("decode", "int4", "pow3a0.5f6"),
    ("decode", "pow3a0.5f6", "e0m3"), ("decode", "cb3f4_-16_-7_-3_0_2_5_9_16", "uint5"),
)  # fmt: skip


def addends(style, weight, act):
    """Return what the graph adds for each pair of codes, and what it should add."""
    graph = Graph()
    w, a = graph.inputs(weight.bits), graph.inputs(act.bits)
    found = BUILDERS[style](graph, weight, act, w, a)
    codes = np.arange(1 << weight.bits + act.bits)
    values = {0: np.zeros(len(codes), np.int64)}
    values |= {literal >> 1: codes >> place & 1 for place, literal in enumerate([*a, *w])}
    sums = {out >> 1: chain for chain in graph.chains for out in chain[2]}

    def value(literal):
        return values[literal >> 1] ^ (literal & 1)

    for node, gate in enumerate(graph.fanin):
        if gate is not None:
            values[node] = value(gate[0]) & value(gate[1])
        elif node not in values:
            first, second, outs = sums[node]
            total = sum(
                (value(x) + value(y)) << i
                for i, (x, y) in enumerate(zip(first, second, strict=True))
            )
            values |= {out >> 1: total >> i & 1 for i, out in enumerate(outs)}
    made = sum((value(bit) << i for i, bit in enumerate(found.bits)), value(found.carry))
    made = made - (value(found.sign) << len(found.bits))
    products = np.array([[x * y for y in magnitudes(act)] for x in magnitudes(weight)])
    size = len(magnitudes(act))
    wanted = products[(codes >> act.bits) % len(products), codes % (1 << act.bits) % size]
    signs = weight.sign_magnitude * (codes >> weight.bits + act.bits - 1 & 1)
    signs = signs ^ act.sign_magnitude * (codes >> act.bits - 1 & 1)
    return made, np.where(signs == 1, -wanted, wanted)


@pytest.mark.parametrize(("style", "weight", "act"), PAIRS)
def test_a_twins_graph_adds_the_product(style, weight, act):
    made, wanted = addends(style, parse(weight), parse(act))
    assert np.array_equal(made, wanted)


def test_a_wrong_gate_is_noticed(monkeypatch):
    """Negative control: exclusive or without its sign."""
    monkeypatch.setattr(Graph, "xor", lambda self, a, b: self.or_(a, b))
    made, wanted = addends("decode", parse("pow3a0.5f6"), parse("int4"))
    assert not np.array_equal(made, wanted)
