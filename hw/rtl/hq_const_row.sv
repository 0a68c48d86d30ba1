// SPDX-License-Identifier: Apache-2.0
/// One row of a bit heap: a registered ternary adder, one LUT6 site for each position.
///
///   sum_o = (a_i ^ InvA) + (b_i ^ InvB) + (c_i ^ InvC) + low_i[0] + low_i[1]
///
/// Extras says how many bits of the sum stand above the last position.  Where the last position
/// takes at most one bit, its chain carry is that bit; else Extend adds the two carries in one more
/// position.  Positions that take fewer than three bits get a 0 with no inversion.
///
/// Latency 1, initiation interval 1.  Exact where the sum fits Width + Extras bits, which the caller
/// sees to, else modulo that.  Equals Python's `+` (hw.constant.design).
`default_nettype none

module hq_const_row #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 8,  // positions
  parameter int unsigned Extras = 2,  // bits above the last position, 0..2
  parameter bit Extend = 1'b1,  // one more position, for the two carries
  parameter logic [Width-1:0] InvA = '0,  // bits of a_i to invert
  parameter logic [Width-1:0] InvB = '0,  // bits of b_i to invert
  parameter logic [Width-1:0] InvC = '0,  // bits of c_i to invert
  localparam int unsigned OutBits = Width + Extras
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  input  logic [Width-1:0] c_i,
  input  logic [1:0] low_i,
  output logic [OutBits-1:0] sum_o
);

  if (Width < 1 || Width > 4096) begin : gen_bad_width
    $error("hq_const_row: Width must be 1..4096");
  end
  if (Extras > 2) begin : gen_bad_extras
    $error("hq_const_row: Extras must be 0..2");
  end
  if (!Extend && Extras > 1) begin : gen_bad_extend
    $error("hq_const_row: Extend must be 1 with Extras of 2");
  end

  logic [Width-1:0] sum;
  logic over;
  logic carry;
  logic [OutBits-1:0] total;

  hq_ternary #(
    .Primitive(Primitive),
    .Width(Width),
    .Extend(Extend),
    .InvA(InvA),
    .InvB(InvB),
    .InvC(InvC)
  ) u_add (
    .a_i(a_i),
    .b_i(b_i),
    .c_i(c_i),
    .low_i(low_i),
    .sum_o(sum),
    .over_o(over),
    .carry_o(carry)
  );

  if (Extend) begin : gen_extend
    assign total = OutBits'({carry, over, sum});
    if (Extras < 2) begin : gen_rest
      logic unused_carry;  // 0: the sum has no such bit
      assign unused_carry = carry;
    end
  end else begin : gen_plain
    logic unused_over;  // 0, or beyond what counts
    assign unused_over = over;
    assign total = OutBits'({carry, sum});
    if (Extras == 0) begin : gen_rest
      logic unused_carry;
      assign unused_carry = carry;
    end
  end

  always_ff @(posedge clk_i) begin
    if (en_i) sum_o <= total;
  end

endmodule

`default_nettype wire
