// SPDX-License-Identifier: Apache-2.0
/// One lane of a bucket kernel: exact products, each added to the bucket of its exponent.
///
///   bucket[e >> Window] += (neg ? -1 : 1) * sig_w * sig_a * 2**(e mod 2**Window),   e = e_w + e_a
///
/// The buckets lie in distributed RAM, so neither a shifter nor an accumulator as wide as the
/// product is built.  To drain, the same adder computes top = (top + bucket) >> 2**Window from the
/// least bucket up; the bits it shifts out are the result's, least first, and top its rest.  The
/// sum of length products bounds every top, so BucketBits holds it.
///
///   accumulate  top = 0           sum = bucket + product           written back
///   drain       product = 0       top = (bucket + top) >> R        (R = 2**Window)
///   clear       top = -1, neg = 1 sum = bucket + ~bucket + 1 = 0   written back
///
/// The third line is the pair of values that the other two never have, so clearing costs no gate
/// in the carry chain; a position's LUT has the six inputs bucket, top, neg, two product bits and
/// the exponent's least bit.  Draining and clearing addresses come in as addr_i: with no beat both
/// exponents are least and the exponent adder's carries repeat them.
///
/// Operand register, product register, bucket: 2 cycles to the RAM.  Exact.
`default_nettype none

module hq_bucket #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned WeightBits = 8,  // weight code width
  parameter bit WeightFloat = 1'b1,  // weight is a minifloat
  parameter bit WeightSigned = 1'b1,  // weight has a sign
  parameter int unsigned WeightExpBits = 4,  // weight exponent field width
  parameter int unsigned ActBits = 8,  // activation code width
  parameter bit ActFloat = 1'b1,  // activation is a minifloat
  parameter bit ActSigned = 1'b1,  // activation has a sign
  parameter int unsigned ActExpBits = 4,  // activation exponent field width
  parameter bit RecodeAct = 1'b0,  // Booth recodes the activation, else the weight
  parameter int unsigned Window = 0,  // log2 of the exponents that share a bucket
  parameter int unsigned AddrBits = 5,  // width of a bucket address
  parameter int unsigned BucketBits = 17,  // width of a bucket
  localparam int unsigned Digit = 1 << Window
) (
  input  logic clk_i,
  input  logic en_i,
  input  logic drop_i,  // resets the operands: the codes are no beat
  input  logic write_i,  // enables the writing of buckets
  input  logic [AddrBits-1:0] addr_i,
  input  logic clear_i,
  input  logic set_i,  // sets the top to all ones
  input  logic shift_i,  // lets the top take the sum
  input  logic [WeightBits-1:0] weight_i,
  input  logic [ActBits-1:0] act_i,
  output logic [Digit-1:0] digit_o,  // what the drain step shifts out, before its clock edge
  output logic [BucketBits-1:0] top_o
);

  localparam int unsigned WeightSign = WeightSigned && WeightFloat ? 1 : 0;
  localparam int unsigned WeightSigBits =
      WeightBits - WeightSign - WeightExpBits + (WeightExpBits > 0 ? 1 : 0);
  localparam int unsigned WeightShiftBits = WeightExpBits > 1 ? WeightExpBits : 1;
  localparam int unsigned ActSign = ActSigned && ActFloat ? 1 : 0;
  localparam int unsigned ActSigBits =
      ActBits - ActSign - ActExpBits + (ActExpBits > 0 ? 1 : 0);
  localparam int unsigned ActShiftBits = ActExpBits > 1 ? ActExpBits : 1;
  localparam bit WeightTwos = WeightSigned && !WeightFloat;
  localparam bit ActTwos = ActSigned && !ActFloat;
  localparam bit Twos = WeightTwos || ActTwos;
  localparam int unsigned MulBits = WeightSigBits + ActSigBits;
  localparam bit HasWeightExp = WeightExpBits > 1;
  localparam bit HasActExp = ActExpBits > 1;
  localparam int unsigned ExpBits =
      WeightShiftBits > ActShiftBits ? WeightShiftBits : ActShiftBits;
  localparam int unsigned Offset = (HasWeightExp ? 1 : 0) + (HasActExp ? 1 : 0);
  localparam int unsigned SumBits = AddrBits + Window;
  // Powers of two: a zero is told by the product's one bit, a table of both exponents, so the
  // fields are added as they are and the buckets begin at 0.
  localparam bit Fields = WeightSigBits == 1 && ActSigBits == 1 && HasWeightExp && HasActExp
      && Window == 0 && WeightExpBits + ActExpBits <= 6;

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_bucket: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_bucket: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_bucket: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_bucket: ActExpBits must be 0..7");
  end
  localparam bit BadAddrBits = AddrBits < 1 || AddrBits > 6;
  if (BadAddrBits) begin : gen_bad_addr_bits
    $error("hq_bucket: AddrBits must be 1..6");
  end
  localparam bit BadBucketBits = BucketBits < 1 || BucketBits > 512;
  if (BadBucketBits) begin : gen_bad_bucket_bits
    $error("hq_bucket: BucketBits must be 1..512");
  end
  localparam bit BadExponents = !HasWeightExp && !HasActExp;
  if (BadExponents) begin : gen_bad_exponents
    $error("hq_bucket: WeightExpBits or ActExpBits must be 2..7");
  end
  localparam bit BadWindow = Window > 2;
  if (BadWindow) begin : gen_bad_window
    $error("hq_bucket: Window must be 0..2");
  end
  localparam bit BadBucket = BucketBits <= MulBits;
  if (BadBucket) begin : gen_bad_bucket
    $error("hq_bucket: BucketBits must exceed the product of the significands");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadAddrBits ||
      BadBucketBits || BadExponents || BadWindow || BadBucket);

  // Operands.  Without a beat they are code 0, which adds nothing.
  logic [WeightBits-1:0] weight_q;
  logic [ActBits-1:0] act_q;

  always_ff @(posedge clk_i) begin
    if (drop_i) begin
      weight_q <= '0;
      act_q <= '0;
    end else if (en_i) begin
      weight_q <= weight_i;
      act_q <= act_i;
    end
  end

  logic weight_neg;
  logic [WeightSigBits-1:0] weight_sig;
  logic [WeightShiftBits-1:0] weight_exp;
  logic act_neg;
  logic [ActSigBits-1:0] act_sig;
  logic [ActShiftBits-1:0] act_exp;
  logic [MulBits-1:0] product;
  logic [SumBits-1:0] exp_sum;

  hq_bucket_decode #(
    .Primitive(Primitive && !Fields),
    .Bits(WeightBits),
    .Float(WeightFloat),
    .Signed(WeightSigned),
    .ExpBits(WeightExpBits)
  ) u_decode_weight (
    .code_i(weight_q),
    .neg_o(weight_neg),
    .sig_o(weight_sig),
    .exp_o(weight_exp)
  );

  hq_bucket_decode #(
    .Primitive(Primitive && !Fields),
    .Bits(ActBits),
    .Float(ActFloat),
    .Signed(ActSigned),
    .ExpBits(ActExpBits)
  ) u_decode_act (
    .code_i(act_q),
    .neg_o(act_neg),
    .sig_o(act_sig),
    .exp_o(act_exp)
  );

  hq_bucket_mul #(
    .Primitive(Primitive),
    .ABits(WeightSigBits),
    .BBits(ActSigBits),
    .ASigned(WeightTwos),
    .BSigned(ActTwos),
    .RecodeB(RecodeAct)
  ) u_mul (
    .a_i(weight_sig),
    .b_i(act_sig),
    .product_o(product)
  );

  // Without a beat the sum of exponents is Offset; addr_i then makes it the bucket's.
  logic [SumBits-1:0] wanted;
  if (Window == 0) begin : gen_wanted_all
    assign wanted = addr_i;
  end else begin : gen_wanted_window
    assign wanted = {addr_i, Window'(Offset)};
  end

  if (HasWeightExp && HasActExp) begin : gen_both
    // x + x + wanted[0] with x = wanted >> 1 comes out of the carries alone: every S is 0.
    localparam int unsigned Wide = SumBits > ExpBits ? SumBits - 1 : ExpBits;
    logic [Wide-1:0] a;
    logic [Wide-1:0] b;
    logic [Wide-1:0] flip;
    logic [Wide-1:0] sum;
    logic carry;

    if (Fields) begin : gen_fields
      logic unused_exp;
      assign unused_exp = ^{weight_exp, act_exp};
      assign a = Wide'(weight_q[WeightExpBits-1:0]);
      assign b = Wide'(act_q[ActExpBits-1:0]);
      assign flip = Wide'(wanted >> 1);
    end else begin : gen_least
      assign a = Wide'(weight_exp);
      assign b = Wide'(act_exp);
      assign flip = Wide'(wanted >> 1) ^ Wide'(1);
    end

    hq_chain #(
      .Primitive(Primitive),
      .Width(Wide)
    ) u_sum (
      .carry_i(wanted[0]),
      .s_i(a ^ b),
      .di_i(a ^ flip),
      .sum_o(sum),
      .carry_o(carry)
    );

    assign exp_sum = SumBits'({carry, sum});
  end else if (HasWeightExp) begin : gen_weight_only
    logic unused_exp;
    assign unused_exp = ^act_exp;
    assign exp_sum = SumBits'(weight_exp) ^ wanted ^ SumBits'(1);
  end else begin : gen_act_only
    logic unused_exp;
    assign unused_exp = ^weight_exp;
    assign exp_sum = SumBits'(act_exp) ^ wanted ^ SumBits'(1);
  end

  // Product.
  logic neg_q;
  logic [AddrBits-1:0] addr_q;
  logic [BucketBits-1:0] placed;

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      neg_q <= (weight_neg ^ act_neg) | clear_i;
      addr_q <= exp_sum[SumBits-1:Window];
    end
  end

  if (Window == 0) begin : gen_exact
    // The two lowest bits are made in the accumulator's LUTs, of operand bits.
    localparam int unsigned Made = WeightSigBits > 1 && ActSigBits > 1 ? 2 : 1;
    logic [MulBits-1:0] product_q;
    logic weight_low_q;

    if (Fields) begin : gen_nonzero
      always_ff @(posedge clk_i) begin
        if (en_i) weight_low_q <= weight_sig[0] && act_sig[0];
      end
      assign product_q[0] = weight_low_q;
    end else begin : gen_low
      logic act_low_q;

      always_ff @(posedge clk_i) begin
        if (en_i) begin
          weight_low_q <= weight_sig[0];
          act_low_q <= act_sig[0];
        end
      end
      assign product_q[0] = weight_low_q && act_low_q;
    end

    if (MulBits == 2) begin : gen_bit
      assign product_q[1] = 1'b0;
    end else if (Made == 1) begin : gen_row
      always_ff @(posedge clk_i) begin
        if (en_i) product_q[MulBits-1:1] <= product[MulBits-1:1];
      end
    end else begin : gen_rows
      logic half_q;
      logic act_next_q;

      always_ff @(posedge clk_i) begin
        if (en_i) begin
          half_q <= weight_sig[1] && act_sig[0];
          act_next_q <= act_sig[1];
        end
      end
      assign product_q[1] = half_q ^ (weight_low_q && act_next_q);

      if (MulBits == 4 && !Twos) begin : gen_square
        // Of 2 x 2 bits the upper two are one gate and the lowest bit.
        logic high_q;
        always_ff @(posedge clk_i) begin
          if (en_i) high_q <= weight_sig[1] && act_sig[1];
        end
        assign product_q[2] = high_q && !product_q[0];
        assign product_q[3] = high_q && product_q[0];
      end else begin : gen_wide
        always_ff @(posedge clk_i) begin
          if (en_i) product_q[MulBits-1:2] <= product[MulBits-1:2];
        end
      end
    end
    assign placed = Twos ? BucketBits'($signed(product_q)) : BucketBits'(product_q);
    logic unused_product;
    assign unused_product = ^product;
  end else if (Window == 1 || MulBits == 2) begin : gen_near
    // A product of single bits needs no second bit.
    localparam int unsigned Used = MulBits == 2 ? 1 : MulBits;
    logic [Used-1:0] product_q;
    logic [BucketBits-1:0] wide;
    logic [Window-1:0] shift_q;

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        product_q <= product[Used-1:0];
        shift_q <= exp_sum[Window-1:0];
      end
    end
    assign wide = Twos ? BucketBits'($signed(product_q)) : BucketBits'(product_q);
    assign placed = wide << shift_q;
    if (Used < MulBits) begin : gen_rest
      logic unused_product;
      assign unused_product = ^product[MulBits-1:Used];
    end
  end else begin : gen_far
    // One stage of the shift before the register, one in the accumulator's LUTs.
    logic [MulBits:0] once_q;
    logic [BucketBits-1:0] wide;
    logic twice_q;

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        once_q <= exp_sum[0] ? {product, 1'b0} : {Twos && product[MulBits-1], product};
        twice_q <= exp_sum[1];
      end
    end
    assign wide = Twos ? BucketBits'($signed(once_q)) : BucketBits'(once_q);
    assign placed = twice_q ? wide << 2 : wide;
  end

  // Buckets.
  logic [BucketBits-1:0] bucket;
  logic [BucketBits-1:0] sum;
  logic [BucketBits-1:0] top_q;
  logic [BucketBits-1:0] clear;

  assign clear = top_q & {BucketBits{neg_q}};

  if (Primitive) begin : gen_cells
    logic unused_carry;
    hq_chain #(
      .Primitive(1'b1),
      .Width(BucketBits)
    ) u_add (
      .carry_i(neg_q),
      .s_i(clear | (bucket ^ top_q ^ {BucketBits{neg_q}} ^ placed)),
      .di_i(bucket),
      .sum_o(sum),
      .carry_o(unused_carry)
    );
  end else begin : gen_portable
    logic [BucketBits-1:0] addend;
    // To clear, the addend is ~bucket, and with neg_q as carry the sum is 0.
    for (genvar b = 0; Legal && b < BucketBits; b++) begin : gen_bit
      assign addend[b] = clear[b] ? !bucket[b] : top_q[b] ^ neg_q ^ placed[b];
    end
    hq_add #(
      .Width(BucketBits),
      .HasCarry(1'b1)
    ) u_add (
      .a_i(bucket),
      .b_i(addend),
      .carry_i(neg_q),
      .sum_o(sum)
    );
  end

  hq_bucket_ram #(
    .Primitive(Primitive),
    .AddrBits(AddrBits),
    .Width(BucketBits)
  ) u_ram (
    .clk_i(clk_i),
    .we_i(write_i),
    .addr_i(addr_q),
    .data_i(sum),
    .data_o(bucket)
  );

  always_ff @(posedge clk_i) begin
    if (set_i) top_q <= '1;
    else if (shift_i) top_q <= {{Digit{sum[BucketBits-1]}}, sum[BucketBits-1:Digit]};
  end

  assign digit_o = sum[Digit-1:0];
  assign top_o = top_q;

endmodule

`default_nettype wire
