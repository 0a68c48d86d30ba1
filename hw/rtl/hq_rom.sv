// SPDX-License-Identifier: Apache-2.0
/// A table of constants: data_o = word number addr_i of Words.
///
/// Block leaves the choice of memory to the synthesizer; without it every bit is a function of the
/// address, in LUTs: one LUT6 a bit up to 64 words.  An address of Depth or more is excluded.
///
/// Latency 1 (0 for a single word), initiation interval 1.  Exact.  Equals Python's `words[addr]`.
`default_nettype none

module hq_rom #(
  parameter int unsigned Depth = 4,  // words
  parameter int unsigned Width = 8,  // bits of a word
  parameter bit Block = 1'b0,  // a memory, else LUTs
  parameter bit [Depth*Width-1:0] Words = '0,  // word 0 in the low bits
  localparam int unsigned AddrBits = Depth > 1 ? $clog2(Depth) : 1
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [AddrBits-1:0] addr_i,
  output logic [Width-1:0] data_o
);

  localparam bit BadDepth = Depth < 1 || Depth > 1048576 || (!Block && Depth > 16384);
  if (BadDepth) begin : gen_bad_depth
    $error("hq_rom: Depth must be 1..1048576, without Block 1..16384");
  end
  localparam bit BadWidth = Width < 1 || Width > 1048576;
  if (BadWidth) begin : gen_bad_width
    $error("hq_rom: Width must be 1..1048576");
  end
  localparam bit Legal = !(BadDepth || BadWidth);

  if (Depth == 1) begin : gen_constant
    logic unused_control;
    assign unused_control = clk_i ^ en_i ^ addr_i;
    assign data_o = Words;
  end else if (Block) begin : gen_memory
    logic [Width-1:0] mem[Depth];

    initial begin
      for (int i = 0; i < Depth; i++) mem[i] = Words[i*Width+:Width];
    end

    always_ff @(posedge clk_i) begin
      if (en_i) data_o <= mem[addr_i];
    end
  end else begin : gen_luts
    for (genvar b = 0; Legal && b < Width; b++) begin : gen_bit
      logic [(1<<AddrBits)-1:0] column;

      for (genvar w = 0; Legal && w < (1 << AddrBits); w++) begin : gen_word
        if (w < Depth) begin : gen_used
          assign column[w] = Words[w*Width+b];
        end else begin : gen_excluded
          assign column[w] = 1'b0;
        end
      end

      always_ff @(posedge clk_i) begin
        if (en_i) data_o[b] <= column[addr_i];
      end
    end
  end

endmodule

`default_nettype wire
