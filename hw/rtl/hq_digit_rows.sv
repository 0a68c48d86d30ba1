// SPDX-License-Identifier: Apache-2.0
/// Multiply any function of three bits by an integer, two bits of it at a time:
///
///   product_o = w(index_i) * x_i = sum over k of row_k(index_i, digit k of x_i) * 4**k
///
/// A row's value is a function of five bits.  The first row is tables, two bits to a site; every
/// other row stands in the LUTs of the adder that adds it: S = rest ^ row, DI = rest, so it costs a
/// site for each of its bits.  No operand is decoded, and the sign of the last digit of a two's
/// complement x_i costs nothing.
///
/// Rows and their widths come from hw.styles.digit.  Latency 0 (combinational).  Exact: product_o is
/// two's complement where Signs says so of the last row, else unsigned.
`default_nettype none

module hq_digit_rows #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned XBits = 4,  // width of x_i
  parameter int unsigned Rows = 2,  // digits of x_i
  parameter int unsigned MaxBits = 6,  // of the widest sum of rows
  parameter bit [8*Rows-1:0] Widths = 16'h06_05,  // of the sum up to each row, in its units
  parameter bit [Rows-1:0] Signs = 2'b00,  // that sum is two's complement
  parameter bit [32*MaxBits*Rows-1:0] Init = '0,  // truth table of each bit of each row
  localparam int unsigned OutBits = 2 * (Rows - 1) + 32'(Widths[8*(Rows-1)+:8])
) (
  input  logic [2:0] index_i,
  input  logic [XBits-1:0] x_i,
  output logic [OutBits-1:0] product_o
);

  localparam bit BadX = XBits < 1 || XBits > 25 || Rows != (XBits + 1) / 2;
  if (BadX) begin : gen_bad_x
    $error("hq_digit_rows: XBits must be 1..25 and Rows half of it");
  end
  localparam bit BadWidth = MaxBits < 2 || MaxBits > 52;
  if (BadWidth) begin : gen_bad_width
    $error("hq_digit_rows: MaxBits must be 2..52");
  end
  localparam bit Legal = !(BadX || BadWidth);

  localparam int unsigned Wide = MaxBits + 2;

  logic [2*Rows-1:0] x;
  logic [Rows-1:0][Wide-1:0] part;  // the sum up to each row

  assign x = (2 * Rows)'(x_i);

  for (genvar k = 0; Legal && k < Rows; k++) begin : gen_row
    localparam int unsigned Width = 32'(Widths[8*k+:8]);
    localparam bit [32*MaxBits-1:0] Row = Init[32*MaxBits*k+:32*MaxBits];

    logic [4:0] in;
    logic [Width-1:0] sum;

    assign in = {x[2*k+:2], index_i};

    if (k == 0) begin : gen_first
      for (genvar i = 0; Legal && i < Width; i += 2) begin : gen_pair
        if (i + 1 < Width) begin : gen_two
          hq_lut_pair #(
            .Primitive(Primitive),
            .InitA(Row[32*i+:32]),
            .InitB(Row[32*(i+1)+:32])
          ) u_bits (
            .in_i(in),
            .a_o(sum[i]),
            .b_o(sum[i+1])
          );
        end else begin : gen_one
          hq_lut #(
            .Primitive(Primitive),
            .Init({2{Row[32*i+:32]}})
          ) u_bit (
            .in_i({1'b0, in}),
            .out_o(sum[i])
          );
        end
      end
    end else begin : gen_next
      logic [Width-1:0] rest;
      logic [Width-1:0] sel;
      logic unused_carry;

      assign rest = part[k-1][2+:Width];

      for (genvar i = 0; Legal && i < Width; i++) begin : gen_bit
        hq_lut #(
          .Primitive(Primitive),
          .Init({~Row[32*i+:32], Row[32*i+:32]})
        ) u_sel (
          .in_i({rest[i], in}),
          .out_o(sel[i])
        );
      end

      hq_chain #(
        .Primitive(Primitive),
        .Width(Width)
      ) u_chain (
        .carry_i(1'b0),
        .s_i(sel),
        .di_i(rest),
        .sum_o(sum),
        .carry_o(unused_carry)
      );
    end

    assign part[k] = {{Wide - Width{Signs[k] && sum[Width-1]}}, sum};

    if (k < Rows - 1) begin : gen_done
      assign product_o[2*k+:2] = sum[1:0];
    end else begin : gen_last
      assign product_o[OutBits-1:2*k] = sum;
    end
  end

  logic unused_part;
  assign unused_part = ^part;

endmodule

`default_nettype wire
