// SPDX-License-Identifier: Apache-2.0
/// Multiply two small integers by one table for each product bit:  product_o = a_i * b_i
///
/// Both operands together have at most six bits, so any bit of the product is one LUT6; a low bit
/// does not depend on higher bits of the operands and shares its site with another.
///
/// Latency 0 (combinational).  Exact: product_o is signed where an operand is.
`default_nettype none

module hq_mul_table #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned ABits = 3,  // width of a_i
  parameter int unsigned BBits = 3,  // width of b_i
  parameter bit ASigned = 1'b0,  // a_i is two's complement
  parameter bit BSigned = 1'b0,  // b_i is two's complement
  localparam int unsigned Bits = ABits + BBits - (ABits == 1 || BBits == 1 ? 1 : 0)
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [Bits-1:0] product_o
);

  localparam bit BadWidth = ABits < 1 || ABits > 5 || BBits < 1 || BBits > 5 || ABits + BBits > 6;
  if (BadWidth) begin : gen_bad_width
    $error("hq_mul_table: ABits and BBits must be 1..5 and 6 or less together");
  end
  localparam bit Legal = !BadWidth;

  // Truth table of product bit `place`; index {b, a}.
  function automatic logic [63:0] truth(input int unsigned place);
    int a;
    int b;
    int index;
    for (index = 0; index < 64; index = index + 1) begin
      a = index % (1 << ABits);
      b = (index >> ABits) % (1 << BBits);
      if (ASigned && a >= (1 << (ABits - 1))) a = a - (1 << ABits);
      if (BSigned && b >= (1 << (BBits - 1))) b = b - (1 << BBits);
      truth[index] = 1'((a * b) >>> place);
    end
  endfunction

  for (genvar i = 0; Legal && i < Bits; i++) begin : gen_bit
    localparam int unsigned AUsed = i < ABits ? i + 1 : ABits;
    localparam int unsigned BUsed = i < BBits ? i + 1 : BBits;

    hq_lut #(
      .Primitive(Primitive),
      .Init(truth(i))
    ) u_bit (
      .in_i(6'({b_i & BBits'((1 << BUsed) - 1), a_i & ABits'((1 << AUsed) - 1)})),
      .out_o(product_o[i])
    );
  end

endmodule

`default_nettype wire
