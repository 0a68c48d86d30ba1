# SPDX-License-Identifier: Apache-2.0
"""Ask an SMT solver whether assertions can hold together: Bitwuzla, as a Python module."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from hwquant.errors import ToolError

from .terms import Dag

__all__ = ["identity", "require", "satisfy"]


def require() -> None:
    """Raise `ToolError` when the solver is not installed."""
    if importlib.util.find_spec("bitwuzla") is None:
        raise ToolError("Bitwuzla is missing; install it with: pip install bitwuzla")


def identity() -> str:
    """Return the solver's name and version."""
    try:
        return f"bitwuzla {version('bitwuzla')}"
    except PackageNotFoundError as error:
        raise ToolError("Bitwuzla is missing; install it with: pip install bitwuzla") from error


def satisfy(
    dag: Dag, assertions: Sequence[int], asked: Sequence[int] = ()
) -> dict[int, int] | None:
    """Return values of the variables ``asked`` in a model of the assertions, None if there is none.

    A variable that the assertions do not mention is 0.
    """
    require()
    import bitwuzla

    if any(dag.value_of(term) == 0 for term in assertions):
        return None
    manager, options = bitwuzla.TermManager(), bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(manager, options)
    parser.parse(dag.to_smt(assertions), True, False)
    solver = parser.bitwuzla()
    outcome = solver.check_sat()
    if outcome == bitwuzla.Result.UNSAT:
        return None
    if outcome != bitwuzla.Result.SAT:
        raise ToolError("the solver gave no answer")
    mentioned = set(dag.cone(assertions))
    model = {}
    for variable in asked:
        model[variable] = 0
        if variable in mentioned:
            name = dag.nodes[variable][1][0]
            value = solver.get_value(parser.parse_term(f"|{name}|"))
            model[variable] = int(value.value(2), 2)
    return model
