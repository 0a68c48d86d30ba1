// SPDX-License-Identifier: Apache-2.0
/// Add up one or two numbers a beat in the adder of one DSP slice (DSP48E2), multiplier unused:
///
///   p_o = (restart ? 0 : p_o) + (neg ? -1 : 1) * (x_i + y_i + carry_i)      where take_i
///
/// x_i, y_i, carry_i, neg_i and restart_i come together; take_i is the enable of p_o one enabled
/// cycle later and holds en_i already.
///
/// Latency 2, initiation interval 1.  Exact; p_o wraps modulo 2**Bits.
`default_nettype none

module hq_dsp_add #(
  parameter bit Primitive = 1'b0,  // instantiate the device's cell
  parameter int unsigned Bits = 48  // width of x_i, y_i and p_o
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic [Bits-1:0] x_i,
  input  logic [Bits-1:0] y_i,
  input  logic carry_i,
  input  logic neg_i,
  input  logic restart_i,
  input  logic take_i,
  output logic [Bits-1:0] p_o
);

  if (Bits < 1 || Bits > 48) begin : gen_bad_bits
    $error("hq_dsp_add: Bits must be 1..48");
  end

  if (Primitive) begin : gen_cell
    logic [47:0] x;
    logic [47:0] y;
    logic [47:0] p;
    logic [29:0] unused_acout;
    logic [17:0] unused_bcout;
    logic [47:0] unused_pcout;

    assign x = 48'($signed(x_i));
    assign y = 48'($signed(y_i));
    assign p_o = p[Bits-1:0];

    if (Bits < 48) begin : gen_rest
      logic unused_rest;
      assign unused_rest = ^p[47:Bits];
    end

    // Every constant has a width: Yosys would read the module again for an unsized one.
    DSP48E2 #(
      .ACASCREG(1),
      .ADREG(0),
      .ALUMODEREG(1),
      .AREG(1),
      .BCASCREG(1),
      .BREG(1),
      .CARRYINREG(1),
      .CARRYINSELREG(0),
      .CREG(1),
      .DREG(0),
      .INMODEREG(0),
      .MREG(0),
      .OPMODEREG(1),
      .PREG(1),
      .USE_MULT("NONE")
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
      .CEAD(1'b0),
      .CEALUMODE(en_i),
      .CEB1(en_i),
      .CEB2(en_i),
      .CEC(en_i),
      .CECARRYIN(en_i),
      .CECTRL(en_i),
      .CED(1'b0),
      .CEINMODE(1'b0),
      .CEM(1'b0),
      .CEP(take_i),
      .A(x[47:18]),
      .ACIN(30'd0),
      .ALUMODE({2'b00, neg_i, neg_i}),  // Z + S or Z - S
      .B(x[17:0]),
      .BCIN(18'd0),
      .C(y),
      .CARRYIN(carry_i),
      .CARRYINSEL(3'd0),
      .D(27'd0),
      .INMODE(5'd0),
      .OPMODE({3'b000, !restart_i, 5'b01111}),  // Z is P or 0, Y is C, X is A:B
      .PCIN(48'd0),
      .ACOUT(unused_acout),
      .BCOUT(unused_bcout),
      .P(p),
      .PCOUT(unused_pcout)
    );
  end else begin : gen_portable
    logic [Bits-1:0] x_q;
    logic [Bits-1:0] y_q;
    logic [Bits-1:0] p_q;
    logic [Bits-1:0] p_d;
    logic [Bits-1:0] start;
    logic [Bits-1:0] addend;
    logic carry_q;
    logic neg_q;
    logic restart_q;

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        x_q <= x_i;
        y_q <= y_i;
        carry_q <= carry_i;
      end
    end

    always_ff @(posedge clk_i) begin
      if (en_i) begin
        neg_q <= neg_i;
        restart_q <= restart_i;
      end
    end

    assign start = restart_q ? '0 : p_q;
    assign addend = x_q + y_q + Bits'(carry_q);
    assign p_d = neg_q ? start - addend : start + addend;

    always_ff @(posedge clk_i) begin
      if (rst_i) p_q <= '0;
      else if (take_i) p_q <= p_d;
    end

    assign p_o = p_q;
  end

endmodule

`default_nettype wire
