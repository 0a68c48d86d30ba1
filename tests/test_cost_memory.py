# SPDX-License-Identifier: Apache-2.0
"""Memory staircases: LUT tables and FIFOs against synthesis, block shapes against data sheets."""

from __future__ import annotations

import random

import pytest

from costmodel.memory import KINDS, Memory, fifo, weight_memory
from hw.library import source_text
from hw.yosys import synthesize
from hwquant.errors import SpecError

ROM = """module top (
  input logic clk_i, input logic en_i, input logic [{addr}-1:0] addr_i,
  output logic [{width}-1:0] data_o
);
  hq_rom #(.Depth({depth}), .Width({width}), .Words({bits}'h{words:x})) u_rom (.*);
endmodule
"""

FIFO = """module top #(
  parameter int unsigned Width = {width}, parameter int unsigned Depth = {depth},
  localparam int unsigned Bits = $clog2(Depth)
) (
  input logic clk_i, input logic rst_i, input logic valid_i, output logic ready_o,
  input logic [Width-1:0] data_i, output logic valid_o, input logic ready_i,
  output logic [Width-1:0] data_o
);
  logic [Bits-1:0] last_q;
  logic any_q, full_q;
  wire push = valid_i && ready_o;
  wire pop = valid_o && ready_i;
  assign ready_o = !full_q;
  assign valid_o = any_q;
  for (genvar b = 0; b < Width; b++) begin : gen_bit
    logic [Depth-1:0] shift_q;
    always_ff @(posedge clk_i) if (push) shift_q <= {{shift_q[Depth-2:0], data_i[b]}};
    assign data_o[b] = shift_q[last_q];
  end
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      last_q <= '0;
      any_q <= 1'b0;
      full_q <= 1'b0;
    end else if (push && !pop) begin
      last_q <= any_q ? last_q + 1'b1 : last_q;
      any_q <= 1'b1;
      full_q <= any_q && last_q == Bits'(Depth - 2);
    end else if (pop && !push) begin
      last_q <= last_q == '0 ? '0 : last_q - 1'b1;
      any_q <= last_q != '0;
      full_q <= 1'b0;
    end
  end
endmodule
"""


def rom(depth, width, seed=1):
    words = random.Random(seed).getrandbits(depth * width)
    addr = max((depth - 1).bit_length(), 1)
    text = ROM.format(addr=addr, depth=depth, width=width, bits=depth * width, words=words)
    return synthesize({"hq_rom.sv": source_text("hq_rom.sv"), "top.sv": text}, "top")


@pytest.mark.synth
@pytest.mark.parametrize("depth", [1, 32, 33, 64, 128])
def test_a_table_in_luts_costs_what_synthesis_makes_of_it(depth):
    assert weight_memory(depth, 8, "lut").luts == rom(depth, 8).lut_sites


@pytest.mark.synth
def test_another_table_is_not_its_price():
    """Negative control: the comparison notices a table of half the depth."""
    assert weight_memory(64, 8, "lut").luts != rom(32, 8).lut_sites


@pytest.mark.synth
@pytest.mark.parametrize(("depth", "width"), [(32, 8), (64, 14)])
def test_a_shift_register_fifo_costs_what_synthesis_makes_of_it(depth, width):
    found = synthesize({"top.sv": FIFO.format(depth=depth, width=width)}, "top")
    price = fifo(depth, width)
    assert (price.lutram, price.ff) == (found.lutram, found.ff)
    assert abs(price.lut_sites - found.lut_sites) <= 3


@pytest.mark.parametrize(
    ("words", "width", "bram18"),
    # UG573, 18 kbit in simple dual port or read-only use
    [(512, 36, 1), (1024, 18, 1), (2048, 9, 1), (4096, 4, 1), (8192, 2, 1), (16384, 1, 1)]
    + [(513, 36, 2), (512, 37, 2), (1, 1, 1), (2048, 18, 2), (4096, 9, 2), (32768, 1, 2)],
)
def test_block_ram_is_counted_in_its_shapes(words, width, bram18):
    assert weight_memory(words, width, "block").bram18 == bram18


@pytest.mark.parametrize(("words", "width", "uram"), [(1, 1, 1), (4096, 72, 1), (4097, 73, 4)])
def test_ultra_ram_is_counted_in_its_shape(words, width, uram):
    assert weight_memory(words, width, "ultra").uram == uram


@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_is_monotone_and_holds_its_bits(kind):
    last = (0, 0, 0)
    for words in (1, 2, 31, 32, 33, 64, 65, 128, 200, 256, 257, 512, 1000, 5000):
        memory = weight_memory(words, 7, kind)
        assert memory.bits == words * 7
        room = 64 * memory.luts + 18432 * memory.bram18 + 294912 * memory.uram
        assert room >= memory.bits or words == 1
        amount = (memory.luts, memory.bram18, memory.uram)
        assert kind == "auto" or amount >= last
        last = amount
    narrow, wide = (weight_memory(100, width, kind) for width in (5, 50))
    assert (narrow.luts, narrow.bram18, narrow.uram) <= (wide.luts, wide.bram18, wide.uram)


def test_auto_takes_ultra_ram_only_where_it_can_be_loaded():
    assert weight_memory(4096, 72) == Memory(294912, bram18=16)
    assert weight_memory(4096, 72, uram_loads=True) == Memory(294912, uram=1)
    assert weight_memory(512, 36, uram_loads=True).bram18 == 1


def test_fifos_grow_with_depth_and_width():
    depths = [fifo(depth, 9) for depth in (1, 2, 3, 32, 33, 128, 129, 256)]
    assert [used.lutram for used in depths] == [0, 0, 9, 9, 18, 36, 45, 72]
    assert fifo(257, 9).bram18 == fifo(512, 36).bram18 == 1
    assert fifo(513, 36).bram18 == 2
    assert fifo(0, 8) == fifo(8, 0) == fifo(0, 0)
    for narrow, wide in ((fifo(depth, 4), fifo(depth, 40)) for depth in (2, 32, 256, 600)):
        assert narrow.lut + narrow.ff + 9 * narrow.bram18 < wide.lut + wide.ff + 9 * wide.bram18


def test_impossible_memories_are_refused():
    with pytest.raises(SpecError, match="memory kind 'flash', allowed: auto, lut, block, ultra"):
        weight_memory(4, 4, "flash")
    with pytest.raises(SpecError, match="memory of -1 words"):
        weight_memory(-1, 4)
    with pytest.raises(SpecError, match="FIFO of 4 words of -4 bits"):
        fifo(4, -4)
