// SPDX-License-Identifier: Apache-2.0
/// Multiply two integers by radix-4 Booth rows:  product_o = a_i * b_i
///
/// a_i is recoded, b_i added in rows.  The lowest one or two bits of a_i are an unsigned first
/// digit, so that the next digit has no incoming bit; signed a_i ends with a full digit, unsigned
/// a_i with one of 0, 1, 2.  Each row drops the bits that are finished and is BBits + 2 wide (one
/// more in the middle rows of an unsigned b_i, less in the last row of an unsigned product).
///
/// The lowest First bits of the product are gates of the operands, meant to be absorbed by a
/// caller who uses the operands instead.
///
/// Sites, signed b: BBits (first row of two bits; BBits - 1/2 up to four bits) or (BBits - 1) / 2
/// (first row of one bit), plus BBits + 2 for every other row.
///
/// Latency 0 (combinational).  Exact: product_o is signed where an operand is.
`default_nettype none

module hq_booth #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned ABits = 4,  // width of the recoded operand
  parameter int unsigned BBits = 4,  // width of the operand in rows
  parameter bit ASigned = 1'b1,  // a_i is two's complement
  parameter bit BSigned = 1'b1  // b_i is two's complement
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [ABits+BBits-1:0] product_o
);

  localparam bit BadA = ABits < 3 || ABits > 8;
  if (BadA) begin : gen_bad_a
    $error("hq_booth: ABits must be 3..8");
  end
  localparam bit BadB = BBits < 3 || BBits > 8;
  if (BadB) begin : gen_bad_b
    $error("hq_booth: BBits must be 3..8");
  end
  localparam bit Legal = !(BadA || BadB);

  localparam int unsigned First = (ABits % 2 == 0) == ASigned ? 2 : 1;  // bits of the first digit
  localparam int unsigned Rows = Legal ? (ABits - First + 1) / 2 : 1;  // Booth rows after it
  localparam int unsigned Wide = BBits + 3;  // of any row

  logic [ABits:0] digits;  // a zero on top for the last digit of an unsigned operand
  logic [Wide-1:0] value;
  logic [Wide-1:0] below;
  logic [Rows:0][Wide-1:0] rest;  // what is not finished, before each row

  assign digits = {1'b0, a_i};
  assign value = {{Wide - BBits{BSigned && b_i[BBits-1]}}, b_i};
  assign below = {value[Wide-2:0], 1'b0};

  if (First == 1) begin : gen_one
    assign product_o[0] = a_i[0] && b_i[0];
    assign rest[0] = a_i[0] ? {value[Wide-1], value[Wide-1:1]} : '0;
  end else begin : gen_two
    logic [BBits-1:0] row;

    assign product_o[0] = a_i[0] && b_i[0];
    assign product_o[1] = (a_i[0] && b_i[1]) ^ (a_i[1] && b_i[0]);

    hq_booth_first #(
      .Primitive(Primitive),
      .Width(BBits),
      .Signed(BSigned)
    ) u_first (
      .digit_i(a_i[1:0]),
      .value_i(b_i),
      .row_o(row)
    );

    assign rest[0] = {{Wide - BBits{BSigned && row[BBits-1]}}, row};
  end

  for (genvar j = 0; Legal && j < Rows; j++) begin : gen_row
    localparam int unsigned Place = First + 2 * j;  // weight of the digit
    localparam bit Last = j == Rows - 1;
    localparam int unsigned Left = ABits + BBits - Place;
    localparam int unsigned Full = BBits + (BSigned || j == 0 ? 2 : 3);
    localparam int unsigned Width = Last ? Left : Full;

    logic [2:0] digit;
    logic [Width-1:0] sum;

    if (j == 0) begin : gen_lowest
      assign digit = {digits[Place+1], digits[Place], 1'b0};
    end else begin : gen_higher
      assign digit = digits[Place-1+:3];
    end

    hq_booth_row #(
      .Primitive(Primitive),
      .Width(Width)
    ) u_row (
      .rest_i(rest[j][Width-1:0]),
      .value_i(value[Width-1:0]),
      .below_i(below[Width-1:0]),
      .digit_i(digit),
      .sum_o(sum)
    );

    if (Last) begin : gen_last
      assign product_o[Place+:Width] = sum;
      assign rest[j+1] = '0;
    end else begin : gen_inner
      assign product_o[Place+:2] = sum[1:0];
      assign rest[j+1] = {{Wide - Width + 2{sum[Width-1]}}, sum[Width-1:2]};
    end
  end

  logic unused;
  assign unused = ^{rest[Rows], below[Wide-1], value[Wide-1], digits[ABits]};

endmodule

`default_nettype wire
