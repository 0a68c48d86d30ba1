// SPDX-License-Identifier: Apache-2.0
/// Requantize by thresholds: any monotone function of the accumulator.
///
///   count  = number of thresholds of chan_i that are <= acc_i         0 .. 2**Steps - 1
///   code_o = Codes[Falling[chan_i] ? 2**Steps - 1 - count : count]
///
/// Search: a binary search, one comparator and one table a step; step j compares with the
/// (2 * count + 1) * 2**(Steps - 1 - j)-th threshold, counted from 1.  Its table is stored channel
/// by channel; the steps' tables follow each other in Thresholds, the first in the low bits.
/// Without Search all thresholds are compared at once, and Thresholds is stored channel by channel,
/// ascending.  Thresholds that are never (always) reached fill up what is missing.
///
/// en_i = 0 freezes everything; rst_i acts even then.
///
/// Latency: Search Steps + 2 (first threshold, Steps comparisons, code); else 3 (thresholds,
/// comparisons, code).  Initiation interval 1.  Exact.  Equals hwquant.requant.Thresholds.
`default_nettype none

module hq_thr #(
  parameter int unsigned AccBits = 24,  // accumulator width, two's complement
  parameter int unsigned ThrBits = 25,  // threshold width, two's complement
  parameter int unsigned Steps = 4,  // log2 of the number of codes
  parameter int unsigned Channels = 4,  // rows of the tables
  parameter bit Search = 1'b1,  // binary search, else all at once
  parameter bit [Channels*((1<<Steps)-1)*ThrBits-1:0] Thresholds = '0,
  parameter bit [Channels-1:0] Falling = '0,  // channels that read the codes from the end
  parameter int unsigned Bits = 4,  // output code width
  parameter bit [(1<<Steps)*Bits-1:0] Codes = '0,  // the code of count 0 in the low bits
  localparam int unsigned ChanBits = Channels > 1 ? $clog2(Channels) : 1
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic valid_i,
  input  logic [ChanBits-1:0] chan_i,
  input  logic [AccBits-1:0] acc_i,
  output logic valid_o,
  output logic [Bits-1:0] code_o
);

  localparam bit BadChannels = Channels < 1 || Channels > 16384;
  if (BadChannels) begin : gen_bad_channels
    $error("hq_thr: Channels must be 1..16384");
  end
  localparam bit BadAcc = AccBits < 2 || AccBits > 1024;
  if (BadAcc) begin : gen_bad_acc
    $error("hq_thr: AccBits must be 2..1024");
  end
  localparam bit BadSteps = Steps < 1 || Steps > 8;
  if (BadSteps) begin : gen_bad_steps
    $error("hq_thr: Steps must be 1..8");
  end
  localparam bit BadBits = Bits < 1 || Bits > 8;
  if (BadBits) begin : gen_bad_bits
    $error("hq_thr: Bits must be 1..8");
  end
  localparam bit BadThr = ThrBits < 1 || ThrBits > AccBits + 1;
  if (BadThr) begin : gen_bad_thr
    $error("hq_thr: ThrBits must be 1..AccBits+1");
  end
  localparam bit Legal = !(BadChannels || BadAcc || BadSteps || BadBits || BadThr);

  localparam int unsigned Latency = Search ? Steps + 2 : 3;
  localparam int unsigned Count = (1 << Steps) - 1;

  logic [Latency-1:0] valid_q;
  logic [ChanBits-1:0] chan;  // a cycle before count
  logic [Steps-1:0] count;
  logic [Steps-1:0] place;
  logic falls;
  logic [Bits-1:0] code_d;

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else if (en_i) valid_q <= {valid_q[Latency-2:0], valid_i};
  end

  assign valid_o = valid_q[Latency-1];

  if (Search) begin : gen_search
    // What goes into step j stands at place j; flat, because not every tool takes arrays here.
    logic [(Steps+1)*AccBits-1:0] acc;
    logic [(Steps+1)*ChanBits-1:0] chans;
    logic [(Steps+1)*Steps-1:0] found;
    logic unused_acc;

    assign acc[AccBits-1:0] = acc_i;
    assign chans[ChanBits-1:0] = chan_i;
    assign found[Steps-1:0] = '0;
    assign unused_acc = ^acc[Steps*AccBits+:AccBits];
    assign chan = chans[Steps*ChanBits+:ChanBits];

    for (genvar j = 0; Legal && j < Steps; j++) begin : gen_step
      hq_thr_step #(
        .AccBits(AccBits),
        .ThrBits(ThrBits),
        .Steps(Steps),
        .Step(j),
        .Channels(Channels),
        .Thresholds(Thresholds[Channels*((1<<j)-1)*ThrBits+:Channels*(1<<j)*ThrBits])
      ) u_step (
        .clk_i(clk_i),
        .en_i(en_i),
        .chan_i(chans[j*ChanBits+:ChanBits]),
        .acc_i(acc[j*AccBits+:AccBits]),
        .found_i(found[j*Steps+:Steps]),
        .chan_o(chans[(j+1)*ChanBits+:ChanBits]),
        .acc_o(acc[(j+1)*AccBits+:AccBits]),
        .found_o(found[(j+1)*Steps+:Steps])
      );
    end

    always_ff @(posedge clk_i) begin
      if (en_i) count <= found[Steps*Steps+:Steps];
    end
  end else begin : gen_parallel
    localparam int unsigned CompareBits = AccBits > ThrBits ? AccBits : ThrBits;

    logic [AccBits-1:0] acc_q;
    logic signed [CompareBits-1:0] left;
    logic [Count*ThrBits-1:0] thresholds;
    logic [Count-1:0] reached;
    logic [Count-1:0] reached_q;

    hq_rom #(
      .Depth(Channels),
      .Width(Count * ThrBits),
      .Words(Thresholds)
    ) u_rom (
      .clk_i(clk_i),
      .en_i(en_i),
      .addr_i(chan_i),
      .data_o(thresholds)
    );

    assign left = CompareBits'($signed(acc_q));

    for (genvar t = 0; Legal && t < Count; t++) begin : gen_threshold
      logic signed [CompareBits-1:0] right;

      assign right = CompareBits'($signed(thresholds[t*ThrBits+:ThrBits]));
      assign reached[t] = left >= right;
    end

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        acc_q <= acc_i;
        chan <= chan_i;
        reached_q <= reached;
      end
    end

    // The thresholds ascend, so the number of ones is where they end: bit b of it is one where
    // an odd number of the thresholds (2**b, 2 * 2**b, ...) is reached.
    for (genvar b = 0; Legal && b < Steps; b++) begin : gen_count
      logic [(1<<(Steps-b))-2:0] ends;

      for (genvar e = 0; Legal && e < (1 << (Steps - b)) - 1; e++) begin : gen_end
        assign ends[e] = reached_q[((e+1)<<b)-1];
      end

      assign count[b] = ^ends;
    end
  end

  hq_rom #(
    .Depth(Channels),
    .Width(1),
    .Words(Falling)
  ) u_falling (
    .clk_i(clk_i),
    .en_i(en_i),
    .addr_i(chan),
    .data_o(falls)
  );

  assign place = count ^ {Steps{falls}};

  for (genvar b = 0; Legal && b < Bits; b++) begin : gen_code
    logic [Count:0] column;

    for (genvar w = 0; Legal && w <= Count; w++) begin : gen_word
      assign column[w] = Codes[w*Bits+b];
    end

    assign code_d[b] = column[place];
  end

  always_ff @(posedge clk_i) begin
    if (en_i) code_o <= code_d;
  end

endmodule

`default_nettype wire
