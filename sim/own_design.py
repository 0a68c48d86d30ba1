# SPDX-License-Identifier: Apache-2.0
"""From an own module to a design: its ports checked, its sources as one text, its adapter.

Verilator elaborates the module alone and says which ports it has; a port that the TOML calls by
another name, width or direction is told in words before anything is simulated.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from hwquant.errors import InputError, ToolError

from . import toolchain
from .adapter import adapter_sv, kernel_of, wanted_ports
from .kernels import Design
from .own import OwnModule, load_own
from .runner import scratch

__all__ = ["Port", "design_of_own", "ports_of"]

QUIET = ("-Wno-fatal", "-Wno-lint", "-Wno-style", "--no-timing")

Port = tuple[str, int | None]
"""Direction, and width in bits (None where a port is no packed vector)."""


def design_of_own(path: str | Path) -> tuple[Design, tuple[str, ...]]:
    """Return the design of the module that a TOML describes, and what cannot be tested of it.

    Raises `InputError` for a bad TOML, sources that Verilator refuses, or ports that do not match;
    `ToolError` when Verilator is missing.
    """
    own = load_own(path)
    kernel = kernel_of(own)
    ports = ports_of(own)
    _check(own, ports)
    untested = list(own.untested)
    sources = {f"{own.top}.sv": _preprocessed(own), f"{kernel.name}.sv": adapter_sv(own)}
    return Design((kernel,), sources, str(own.file)), tuple(untested)


def _options(own: OwnModule) -> list[str]:
    defines = [f"-D{k}={v}" if v != "" else f"-D{k}" for k, v in own.defines.items()]
    return [*QUIET, *(f"-I{folder}" for folder in own.include), *defines]


def _verilator(own: OwnModule, *arguments: str) -> str:
    """Run Verilator in the TOML's folder; what it says against the sources is the user's error."""
    tools = toolchain.find()
    try:
        return toolchain.run(
            [tools.verilator, *arguments, *_options(own), *own.sources],
            own.folder,
            VERILATOR_ROOT=str(tools.verilator_root),
        )
    except ToolError as error:
        kept = [line for line in str(error).splitlines()[1:] if "verilator_doc" not in line]
        raise InputError(
            f"{own.file}: Verilator refuses the sources:\n" + "\n".join(kept)
        ) from error


def _preprocessed(own: OwnModule) -> str:
    """Return all sources as one text without includes, so that the cache sees what was compiled."""
    return _verilator(own, "-E")


def ports_of(own: OwnModule) -> dict[str, Port]:
    """Return the ports of the module with its parameters, by name.

    Raises `InputError` when Verilator refuses the sources, the top or a parameter.
    """
    values = [
        f'-G{name}="{value}"' if isinstance(value, str) else f"-G{name}={value}"
        for name, value in own.parameters.items()
    ]
    with scratch() as folder:
        _verilator(
            own, "--json-only", "--Mdir", folder, "--prefix", "Vown", "--top-module", own.top,
            *values,
        )  # fmt: skip
        tree = json.loads((Path(folder) / "Vown.tree.json").read_text())
    modules = [m for m in tree["modulesp"] if own.top in (m.get("name"), m.get("origName"))]
    if not modules:
        raise InputError(f"{own.file}: the sources hold no module {own.top!r}")
    types = {node["addr"]: node for node in _nodes(tree["miscsp"]) if "addr" in node}
    return {
        node["name"]: (node["direction"].lower(), _width(types, node["dtypep"]))
        for node in modules[0]["stmtsp"]
        if node.get("type") == "VAR" and node.get("direction", "NONE") != "NONE"
    }


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """Return every object of a JSON tree."""
    if isinstance(tree, list):
        return [node for part in tree for node in _nodes(part)]
    if isinstance(tree, dict):
        return [tree, *(node for part in tree.values() for node in _nodes(part))]
    return []


def _span(text: str) -> int:
    left, right = (int(part) for part in re.findall(r"-?\d+", text))
    return abs(left - right) + 1


def _width(types: dict[str, dict[str, Any]], address: str) -> int | None:
    """Return the width of a packed type, None for any other."""
    node = types.get(address)
    if node is None:
        return None
    match node["type"]:
        case "BASICDTYPE":
            return _span(node["range"]) if "range" in node else 1
        case "PACKARRAYDTYPE":
            inner = _width(types, node["refDTypep"])
            return None if inner is None else inner * _span(node["declRange"])
        case "REFDTYPE" | "MEMBERDTYPE" | "ENUMDTYPE":
            return _width(types, node["refDTypep"])
        case "STRUCTDTYPE" if node.get("packed"):
            parts = [_width(types, member["refDTypep"]) for member in node["membersp"]]
            return None if None in parts else sum(part for part in parts if part is not None)
    return None


def _check(own: OwnModule, ports: dict[str, Port]) -> None:
    """Raise `InputError` naming every port that does not fit; all at once, each in words."""
    spec, wanted, wrong = own.spec, wanted_ports(own), []
    meaning = {
        **dict.fromkeys(own.weight, f"{spec.weight} weights"),
        **dict.fromkeys(own.act, f"{spec.act} activations"),
        own.result: "the accumulator",
    }
    for name, (direction, width) in wanted.items():
        if name not in ports:
            close = difflib.get_close_matches(name, ports, 1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(ports)}"
            wrong.append(f"{own.top} has no port {name}; {hint}")
            continue
        has_direction, has_width = ports[name]
        if has_direction != direction:
            wrong.append(f"port {name} is an {has_direction}, needed an {direction}")
        elif width is not None and has_width is None:
            wrong.append(f"port {name} is no packed vector; wrap the module so that it is one")
        elif width is not None and has_width != width:
            wrong.append(
                f"port {name} has {_bits(has_width)}, but {_why(own, name, width, meaning)}"
            )
    for name, (direction, _) in ports.items():
        if name not in wanted and direction != "output":
            wrong.append(
                f"{own.top} has an {direction} {name} that the file does not name; "
                f"say what it is, or give it a constant: tie = {{ {name} = 0 }}"
            )
    if wrong:
        raise InputError(f"{own.file}: " + "\n  ".join(wrong))


def _bits(count: int | None) -> str:
    return f"{count} bit{'' if count == 1 else 's'}"


def _why(own: OwnModule, name: str, width: int, meaning: dict[str, str]) -> str:
    if name not in meaning:
        return f"a control port needs {_bits(width)}"
    if name == own.result:
        return f"[spec] acc makes the accumulator {_bits(width)} wide"
    names = own.weight if name in own.weight else own.act
    lanes = own.spec.lanes // len(names)
    return f"{lanes} lane{'' if lanes == 1 else 's'} of {meaning[name]} need {_bits(width)}"
