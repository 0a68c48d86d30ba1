// SPDX-License-Identifier: Apache-2.0
/// The kernel as one writes it without further thought, to compare ours with:
///
///   acc_o = (clear_i ? 0 : acc) + sum over lanes of weight_i * act_i
///
/// Each code is decoded to sign, significand and exponent; the significands are multiplied, the
/// product is shifted by both exponents and negated where the signs differ, lanes are added with
/// `+`.  The multiplier is library block hq_mul, which is `*`.  Same parameters, ports and timing as hq_mac; it wraps.
`default_nettype none

module textbook_product #(
  parameter int unsigned WeightBits = 4,
  parameter bit WeightFloat = 1'b1,
  parameter bit WeightSigned = 1'b1,
  parameter int unsigned WeightExpBits = 2,
  parameter int unsigned ActBits = 4,
  parameter bit ActFloat = 1'b1,
  parameter bit ActSigned = 1'b1,
  parameter int unsigned ActExpBits = 2,
  parameter int unsigned ProductBits = 9
) (
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic [ProductBits-1:0] product_o
);

  // Mantissa, hidden bit, exponent of either operand; an integer is its own significand.
  localparam int unsigned WeightMan = WeightBits - WeightExpBits - 32'(WeightFloat && WeightSigned);
  localparam int unsigned ActMan = ActBits - ActExpBits - 32'(ActFloat && ActSigned);
  localparam int unsigned WeightSig = WeightMan + 32'(WeightExpBits > 0);
  localparam int unsigned ActSig = ActMan + 32'(ActExpBits > 0);
  localparam bit WeightTwos = !WeightFloat && WeightSigned;
  localparam bit ActTwos = !ActFloat && ActSigned;

  logic [WeightSig-1:0] weight_sig;
  logic [ActSig-1:0] act_sig;
  logic [7:0] weight_shift;
  logic [7:0] act_shift;
  logic [WeightSig+ActSig-1:0] product;
  logic [ProductBits-1:0] shifted;
  logic negative;

  if (WeightExpBits == 0) begin : gen_weight_fixed
    assign weight_sig = weight_i[WeightSig-1:0];
    assign weight_shift = '0;
  end else begin : gen_weight_float
    logic [WeightExpBits-1:0] field;
    assign field = weight_i[WeightMan+:WeightExpBits];
    if (WeightMan == 0) begin : gen_no_mantissa
      assign weight_sig = field != '0;
    end else begin : gen_mantissa
      assign weight_sig = {field != '0, weight_i[WeightMan-1:0]};
    end
    assign weight_shift = field == '0 ? '0 : 8'(field) - 8'd1;
  end

  if (ActExpBits == 0) begin : gen_act_fixed
    assign act_sig = act_i[ActSig-1:0];
    assign act_shift = '0;
  end else begin : gen_act_float
    logic [ActExpBits-1:0] field;
    assign field = act_i[ActMan+:ActExpBits];
    if (ActMan == 0) begin : gen_no_mantissa
      assign act_sig = field != '0;
    end else begin : gen_mantissa
      assign act_sig = {field != '0, act_i[ActMan-1:0]};
    end
    assign act_shift = field == '0 ? '0 : 8'(field) - 8'd1;
  end

  hq_mul #(
    .ABits(WeightSig),
    .BBits(ActSig),
    .ASigned(WeightTwos),
    .BSigned(ActTwos)
  ) u_mul (
    .a_i(weight_sig),
    .b_i(act_sig),
    .p_o(product)
  );

  if (WeightTwos || ActTwos) begin : gen_signed
    assign shifted = ProductBits'($signed(product)) << (weight_shift + act_shift);
  end else begin : gen_unsigned
    assign shifted = ProductBits'(product) << (weight_shift + act_shift);
  end

  assign negative = (WeightFloat && WeightSigned && weight_i[WeightBits-1])
                  ^ (ActFloat && ActSigned && act_i[ActBits-1]);
  assign product_o = negative ? -shifted : shifted;

endmodule

module textbook_mac #(
  parameter int unsigned Lanes = 1,
  parameter int unsigned WeightBits = 4,
  parameter bit WeightFloat = 1'b1,
  parameter bit WeightSigned = 1'b1,
  parameter int unsigned WeightExpBits = 2,
  parameter int unsigned ActBits = 4,
  parameter bit ActFloat = 1'b1,
  parameter bit ActSigned = 1'b1,
  parameter int unsigned ActExpBits = 2,
  parameter int unsigned ProductBits = 9,
  parameter int unsigned AccBits = 17
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic [Lanes-1:0][WeightBits-1:0] weight_i,
  input  logic [Lanes-1:0][ActBits-1:0] act_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  // A product of unsigned codes has no sign bit of its own.
  localparam bit Signed = WeightSigned || ActSigned;

  logic valid_q;
  logic [Lanes-1:0][WeightBits-1:0] weight_q;
  logic [Lanes-1:0][ActBits-1:0] act_q;
  logic [Lanes:0][AccBits-1:0] sum;
  logic [AccBits-1:0] acc_q;

  assign sum[0] = acc_q;

  for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane
    logic [ProductBits-1:0] product;
    logic [AccBits-1:0] addend;

    textbook_product #(
      .WeightBits(WeightBits),
      .WeightFloat(WeightFloat),
      .WeightSigned(WeightSigned),
      .WeightExpBits(WeightExpBits),
      .ActBits(ActBits),
      .ActFloat(ActFloat),
      .ActSigned(ActSigned),
      .ActExpBits(ActExpBits),
      .ProductBits(ProductBits)
    ) u_product (
      .weight_i(weight_q[lane]),
      .act_i(act_q[lane]),
      .product_o(product)
    );

    if (Signed) begin : gen_signed
      assign addend = AccBits'($signed(product));
    end else begin : gen_unsigned
      assign addend = AccBits'(product);
    end

    assign sum[lane+1] = sum[lane] + addend;
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  // The clear comes one cycle ahead of its beat, as the register's reset.
  always_ff @(posedge clk_i) begin
    if (rst_i || (en_i && valid_i && clear_i)) acc_q <= '0;
    else if (en_i && valid_q) acc_q <= sum[Lanes];
  end

  always_ff @(posedge clk_i) begin
    if (en_i && valid_q) acc_o <= sum[Lanes];
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= 1'b0;
      valid_o <= 1'b0;
    end else if (en_i) begin
      valid_q <= valid_i;
      valid_o <= valid_q;
    end
  end

endmodule

`default_nettype wire
