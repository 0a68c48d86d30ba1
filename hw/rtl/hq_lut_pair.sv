// SPDX-License-Identifier: Apache-2.0
/// Two look-up tables of the same five inputs, one LUT6 site:
///
///   a_o = InitA[in_i], b_o = InitB[in_i]
///
/// With Primitive it is one LUT6_2 (a_o on O6, b_o on O5); else the same as expressions.
///
/// Latency 0 (combinational).
`default_nettype none

module hq_lut_pair #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cell
  parameter logic [31:0] InitA = 32'h9669_6996,  // truth table of a_o, in_i[0] the low index bit
  parameter logic [31:0] InitB = 32'hfffe_fee8  // truth table of b_o
) (
  input  logic [4:0] in_i,
  output logic a_o,
  output logic b_o
);

  if (Primitive) begin : gen_cell
    LUT6_2 #(
      .INIT({InitA, InitB})
    ) u_lut (
      .I0(in_i[0]),
      .I1(in_i[1]),
      .I2(in_i[2]),
      .I3(in_i[3]),
      .I4(in_i[4]),
      .I5(1'b1),
      .O5(b_o),
      .O6(a_o)
    );
  end else begin : gen_portable
    assign a_o = InitA[in_i];
    assign b_o = InitB[in_i];
  end

endmodule

`default_nettype wire
