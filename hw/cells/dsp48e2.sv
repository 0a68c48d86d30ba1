// SPDX-License-Identifier: Apache-2.0
/// DSP48E2: pre-adder, 27 x 18 multiplier, 48-bit adder and accumulator.
///
///   AD = (D or 0) +- (A or B, or 0)                          INMODE, PREADDINSEL
///   M  = (A or AD) * (B or AD)                               AMULTSEL, BMULTSEL
///   P  = Z + S,  Z - S,  -Z + S - 1  or  -(Z + S) - 1        ALUMODE 0000, 0011, 0001, 0010
///   S  = W + X + Y + CARRYIN;  OPMODE = {W[1:0], Z[2:0], Y[1:0], X[1:0]}
///   W: 0, P, RND, C    Z: 0, PCIN, P, C, -, PCIN >>> 17, P >>> 17
///   Y: 0, M, ones, C   X: 0, M, P, A:B      (X and Y select M together)
///
/// Every register is there or not by its attribute (AREG and BREG: 0..2 in a row), has its own
/// enable and a synchronous reset that wins.  With USE_SIMD the adder falls into two or four
/// parts, CARRYIN entering the lowest.
///
/// What is not modelled cannot be used: an attribute or mode outside of the function above stops
/// elaboration or the simulation, and CARRYOUT, pattern detect, wide XOR and the multiplier's and
/// carry's cascade have no port.  Registers start at random, not at the 0 of the configuration.
/// A dynamic mode is judged from the 17th clock edge on, so that a random start is no error.
/// Source: UG579 (UltraScale architecture DSP slice), chapter 2.
`default_nettype none

module DSP48E2 #(
  parameter integer ACASCREG = 1,
  parameter integer ADREG = 1,
  parameter integer ALUMODEREG = 1,
  parameter AMULTSEL = "A",
  parameter integer AREG = 1,
  parameter AUTORESET_PATDET = "NO_RESET",
  parameter AUTORESET_PRIORITY = "RESET",
  parameter A_INPUT = "DIRECT",
  parameter integer BCASCREG = 1,
  parameter BMULTSEL = "B",
  parameter integer BREG = 1,
  parameter B_INPUT = "DIRECT",
  parameter integer CARRYINREG = 1,
  parameter integer CARRYINSELREG = 1,
  parameter integer CREG = 1,
  parameter integer DREG = 1,
  parameter integer INMODEREG = 1,
  parameter [3:0] IS_ALUMODE_INVERTED = 4'h0,
  parameter [0:0] IS_CARRYIN_INVERTED = 1'b0,
  parameter [0:0] IS_CLK_INVERTED = 1'b0,
  parameter [4:0] IS_INMODE_INVERTED = 5'h0,
  parameter [8:0] IS_OPMODE_INVERTED = 9'h0,
  parameter [0:0] IS_RSTALLCARRYIN_INVERTED = 1'b0,
  parameter [0:0] IS_RSTALUMODE_INVERTED = 1'b0,
  parameter [0:0] IS_RSTA_INVERTED = 1'b0,
  parameter [0:0] IS_RSTB_INVERTED = 1'b0,
  parameter [0:0] IS_RSTCTRL_INVERTED = 1'b0,
  parameter [0:0] IS_RSTC_INVERTED = 1'b0,
  parameter [0:0] IS_RSTD_INVERTED = 1'b0,
  parameter [0:0] IS_RSTINMODE_INVERTED = 1'b0,
  parameter [0:0] IS_RSTM_INVERTED = 1'b0,
  parameter [0:0] IS_RSTP_INVERTED = 1'b0,
  parameter integer MREG = 1,
  parameter integer OPMODEREG = 1,
  parameter PREADDINSEL = "A",
  parameter integer PREG = 1,
  parameter [47:0] RND = 48'h0,
  parameter USE_MULT = "MULTIPLY",
  parameter USE_PATTERN_DETECT = "NO_PATDET",
  parameter USE_SIMD = "ONE48",
  parameter USE_WIDEXOR = "FALSE"
) (
  input  logic CLK,
  input  logic RSTA,
  input  logic RSTALLCARRYIN,
  input  logic RSTALUMODE,
  input  logic RSTB,
  input  logic RSTC,
  input  logic RSTCTRL,
  input  logic RSTD,
  input  logic RSTINMODE,
  input  logic RSTM,
  input  logic RSTP,
  input  logic CEA1,
  input  logic CEA2,
  input  logic CEAD,
  input  logic CEALUMODE,
  input  logic CEB1,
  input  logic CEB2,
  input  logic CEC,
  input  logic CECARRYIN,
  input  logic CECTRL,
  input  logic CED,
  input  logic CEINMODE,
  input  logic CEM,
  input  logic CEP,
  input  logic [29:0] A,
  input  logic [29:0] ACIN,
  input  logic [3:0] ALUMODE,
  input  logic [17:0] B,
  input  logic [17:0] BCIN,
  input  logic [47:0] C,
  input  logic CARRYIN,
  input  logic [2:0] CARRYINSEL,
  input  logic [26:0] D,
  input  logic [4:0] INMODE,
  input  logic [8:0] OPMODE,
  input  logic [47:0] PCIN,
  output logic [29:0] ACOUT,
  output logic [17:0] BCOUT,
  output logic [47:0] P,
  output logic [47:0] PCOUT
);

  localparam bit ANY_INVERTED = |{
    IS_ALUMODE_INVERTED, IS_CARRYIN_INVERTED, IS_CLK_INVERTED, IS_INMODE_INVERTED,
    IS_OPMODE_INVERTED, IS_RSTALLCARRYIN_INVERTED, IS_RSTALUMODE_INVERTED, IS_RSTA_INVERTED,
    IS_RSTB_INVERTED, IS_RSTCTRL_INVERTED, IS_RSTC_INVERTED, IS_RSTD_INVERTED,
    IS_RSTINMODE_INVERTED, IS_RSTM_INVERTED, IS_RSTP_INVERTED
  };

  if (AREG < 0 || AREG > 2) begin : gen_bad_areg
    $error("DSP48E2: AREG must be 0..2");
  end
  if (BREG < 0 || BREG > 2) begin : gen_bad_breg
    $error("DSP48E2: BREG must be 0..2");
  end
  if (ACASCREG != AREG && !(AREG == 2 && ACASCREG == 1)) begin : gen_bad_acascreg
    $error("DSP48E2: ACASCREG must equal AREG, or be 1 where AREG is 2");
  end
  if (BCASCREG != BREG && !(BREG == 2 && BCASCREG == 1)) begin : gen_bad_bcascreg
    $error("DSP48E2: BCASCREG must equal BREG, or be 1 where BREG is 2");
  end
  if (ADREG < 0 || ADREG > 1) begin : gen_bad_adreg
    $error("DSP48E2: ADREG must be 0..1");
  end
  if (ALUMODEREG < 0 || ALUMODEREG > 1) begin : gen_bad_alumodereg
    $error("DSP48E2: ALUMODEREG must be 0..1");
  end
  if (CARRYINREG < 0 || CARRYINREG > 1) begin : gen_bad_carryinreg
    $error("DSP48E2: CARRYINREG must be 0..1");
  end
  if (CARRYINSELREG < 0 || CARRYINSELREG > 1) begin : gen_bad_carryinselreg
    $error("DSP48E2: CARRYINSELREG must be 0..1");
  end
  if (CREG < 0 || CREG > 1) begin : gen_bad_creg
    $error("DSP48E2: CREG must be 0..1");
  end
  if (DREG < 0 || DREG > 1) begin : gen_bad_dreg
    $error("DSP48E2: DREG must be 0..1");
  end
  if (INMODEREG < 0 || INMODEREG > 1) begin : gen_bad_inmodereg
    $error("DSP48E2: INMODEREG must be 0..1");
  end
  if (MREG < 0 || MREG > 1) begin : gen_bad_mreg
    $error("DSP48E2: MREG must be 0..1");
  end
  if (OPMODEREG < 0 || OPMODEREG > 1) begin : gen_bad_opmodereg
    $error("DSP48E2: OPMODEREG must be 0..1");
  end
  if (PREG < 0 || PREG > 1) begin : gen_bad_preg
    $error("DSP48E2: PREG must be 0..1");
  end
  if (AMULTSEL != "A" && AMULTSEL != "AD") begin : gen_bad_amultsel
    $error("DSP48E2: AMULTSEL must be A or AD");
  end
  if (BMULTSEL != "B" && BMULTSEL != "AD") begin : gen_bad_bmultsel
    $error("DSP48E2: BMULTSEL must be B or AD");
  end
  if (PREADDINSEL != "A" && PREADDINSEL != "B") begin : gen_bad_preaddinsel
    $error("DSP48E2: PREADDINSEL must be A or B");
  end
  if (A_INPUT != "DIRECT" && A_INPUT != "CASCADE") begin : gen_bad_a_input
    $error("DSP48E2: A_INPUT must be DIRECT or CASCADE");
  end
  if (B_INPUT != "DIRECT" && B_INPUT != "CASCADE") begin : gen_bad_b_input
    $error("DSP48E2: B_INPUT must be DIRECT or CASCADE");
  end
  if (USE_MULT != "MULTIPLY" && USE_MULT != "DYNAMIC" && USE_MULT != "NONE") begin : gen_bad_mult
    $error("DSP48E2: USE_MULT must be MULTIPLY, DYNAMIC or NONE");
  end
  if (USE_SIMD != "ONE48" && USE_SIMD != "TWO24" && USE_SIMD != "FOUR12") begin : gen_bad_simd
    $error("DSP48E2: USE_SIMD must be ONE48, TWO24 or FOUR12");
  end
  if (USE_SIMD != "ONE48" && USE_MULT != "NONE") begin : gen_bad_simd_mult
    $error("DSP48E2: USE_SIMD other than ONE48 needs USE_MULT NONE");
  end
  if (USE_PATTERN_DETECT != "NO_PATDET" || AUTORESET_PATDET != "NO_RESET") begin : gen_bad_patdet
    $error("DSP48E2: USE_PATTERN_DETECT must be NO_PATDET, AUTORESET_PATDET NO_RESET");
  end
  if (USE_WIDEXOR != "FALSE") begin : gen_bad_widexor
    $error("DSP48E2: USE_WIDEXOR must be FALSE");
  end
  if (ANY_INVERTED) begin : gen_bad_inverted
    $error("DSP48E2: every IS_*_INVERTED must be 0");
  end

  logic [29:0] a1;
  logic [29:0] a2;
  logic [17:0] b1;
  logic [17:0] b2;
  logic [47:0] c;
  logic [26:0] d;
  logic [4:0] inmode;
  logic [8:0] opmode;
  logic [3:0] alumode;
  logic [2:0] carryinsel;
  logic carryin;
  logic [26:0] ad;
  logic [44:0] m;

  // Operands.
  logic [29:0] a_in;
  logic [17:0] b_in;
  logic [26:0] a_mul;
  logic [17:0] b_mul;
  logic [26:0] preadd;
  logic [26:0] ad_d;

  assign a_in = A_INPUT == "DIRECT" ? A : ACIN;
  assign b_in = B_INPUT == "DIRECT" ? B : BCIN;
  assign ACOUT = ACASCREG == AREG ? a2 : a1;
  assign BCOUT = BCASCREG == BREG ? b2 : b1;

  hq_cell_reg #(.Width(30), .Present(AREG == 2)) u_a1 (
    .clk_i(CLK), .rst_i(RSTA), .en_i(CEA1), .d_i(a_in), .q_o(a1)
  );
  hq_cell_reg #(.Width(30), .Present(AREG >= 1)) u_a2 (
    .clk_i(CLK), .rst_i(RSTA), .en_i(CEA2), .d_i(a1), .q_o(a2)
  );
  hq_cell_reg #(.Width(18), .Present(BREG == 2)) u_b1 (
    .clk_i(CLK), .rst_i(RSTB), .en_i(CEB1), .d_i(b_in), .q_o(b1)
  );
  hq_cell_reg #(.Width(18), .Present(BREG >= 1)) u_b2 (
    .clk_i(CLK), .rst_i(RSTB), .en_i(CEB2), .d_i(b1), .q_o(b2)
  );
  hq_cell_reg #(.Width(48), .Present(CREG == 1)) u_c (
    .clk_i(CLK), .rst_i(RSTC), .en_i(CEC), .d_i(C), .q_o(c)
  );
  hq_cell_reg #(.Width(27), .Present(DREG == 1)) u_d (
    .clk_i(CLK), .rst_i(RSTD), .en_i(CED), .d_i(D), .q_o(d)
  );
  hq_cell_reg #(.Width(27), .Present(ADREG == 1)) u_ad (
    .clk_i(CLK), .rst_i(RSTD), .en_i(CEAD), .d_i(ad_d), .q_o(ad)
  );
  hq_cell_reg #(.Width(5), .Present(INMODEREG == 1)) u_inmode (
    .clk_i(CLK), .rst_i(RSTINMODE), .en_i(CEINMODE), .d_i(INMODE), .q_o(inmode)
  );
  hq_cell_reg #(.Width(9), .Present(OPMODEREG == 1)) u_opmode (
    .clk_i(CLK), .rst_i(RSTCTRL), .en_i(CECTRL), .d_i(OPMODE), .q_o(opmode)
  );
  hq_cell_reg #(.Width(4), .Present(ALUMODEREG == 1)) u_alumode (
    .clk_i(CLK), .rst_i(RSTALUMODE), .en_i(CEALUMODE), .d_i(ALUMODE), .q_o(alumode)
  );
  hq_cell_reg #(.Width(3), .Present(CARRYINSELREG == 1)) u_carryinsel (
    .clk_i(CLK), .rst_i(RSTCTRL), .en_i(CECTRL), .d_i(CARRYINSEL), .q_o(carryinsel)
  );
  hq_cell_reg #(.Width(1), .Present(CARRYINREG == 1)) u_carryin (
    .clk_i(CLK), .rst_i(RSTALLCARRYIN), .en_i(CECARRYIN), .d_i(CARRYIN), .q_o(carryin)
  );

  always_comb begin
    a_mul = inmode[0] ? a1[26:0] : a2[26:0];
    b_mul = inmode[4] ? b1 : b2;
    if (inmode[1] && PREADDINSEL == "A") a_mul = '0;
    if (inmode[1] && PREADDINSEL == "B") b_mul = '0;
    preadd = PREADDINSEL == "A" ? a_mul : 27'($signed(b_mul));
    ad_d = (inmode[2] ? d : '0) + (inmode[3] ? -preadd : preadd);
  end

  // Multiplier.
  if (USE_MULT == "NONE") begin : gen_no_mult
    assign m = '0;
  end else begin : gen_mult
    logic [26:0] left;
    logic [17:0] right;
    logic [44:0] product;

    assign left = AMULTSEL == "A" ? a_mul : ad;
    assign right = BMULTSEL == "B" ? b_mul : ad[17:0];
    assign product = 45'($signed(left)) * 45'($signed(right));
    hq_cell_reg #(.Width(45), .Present(MREG == 1)) u_m (
      .clk_i(CLK), .rst_i(RSTM), .en_i(CEM), .d_i(product), .q_o(m)
    );
  end

  // Adder.
  logic [47:0] w;
  logic [47:0] x;
  logic [47:0] y;
  logic [47:0] z;
  logic [47:0] sum;
  logic [47:0] p_d;
  logic [47:0] p_feedback;

  // Without its register P does not come back; a mode that asks for it is refused below.
  assign p_feedback = PREG == 1 ? P : '0;

  always_comb begin
    unique case (opmode[1:0])
      2'b01: x = 48'($signed(m));  // the whole product; Y adds nothing to it
      2'b10: x = p_feedback;
      2'b11: x = {a2, b2};
      default: x = '0;
    endcase
    unique case (opmode[3:2])
      2'b10: y = '1;
      2'b11: y = c;
      default: y = '0;
    endcase
    unique case (opmode[6:4])
      3'b001: z = PCIN;
      3'b010: z = p_feedback;
      3'b011: z = c;
      3'b101: z = 48'($signed(PCIN[47:17]));
      3'b110: z = 48'($signed(p_feedback[47:17]));
      default: z = '0;
    endcase
    unique case (opmode[8:7])
      2'b01: w = p_feedback;
      2'b10: w = RND;
      2'b11: w = c;
      default: w = '0;
    endcase
    if (alumode[0]) z = ~z;
  end

  localparam int unsigned Parts = USE_SIMD == "ONE48" ? 1 : USE_SIMD == "TWO24" ? 2 : 4;
  localparam int unsigned PartBits = 48 / Parts;

  for (genvar i = 0; i < Parts; i++) begin : gen_part
    localparam int unsigned Low = i * PartBits;
    assign sum[Low+:PartBits] = z[Low+:PartBits] + w[Low+:PartBits] + x[Low+:PartBits]
        + y[Low+:PartBits] + (i == 0 ? PartBits'(carryin) : '0);
  end

  assign p_d = alumode[1] ? ~sum : sum;
  assign PCOUT = P;
  hq_cell_reg #(.Width(48), .Present(PREG == 1)) u_p (
    .clk_i(CLK), .rst_i(RSTP), .en_i(CEP), .d_i(p_d), .q_o(P)
  );

  // Modes that are not modelled, or that the device forbids.
  logic uses_m;
  logic uses_p;
  logic bad_inmode;
  logic bad_opmode;
  logic bad_mode;

  assign uses_m = opmode[1:0] == 2'b01;
  assign uses_p = opmode[1:0] == 2'b10 || opmode[6:4] == 3'b010 || opmode[6:4] == 3'b110
      || opmode[8:7] == 2'b01;
  assign bad_opmode = uses_m != (opmode[3:2] == 2'b01) || (uses_m && USE_MULT == "NONE")
      || (uses_p && PREG == 0) || opmode[6:4] == 3'b100 || opmode[6:4] == 3'b111;
  // With one register its output is A2 or B2; what A1 or B1 would then be is not modelled.
  assign bad_inmode = (inmode[0] && AREG == 1) || (inmode[4] && BREG == 1);
  assign bad_mode = bad_opmode || bad_inmode || alumode[3:2] != '0 || carryinsel != '0;

`ifndef SYNTHESIS  // a proof reads the model too, and knows no $fatal
  logic [4:0] edges_q;

  initial edges_q = '0;
  always_ff @(posedge CLK) begin
    if (!edges_q[4]) edges_q <= edges_q + 5'd1;
    else if (bad_mode) begin
      $fatal(1, "DSP48E2 %m: OPMODE %b, ALUMODE %b, INMODE %b, CARRYINSEL %b; allowed: %s",
             opmode, alumode, inmode, carryinsel, "ALUMODE 00xx, CARRYINSEL 0, see dsp48e2.sv");
    end
  end
`endif

endmodule

/// One register of a DSP slice, or a wire where its attribute says so.
module hq_cell_reg #(
  parameter int unsigned Width = 1,
  parameter bit Present = 1'b1
) (
  input  logic clk_i,
  input  logic rst_i,
  input  logic en_i,
  input  logic [Width-1:0] d_i,
  output logic [Width-1:0] q_o
);
  if (Present) begin : gen_register
    always_ff @(posedge clk_i) begin
      if (rst_i) q_o <= '0;
      else if (en_i) q_o <= d_i;
    end
  end else begin : gen_wire
    assign q_o = d_i;
  end
endmodule

`default_nettype wire
