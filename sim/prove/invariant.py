# SPDX-License-Identifier: Apache-2.0
"""Guess how a kernel's registers relate to the golden model's state, from sampled states.

A guess says: while a condition of the golden model holds (always, or a stage holds a beat), some
bits of a register equal some bits of a golden word.  Guesses are only candidates: the induction
in ``step`` keeps those that it proves.  No name inside the kernel is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.kernels import Kernel

from .evaluate import Values, evaluate
from .netlist import Netlist
from .simulate import Samples

__all__ = ["Guess", "conditions", "flags", "golden_words", "guess", "product_at"]

Bits = dict[bytes, list[tuple[int, int]]]


@dataclass(frozen=True)
class Guess:
    """``condition -> register[high:low] == golden``; both sides are terms."""

    condition: int
    register: int
    high: int
    low: int
    golden: int


def product_at(netlist: Netlist, kernel: Kernel, stage: int, lane: int) -> tuple[int, int]:
    """Return the golden product and its sign-magnitude sign of a lane's codes in ``stage``."""
    last = kernel.latency - 1
    moved = {
        netlist.golden(f"{port}_{last}_{lane}"): netlist.golden(f"{port}_{stage}_{lane}")
        for port in ("weight", "act")
    }
    wanted = [netlist.golden(f"{name}_{last}_{lane}") for name in ("product", "neg")]
    new = netlist.dag.rebuild(wanted, moved)
    return new[wanted[0]], new[wanted[1]]


def flags(kernel: Kernel) -> list[str]:
    """Return the golden bits: a beat in stage 1, 2, .., a result now, a result since reset."""
    return [*(f"valid_{stage}" for stage in range(1, kernel.latency)), "valid_o", "held"]


def conditions(netlist: Netlist, kernel: Kernel) -> list[int]:
    """Return the conditions: always, and each of `flags`."""
    dag = netlist.dag
    valid = [netlist.golden(flag) for flag in flags(kernel)]
    return [dag.truth(value=True), *(dag.as_bool(term) for term in valid)]


def golden_words(netlist: Netlist, kernel: Kernel) -> list[int]:
    """Return the words of the golden model that a register may hold, likeliest first."""
    dag, spec = netlist.dag, kernel.spec
    stages = range(1, kernel.latency)
    words = [netlist.golden(name) for name in ("acc_q", "start", "valid_o")]
    words += [netlist.golden(f"{bit}_{s}") for s in stages for bit in ("valid", "clear")]
    for stage in stages:
        for port in ("weight", "act"):
            words += [netlist.golden(f"{port}_{stage}_{n}") for n in range(spec.lanes)]
        products = [product_at(netlist, kernel, stage, lane) for lane in range(spec.lanes)]
        for product, neg in products:
            negated = dag.make("bvneg", (product,))
            words += [product, neg, dag.make("ite", (dag.as_bool(neg), negated, product))]
        wide = [dag.fit(product, spec.sum_bits) for product, _ in products]
        total = wide[0]
        for part in wide[1:]:
            total = dag.make("bvadd", (total, part))
        words.append(total)
    return [*words, dag.constant(0, 1), dag.constant(1, 1)]


def guess(netlist: Netlist, kernel: Kernel, samples: Samples) -> list[Guess]:
    """Return candidate relations for every register of the kernel, whole words where possible."""
    dag = netlist.dag
    words, when = golden_words(netlist, kernel), conditions(netlist, kernel)
    every = {**samples.states}
    free = [v for v in netlist.inputs.values() if v not in every]
    every |= {v: np.zeros(samples.count, np.uint64) for v in free}
    values = evaluate(dag, [*words, *when], every, samples.count)
    found: list[Guess] = []
    tables = [_bit_table(netlist, words, values, values[condition]) for condition in when]
    for register, name in netlist.names.items():
        if not name.startswith("u_golden."):
            sampled = samples.states[register]
            found += _of_register(netlist, register, sampled, values, words, when, tables)
    return found


def _of_register(
    netlist: Netlist,
    register: int,
    sampled: Values,
    values: dict[int, Values],
    words: list[int],
    when: list[int],
    tables: list[Bits],
) -> list[Guess]:
    """Return the guesses for one register; the first condition that explains it all is enough."""
    width = netlist.dag.widths[register]
    found: list[Guess] = []
    for condition, table in zip(when, tables, strict=True):
        mask = values[condition]
        whole = next(
            (
                word
                for word in words
                if netlist.dag.widths[word] == width
                and bool(np.all(values[word][mask] == sampled[mask]))
            ),
            None,
        )
        if whole is not None:
            found.append(Guess(condition, register, width - 1, 0, whole))
            if condition == when[0]:
                return found
            continue
        slices = _slices(netlist, register, condition, _signatures(sampled, width, mask), table)
        found += slices
        if condition == when[0] and sum(s.high - s.low + 1 for s in slices) == width:
            return found
    return found


def _signatures(array: Values, width: int, mask: Values) -> list[bytes]:
    """Return per bit what it is in the samples where ``mask`` holds."""
    return [
        np.packbits(np.asarray(((array >> bit) & 1).astype(bool) & mask, bool)).tobytes()
        for bit in range(width)
    ]


def _bit_table(netlist: Netlist, words: list[int], values: dict[int, Values], mask: Values) -> Bits:
    table: Bits = {}
    for word in words:
        for bit, signature in enumerate(_signatures(values[word], netlist.dag.widths[word], mask)):
            table.setdefault(signature, []).append((word, bit))
    return table


def _slices(
    netlist: Netlist, register: int, condition: int, bits: list[bytes], table: Bits
) -> list[Guess]:
    """Return runs of neighbouring bits that equal neighbouring bits of one golden word."""
    found: list[Guess] = []
    for bit, signature in enumerate(bits):
        matches = table.get(signature, [])
        if not matches:
            continue
        if found and found[-1].high == bit - 1:
            operator, parameters, args = netlist.dag.nodes[found[-1].golden]
            word, top = (args[0], parameters[0]) if operator == "extract" else (None, 0)
            before = found[-1]
            if word is None:
                word, top = before.golden, netlist.dag.widths[before.golden] - 1
            if (word, top + 1) in matches:
                low = top - (before.high - before.low)
                golden = netlist.dag.make("extract", (word,), (top + 1, low))
                found[-1] = Guess(condition, register, bit, before.low, golden)
                continue
        word, position = matches[0]
        golden = netlist.dag.make("extract", (word,), (position, position))
        found.append(Guess(condition, register, bit, bit, golden))
    return found
