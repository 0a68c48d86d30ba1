// SPDX-License-Identifier: Apache-2.0
/// Shift a product of significands by the exponents of both operands:
///
///   product_o = sig_i << (max(weight_exp_i, 1) - 1 + max(act_exp_i, 1) - 1)
///
/// An operand with ExpBits 0 does not count.  Two exponent bits at most: e1 and (e1 & e0) are the
/// shift's parts, three of the four are one 4:1 stage and the fourth is a 2:1 stage.  Else the
/// sum of max(e, 1) shifts, two of its bits a stage, fine stages first, and the bits that it is
/// too much are dropped.
///
/// Latency 0 (combinational).  Exact: ProductBits holds every product (the caller sees to it).
`default_nettype none

module hq_tree_shift #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned SigBits = 6,  // width of sig_i
  parameter bit Twos = 1'b0,  // sig_i is two's complement
  parameter int unsigned WeightExpBits = 2,  // 0 or 2..7
  parameter int unsigned ActExpBits = 2,  // 0 or 2..7
  parameter int unsigned ProductBits = 10  // width of product_o
) (
  input  logic [SigBits-1:0] sig_i,
  input  logic [6:0] weight_exp_i,
  input  logic [6:0] act_exp_i,
  output logic [ProductBits-1:0] product_o
);

  localparam bit BadSigBits = SigBits < 1 || SigBits > 16;
  if (BadSigBits) begin : gen_bad_sig_bits
    $error("hq_tree_shift: SigBits must be 1..16");
  end
  localparam bit BadProductBits = ProductBits < 1 || ProductBits > 512;
  if (BadProductBits) begin : gen_bad_product_bits
    $error("hq_tree_shift: ProductBits must be 1..512");
  end
  localparam bit BadParameter =
      WeightExpBits == 1 || WeightExpBits > 7 || ActExpBits == 1 || ActExpBits > 7;
  if (BadParameter) begin : gen_bad
    $error("hq_tree_shift: WeightExpBits and ActExpBits must be 0 or 2..7");
  end
  localparam bit Legal = !(BadSigBits || BadProductBits || BadParameter);

  localparam bit Pair = WeightExpBits > 0 && ActExpBits > 0;
  localparam int unsigned LargestExp = WeightExpBits > ActExpBits ? WeightExpBits : ActExpBits;

  if (LargestExp == 2) begin : gen_short
    localparam int unsigned ByBits = Pair ? 2 : 1;
    localparam int unsigned Mid = SigBits + (1 << ByBits) - 1;

    // Inputs of the tables, as the truth tables of their own projections.
    localparam logic [63:0] Here = 64'hAAAA_AAAA_AAAA_AAAA;
    localparam logic [63:0] Below = 64'hCCCC_CCCC_CCCC_CCCC;
    localparam logic [63:0] Last = 64'hF000_F000_F000_F000;  // both nets of the select

    logic [1:0] field;
    logic [ByBits-1:0] by;
    logic [Mid-1:0] mid;
    logic [ProductBits-1:0] same;
    logic [ProductBits-1:0] down;
    logic unused_exp;

    assign unused_exp = ^{weight_exp_i, act_exp_i};

    if (Pair) begin : gen_pair
      localparam logic [31:0] W0 = 32'hAAAA_AAAA;
      localparam logic [31:0] W1 = 32'hCCCC_CCCC;
      localparam logic [31:0] A1 = 32'hF0F0_F0F0;

      hq_lut_pair #(
        .Primitive(Primitive),
        .InitA((W1 & W0) | (W1 & A1)),
        .InitB((W1 & ~W0) ^ A1)
      ) u_by (
        .in_i({2'b00, act_exp_i[1], weight_exp_i[1:0]}),
        .a_o(by[1]),
        .b_o(by[0])
      );

      assign field = act_exp_i[1:0];
    end else begin : gen_alone
      assign field = WeightExpBits > 0 ? weight_exp_i[1:0] : act_exp_i[1:0];
      assign by = field[1];
    end

    hq_mux_shift #(
      .Primitive(Primitive),
      .Bits(SigBits),
      .Step(1),
      .ByBits(ByBits),
      .Signed(Twos)
    ) u_shift (
      .in_i(sig_i),
      .by_i(by),
      .out_o(mid)
    );

    if (Twos) begin : gen_signed
      assign same = ProductBits'($signed(mid));
    end else begin : gen_unsigned
      assign same = ProductBits'(mid);
    end

    assign down = {same[ProductBits-2:0], 1'b0};

    for (genvar i = 0; Legal && i < ProductBits; i++) begin : gen_bit
      hq_lut #(
        .Primitive(Primitive),
        .Init((~Last & Here) | (Last & Below))
      ) u_last (
        .in_i({2'b00, field, down[i], same[i]}),
        .out_o(product_o[i])
      );
    end
  end else begin : gen_sum
    localparam int unsigned SumBits = LargestExp + (Pair ? 1 : 0);
    localparam int unsigned Drop = Pair ? 2 : 1;
    localparam int unsigned Stages = (SumBits + 1) / 2;
    localparam int unsigned Wide = SigBits + (1 << SumBits) - 1;

    logic [LargestExp-1:0] weight_exp;  // max(e, 1), 0 where there is no exponent
    logic [LargestExp-1:0] act_exp;
    logic [SumBits-1:0] by;
    logic [Wide-1:0] shifted[Stages+1];
    logic unused_exp;

    assign unused_exp = ^{weight_exp_i, act_exp_i};

    assign weight_exp = {
      weight_exp_i[LargestExp-1:1],
      WeightExpBits > 0 && (weight_exp_i[0] || weight_exp_i[LargestExp-1:1] == '0)
    };
    assign act_exp = {
      act_exp_i[LargestExp-1:1],
      ActExpBits > 0 && (act_exp_i[0] || act_exp_i[LargestExp-1:1] == '0)
    };

    if (Pair) begin : gen_pair
      logic [SumBits-1:0] weight_wide;
      logic [SumBits-1:0] act_wide;

      assign weight_wide = SumBits'(weight_exp);
      assign act_wide = SumBits'(act_exp);

      hq_add #(
        .Width(SumBits),
        .HasCarry(1'b0)
      ) u_total (
        .a_i(weight_wide),
        .b_i(act_wide),
        .carry_i(1'b0),
        .sum_o(by)
      );
    end else begin : gen_alone
      assign by = weight_exp | act_exp;
    end

    assign shifted[0] = Wide'(sig_i);

    for (genvar k = 0; Legal && k < Stages; k++) begin : gen_stage
      localparam int unsigned Bits = SigBits + (1 << (2 * k)) - 1;  // before this stage
      localparam int unsigned Two = 2 * k + 1 < SumBits ? 2 : 1;
      localparam int unsigned Out = SigBits + (1 << (2 * k + Two)) - 1;

      logic [Out-1:0] out;

      hq_mux_shift #(
        .Primitive(Primitive),
        .Bits(Bits),
        .Step(1 << (2 * k)),
        .ByBits(Two),
        .Signed(Twos)
      ) u_shift (
        .in_i(shifted[k][Bits-1:0]),
        .by_i(by[2*k+:Two]),
        .out_o(out)
      );

      assign shifted[k+1] = Wide'(out);
    end

    assign product_o = shifted[Stages][Drop+:ProductBits];

    logic unused_shifted;
    assign unused_shifted = ^shifted[Stages];
  end

endmodule

`default_nettype wire
