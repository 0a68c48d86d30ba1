# SPDX-License-Identifier: Apache-2.0
"""What a waveform viewer should show first: a GTKWave save file and a Surfer command file.

Both list the kernel's ports in the order of a beat's way (control, operands, result), then what
lies inside, with the accumulator as a signed number and codes in hexadecimal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwquant import atomic

__all__ = ["Signal", "signals_of", "viewer_files"]

PORTS: Final = (
    "clk_i", "rst_i", "en_i", "valid_i", "clear_i", "last_i", "weight_i", "act_i", "valid_o",
    "acc_o",
)  # fmt: skip
INSIDE: Final = 48  # signals shown from inside the kernel
DECLARATION: Final = re.compile(r"\$var \w+ (\d+) \S+ (\S+)(?: (\[\d+:\d+\]))? \$end")

# GTKWave's trace flags: right-justified, with radix; 0x200 is a line of text.
HEX, BINARY, SIGNED, TEXT = "@22", "@28", "@420", "@200"


@dataclass(frozen=True)
class Signal:
    """One signal of a VCD: dotted path, range such as ``[7:0]`` (or none), width in bits."""

    path: str
    range: str
    width: int

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit(".", 1)[-1]

    @property
    def signed(self) -> bool:
        """Whether it is shown as a signed number: accumulators and sums."""
        return self.width > 1 and re.match(r"acc|sum|result", self.name) is not None


def _declared(vcd: str) -> list[Signal]:
    found: list[Signal] = []
    scopes: list[str] = []
    for line in vcd.split("$enddefinitions", 1)[0].splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            scopes.append(words[2])
        elif words[:1] == ["$upscope"]:
            scopes.pop()
        elif match := DECLARATION.search(line):
            width, name, span = match.groups()
            found.append(Signal(".".join([*scopes, name]), span or "", int(width)))
    return found


def signals_of(vcd: str, top: str) -> tuple[list[Signal], list[Signal]]:
    """Return the ports of module ``top`` in useful order, and signals inside it, outermost first.

    ``vcd`` is the text of a VCD file.
    """
    inside = [s for s in _declared(vcd) if f"{top}." in f"{s.path}."[: -len(s.name) - 1]]
    depth = min((s.path.count(".") for s in inside), default=0)
    own = {s.name: s for s in inside if s.path.count(".") == depth}
    ports = [own[name] for name in PORTS if name in own]
    rest = sorted((s for s in inside if s not in ports), key=lambda s: s.path.count("."))
    return ports, rest[:INSIDE]


def _gtkw(vcd: Path, ports: Sequence[Signal], inside: Sequence[Signal]) -> str:
    lines = [f'[dumpfile] "{vcd.name}"', "[timestart] 0"]
    for title, signals in (("kernel", ports), ("inside", inside)):
        lines += [TEXT, f"-{title}"]
        for signal in signals:
            radix = SIGNED if signal.signed else HEX if signal.width > 1 else BINARY
            lines += [radix, signal.path + signal.range]
    return "\n".join([*lines, ""])


def _letters(index: int) -> str:
    """Return how Surfer names item ``index``: its hexadecimal digits as a..p."""
    return "".join("abcdefghijklmnop"[int(digit, 16)] for digit in f"{index:x}")


def _sucl(ports: Sequence[Signal], inside: Sequence[Signal]) -> str:
    lines: list[str] = []
    index = 0
    for title, signals in (("kernel", ports), ("inside", inside)):
        lines.append(f"divider_add {title}")
        index += 1
        for signal in signals:
            lines.append(f"variable_add {signal.path}")
            if signal.width > 1:
                radix = "Signed" if signal.signed else "Hexadecimal"
                lines += [f"item_focus {_letters(index)}", f"item_set_format {radix}"]
                lines.append("item_unfocus")
            index += 1
    return "\n".join([*lines, "zoom_fit", ""])


def viewer_files(vcd: Path, top: str) -> dict[str, str]:
    """Write ``.gtkw`` and ``.sucl`` beside a VCD; return viewer to the command that opens it."""
    ports, inside = signals_of(vcd.read_text(), top)
    gtkw, sucl = vcd.with_suffix(".gtkw"), vcd.with_suffix(".sucl")
    atomic.write_text(gtkw, _gtkw(vcd, ports, inside))
    atomic.write_text(sucl, _sucl(ports, inside))
    return {
        "gtkwave": f"gtkwave {vcd} {gtkw}",
        "surfer": f"surfer {vcd} --command-file {sucl}",
    }
