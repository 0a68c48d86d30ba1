// SPDX-License-Identifier: Apache-2.0
/// Bucket kernel: a dot product of Lanes exact products a beat, one result per dot product.
///
///   acc_o = sum over the dot product's beats and lanes of weight_i * act_i    modulo 2**AccBits
///
/// A beat is taken where en_i, valid_i and ready_o.  clear_i starts a dot product with its beat,
/// last_i ends it; a beat may be both.  A beat with clear_i amid an unended dot product
/// drops it: ready_o is then low until the buckets are clear, so ready_o depends on clear_i in the
/// same cycle.  Code 0 stands for a lane without data.  No dot product may have more beats than
/// BucketBits was made for.  en_i = 0 freezes everything; rst_i acts even then.
///
/// With n buckets, R = 2**Window and S drain steps (S = n for one lane, else enough for the result
/// in digits of R bits), in enabled cycles:
///   latency, last beat to valid_o:        S + 3, and one more when Lanes > 1
///   last beat to the next beat:           S + C + 3,  C = n (one lane) or n + 1
///   a clear amid a dot product:           C + 2 cycles until it is taken
///   reset to the first beat:              C + 2
/// acc_o is the result in the cycle of valid_o only.
///
/// The lanes' digits are added serially, least first, as they drain.
///
/// Exact.  Equals the last value of hwquant.mac.MacSpec.accumulate (wrap).
`default_nettype none

module hq_bucket_mac #(
  parameter bit Primitive = 1'b1,  // instantiate the device's cells
  parameter int unsigned Lanes = 1,  // products per beat
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
  parameter int unsigned First = 2,  // address of the least bucket
  parameter int unsigned Last = 30,  // address of the greatest bucket
  parameter int unsigned Steps = 29,  // drain steps
  parameter int unsigned BucketBits = 17,  // width of a bucket
  parameter int unsigned Drop = 0,  // bits of the result below the products' unit
  parameter int unsigned AccBits = 45  // accumulator width
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic clear_i,
  input  logic last_i,
  input  logic [Lanes-1:0][WeightBits-1:0] weight_i,
  input  logic [Lanes-1:0][ActBits-1:0] act_i,
  output logic ready_o,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  localparam bit BadWeightBits = WeightBits < 1 || WeightBits > 8;
  if (BadWeightBits) begin : gen_bad_weight_bits
    $error("hq_bucket_mac: WeightBits must be 1..8");
  end
  localparam bit BadActBits = ActBits < 1 || ActBits > 8;
  if (BadActBits) begin : gen_bad_act_bits
    $error("hq_bucket_mac: ActBits must be 1..8");
  end
  localparam bit BadWeightExpBits = WeightExpBits > 7;
  if (BadWeightExpBits) begin : gen_bad_weight_exp_bits
    $error("hq_bucket_mac: WeightExpBits must be 0..7");
  end
  localparam bit BadActExpBits = ActExpBits > 7;
  if (BadActExpBits) begin : gen_bad_act_exp_bits
    $error("hq_bucket_mac: ActExpBits must be 0..7");
  end
  localparam bit BadWindow = Window > 2;
  if (BadWindow) begin : gen_bad_window
    $error("hq_bucket_mac: Window must be 0..2");
  end
  localparam bit BadAddrBits = AddrBits < 1 || AddrBits > 6;
  if (BadAddrBits) begin : gen_bad_addr_bits
    $error("hq_bucket_mac: AddrBits must be 1..6");
  end
  localparam bit BadSteps = Steps < 1 || Steps > 1024;
  if (BadSteps) begin : gen_bad_steps
    $error("hq_bucket_mac: Steps must be 1..1024");
  end
  localparam bit BadBucketBits = BucketBits < 1 || BucketBits > 512;
  if (BadBucketBits) begin : gen_bad_bucket_bits
    $error("hq_bucket_mac: BucketBits must be 1..512");
  end
  localparam bit BadDrop = Drop > 1024;
  if (BadDrop) begin : gen_bad_drop
    $error("hq_bucket_mac: Drop must be 0..1024");
  end
  localparam bit BadAccBits = AccBits < 2 || AccBits > 1024;
  if (BadAccBits) begin : gen_bad_acc_bits
    $error("hq_bucket_mac: AccBits must be 2..1024");
  end
  localparam bit BadLanes = Lanes < 1 || Lanes > 4096;
  if (BadLanes) begin : gen_bad_lanes
    $error("hq_bucket_mac: Lanes must be 1..4096");
  end
  localparam bit BadLast = Last < First || Last >= (1 << AddrBits);
  if (BadLast) begin : gen_bad_last
    $error("hq_bucket_mac: Last must be First..2**AddrBits-1");
  end
  localparam bit Legal =
      !(BadWeightBits || BadActBits || BadWeightExpBits || BadActExpBits || BadWindow ||
      BadAddrBits || BadSteps || BadBucketBits || BadDrop || BadAccBits || BadLanes || BadLast);

  localparam int unsigned Digit = 1 << Window;
  localparam int unsigned LowBits = Digit * Steps;

  logic drop;
  logic clear;
  logic set;
  logic shift;
  logic drain;
  logic valid;
  logic write;
  logic [AddrBits-1:0] addr;
  logic [Lanes-1:0][Digit-1:0] digit;
  logic [Lanes-1:0][BucketBits-1:0] top;
  logic [LowBits-1:0] low_q;

  hq_drain #(
    .AddrBits(AddrBits),
    .First(First),
    .Last(Last),
    .Steps(Steps)
  ) u_drain (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .valid_i(valid_i),
    .clear_i(clear_i),
    .last_i(last_i),
    .ready_o(ready_o),
    .drop_o(drop),
    .addr_o(addr),
    .clear_o(clear),
    .set_o(set),
    .shift_o(shift),
    .drain_o(drain),
    .valid_o(valid)
  );

  for (genvar l = 0; Legal && l < Lanes; l++) begin : gen_lane
    hq_bucket #(
      .Primitive(Primitive),
      .WeightBits(WeightBits),
      .WeightFloat(WeightFloat),
      .WeightSigned(WeightSigned),
      .WeightExpBits(WeightExpBits),
      .ActBits(ActBits),
      .ActFloat(ActFloat),
      .ActSigned(ActSigned),
      .ActExpBits(ActExpBits),
      .RecodeAct(RecodeAct),
      .Window(Window),
      .AddrBits(AddrBits),
      .BucketBits(BucketBits)
    ) u_bucket (
      .clk_i(clk_i),
      .en_i(en_i),
      .drop_i(drop),
      .write_i(write),
      .addr_i(addr),
      .clear_i(clear),
      .set_i(set),
      .shift_i(shift),
      .weight_i(weight_i[l]),
      .act_i(act_i[l]),
      .digit_o(digit[l]),
      .top_o(top[l])
    );
  end

  if (Lanes == 1) begin : gen_one
    localparam int unsigned WholeBits = LowBits + BucketBits;
    localparam int unsigned OutBits = AccBits + Drop > WholeBits ? AccBits + Drop : WholeBits;
    logic [OutBits-1:0] whole;
    logic unused_drain;

    // The adder writes what it drains back; that is as good as anything until it is cleared.
    assign write = en_i;
    assign unused_drain = drain;
    assign whole = OutBits'($signed({top, low_q}));
    assign acc_o = whole[Drop+:AccBits];
    assign valid_o = valid;
    if (OutBits > AccBits) begin : gen_rest
      logic unused_whole;
      assign unused_whole = ^whole;
    end

    always_ff @(posedge clk_i) begin
      if (shift) low_q <= LowBits'({digit, low_q} >> Digit);
    end
  end else if (Legal) begin : gen_merge
    localparam int unsigned CarryBits = $clog2(Lanes);
    localparam int unsigned TotalBits = Digit + CarryBits + 1;
    logic [Lanes*Digit-1:0] digit_q;
    logic [CarryBits:0] carry_q;
    logic [TotalBits-1:0] total;
    logic drain_q;
    logic unused_top;

    // The word beyond the last bucket is read as 0 after the buckets, so it must stay 0.
    assign write = en_i && !drain;
    assign unused_top = ^{top, low_q};
    assign acc_o = low_q[Drop+:AccBits];

    for (genvar l = 0; Legal && l < Lanes; l++) begin : gen_add
      logic [TotalBits-1:0] sum;
      if (l == 0) begin : gen_first
        assign sum = TotalBits'(carry_q) + TotalBits'(digit_q[0+:Digit]);
      end else begin : gen_next
        assign sum = gen_add[l-1].sum + TotalBits'(digit_q[Digit*l+:Digit]);
      end
    end
    assign total = gen_add[Lanes-1].sum;

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        digit_q <= digit;
        drain_q <= drain;
        carry_q <= drain_q ? total[TotalBits-1:Digit] : '0;
        if (drain_q) low_q <= LowBits'({total[Digit-1:0], low_q} >> Digit);
      end
    end

    always_ff @(posedge clk_i) begin
      if (rst_i) valid_o <= 1'b0;
      else if (en_i) valid_o <= valid;
    end
  end

endmodule

`default_nettype wire
