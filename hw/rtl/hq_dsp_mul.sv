// SPDX-License-Identifier: Apache-2.0
/// Multiply and add up in one DSP slice (DSP48E2):
///
///   p_o = (restart ? Bias : p_o) + (neg ? -1 : 1) * (a_i - h_i) * b_i      where take_i
///
/// All operands are two's complement.  With PreSub the pre-adder subtracts h_i, else h_i is unused
/// (0): that is how several two's complement numbers share port a, their sign bits in h_i.
///
///   cycle   operands: a_i, b_i, h_i   Stages later, with M: neg_i, restart_i   then, with P: take_i
///
/// Stages registers stand in front of the multiplier (2 with PreSub: the second behind the
/// pre-adder).  neg_i and restart_i are those of the beat that is Stages registers in; take_i is
/// the enable of p_o, one enabled cycle later: it is not registered and holds en_i already.
///
/// Latency Stages + 2, initiation interval 1.  Exact; p_o wraps modulo 2**PBits.
`default_nettype none

module hq_dsp_mul #(
  parameter bit Primitive = 1'b0,  // instantiate the device's cell
  parameter int unsigned Stages = 1,  // registers in front of the multiplier
  parameter bit PreSub = 1'b0,  // subtract h_i from a_i
  parameter int unsigned ABits = 8,  // width of a_i, h_i and their difference
  parameter int unsigned BBits = 8,  // width of b_i
  parameter int unsigned PBits = 48,  // width of p_o
  parameter bit [47:0] Bias = 48'd0  // what a sum starts from
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic [ABits-1:0] a_i,
  input  logic [ABits-1:0] h_i,
  input  logic [BBits-1:0] b_i,
  input  logic neg_i,
  input  logic restart_i,
  input  logic take_i,
  output logic [PBits-1:0] p_o
);

  if (Stages < 1 || Stages > 2 || (PreSub && Stages != 2)) begin : gen_bad_stages
    $error("hq_dsp_mul: Stages must be 1..2, and 2 with PreSub");
  end
  if (ABits < 1 || ABits > 27 || BBits < 1 || BBits > 18) begin : gen_bad_operands
    $error("hq_dsp_mul: ABits must be 1..27, BBits must be 1..18");
  end
  if (PBits < 1 || PBits > 48) begin : gen_bad_result
    $error("hq_dsp_mul: PBits must be 1..48");
  end

  if (Primitive) begin : gen_cell
    logic [26:0] a;
    logic [26:0] h;
    logic [17:0] b;
    logic [47:0] p;
    logic [29:0] unused_acout;
    logic [17:0] unused_bcout;
    logic [47:0] unused_pcout;

    assign a = 27'($signed(a_i));
    assign h = 27'($signed(h_i));
    assign b = 18'($signed(b_i));
    assign p_o = p[PBits-1:0];

    if (PBits < 48) begin : gen_rest
      logic unused_rest;
      assign unused_rest = ^p[47:PBits];
    end

    // Every constant has a width: Yosys would read the module again for an unsized one.
    DSP48E2 #(
      .ACASCREG(PreSub ? 1 : Stages),
      .ADREG(PreSub ? 1 : 0),
      .ALUMODEREG(1),
      .AMULTSEL(PreSub ? "AD" : "A"),
      .AREG(PreSub ? 1 : Stages),
      .BCASCREG(Stages),
      .BREG(Stages),
      .CARRYINREG(0),
      .CARRYINSELREG(0),
      .CREG(0),
      .DREG(PreSub ? 1 : 0),
      .INMODEREG(0),
      .MREG(1),
      .OPMODEREG(1),
      .PREG(1),
      .RND(Bias)
    ) u_dsp (
      .CLK(clk_i),
      .RSTA(1'b0),
      .RSTALLCARRYIN(1'b0),
      .RSTALUMODE(rst_i),
      .RSTB(1'b0),
      .RSTC(1'b0),
      .RSTCTRL(rst_i),
      .RSTD(1'b0),
      .RSTINMODE(1'b0),
      .RSTM(1'b0),
      .RSTP(rst_i),
      .CEA1(en_i),
      .CEA2(en_i),
      .CEAD(en_i),
      .CEALUMODE(en_i),
      .CEB1(en_i),
      .CEB2(en_i),
      .CEC(1'b0),
      .CECARRYIN(1'b0),
      .CECTRL(en_i),
      .CED(en_i),
      .CEINMODE(1'b0),
      .CEM(en_i),
      .CEP(take_i),
      .A(PreSub ? {3'b000, h} : {3'b000, a}),
      .ACIN(30'd0),
      .ALUMODE({2'b00, neg_i, neg_i}),  // Z + M or Z - M
      .B(b),
      .BCIN(18'd0),
      .C(48'd0),
      .CARRYIN(1'b0),
      .CARRYINSEL(3'd0),
      .D(PreSub ? a : 27'd0),
      .INMODE(PreSub ? 5'b01100 : 5'b00000),  // D - A
      // W is RND or 0, Z is P or 0, X and Y are M.
      .OPMODE({restart_i && Bias != 48'd0, 2'b00, !restart_i, 5'b00101}),
      .PCIN(48'd0),
      .ACOUT(unused_acout),
      .BCOUT(unused_bcout),
      .P(p),
      .PCOUT(unused_pcout)
    );
  end else begin : gen_portable
    localparam int unsigned MBits = ABits + BBits;

    logic [ABits-1:0] a_q;
    logic [ABits-1:0] left;
    logic [BBits-1:0] b_q;
    logic [BBits-1:0] right;
    logic [MBits-1:0] m_q;
    logic neg_q;
    logic restart_q;
    logic [PBits-1:0] start;
    logic [PBits-1:0] addend;
    logic [PBits-1:0] p_d;
    logic [PBits-1:0] p_q;

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        a_q <= a_i;
        b_q <= b_i;
        m_q <= MBits'($signed(left)) * MBits'($signed(right));
      end
    end

    if (Stages == 2) begin : gen_second
      logic [ABits-1:0] a_q2;
      logic [BBits-1:0] b_q2;

      always_ff @(posedge clk_i) begin
        if (en_i) b_q2 <= b_q;
      end

      if (PreSub) begin : gen_subtract
        logic [ABits-1:0] h_q;

        always_ff @(posedge clk_i) begin
          if (en_i) begin
            h_q <= h_i;
            a_q2 <= a_q - h_q;
          end
        end
      end else begin : gen_wait
        always_ff @(posedge clk_i) begin
          if (en_i) a_q2 <= a_q;
        end
      end

      assign left = a_q2;
      assign right = b_q2;
    end else begin : gen_first
      assign left = a_q;
      assign right = b_q;
    end

    if (!PreSub) begin : gen_no_subtract
      logic unused_h;
      assign unused_h = ^h_i;
    end

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        neg_q <= neg_i;
        restart_q <= restart_i;
      end
    end

    assign start = restart_q ? Bias[PBits-1:0] : p_q;
    assign addend = PBits'($signed(m_q));
    assign p_d = neg_q ? start - addend : start + addend;
    assign p_o = p_q;

    always_ff @(posedge clk_i) begin
      if (rst_i) p_q <= '0;
      else if (take_i) p_q <= p_d;
    end
  end

endmodule

`default_nettype wire
