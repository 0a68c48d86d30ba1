// SPDX-License-Identifier: Apache-2.0
/// Add scaled blocks in a fixed-point window:
///
///   acc = wrap_or_clamp((first_i ? 0 : acc) + round(sum_i * sig_i * 2**(exp_i + Offset - Guard)))
///
/// sum_i * sig_i is put Guard bits below the window and shifted left by exp_i + Offset, no less
/// than 0 and no more than Left.  Guard is enough for whatever is lost below to be told from 0;
/// Left is the place at which anything but 0 is beyond the window.  The Guard bits are rounded to
/// the nearest, ties to even (Nearest), or dropped; without them nothing is lost.
///
/// Latency 3 (product, shift, accumulator), initiation interval 1.  Exact but for the rounding.
/// Equals hwquant.block_mac.BlockMacSpec.accumulate.
`default_nettype none

module hq_block_acc #(
  parameter int unsigned SumBits = 14,  // width of sum_i, two's complement
  parameter int unsigned SigBits = 1,  // width of sig_i, unsigned; 1 for a scale of one
  parameter int unsigned ExpBits = 9,  // width of exp_i
  parameter int Offset = -220,  // added to exp_i
  parameter int unsigned Guard = 15,  // bits below the window
  parameter int unsigned Left = 48,  // largest shift
  parameter bit Nearest = 1'b1,  // round to the nearest, else down
  parameter int unsigned AccBits = 32,  // width of the window
  parameter bit Saturate = 1'b0  // clamp after each block, else wrap
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic take_i,
  input  logic first_i,
  input  logic [SumBits-1:0] sum_i,
  input  logic [ExpBits-1:0] exp_i,
  input  logic [SigBits-1:0] sig_i,
  output logic valid_o,
  output logic [AccBits-1:0] acc_o
);

  if (SigBits < 1 || SigBits > 8) begin : gen_bad_sig_bits
    $error("hq_block_acc: SigBits must be 1..8");
  end
  if (ExpBits < 1 || ExpBits > 16) begin : gen_bad_exp_bits
    $error("hq_block_acc: ExpBits must be 1..16");
  end
  if (SumBits < 2 || SumBits > 512) begin : gen_bad_sum
    $error("hq_block_acc: SumBits must be 2..512");
  end
  if (AccBits < 2 || AccBits > 1024) begin : gen_bad_acc
    $error("hq_block_acc: AccBits must be 2..1024");
  end
  if (Offset < -4000 || Offset > 4000) begin : gen_bad_offset
    $error("hq_block_acc: Offset must be -4000..4000");
  end
  if (Guard > 1024 || Left < Guard || Left > 4000) begin : gen_bad_left
    $error("hq_block_acc: Guard must be 0..1024 and Left Guard..4000");
  end

  localparam int unsigned ProdBits = SumBits + (SigBits == 1 ? 0 : SigBits);
  localparam int unsigned ByBits = Left == 0 ? 1 : $clog2(Left + 1);
  localparam int unsigned WideBits = ProdBits + Left;
  localparam int unsigned WholeBits = WideBits - Guard;
  localparam int unsigned AddBits = Saturate ? AccBits + 1 : AccBits;

  logic [ProdBits-1:0] prod_d;
  logic [ProdBits-1:0] prod_q;
  logic [13:0] place;
  logic [ByBits-1:0] by_q;
  logic take_q;
  logic first_q;
  logic [WideBits-1:0] wide;
  logic [WholeBits-1:0] whole;
  logic up;
  logic up_q;
  logic [AddBits-1:0] add_d;
  logic [AddBits-1:0] add_q;
  logic take_q2;

  if (SigBits == 1) begin : gen_one
    logic unused_sig;
    assign unused_sig = sig_i[0];
    assign prod_d = sum_i;
  end else begin : gen_product
    logic [SigBits:0] sig;
    assign sig = {1'b0, sig_i};
    assign prod_d = ProdBits'($signed(sum_i)) * ProdBits'($signed(sig));
  end

  assign place = 14'(exp_i) + 14'(Offset);

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      prod_q <= prod_d;
      first_q <= first_i;
      if (place[13]) by_q <= '0;
      else if (place > 14'(Left)) by_q <= ByBits'(Left);
      else by_q <= place[ByBits-1:0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      take_q <= 1'b0;
      take_q2 <= 1'b0;
    end else if (en_i) begin
      take_q <= take_i;
      take_q2 <= take_q;
    end
  end

  assign wide = WideBits'($signed(prod_q)) << by_q;
  assign whole = wide[WideBits-1:Guard];

  if (Guard == 0 || !Nearest) begin : gen_down
    assign up = 1'b0;

    if (Guard > 0) begin : gen_lost
      logic unused_low;
      assign unused_low = ^wide[Guard-1:0];
    end
  end else if (Guard == 1) begin : gen_half
    assign up = wide[0] & wide[1];
  end else begin : gen_nearest
    assign up = wide[Guard-1] & ((|wide[Guard-2:0]) | wide[Guard]);
  end

  if (!Saturate) begin : gen_wrap
    if (WholeBits > AddBits) begin : gen_above
      logic unused_above;
      assign unused_above = ^whole[WholeBits-1:AddBits];
      assign add_d = whole[AddBits-1:0];
    end else begin : gen_extend
      assign add_d = AddBits'($signed(whole));
    end
  end else if (WholeBits > AddBits) begin : gen_clamp
    // A number this large meets the rail from wherever the accumulator is.
    logic fits;
    assign fits = (&whole[WholeBits-1:AddBits-1]) | ~(|whole[WholeBits-1:AddBits-1]);
    assign add_d = fits ? whole[AddBits-1:0]
                        : {whole[WholeBits-1], {AddBits - 1{~whole[WholeBits-1]}}};
  end else begin : gen_small
    assign add_d = AddBits'($signed(whole));
  end

  always_ff @(posedge clk_i) begin
    if (en_i) begin
      add_q <= add_d;
      up_q <= up;
    end
  end

  hq_acc #(
    .SumBits(AddBits),
    .AccBits(AccBits),
    .Saturate(Saturate),
    .HasCarry(Guard > 0 && Nearest)
  ) u_acc (
    .clk_i(clk_i),
    .rst_i(rst_i),
    .en_i(en_i),
    .clear_i(take_q && first_q),
    .valid_i(take_q2),
    .sum_i(add_q),
    .carry_i(up_q),
    .valid_o(valid_o),
    .acc_o(acc_o)
  );

endmodule

`default_nettype wire
