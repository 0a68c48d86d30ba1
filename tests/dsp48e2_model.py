# SPDX-License-Identifier: Apache-2.0
"""DSP48E2 as arithmetic on Python integers, from UG579 chapter 2, and its configurations."""

from __future__ import annotations

import numpy as np
from cell_bench import IN_BITS, Instance, ports_of


def signed(value, bits):
    return (value & ((1 << bits) - 1)) - ((value >> (bits - 1) & 1) << bits)


DSP = {
    "yosys multiplier": {},
    "pipelined multiplier": dict.fromkeys(
        ("AREG", "ACASCREG", "BREG", "BCASCREG", "MREG", "PREG", "CREG"), 1
    ),
    "everything registered, A and B twice": dict.fromkeys(
        ("ADREG", "ALUMODEREG", "CARRYINREG", "CARRYINSELREG", "CREG", "DREG", "INMODEREG")
        + ("MREG", "OPMODEREG", "PREG", "ACASCREG"),
        1,
    )
    | {"AREG": 2, "BREG": 2, "BCASCREG": 2, "AMULTSEL": "AD"},
    "pre-adder with A": {"AMULTSEL": "AD", "PREG": 1, "DREG": 1},
    "pre-adder with B, squared": {
        "AMULTSEL": "AD", "BMULTSEL": "AD", "PREADDINSEL": "B", "ADREG": 1, "PREG": 1,
    },
    "multiply by the pre-adder of B": {"BMULTSEL": "AD", "PREADDINSEL": "B", "BREG": 2,
                                       "BCASCREG": 1, "PREG": 1},
    "accumulator": {"MREG": 1, "PREG": 1, "RND": 0x123456789ABC},
    "two adders": {"USE_MULT": "NONE", "USE_SIMD": "TWO24", "PREG": 1, "RND": 1 << 23},
    "four adders": {"USE_MULT": "NONE", "USE_SIMD": "FOUR12", "PREG": 1},
    "cascade in": {"A_INPUT": "CASCADE", "B_INPUT": "CASCADE", "AREG": 1, "ACASCREG": 1,
                   "PREG": 1},
}  # fmt: skip
REGISTERS = [
    *("ACASCREG", "ADREG", "ALUMODEREG", "AREG", "BCASCREG", "BREG", "CARRYINREG"),
    *("CARRYINSELREG", "CREG", "DREG", "INMODEREG", "MREG", "OPMODEREG", "PREG"),
]


CONTROL = {  # register: (its reset, its enable)
    "A1": ("A", "A1"), "A2": ("A", "A2"), "B1": ("B", "B1"), "B2": ("B", "B2"),
    "C": ("C", "C"), "D": ("D", "D"), "AD": ("D", "AD"), "M": ("M", "M"), "P": ("P", "P"),
    "IN": ("INMODE", "INMODE"), "OP": ("CTRL", "CTRL"), "ALU": ("ALUMODE", "ALUMODE"),
    "CIN": ("ALLCARRYIN", "CARRYIN"),
}  # fmt: skip


