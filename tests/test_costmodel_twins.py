# SPDX-License-Identifier: Apache-2.0
"""Graphs of the portable twins compute what the RTL does: an estimate of something else is none."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.mapping.aig import Graph
from costmodel.mapping.lanes import lane
from costmodel.mapping.twins import BUILDERS
from hw.styles import tree
from hw.styles.table import magnitudes
from hwquant.formats import parse
from hwquant.mac import MacSpec

PAIRS = (
    ("table", "e2m1", "e2m1"), ("table", "int3", "int3"), ("table", "pow3a0.5f6", "int4"),
    ("rom", "e2m1", "pow4a0.75f6"), ("rom", "pow3a0.75f5", "int3"),
    ("digit", "int5", "pow4a0.75f6"), ("digit", "pow4a0.5f6", "uint4"),
    ("decode", "pow5a0.75f6", "int3"), ("decode", "uint6", "pow3a0.75f5"),
    ("decode", "pow4a0.75f6", "pow4a0.75f6"), ("decode", "int4", "pow3a0.5f6"),
    ("decode", "pow3a0.5f6", "e0m3"), ("decode", "cb3f4_-16_-7_-3_0_2_5_9_16", "uint5"),
    ("booth", "int4", "int8"), ("booth", "uint5", "e1m3"), ("booth", "e0m3", "uint3"),
    ("booth", "int4n", "int3"),
)  # fmt: skip
LANES = (
    ("e2m1", "e2m1"), ("int3", "int3"), ("uint2", "int8"), ("uint2", "e1m6"), ("int2", "uint4"),
    ("e2m0", "int8n"), ("e2m3", "e2m3"), ("e3m2", "e2m1"), ("e3m0", "e4m0"), ("e1m3", "ue2m4"),
    ("e4m1", "int5"), ("ue3m1", "e3m3"), ("int6", "int6"), ("e0m7", "uint6"), ("e2m2", "int3"),
)  # fmt: skip


def values_of(graph, codes):
    """Return a function from literals to their values; ``codes`` gives those of inputs."""
    values = {0: np.zeros_like(next(iter(codes.values())))}
    values |= {literal >> 1: bits for literal, bits in codes.items()}
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
    return value


def every_code(weight, act, w, a):
    """Return the values of input literals for each pair of codes, and the exact products."""
    codes = np.arange(1 << weight.bits + act.bits)
    products = np.array([[x * y for y in magnitudes(act)] for x in magnitudes(weight)])
    size = len(magnitudes(act))
    wanted = products[(codes >> act.bits) % len(products), codes % (1 << act.bits) % size]
    signs = weight.sign_magnitude * (codes >> weight.bits + act.bits - 1 & 1)
    signs = signs ^ act.sign_magnitude * (codes >> act.bits - 1 & 1)
    bits = {literal: codes >> place & 1 for place, literal in enumerate([*a, *w])}
    return bits, wanted, signs


def addends(style, weight, act):
    """Return what the graph adds for each pair of codes, and what it should add."""
    graph = Graph()
    w, a = graph.inputs(weight.bits), graph.inputs(act.bits)
    found = BUILDERS[style](graph, weight, act, w, a)
    bits, wanted, signs = every_code(weight, act, w, a)
    value = values_of(graph, bits)
    made = sum((value(bit) << i for i, bit in enumerate(found.bits)), value(found.carry))
    made = made - (value(found.sign) << len(found.bits))
    return made, np.where(signs == 1, -wanted, wanted)


def lane_products(weight, act):
    """Return a lane's signs and products for each pair of codes, and what they should be."""
    graph = Graph()
    w, a = graph.inputs(weight.bits), graph.inputs(act.bits)
    chosen = tree.STYLE.parameters(MacSpec(weight, act))
    width = int(str(chosen["ProductBits"]))
    sign, word = lane(graph, weight, act, w, a, int(str(chosen["RecodeAct"])) != 0, width)
    bits, wanted, signs = every_code(weight, act, w, a)
    value = values_of(graph, bits)
    made = sum(value(bit) << i for i, bit in enumerate(word))
    return (value(sign), made), (signs, wanted % (1 << width))


@pytest.mark.parametrize(("style", "weight", "act"), PAIRS)
def test_a_twins_graph_adds_the_product(style, weight, act):
    made, wanted = addends(style, parse(weight), parse(act))
    assert np.array_equal(made, wanted)


@pytest.mark.parametrize(("weight", "act"), LANES)
def test_a_lanes_graph_is_the_product(weight, act):
    made, wanted = lane_products(parse(weight), parse(act))
    assert np.array_equal(made, wanted)


def test_a_wrong_gate_is_noticed(monkeypatch):
    """Negative control: exclusive or without its sign."""
    monkeypatch.setattr(Graph, "xor", lambda self, a, b: self.or_(a, b))
    made, wanted = addends("decode", parse("pow3a0.5f6"), parse("int4"))
    assert not np.array_equal(made, wanted)
    made, wanted = lane_products(parse("e2m3"), parse("e2m3"))
    assert not np.array_equal(made, wanted)
