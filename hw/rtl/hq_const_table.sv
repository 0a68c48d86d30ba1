// SPDX-License-Identifier: Apache-2.0
/// A table in LUTs: data_o = word number in_i of Words.
///
/// Latency 0 (combinational).  Exact.  Equals Python's `words[in]`.
`default_nettype none

module hq_const_table #(
  parameter int unsigned Inputs = 4,  // address bits, 1..8
  parameter int unsigned Width = 5,  // bits of a word
  parameter logic [(Width<<Inputs)-1:0] Words = '0  // word 0 in the low bits
) (
  input  logic [Inputs-1:0] in_i,
  output logic [Width-1:0] data_o
);

  localparam bit BadInputs = Inputs < 1 || Inputs > 8;
  if (BadInputs) begin : gen_bad_inputs
    $error("hq_const_table: Inputs must be 1..8");
  end
  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_const_table: Width must be 1..4096");
  end
  localparam bit Legal = !(BadInputs || BadWidth);

  for (genvar b = 0; Legal && b < Width; b++) begin : gen_bit
    logic [(1<<Inputs)-1:0] column;

    for (genvar w = 0; Legal && w < (1 << Inputs); w++) begin : gen_word
      assign column[w] = Words[w*Width+b];
    end

    assign data_o[b] = column[in_i];
  end

endmodule

`default_nettype wire
