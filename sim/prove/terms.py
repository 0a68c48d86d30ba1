# SPDX-License-Identifier: Apache-2.0
"""Bit-vector terms: the functions of a netlist, shared, rewritten, printed as SMT-LIB.

A term is a number: the index of a node ``(operator, parameters, arguments)`` of a `Dag`.  Equal
nodes have equal numbers.  Operators are those of SMT-LIB's QF_BV by name; width 0 is Bool.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hwquant.errors import ToolError

__all__ = ["Dag", "Node", "parse_functions"]

Node = tuple[str, tuple[Any, ...], tuple[int, ...]]

BITWISE: Final = frozenset(
    {"bvand", "bvor", "bvxor", "bvnot", "bvadd", "bvsub", "bvmul", "bvneg"}
    | {"bvshl", "bvlshr", "bvashr", "bvudiv", "bvurem", "bvsdiv", "bvsrem"}
)
BOOLEAN: Final = frozenset(
    {"and", "or", "xor", "not", "=", "distinct", "=>"}
    | {f"bv{sign}{order}" for sign in "us" for order in ("lt", "le", "gt", "ge")}
)


class Dag:
    """Terms of one proof.  `make` shares equal nodes and folds what is constant."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.widths: list[int] = []
        self._index: dict[Node, int] = {}

    def _node(self, node: Node, width: int) -> int:
        found = self._index.get(node)
        if found is None:
            found = self._index[node] = len(self.nodes)
            self.nodes.append(node)
            self.widths.append(width)
        return found

    def variable(self, name: str, width: int) -> int:
        """Return the variable called ``name``."""
        return self._node(("variable", (name, width), ()), width)

    def constant(self, value: int, width: int) -> int:
        """Return a bit vector constant (modulo ``2**width``)."""
        return self._node(("constant", (value & (1 << width) - 1, width), ()), width)

    def truth(self, value: bool) -> int:
        """Return true or false."""
        return self._node(("truth", (value,), ()), 0)

    def value_of(self, term: int) -> int | None:
        """Return the number of a constant term (truth values 0 and 1), None of any other."""
        operator, parameters, _ = self.nodes[term]
        return int(parameters[0]) if operator in ("constant", "truth") else None

    def is_true(self, term: int) -> bool:
        """Return whether the term is the constant true."""
        return self.nodes[term][:2] == ("truth", (True,))

    def conjunction(self, terms: Iterable[int]) -> int:
        """Return the conjunction of Bool terms."""
        return self.make("and", tuple(terms))

    def as_bool(self, term: int) -> int:
        """Return a Bool: a bit vector of one bit is compared with 1."""
        if self.widths[term] == 0:
            return term
        return self.make("=", (term, self.constant(1, 1)))

    def as_bits(self, term: int) -> int:
        """Return a bit vector: a Bool becomes one bit."""
        if self.widths[term]:
            return term
        return self.make("ite", (term, self.constant(1, 1), self.constant(0, 1)))

    def make(self, operator: str, args: tuple[int, ...], parameters: tuple[int, ...] = ()) -> int:
        """Return ``operator`` (with its index ``parameters``) applied to ``args``."""
        if operator == "extract":
            return self._extract(args[0], *parameters)
        if operator == "concat":
            return self._concat(args)
        if operator == "ite":
            return self._ite(*args)
        if operator in ("and", "or"):
            return self._and_or(operator, args)
        if operator == "not":
            return self._not(args[0])
        if operator == "=" and args[0] == args[1]:
            return self.truth(value=True)
        if operator in ("=", "distinct"):
            return self._equal(operator, args)
        if operator in ("zero_extend", "sign_extend"):
            return self._extend(operator, args[0], parameters[0])
        width = 0 if operator in BOOLEAN else self.widths[args[0]]
        if operator not in BOOLEAN and operator not in BITWISE:
            raise ToolError(f"the netlist holds the operator {operator}, which is not supported")
        return self._node((operator, parameters, args), width)

    def _extract(self, term: int, high: int, low: int) -> int:
        width = high - low + 1
        while True:
            operator, parameters, args = self.nodes[term]
            if width == self.widths[term]:
                return term
            if operator == "constant":
                return self.constant(parameters[0] >> low, width)
            if operator == "extract":
                term, high, low = args[0], high + parameters[1], low + parameters[1]
                continue
            if operator != "concat":
                return self._node(("extract", (high, low), (term,)), width)
            parts, end = [], self.widths[term]
            for arg in args:
                start = end - self.widths[arg]
                top, bottom = min(high, end - 1) - start, max(low, start) - start
                if top >= bottom:
                    parts.append(self._extract(arg, top, bottom))
                end = start
            return self._concat(tuple(parts))

    def _concat(self, args: tuple[int, ...]) -> int:
        flat: list[int] = []
        for arg in args:
            operator, _, inner = self.nodes[arg]
            for part in inner if operator == "concat" else (arg,):
                joined = self._joined(flat[-1], part) if flat else None
                if joined is None:
                    flat.append(part)
                else:
                    flat[-1] = joined
        if len(flat) == 1:
            return flat[0]
        return self._node(("concat", (), tuple(flat)), sum(self.widths[part] for part in flat))

    def _joined(self, high: int, low: int) -> int | None:
        """Return the concatenation of two neighbours where it is a simpler term."""
        (operator, parameters, args), (operator2, parameters2, args2) = (
            self.nodes[high],
            self.nodes[low],
        )
        if operator == operator2 == "constant":
            width = self.widths[low]
            return self.constant(parameters[0] << width | parameters2[0], self.widths[high] + width)
        neighbours = operator == operator2 == "extract" and args == args2
        if neighbours and parameters[1] == parameters2[0] + 1:
            return self._extract(args[0], parameters[0], parameters2[1])
        return None

    def _ite(self, condition: int, then: int, other: int) -> int:
        value = self.value_of(condition)
        if value is not None:
            return then if value else other
        if then == other:
            return then
        operator, _, args = self.nodes[condition]
        if operator == "not":
            return self._ite(args[0], other, then)
        if self.value_of(then) == 1 and self.value_of(other) == 0:
            if self.widths[then] == 0:
                return condition
            if self.widths[then] == 1 and operator == "=" and self.constant(1, 1) in args:
                return next(arg for arg in args if arg != then)  # (bit == 1) ? 1 : 0
        return self._node(("ite", (), (condition, then, other)), self.widths[then])

    def _and_or(self, operator: str, args: tuple[int, ...]) -> int:
        absorbing = operator == "or"
        kept: dict[int, None] = {}
        for arg in args:
            kind, parameters, inner = self.nodes[arg]
            if kind == "truth":
                if parameters[0] == absorbing:
                    return arg
            else:
                kept.update(dict.fromkeys(inner if kind == operator else (arg,)))
        if not kept:
            return self.truth(value=not absorbing)
        if len(kept) == 1:
            return next(iter(kept))
        return self._node((operator, (), tuple(sorted(kept))), 0)

    def _not(self, term: int) -> int:
        operator, parameters, args = self.nodes[term]
        if operator == "truth":
            return self.truth(value=not parameters[0])
        if operator == "not":
            return args[0]
        return self._node(("not", (), (term,)), 0)

    def _equal(self, operator: str, args: tuple[int, ...]) -> int:
        values = [self.value_of(arg) for arg in args]
        if len(args) == 2 and None not in values:
            return self.truth(value=(values[0] == values[1]) == (operator == "="))
        if operator == "distinct":
            return self._not(self.make("=", args))
        bit, other = sorted(args, key=lambda arg: self.value_of(arg) is None)
        kind, _, inner = self.nodes[other]
        if self.widths[bit] == 1 and self.value_of(bit) is not None and kind == "ite":
            arms = [self.value_of(arm) for arm in inner[1:]]
            if None not in arms and arms[0] != arms[1]:  # (b ? 1 : 0) == 1
                return inner[0] if arms[0] == self.value_of(bit) else self._not(inner[0])
        if self.widths[bit] == 0 and self.value_of(bit) is not None:
            return other if self.value_of(bit) else self._not(other)
        return self._node(("=", (), tuple(sorted(args))), 0)

    def _extend(self, operator: str, term: int, extra: int) -> int:
        if extra == 0:
            return term
        top = self._extract(term, self.widths[term] - 1, self.widths[term] - 1)
        fill = top if operator == "sign_extend" else self.constant(0, 1)
        return self._concat((*[fill] * extra, term))

    def fit(self, term: int, width: int) -> int:
        """Return a signed term truncated or sign-extended to ``width`` bits."""
        if width <= self.widths[term]:
            return self._extract(term, width - 1, 0)
        return self._extend("sign_extend", term, width - self.widths[term])

    def cone(self, terms: Iterable[int]) -> list[int]:
        """Return every node the terms are made of, arguments before their users."""
        seen: set[int] = set()
        stack = list(terms)
        while stack:
            term = stack.pop()
            if term not in seen:
                seen.add(term)
                stack += self.nodes[term][2]
        # Rewriting makes new nodes from older ones only, so the numbers are in order.
        return sorted(seen)

    def rebuild(self, terms: Iterable[int], replaced: Mapping[int, int]) -> dict[int, int]:
        """Return each node of the terms' cone rebuilt with the nodes ``replaced``."""
        new: dict[int, int] = {}
        for term in self.cone(terms):
            if term in replaced:
                new[term] = replaced[term]
                continue
            operator, parameters, args = self.nodes[term]
            changed = tuple(new[arg] for arg in args)
            new[term] = term if changed == args else self.make(operator, changed, parameters)
        return new

    def to_smt(self, assertions: Iterable[int]) -> str:
        """Return the assertions as SMT-LIB text: declarations, one definition a node, asserts."""
        listed = list(assertions)
        lines = ["(set-logic QF_BV)"]
        text: dict[int, str] = {}
        for term in self.cone(listed):
            operator, parameters, args = self.nodes[term]
            sort = f"(_ BitVec {self.widths[term]})" if self.widths[term] else "Bool"
            if operator == "variable":
                text[term] = f"|{parameters[0]}|"
                lines.append(f"(declare-const {text[term]} {sort})")
            elif operator == "constant":
                text[term] = f"#b{parameters[0]:0{self.widths[term]}b}"
            elif operator == "truth":
                text[term] = "true" if parameters[0] else "false"
            else:
                head = (
                    f"(_ {operator} {' '.join(map(str, parameters))})" if parameters else operator
                )
                text[term] = f"t{term}"
                body = f"({head} {' '.join(text[arg] for arg in args)})"
                lines.append(f"(define-fun {text[term]} () {sort} {body})")
        lines += [f"(assert {text[term]})" for term in listed]
        return "\n".join(lines) + "\n"


