// SPDX-License-Identifier: Apache-2.0
/// Product of one lane as a number and a sign apart:
///
///   weight * act = neg_o ? -product_o : product_o
///
///   up to six code bits below the signs   tables (hq_tree_table)
///   else, no exponents                    significand product (hq_sig_product)
///   else                                  the same and a shifter, fine stages first
///
/// Exponents are added as max(e, 1), and what that is too much is dropped by wiring; two exponent
/// bits shift by e1 + (e1 & e0), which needs no adder.  A shifter stage is 4:1 or 2:1.
///
/// Latency 0 (combinational).  Exact: product_o is two's complement where an operand is.
`default_nettype none

module hq_tree_lane #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 4,  // weight code width
  parameter int unsigned WeightExpBits = 2,  // weight exponent field width, 0 for none
  parameter bit WeightTwos = 1'b0,  // weight is two's complement
  parameter bit WeightFlip = 1'b1,  // weight has a sign bit on top of a magnitude
  parameter int unsigned ActBits = 4,  // activation code width
  parameter int unsigned ActExpBits = 2,  // activation exponent field width, 0 for none
  parameter bit ActTwos = 1'b0,  // activation is two's complement
  parameter bit ActFlip = 1'b1,  // activation has a sign bit on top of a magnitude
  parameter bit RecodeAct = 1'b0,  // recode the activation's significand instead of the weight's
  parameter int unsigned ProductBits = 8  // width of product_o
) (
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic neg_o,
  output logic [ProductBits-1:0] product_o
);

  localparam int unsigned WeightMag = WeightBits - (WeightFlip ? 1 : 0);
  localparam int unsigned ActMag = ActBits - (ActFlip ? 1 : 0);
  localparam bit WeightShifts = WeightExpBits > 1;
  localparam bit ActShifts = ActExpBits > 1;

  if (WeightBits < 1 || WeightBits > 8) begin : gen_bad_weight_bits
    $error("hq_tree_lane: WeightBits must be 1..8");
  end
  if (ActBits < 1 || ActBits > 8) begin : gen_bad_act_bits
    $error("hq_tree_lane: ActBits must be 1..8");
  end
  if (ProductBits < 1 || ProductBits > 512) begin : gen_bad_product_bits
    $error("hq_tree_lane: ProductBits must be 1..512");
  end
  if (WeightExpBits > 7 || ActExpBits > 7) begin : gen_bad_exp
    $error("hq_tree_lane: WeightExpBits and ActExpBits must be 0..7");
  end
  if ((WeightTwos && (WeightFlip || WeightExpBits > 0)) ||
      (ActTwos && (ActFlip || ActExpBits > 0))) begin : gen_bad_sign
    $error("hq_tree_lane: WeightTwos and ActTwos must be 0 with Flip or ExpBits");
  end

  assign neg_o = (WeightFlip && weight_i[WeightBits-1]) ^ (ActFlip && act_i[ActBits-1]);

  if (WeightMag + ActMag <= 6) begin : gen_table
    hq_tree_table #(
      .Primitive(Primitive),
      .ABits(ActMag),
      .AExpBits(ActExpBits),
      .ATwos(ActTwos),
      .BBits(WeightMag),
      .BExpBits(WeightExpBits),
      .BTwos(WeightTwos),
      .ProductBits(ProductBits)
    ) u_table (
      .a_i(act_i[ActMag-1:0]),
      .b_i(weight_i[WeightMag-1:0]),
      .product_o(product_o)
    );
  end else begin : gen_product
    // A significand has a bit in front of the mantissa where there is an exponent field that
    // shifts; one exponent bit is that bit.
    localparam int unsigned WeightSig = WeightMag - (WeightShifts ? WeightExpBits - 1 : 0);
    localparam int unsigned ActSig = ActMag - (ActShifts ? ActExpBits - 1 : 0);
    localparam int unsigned SigBits =
        WeightSig + ActSig - (WeightSig == 1 || ActSig == 1 ? 1 : 0);
    localparam bit Twos = WeightTwos || ActTwos;

    logic [WeightSig-1:0] weight_sig;
    logic [ActSig-1:0] act_sig;
    logic [SigBits-1:0] sig;

    if (WeightShifts && WeightSig == 1) begin : gen_weight_hidden
      assign weight_sig = weight_i[WeightMag-1:0] != '0;
    end else if (WeightShifts) begin : gen_weight_float
      assign weight_sig = {weight_i[WeightSig-1+:WeightExpBits] != '0, weight_i[WeightSig-2:0]};
    end else begin : gen_weight_fixed
      assign weight_sig = weight_i[WeightSig-1:0];
    end

    if (ActShifts && ActSig == 1) begin : gen_act_hidden
      assign act_sig = act_i[ActMag-1:0] != '0;
    end else if (ActShifts) begin : gen_act_float
      assign act_sig = {act_i[ActSig-1+:ActExpBits] != '0, act_i[ActSig-2:0]};
    end else begin : gen_act_fixed
      assign act_sig = act_i[ActSig-1:0];
    end

    if (RecodeAct) begin : gen_recode_act
      hq_sig_product #(
        .Primitive(Primitive),
        .ABits(ActSig),
        .BBits(WeightSig),
        .ASigned(ActTwos),
        .BSigned(WeightTwos)
      ) u_product (
        .a_i(act_sig),
        .b_i(weight_sig),
        .product_o(sig)
      );
    end else begin : gen_recode_weight
      hq_sig_product #(
        .Primitive(Primitive),
        .ABits(WeightSig),
        .BBits(ActSig),
        .ASigned(WeightTwos),
        .BSigned(ActTwos)
      ) u_product (
        .a_i(weight_sig),
        .b_i(act_sig),
        .product_o(sig)
      );
    end

    if (!WeightShifts && !ActShifts) begin : gen_fixed
      assign product_o = ProductBits'(sig);

      if (ProductBits < SigBits) begin : gen_short
        logic unused_top;
        assign unused_top = ^sig[SigBits-1:ProductBits];
      end
    end else begin : gen_shift
      hq_tree_shift #(
        .Primitive(Primitive),
        .SigBits(SigBits),
        .Twos(Twos),
        .WeightExpBits(WeightShifts ? WeightExpBits : 0),
        .ActExpBits(ActShifts ? ActExpBits : 0),
        .ProductBits(ProductBits)
      ) u_shift (
        .sig_i(sig),
        .weight_exp_i(WeightShifts ? 7'(weight_i[WeightMag-1:WeightSig-1]) : 7'd0),
        .act_exp_i(ActShifts ? 7'(act_i[ActMag-1:ActSig-1]) : 7'd0),
        .product_o(product_o)
      );
    end
  end

endmodule

`default_nettype wire
