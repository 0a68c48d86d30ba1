// SPDX-License-Identifier: Apache-2.0
/// Carry chain: sum_o[i] = s_i[i] ^ c[i], c[i+1] = s_i[i] ? c[i] : di_i[i], c[0] = carry_i.
///
/// With s_i = x ^ y and di_i = x it adds x + y + carry_i, and the LUT that makes s_i may be any
/// function of six nets: that is how a product's last stage costs nothing.  The portable form
/// reads the same two vectors as the sum di_i + (s_i ^ di_i) + carry_i.
///
/// Latency 0 (combinational).  Exact.
`default_nettype none

module hq_chain #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 8  // positions
) (
  input  logic carry_i,
  input  logic [Width-1:0] s_i,
  input  logic [Width-1:0] di_i,
  output logic [Width-1:0] sum_o,
  output logic carry_o
);

  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_chain: Width must be 1..4096");
  end
  localparam bit Legal = !BadWidth;

  if (Primitive) begin : gen_cells
    localparam int unsigned Cells = (Width + 7) / 8;

    logic [8*Cells-1:0] select;
    logic [8*Cells-1:0] data;
    logic [8*Cells-1:0] sum;
    logic [8*Cells-1:0] carry;

    assign select = (8 * Cells)'(s_i);
    assign data = (8 * Cells)'(di_i);
    assign sum_o = sum[Width-1:0];
    assign carry_o = carry[Width-1];

    for (genvar c = 0; Legal && c < Cells; c++) begin : gen_cell
      logic first;

      if (c == 0) begin : gen_first
        assign first = carry_i;
      end else begin : gen_next
        assign first = carry[8*c-1];
      end

      CARRY8 u_carry (
        .CI(first),
        .CI_TOP(1'b0),
        .DI(data[8*c+:8]),
        .S(select[8*c+:8]),
        .O(sum[8*c+:8]),
        .CO(carry[8*c+:8])
      );
    end

    if (8 * Cells > Width) begin : gen_rest
      logic unused_rest;
      assign unused_rest = ^{sum[8*Cells-1:Width], carry[8*Cells-1:Width]};
    end
  end else begin : gen_portable
    logic [Width:0] a;
    logic [Width:0] b;
    logic [Width:0] total;

    assign a = {1'b0, di_i};
    assign b = {1'b0, s_i ^ di_i};
    assign {carry_o, sum_o} = total;

    hq_add #(
      .Width(Width + 1),
      .HasCarry(1'b1)
    ) u_add (
      .a_i(a),
      .b_i(b),
      .carry_i(carry_i),
      .sum_o(total)
    );
  end

endmodule

`default_nettype wire
