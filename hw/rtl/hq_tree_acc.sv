// SPDX-License-Identifier: Apache-2.0
/// Accumulator that adds two operands a beat on one ternary carry chain:
///
///   acc = (clear ? 0 : acc) + sum_i + spare_i + low_i[0] + low_i[1] - Offset
///
/// Offset is Operands * 2**(Width-1) where Signed, else 0.  Its bits stand where spare_i has none:
/// an even number of operands makes them all higher than spare_i, an odd number leaves no spare
/// operand (spare_i must be 0).  Above sum_i only -1, 0 or 1 is added (hq_updown).
///
/// valid_i and clear_i come with the operands' codes, Levels + 2 cycles before the sum's beat is
/// accumulated; they travel along.  clear_i is the accumulator's synchronous reset one cycle
/// ahead.  Latency Levels + 3 from valid_i, initiation interval 1.  Exact; wraps.
`default_nettype none

module hq_tree_acc #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Levels = 1,  // cycles between products and sum_i
  parameter int unsigned Operands = 4,  // operands in a beat, spare_i included
  parameter int unsigned Width = 10,  // width of one operand, and of spare_i
  parameter int unsigned SumBits = 12,  // width of sum_i
  parameter bit Signed = 1'b1,  // every operand is 2**(Width-1) too much
  parameter bit InvSum = 1'b0,  // invert bit Width-1 of sum_i
  parameter bit InvSpare = 1'b0,  // invert bit Width-1 of spare_i
  parameter int unsigned AccBits = 20  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [SumBits-1:0] sum_i,
  input  logic [Width-1:0] spare_i,
  input  logic [1:0] low_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  localparam bit BadLevels = Levels > 16;
  if (BadLevels) begin : gen_bad_levels
    $error("hq_tree_acc: Levels must be 0..16");
  end
  localparam bit BadOperands = Operands < 1 || Operands > 8192;
  if (BadOperands) begin : gen_bad_operands
    $error("hq_tree_acc: Operands must be 1..8192");
  end
  localparam bit BadWidth = Width < 1 || Width > 512;
  if (BadWidth) begin : gen_bad_width
    $error("hq_tree_acc: Width must be 1..512");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_tree_acc: AccBits must be 2..1024");
  end
  localparam bit BadSum = SumBits < Width || SumBits > 510;
  if (BadSum) begin : gen_bad_sum
    $error("hq_tree_acc: SumBits must be Width..510");
  end
  localparam bit Legal = !(BadLevels || BadOperands || BadWidth || BadAccBits || BadSum);

  // Positions of the ternary chain.  The highest one takes the carries of sum_i; there the other
  // bits are the accumulator's and Offset's, whose majority is the accumulator's bit, or 0.
  localparam int unsigned Full = Legal ? SumBits + 1 : 1;
  localparam int unsigned Chain = Legal ? AccBits < Full ? AccBits : Full : 1;
  localparam logic [511:0] Back = Signed ? -(512'(Operands) << (Width - 1)) : '0;
  localparam logic [511:0] Top = 512'(1) << (Width - 1);

  // Inputs of the control tables, as the truth tables of their own projections.
  localparam logic [31:0] Rst = 32'hAAAA_AAAA;
  localparam logic [31:0] En = 32'hCCCC_CCCC;
  localparam logic [31:0] Valid = 32'hF0F0_F0F0;
  localparam logic [31:0] Clear = 32'hFF00_FF00;
  localparam logic [31:0] Held = 32'hFFFF_0000;

  logic [Levels+2:0] valid;
  logic [Levels+1:0] clear;
  logic [Full-1:0] third;
  logic [Full-1:0] addend;
  logic [AccBits-1:0] acc_d;
  logic [AccBits-1:0] acc_q;
  logic restart;
  logic update;
  logic carry;
  logic unused_over;

  assign valid[0] = valid_i;
  assign clear[0] = clear_i;

  for (genvar k = 0; Legal && k < Levels + 2; k++) begin : gen_valid
    always_ff @(posedge clk_i) begin
      if (rst_i) valid[k+1] <= 1'b0;
      else if (en_i) valid[k+1] <= valid[k];
    end
  end

  for (genvar k = 0; Legal && k < Levels + 1; k++) begin : gen_clear
    always_ff @(posedge clk_i) begin
      if (rst_i) clear[k+1] <= 1'b0;
      else if (en_i) clear[k+1] <= clear[k];
    end
  end

  hq_lut_pair #(
    .Primitive(Primitive),
    .InitA(Rst | (En & Valid & Clear)),
    .InitB(En & Held)
  ) u_control (
    .in_i({valid[Levels+2], clear[Levels+1], valid[Levels+1], en_i, rst_i}),
    .a_o(restart),
    .b_o(update)
  );

  assign third = Full'(Back) | Full'(spare_i);
  assign addend = Full'(sum_i);

  hq_ternary #(
    .Primitive(Primitive),
    .Width(Chain),
    .Extend(1'b0),
    .InvB(InvSum ? Chain'(Top) : '0),
    .InvC(InvSpare ? Chain'(Top) : '0)
  ) u_add (
    .a_i(acc_q[Chain-1:0]),
    .b_i(addend[Chain-1:0]),
    .c_i(third[Chain-1:0]),
    .low_i(low_i),
    .sum_o(acc_d[Chain-1:0]),
    .over_o(unused_over),
    .carry_o(carry)
  );

  if (AccBits > Chain) begin : gen_high
    // Signed: Offset's bits are all ones from here on, -1 + carry + the accumulator's bit below.
    hq_updown #(
      .Primitive(Primitive),
      .Width(AccBits - Chain)
    ) u_high (
      .count_i(acc_q[AccBits-1:Chain]),
      .up_i(carry),
      .down_i(Signed && !acc_q[Chain-1]),
      .next_o(acc_d[AccBits-1:Chain])
    );
  end else begin : gen_no_high
    logic unused_high;
    assign unused_high = ^{carry, addend, third};
  end

  always_ff @(posedge clk_i) begin
    if (restart) acc_q <= '0;
    else if (update) acc_q <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (update) acc_o <= acc_d;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_o <= 1'b0;
    else if (en_i) valid_o <= valid[Levels+2];
  end

endmodule

`default_nettype wire