_TOKEN: Final = re.compile(r"\(|\)|\|[^|]*\||[^\s()]+")


def parse_functions(
    text: str, dag: Dag, leaf: Callable[[int, int], int]
) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """Read what Yosys' ``write_smt2 -stbv`` wrote: function name to term, and the transition.

    ``leaf(high, low)`` gives the term of state bits.  The transition is a list of (next value,
    name of the register's function).
    """
    found: dict[str, int] = {}
    steps: list[tuple[int, str]] = []
    for line in _definitions(text):
        tokens = _TOKEN.findall(line)
        name = tokens[2]
        tree, _ = _tree(tokens, 0)
        if name.endswith("_t|"):
            parts = tree[-1][1:] if isinstance(tree[-1], list) else []
            steps += [(_term(p[1], dag, leaf, found), p[2][0]) for p in parts if p[0] == "="]
        else:
            found[name] = _term(tree[-1], dag, leaf, found)
    return found, steps


def _definitions(text: str) -> Iterable[str]:
    """Yield each define-fun as one line without comments."""
    pending: list[str] = []
    for raw in text.splitlines():
        line = raw if raw.startswith("(define-fun") or pending else ""
        if not line:
            continue
        pending.append(re.sub(r" ; .*$", "", line))
        joined = " ".join(pending)
        bare = re.sub(r"\|[^|]*\|", "", joined)
        if bare.count("(") == bare.count(")"):
            yield joined
            pending = []


def _tree(tokens: list[str], at: int) -> tuple[Any, int]:
    """Return the s-expression at ``tokens[at]`` and the position behind it."""
    if tokens[at] != "(":
        return tokens[at], at + 1
    items, at = [], at + 1
    while tokens[at] != ")":
        item, at = _tree(tokens, at)
        items.append(item)
    return items, at + 1


def _term(tree: Any, dag: Dag, leaf: Callable[[int, int], int], known: Mapping[str, Any]) -> int:
    if isinstance(tree, str):
        if tree in ("true", "false"):
            return dag.truth(value=tree == "true")
        if tree.startswith("#b"):
            return dag.constant(int(tree[2:], 2), len(tree) - 2)
        raise ToolError(f"the netlist holds {tree!r}, which is not understood")
    head = tree[0]
    if isinstance(head, str) and head in known:
        return int(known[head])
    if isinstance(head, list):
        parameters = tuple(int(p) for p in head[2:])
        if head[1] == "extract" and tree[1] == "state":
            return leaf(*parameters)
        return dag.make(head[1], tuple(_term(t, dag, leaf, known) for t in tree[1:]), parameters)
    return dag.make(head, tuple(_term(t, dag, leaf, known) for t in tree[1:]))
