// SPDX-License-Identifier: Apache-2.0
/// Add three unsigned numbers and two bits on one carry chain, one LUT6 site for each bit:
///
///   sum_o + 2**Width * (over_o + carry_o)
///     = (a_i ^ InvA) + (b_i ^ InvB) + (c_i ^ InvC) + low_i[0] + low_i[1]
///
/// The LUT of position i gives x = a ^ b ^ c ^ m[i-1] on S and m[i] = majority(a, b, c) on its
/// second output; m[i-1] reaches DI by the bypass pin.  Below the lowest position m and the carry
/// are free: low_i.  The second output leaves the slice, so there it must be the only one that
/// does: sum_o has to go to flip-flops of the same slice and nowhere else, and of the highest
/// position either over_o or carry_o is left unused.  With Extend one more position adds the two:
/// over_o and carry_o are then the sum's next bits.
///
/// Latency 0 (combinational).  Exact.
`default_nettype none

module hq_ternary #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 8,  // width of the numbers
  parameter bit Extend = 1'b1,  // one more position, for the two carries
  parameter logic [Width-1:0] InvA = '0,  // bits of a_i to invert
  parameter logic [Width-1:0] InvB = '0,  // bits of b_i to invert
  parameter logic [Width-1:0] InvC = '0  // bits of c_i to invert
) (
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  input  logic [Width-1:0] c_i,
  input  logic [1:0] low_i,
  output logic [Width-1:0] sum_o,
  output logic over_o,  // of weight 2**Width
  output logic carry_o  // of weight 2**Width; with Extend 2**(Width+1)
);

  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_ternary: Width must be 1..4096");
  end
  localparam bit Legal = !BadWidth;

  // Inputs of the tables, as the truth tables of their own projections.
  localparam logic [31:0] A = 32'hAAAA_AAAA;
  localparam logic [31:0] B = 32'hCCCC_CCCC;
  localparam logic [31:0] C = 32'hF0F0_F0F0;
  localparam logic [31:0] Below = 32'hFF00_FF00;

  logic [Width-1:0] sel;
  logic [Width:0] over;

  assign over[0] = low_i[1];

  for (genvar i = 0; Legal && i < Width; i++) begin : gen_bit
    localparam logic [31:0] X = A ^ {32{InvA[i]}};
    localparam logic [31:0] Y = B ^ {32{InvB[i]}};
    localparam logic [31:0] Z = C ^ {32{InvC[i]}};

    hq_lut_pair #(
      .Primitive(Primitive),
      .InitA(X ^ Y ^ Z ^ Below),
      .InitB((X & Y) | (X & Z) | (Y & Z))
    ) u_bit (
      .in_i({1'b0, over[i], c_i[i], b_i[i], a_i[i]}),
      .a_o(sel[i]),
      .b_o(over[i+1])
    );
  end

  if (Extend) begin : gen_extend
    hq_chain #(
      .Primitive(Primitive),
      .Width(Width + 1)
    ) u_chain (
      .carry_i(low_i[0]),
      .s_i({over[Width], sel}),
      .di_i({1'b0, over[Width-1:0]}),
      .sum_o({over_o, sum_o}),
      .carry_o(carry_o)
    );
  end else begin : gen_plain
    assign over_o = over[Width];

    hq_chain #(
      .Primitive(Primitive),
      .Width(Width)
    ) u_chain (
      .carry_i(low_i[0]),
      .s_i(sel),
      .di_i(over[Width-1:0]),
      .sum_o(sum_o),
      .carry_o(carry_o)
    );
  end

endmodule

`default_nettype wire
