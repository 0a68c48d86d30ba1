// SPDX-License-Identifier: Apache-2.0
/// One look-up table of six inputs: out_o = Init[in_i].
///
/// With Primitive it is a LUT6_2 whose second output is unused, so that a mapper keeps the
/// function whole; else the same function as an expression.
///
/// Latency 0 (combinational).
`default_nettype none

module hq_lut #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cell
  parameter logic [63:0] Init = 64'h6996_9669_9669_6996  // truth table, in_i[0] the low index bit
) (
  input  logic [5:0] in_i,
  output logic out_o
);

  if (Primitive) begin : gen_cell
    logic unused_o5;

    LUT6_2 #(
      .INIT(Init)
    ) u_lut (
      .I0(in_i[0]),
      .I1(in_i[1]),
      .I2(in_i[2]),
      .I3(in_i[3]),
      .I4(in_i[4]),
      .I5(in_i[5]),
      .O5(unused_o5),
      .O6(out_o)
    );
  end else begin : gen_portable
    assign out_o = Init[in_i];
  end

endmodule

`default_nettype wire
