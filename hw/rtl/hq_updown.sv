// SPDX-License-Identifier: Apache-2.0
/// Next state of a counter that steps by -1, 0 or +1:  next_o = count_i + up_i - down_i.
///
/// The high part of an accumulator sees no more than the carry of its low part and the sign of
/// the addend.  Three bits and the two steps are five inputs, so three sums and the next group's
/// up_i are four functions of them: two LUT6 sites for three bits, where a carry chain needs one
/// site for each.  The step between groups is again up - down:
///
///   {up', next} = count + {3{down}} + up
///
/// A LUT level for every three bits.  Latency 0 (combinational).  Exact, modulo 2**Width.
`default_nettype none

module hq_updown #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Width = 9  // bits
) (
  input  logic [Width-1:0] count_i,
  input  logic up_i,
  input  logic down_i,
  output logic [Width-1:0] next_o
);

  localparam bit BadWidth = Width < 1 || Width > 4096;
  if (BadWidth) begin : gen_bad_width
    $error("hq_updown: Width must be 1..4096");
  end
  localparam bit Legal = !BadWidth;

  localparam int unsigned Groups = (Width + 2) / 3;

  // Inputs of a group's tables, as the truth tables of their own projections.
  localparam logic [31:0] Q0 = 32'hAAAA_AAAA;
  localparam logic [31:0] Q1 = 32'hCCCC_CCCC;
  localparam logic [31:0] Q2 = 32'hF0F0_F0F0;
  localparam logic [31:0] Up = 32'hFF00_FF00;
  localparam logic [31:0] Down = 32'hFFFF_0000;

  localparam logic [31:0] Carry1 = (Q0 & Down) | (Q0 & Up) | (Down & Up);
  localparam logic [31:0] Carry2 = (Q1 & Down) | (Q1 & Carry1) | (Down & Carry1);
  localparam logic [31:0] Carry3 = (Q2 & Down) | (Q2 & Carry2) | (Down & Carry2);
  localparam logic [31:0] Next0 = Q0 ^ Down ^ Up;
  localparam logic [31:0] Next1 = Q1 ^ Down ^ Carry1;
  localparam logic [31:0] Next2 = Q2 ^ Down ^ Carry2;

  logic [Groups-1:0] up;

  assign up[0] = up_i;

  for (genvar g = 0; Legal && g < Groups; g++) begin : gen_group
    localparam int unsigned Low = 3 * g;
    localparam int unsigned Rest = Width - Low;  // bits from here on

    if (Rest == 1) begin : gen_one
      hq_lut #(
        .Primitive(Primitive),
        .Init({2{Next0}})
      ) u_next (
        .in_i({1'b0, down_i, up[g], 2'b00, count_i[Low]}),
        .out_o(next_o[Low])
      );
    end else if (Rest == 2) begin : gen_two
      hq_lut_pair #(
        .Primitive(Primitive),
        .InitA(Next1),
        .InitB(Next0)
      ) u_next (
        .in_i({down_i, up[g], 1'b0, count_i[Low+:2]}),
        .a_o(next_o[Low+1]),
        .b_o(next_o[Low])
      );
    end else begin : gen_three
      hq_lut_pair #(
        .Primitive(Primitive),
        .InitA(Next2),
        .InitB(Next1)
      ) u_next (
        .in_i({down_i, up[g], count_i[Low+:3]}),
        .a_o(next_o[Low+2]),
        .b_o(next_o[Low+1])
      );

      if (Rest == 3) begin : gen_last
        hq_lut #(
          .Primitive(Primitive),
          .Init({2{Next0}})
        ) u_low (
          .in_i({1'b0, down_i, up[g], 2'b00, count_i[Low]}),
          .out_o(next_o[Low])
        );
      end else begin : gen_carry
        hq_lut_pair #(
          .Primitive(Primitive),
          .InitA(Carry3),
          .InitB(Next0)
        ) u_low (
          .in_i({down_i, up[g], count_i[Low+:3]}),
          .a_o(up[g+1]),
          .b_o(next_o[Low])
        );
      end
    end
  end

endmodule

`default_nettype wire