class Dsp:
    """A DSP48E2 clock by clock: ``outputs`` before an edge, ``edge`` for the edge."""

    def __init__(self, settings):
        self.s = {
            "AMULTSEL": "A", "BMULTSEL": "B", "PREADDINSEL": "A", "A_INPUT": "DIRECT",
            "B_INPUT": "DIRECT", "USE_MULT": "MULTIPLY", "USE_SIMD": "ONE48", "RND": 0,
        } | dict.fromkeys(REGISTERS, 0) | settings  # fmt: skip
        self.q = dict.fromkeys(
            ["A1", "A2", "B1", "B2", "C", "D", "AD", "M", "P", "IN", "OP", "ALU", "CIN"], 0
        )

    def see(self, pins):
        """Return the value on every register's output, and on its input as ``next``."""
        s, q, v, next_ = self.s, self.q, {}, {}

        def stage(name, present, value):
            next_[name] = value
            v[name] = q[name] if present else value

        stage("A1", s["AREG"] == 2, pins["A" if s["A_INPUT"] == "DIRECT" else "ACIN"])
        stage("A2", s["AREG"] >= 1, v["A1"])
        stage("B1", s["BREG"] == 2, pins["B" if s["B_INPUT"] == "DIRECT" else "BCIN"])
        stage("B2", s["BREG"] >= 1, v["B1"])
        for name, pin in {"C": "C", "D": "D", "IN": "INMODE", "OP": "OPMODE"}.items():
            stage(name, s[f"{pin}REG"], pins[pin])
        stage("ALU", s["ALUMODEREG"], pins["ALUMODE"])
        stage("CIN", s["CARRYINREG"], pins["CARRYIN"])
        mode = v["IN"]
        a = signed(v["A1"] if mode & 1 else v["A2"], 27)
        b = signed(v["B1"] if mode & 16 else v["B2"], 18)
        gated = bool(mode & 2)
        a, b = (
            (0 if gated and s["PREADDINSEL"] == "A" else a),
            (0 if gated and s["PREADDINSEL"] == "B" else b),
        )
        other = a if s["PREADDINSEL"] == "A" else b
        ad = (signed(v["D"], 27) if mode & 4 else 0) + (-other if mode & 8 else other)
        stage("AD", s["ADREG"], ad & (1 << 27) - 1)
        left = a if s["AMULTSEL"] == "A" else signed(v["AD"], 27)
        right = b if s["BMULTSEL"] == "B" else signed(v["AD"], 18)
        stage("M", s["MREG"], left * right)
        stage("P", s["PREG"], self.add(v, pins))
        return v, next_

    def add(self, v, pins):
        op, alu, p, c, pcin = v["OP"], v["ALU"], self.q["P"], v["C"], pins["PCIN"]
        x = {0: 0, 1: v["M"], 2: p, 3: v["A2"] << 18 | v["B2"]}[op & 3]
        y = {0: 0, 1: 0, 2: -1, 3: c}[op >> 2 & 3]
        z = {0: 0, 1: pcin, 2: p, 3: c, 5: signed(pcin, 48) >> 17, 6: signed(p, 48) >> 17}
        w = {0: 0, 1: p, 2: self.s["RND"], 3: c}[op >> 7]
        parts = {"ONE48": 1, "TWO24": 2, "FOUR12": 4}[self.s["USE_SIMD"]]
        bits, result = 48 // parts, 0
        for part in range(parts):
            low = part * bits
            piece = [value >> low & (1 << bits) - 1 for value in (w, x, y, z[op >> 4 & 7])]
            total = sum(piece[:3]) + (v["CIN"] if part == 0 else 0)
            wanted = {0: piece[3] + total, 3: piece[3] - total, 1: -piece[3] + total - 1,
                      2: -(piece[3] + total) - 1}[alu]  # fmt: skip
            result |= (wanted & (1 << bits) - 1) << low
        return result

    def outputs(self, pins):
        v, _ = self.see(pins)
        acout = v["A1"] if self.s["ACASCREG"] != self.s["AREG"] else v["A2"]
        bcout = v["B1"] if self.s["BCASCREG"] != self.s["BREG"] else v["B2"]
        return {"ACOUT": acout, "BCOUT": bcout, "P": v["P"], "PCOUT": v["P"]}

    def edge(self, pins):
        _, next_ = self.see(pins)
        for name, (reset, enable) in CONTROL.items():
            if pins[f"RST{reset}"]:
                self.q[name] = 0
            elif pins[f"CE{enable}"]:
                self.q[name] = next_[name]


def legal(pins, settings, rng):
    """Make one row of random pins legal: a mode the device allows with these attributes."""
    feedback = bool(settings.get("PREG"))
    product = settings.get("USE_MULT") != "NONE"
    xy = [(0, 0), (0, 2), (0, 3), (3, 0), (3, 3)] + [(2, 0), (2, 3)] * feedback
    x, y = xy[rng.integers(len(xy))] if rng.random() < 0.3 or not product else (1, 1)
    z = rng.choice([0, 1, 3, 5] + [2, 6] * feedback)
    w = rng.choice([0, 2, 3] + [1] * feedback)
    pins["OPMODE"] = int(w) << 7 | int(z) << 4 | y << 2 | x
    pins["ALUMODE"] &= 3
    pins["CARRYINSEL"] = 0
    pins["INMODE"] &= ~(int(settings.get("AREG") == 1) | 16 * (settings.get("BREG") == 1))
    for pin in pins:
        if pin.startswith("RST"):
            pins[pin] = int(rng.random() < 0.03)
        elif pin.startswith("CE"):
            pins[pin] = int(rng.random() < 0.8)


CORNERS = ("A", "B", "C", "D", "ACIN", "BCIN", "PCIN")


def dsp_rows(item, settings, count, seed):
    """Return rows of pins (all reset in the first four)."""
    rng = np.random.default_rng(seed)
    layout, rows = item.layout(), []
    for index in range(count):
        pins = {}
        for pin, (_, width) in layout.items():
            pins[pin] = int.from_bytes(rng.bytes(8), "little") % (1 << width)
            if pin in CORNERS and rng.random() < 0.4:  # most negative, most positive, -1, 0, 1
                top = 1 << width - 1
                pins[pin] = (top, top - 1, 2 * top - 1, 0, 1)[rng.integers(5)]
        legal(pins, settings, rng)
        rows.append({p: 1 if index < 4 and p.startswith("RST") else v for p, v in pins.items()})
    return rows


def packed(item, rows, number):
    """Return rows of pins as words that only instance ``number`` sees."""
    layout = item.layout()
    words = (sum(row[pin] << at for pin, (at, _) in layout.items()) for row in rows)
    raw = b"".join((w | number << IN_BITS - 8).to_bytes(IN_BITS // 8, "little") for w in words)
    return np.frombuffer(raw, np.uint32).reshape(len(rows), -1)


def verilog(settings):
    return {k: f'"{v}"' if isinstance(v, str) else str(v) for k, v in settings.items()}


def dsp_instance(settings, module="DSP48E2"):
    every = dict.fromkeys(REGISTERS, 0) | settings
    if "RND" in every:
        every["RND"] = f"48'h{every['RND']:x}"
    written = {k: v if k == "RND" else verilog({k: v})[k] for k, v in every.items()}
    return Instance(module, written, ports_of("DSP48E2"))
