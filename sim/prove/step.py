# SPDX-License-Identifier: Apache-2.0
"""One-step induction of a kernel against its golden model.

The invariant is a set of guesses (see ``invariant``) and: every stage with a beat holds
codes that have values.  Proved are, each for all states and inputs:

- base: behind a cycle of reset the invariant holds, whatever the registers held;
- step: from a state of the invariant, any cycle with legal codes ends in one;
- output: in a state of the invariant valid_o agrees, and acc_o from the first result on.

A guess that base or step refutes is dropped and everything is proved again, until none is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product as combinations

from hwquant.errors import HwquantError
from sim.kernels import Kernel

from .invariant import Guess, conditions, flags
from .netlist import Netlist
from .products import Products
from .solver import satisfy
from .sums import normalize

__all__ = ["Induction", "Refused"]


@dataclass(frozen=True)
class Refused:
    """A goal that does not follow: what it says, and a state and inputs where it fails."""

    goal: str
    model: dict[int, int]


Case = tuple[str, dict[int, int], tuple[int, ...]]
"""Name, substitution, hypotheses."""


@dataclass
class Induction:
    """The proof of one kernel; ``queries`` counts what the solver was asked."""

    netlist: Netlist
    kernel: Kernel
    products: Products
    on_refusal: Callable[[Refused], None]
    queries: int = field(default=0, init=False)
    known: dict[int, list[frozenset[int]]] = field(default_factory=dict, init=False)

    def run(self, guesses: Sequence[Guess]) -> tuple[list[Guess], Refused | None]:
        """Return the inductive guesses, and None when they imply equal outputs.

        ``on_refusal`` hears of every goal that fails; it may raise to end the proof.
        """
        kept = list(guesses)
        while (dropped := self._step(kept)) is not None:
            kept.remove(dropped)
        return kept, self._outputs(kept)

    def describe(self, guesses: Sequence[Guess]) -> list[str]:
        """Return the invariant in words, one line a relation."""
        wires = {term: name for name, term in self.netlist.wires.items() if "golden" in name}
        when = ["always", *flags(self.kernel)]
        named = dict(zip(conditions(self.netlist, self.kernel), when, strict=True))
        return [
            f"{named[g.condition]}: {self._name(g)} == {wires.get(g.golden, 'golden bits')}"
            for g in guesses
        ]

    def _implication(self, guess: Guess) -> int:
        dag = self.netlist.dag
        part = dag.make("extract", (guess.register,), (guess.high, guess.low))
        equal = dag.make("=", (part, guess.golden))
        return dag.make("or", (dag.make("not", (guess.condition,)), equal))

    def _legal(self) -> list[int]:
        """Return: a stage with a beat holds codes that have values; stage 0 are the inputs."""
        dag, found = self.netlist.dag, []
        for stage in range(self.kernel.latency):
            valid = dag.as_bool(self.netlist.golden(f"valid_{stage}"))
            legal = dag.as_bool(self.netlist.golden(f"legal_{stage}"))
            found.append(dag.make("or", (dag.make("not", (valid,)), legal)))
        return found

    def _step(self, guesses: list[Guess]) -> Guess | None:
        """Prove base and step; return the first guess that is refuted."""
        dag = self.netlist.dag
        now = {guess: self._implication(guess) for guess in guesses}
        legal = self._legal()
        after = dag.rebuild([*now.values(), *legal[1:]], self.netlist.registers)
        for name, case, hypotheses in self._cases(guesses, now, legal, outputs=False):
            goals = {after[term]: guess for guess, term in now.items()}
            new = dag.rebuild([*goals, *(after[t] for t in legal[1:])], case)
            for goal, guess in goals.items():
                if self._fails(f"{name}: {self._name(guess)}", new[goal], hypotheses, case):
                    return guess
            for stage, term in enumerate(legal[1:], 1):
                if self._fails(f"{name}: legal_{stage}", new[after[term]], hypotheses, case):
                    raise HwquantError(
                        "the golden model does not keep codes; this is a fault of hwquant"
                    )
        return None

    def _outputs(self, guesses: list[Guess]) -> Refused | None:
        dag, wires = self.netlist.dag, self.netlist.wires
        valid = dag.make("=", (wires["dut_valid"], wires["golden_valid"]))
        same = dag.make("=", (wires["dut_acc"], wires["golden_acc"]))
        shown = [dag.as_bool(self.netlist.golden(bit)) for bit in ("valid_o", "held")]
        silent = dag.make("not", (dag.make("or", tuple(shown)),))
        goals = {"valid_o": valid, "acc_o": dag.make("or", (silent, same))}
        now = {guess: self._implication(guess) for guess in guesses}
        for name, case, hypotheses in self._cases(guesses, now, self._legal(), outputs=True):
            new = dag.rebuild(goals.values(), case)
            for port, goal in goals.items():
                refused = self._fails(f"{name}: {port}", new[goal], hypotheses, case)
                if refused is not None:
                    return refused
        return None

    def _name(self, guess: Guess) -> str:
        return f"{self.netlist.names[guess.register]}[{guess.high}:{guess.low}]"

    def _cases(
        self, guesses: list[Guess], now: dict[Guess, int], legal: list[int], *, outputs: bool
    ) -> Iterator[Case]:
        """Yield the cases that together are every state and input.

        Nothing is known of a state that a reset ends.  Else enable and the valid bits are fixed,
        which turns conditional equalities into substitutions.  With ``outputs`` the state of the
        invariant may see any input, a reset too.
        """
        dag, inputs = self.netlist.dag, self.netlist.inputs
        zero, one = dag.constant(0, 1), dag.constant(1, 1)
        if not outputs:
            yield "reset", {inputs["rst_i"]: one}, ()
        split = [self.netlist.golden(flag) for flag in flags(self.kernel)]
        split.append(inputs["valid_i"])
        when = conditions(self.netlist, self.kernel)
        for enabled, resets, *bits in combinations((0, 1), repeat=2 + len(split)):
            if resets and not outputs:
                continue
            controls = {inputs["en_i"]: enabled, inputs["rst_i"]: resets}
            fixed = {port: one if bit else zero for port, bit in controls.items()}
            fixed |= {flag: one if bit else zero for flag, bit in zip(split, bits, strict=True)}
            holds = {c for c, bit in zip(when, (1, *bits[:-1]), strict=True) if bit}
            case = fixed | self._equalities([g for g in guesses if g.condition in holds], fixed)
            new = dag.rebuild([*now.values(), *legal], case)
            hypotheses = [new[term] for term in (*now.values(), *legal)]
            if resets or not enabled:  # the inputs are not taken, so their codes need no values
                hypotheses.remove(new[legal[0]])
            name = f"en={enabled} rst={resets} valid={bits[-1]}{''.join(map(str, bits[:-1]))}"
            yield name, case, tuple(t for t in hypotheses if not dag.is_true(t))

    def _equalities(self, guesses: list[Guess], fixed: dict[int, int]) -> dict[int, int]:
        """Return register -> golden word, for the guesses that hold in a case."""
        dag = self.netlist.dag
        golden = dag.rebuild([g.golden for g in guesses], fixed)
        taken: dict[int, list[Guess]] = {}
        for guess in guesses:
            others = taken.setdefault(guess.register, [])
            if all(guess.low > o.high or guess.high < o.low for o in others):
                others.append(guess)
        found = {}
        for register, parts in taken.items():
            pieces, top = [], dag.widths[register] - 1
            for guess in sorted(parts, key=lambda g: -g.high):
                if guess.high < top:
                    pieces.append(dag.make("extract", (register,), (top, guess.high + 1)))
                pieces.append(golden[guess.golden])
                top = guess.low - 1
            if top >= 0:
                pieces.append(dag.make("extract", (register,), (top, 0)))
            found[register] = dag.make("concat", tuple(pieces))
        return found

    def _fails(
        self, name: str, goal: int, hypotheses: tuple[int, ...], case: dict[int, int]
    ) -> Refused | None:
        """Return None when the hypotheses imply the goal."""
        dag = self.netlist.dag
        if dag.is_true(goal):
            return None
        asked = (*self.netlist.registers, *self.netlist.inputs.values())
        cut = self.products.cut([goal], case, hypotheses)
        if cut.replaced:
            new = dag.rebuild([goal, *hypotheses], cut.replaced)
            listed = [new[term] for term in (goal, *hypotheses)]
            same = normalize(dag, listed, cut.ranges)
            short, *given = (same[term] for term in listed)
            premises = frozenset(given)
            if dag.is_true(short) or any(k <= premises for k in self.known.get(short, [])):
                return None
            bounds = []
            for variable, (low, high) in cut.ranges.items():
                width = dag.widths[variable]
                bounds += [
                    dag.make("bvsle", (dag.constant(low, width), variable)),
                    dag.make("bvsle", (variable, dag.constant(high, width))),
                ]
            self.queries += 1
            model = satisfy(dag, [dag.make("not", (short,)), *bounds, *given], asked)
            if model is None:
                self.known.setdefault(short, []).append(premises)
                return None
            self._refuse(name, model, case)
        self.queries += 1
        model = satisfy(dag, [dag.make("not", (goal,)), *hypotheses], asked)
        return None if model is None else self._refuse(name, model, case)

    def _refuse(self, name: str, model: dict[int, int], case: dict[int, int]) -> Refused:
        fixed = {v: c for v, t in case.items() if (c := self.netlist.dag.value_of(t)) is not None}
        refused = Refused(name, model | fixed)
        self.on_refusal(refused)
        return refused
