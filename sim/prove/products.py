# SPDX-License-Identifier: Apache-2.0
"""Find a kernel's products among its terms, prove them, and cut them off.

A lane's product is a function of two codes, so it can be settled on its own.  Every term of the
goals that depends on one lane's codes alone is compared with the golden product P (and with its
magnitude, ``neg ? -P : P``, for sign-magnitude kernels) on all pairs of codes that have values.
What agrees is replaced by the golden product, and the golden product by a free number of its
range: the induction that remains is about adders, and holds for any products.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from hwquant.mac import product_range
from sim.kernels import Kernel

from .evaluate import evaluate
from .invariant import product_at
from .netlist import Netlist
from .terms import Dag

__all__ = ["Cut", "Products"]

SAMPLE = 256  # pairs on which a term must agree to be compared on all
CHUNK = 8192


@dataclass(frozen=True)
class Cut:
    """``replaced`` maps terms to terms of free products, which lie in ``ranges``."""

    replaced: dict[int, int]
    ranges: dict[int, tuple[int, int]]


@dataclass
class Products:
    """The product lemmas of one proof, remembered across its cases.

    ``wrong`` collects code pairs where a term equals the product on nearly all others;
    ``lemmas`` are the (term, golden term) pairs relied on, in the codes of lane 0.
    """

    netlist: Netlist
    kernel: Kernel
    known: dict[tuple[int, int], str] = field(default_factory=dict)
    wrong: list[tuple[int, int]] = field(default_factory=list)
    lemmas: dict[tuple[int, int], None] = field(default_factory=dict)
    compared: int = 0

    def __post_init__(self) -> None:
        spec = self.kernel.spec
        pairs = np.array([(w, a) for w in spec.weight.codes for a in spec.act.codes], np.uint64)
        order = np.random.default_rng(0).permutation(len(pairs))
        self._pairs = pairs[order]  # a prefix is a random sample
        # No case of the proof fixes a code, so these terms are the same in all of them.
        self._golden = {
            (stage, lane): product_at(self.netlist, self.kernel, stage, lane)
            for stage in range(self.kernel.latency)
            for lane in range(spec.lanes)
        }

    def cut(self, goals: Iterable[int], case: dict[int, int], given: Collection[int]) -> Cut:
        """Return what may be replaced in ``goals``, terms in which ``case`` was substituted.

        A stage is cut only where the hypotheses ``given`` say that its codes have values.
        """
        dag = self.netlist.dag
        cone = dag.cone(goals)
        present = set(cone)
        supports = _supports(dag, cone)
        by_support: dict[int, list[int]] = {}
        for term in cone:
            if dag.widths[term] and supports[term]:
                by_support.setdefault(supports[term], []).append(term)
        replaced: dict[int, int] = {}
        ranges: dict[int, tuple[int, int]] = {}
        for (stage, lane), (product, neg) in self._golden.items():
            legal = dag.as_bool(self.netlist.golden(f"legal_{stage}"))
            legal = dag.rebuild([legal], case)[legal]
            if product not in present or not (dag.is_true(legal) or legal in given):
                continue
            codes = tuple(
                self.netlist.golden(f"{port}_{stage}_{lane}") for port in ("weight", "act")
            )
            parts = [supports[code] for code in codes if code in present]
            terms = [
                term
                for mask in dict.fromkeys((*parts, sum(parts)))
                for term in by_support.get(mask, [])
                if term != product
            ]
            free = dag.variable(f"product_{stage}_{lane}", dag.widths[product])
            for term, kind in self._matching(terms, product, neg, codes).items():
                replaced[term] = _target(dag, free, neg, kind, dag.widths[term])
            replaced[product] = free
            ranges[free] = product_range(self.kernel.spec.weight, self.kernel.spec.act)
        return Cut(replaced, ranges)

    def _matching(
        self, terms: list[int], product: int, neg: int, codes: tuple[int, ...]
    ) -> dict[int, str]:
        """Return the terms that equal the product or its magnitude on every pair of codes."""
        dag, spec = self.netlist.dag, self.kernel.spec
        first = [
            dag.variable("lane_weight", spec.weight.bits),
            dag.variable("lane_act", spec.act.bits),
        ]
        moved = dag.rebuild([*terms, product, neg], dict(zip(codes, first, strict=True)))
        golden, sign = moved[product], moved[neg]
        unknown = [m for t in terms if ((m := moved[t]), golden) not in self.known]
        for term in set(unknown):
            self.known[term, golden] = ""
        kinds = {
            (term, kind): _target(dag, golden, sign, kind, dag.widths[term])
            for term in set(unknown)
            for kind in self._kinds(term, sign)
        }
        near = self._agreeing(kinds, first, SAMPLE)
        best = {term: kind for (term, kind), misses in near.items() if misses * 8 <= SAMPLE}
        full = {(term, kind): kinds[term, kind] for term, kind in best.items()}
        for (term, kind), misses in self._agreeing(full, first, len(self._pairs)).items():
            if not misses:
                self.known[term, golden] = kind
        found = {t: self.known[moved[t], golden] for t in terms}
        # A top bit of the product is its sign too, but stays a part of the product.
        above = {t for t, kind in found.items() if kind and kind != "sign"}
        for term in sorted(found):  # arguments come before their users
            if above.intersection(dag.nodes[term][2]):
                above.add(term)
                if dag.widths[term] == 1:
                    found[term] = ""
        for term, kind in found.items():
            if kind:
                target = _target(dag, golden, sign, kind, dag.widths[term])
                self.lemmas[moved[term], target] = None
        return {term: kind for term, kind in found.items() if kind}

    def _kinds(self, term: int, sign: int) -> tuple[str, ...]:
        """Return what a term may be; without a sign apart it can only be the product."""
        apart = self.netlist.dag.value_of(sign) is None
        if self.netlist.dag.widths[term] == 1:
            return ("sign",) if apart else ()
        return ("product", "magnitude", "complement") if apart else ("product",)

    def _agreeing(
        self, kinds: dict[tuple[int, str], int], codes: list[int], count: int
    ) -> dict[tuple[int, str], int]:
        """Return on how many of the first ``count`` pairs each term differs from its target."""
        misses = dict.fromkeys(kinds, 0)
        if not kinds:
            return misses
        wanted = [term for term, _ in kinds] + list(kinds.values())
        for start in range(0, min(count, len(self._pairs)), CHUNK):
            pairs = self._pairs[start : min(start + CHUNK, count)]
            values = evaluate(
                self.netlist.dag,
                wanted,
                {codes[0]: pairs[:, 0], codes[1]: pairs[:, 1]},
                len(pairs),
            )
            for key, target in kinds.items():
                differs = np.asarray(values[key[0]] != values[target], bool)
                misses[key] += int(differs.sum())
                if count > SAMPLE and differs.any() and len(self.wrong) < CHUNK:
                    self.wrong += [(int(w), int(a)) for w, a in pairs[differs]]
        if count > SAMPLE:
            self.compared = max(self.compared, len(self._pairs))
        return misses


def _target(dag: Dag, product: int, neg: int, kind: str, width: int) -> int:
    """Return the golden word a kernel's term of ``width`` bits is compared with.

    The complement is ``magnitude ^ sign``: the product less one where the sign is set.
    """
    if kind == "sign":
        return neg
    fitted = dag.fit(product, width)
    if kind == "product":
        return fitted
    if kind == "complement":
        return dag.make("bvsub", (fitted, dag.make("zero_extend", (neg,), (width - 1,))))
    return dag.make("ite", (dag.as_bool(neg), dag.make("bvneg", (fitted,)), fitted))


def _supports(dag: Dag, cone: list[int]) -> dict[int, int]:
    """Return for each node the variables it depends on, as bits of a number."""
    supports: dict[int, int] = {}
    position = 0
    for term in cone:
        operator, _, args = dag.nodes[term]
        if operator == "variable":
            supports[term] = 1 << position
            position += 1
        else:
            mask = 0
            for arg in args:
                mask |= supports[arg]
            supports[term] = mask
    return supports
