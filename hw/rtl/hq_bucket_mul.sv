// SPDX-License-Identifier: Apache-2.0
/// Multiply two significands exactly: product_o = a_i * b_i.
///
/// With Primitive, 3 x 3 unsigned bits are tables; 4 x 4 unsigned bits are the table of the low
/// three of each and two short chains for the top bits a and b:
///
///   p = low_a * low_b + ((a ? low_b : 0) + (b ? low_a : 0)) * 8 + (a && b) * 64
///
/// and wider ones are Booth rows.  The two lowest bits are functions of four operand bits.
///
/// Latency 0 (combinational).  Exact.  Equals hq_mul.
`default_nettype none

module hq_bucket_mul #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned ABits = 4,  // width of a_i
  parameter int unsigned BBits = 4,  // width of b_i
  parameter bit ASigned = 1'b0,  // a_i is two's complement
  parameter bit BSigned = 1'b0,  // b_i is two's complement
  parameter bit RecodeB = 1'b0,  // Booth recodes b_i, else a_i
  localparam int unsigned OutBits = ABits + BBits
) (
  input  logic [ABits-1:0] a_i,
  input  logic [BBits-1:0] b_i,
  output logic [OutBits-1:0] product_o
);

  localparam bit BadA = ABits < 1 || ABits > 8;
  if (BadA) begin : gen_bad_a
    $error("hq_bucket_mul: ABits must be 1..8");
  end
  localparam bit BadB = BBits < 1 || BBits > 8;
  if (BadB) begin : gen_bad_b
    $error("hq_bucket_mul: BBits must be 1..8");
  end
  localparam bit Legal = !(BadA || BadB);

  // Truth tables of the bits of a 3 x 3 product, a_i the low index bits.
  function automatic logic [63:0] table3(input int unsigned place);
    for (int unsigned i = 0; i < 64; i++) begin
      table3[i] = (((i % 8) * (i / 8)) >> place) % 2 == 1;
    end
  endfunction

  if (Primitive && !ASigned && !BSigned && ABits == BBits && (ABits == 3 || ABits == 4)) begin
    : gen_tables
    logic [5:0] low;

    assign low[0] = a_i[0] && b_i[0];
    assign low[1] = (a_i[1] && b_i[0]) ^ (a_i[0] && b_i[1]);
    for (genvar i = 2; Legal && i < 6; i++) begin : gen_bit
      hq_lut #(
        .Primitive(1'b1),
        .Init(table3(i))
      ) u_bit (
        .in_i({b_i[2:0], a_i[2:0]}),
        .out_o(low[i])
      );
    end

    if (ABits == 3) begin : gen_three
      assign product_o = low;
    end else begin : gen_four
      logic [2:0] once;
      logic [2:0] other;
      logic [2:0] mixed;
      logic over;
      logic [3:0] upper;
      logic [3:0] add;
      logic carry;

      assign once = {3{a_i[3]}} & b_i[2:0];
      assign other = {3{b_i[3]}} & a_i[2:0];
      hq_chain #(
        .Primitive(1'b1),
        .Width(3)
      ) u_cross (
        .carry_i(1'b0),
        .s_i(once ^ other),
        .di_i(once),
        .sum_o(mixed),
        .carry_o(over)
      );
      assign upper = {a_i[3] && b_i[3], low[5:3]};
      assign add = {over, mixed};
      hq_chain #(
        .Primitive(1'b1),
        .Width(4)
      ) u_upper (
        .carry_i(1'b0),
        .s_i(upper ^ add),
        .di_i(add),
        .sum_o(product_o[6:3]),
        .carry_o(carry)
      );
      assign product_o[2:0] = low[2:0];
      assign product_o[7] = carry;
    end
  end else if (Primitive && ABits >= 3 && BBits >= 3) begin : gen_booth
    if (RecodeB) begin : gen_b
      hq_booth #(
        .Primitive(1'b1),
        .ABits(BBits),
        .BBits(ABits),
        .ASigned(BSigned),
        .BSigned(ASigned)
      ) u_booth (
        .a_i(b_i),
        .b_i(a_i),
        .product_o(product_o)
      );
    end else begin : gen_a
      hq_booth #(
        .Primitive(1'b1),
        .ABits(ABits),
        .BBits(BBits),
        .ASigned(ASigned),
        .BSigned(BSigned)
      ) u_booth (
        .a_i(a_i),
        .b_i(b_i),
        .product_o(product_o)
      );
    end
  end else begin : gen_plain
    hq_mul #(
      .ABits(ABits),
      .BBits(BBits),
      .ASigned(ASigned),
      .BSigned(BSigned)
    ) u_mul (
      .a_i(a_i),
      .b_i(b_i),
      .p_o(product_o)
    );
  end

endmodule

`default_nettype wire
