# SPDX-License-Identifier: Apache-2.0
"""The commented TOML that ``hwquant verify --template`` prints."""

from __future__ import annotations

__all__ = ["TEMPLATE"]

TEMPLATE = """\
# A MAC module of your own, verified by `hwquant verify mymac.toml`.
# Paths are relative to this file.  Lines that start with "# " and a key are optional.

[module]
top = "my_mac"
sources = ["my_mac.sv"]             # files or globs: ["rtl/*.sv"]; SystemVerilog or Verilog
# include = ["rtl/include"]         # folders of `include files
# defines = { SIMULATION = 1 }      # `define NAME VALUE
# parameters = { Lanes = 4 }
latency = 2                         # clock edges from a beat to its result, 1..64

[spec]
weight = "int8"                     # any format: int4, uint8, e2m1, e4m3b4, e5m2ieee, ...
act = "int8"
lanes = 4                           # products a beat
length = 256                        # products of the longest dot product
acc = 24                            # width of the result in bits, two's complement
# acc_frac = 0                      # its fraction bits, as a check: the formats fix them
overflow = "wrap"                   # "wrap" or "saturate" (clamps after each beat)

[ports]
clock = "clk"
reset = "rst"                       # leave out what your module does not have
# reset_active = "high"             # "high" or "low"
# reset_kind = "sync"               # "sync" or "async"
enable = "en"                       # low: everything stands still
valid = "valid"                     # low: no beat in this cycle
clear = "clear"                     # starts a dot product
# clear_when = "with the first beat"   # or "in the cycle before" (beside any beat)
                                    # or "instead of a beat" (that cycle's beat is lost)
# last = "last"                     # instead of clear: marks the last beat of a dot product
weight = "weight"                   # all lanes in one vector; or one port per lane: ["w0", "w1"]
act = "act"
# weight_lane_0 = "low"             # in which end of the vector lane 0 is: "low" or "high"
# act_lane_0 = "low"
result = "acc"
result_valid = "acc_valid"
# result_when = "every beat"        # or "last beat", together with last
# tie = { test_mode = 0 }           # other inputs: constants
"""
