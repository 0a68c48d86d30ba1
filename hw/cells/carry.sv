// SPDX-License-Identifier: Apache-2.0
/// Carry chains: position i gives O[i] = S[i] ^ c[i] and CO[i] = c[i+1] = S[i] ? c[i] : DI[i].
///
/// The carries are wires of their own, so that no vector feeds itself: a simulator that orders
/// logic by whole signals (Verilator) then evaluates a chain once, in order.
/// CARRY4's first carry is CI or CYINIT; one of them is unused and 0.  CARRY8 is one chain of
/// eight, or with CARRY_TYPE "DUAL_CY4" two of four, the upper one started by CI_TOP.
/// Source: UG974, design element CARRY8; UG953 (7 series), design element CARRY4.
`default_nettype none

module CARRY4 (
  input  logic CI,
  input  logic CYINIT,
  input  logic [3:0] DI,
  input  logic [3:0] S,
  output logic [3:0] O,
  output logic [3:0] CO
);

  logic c0;
  logic c1;
  logic c2;
  logic c3;
  logic c4;

  assign c0 = CI | CYINIT;
  assign c1 = S[0] ? c0 : DI[0];
  assign c2 = S[1] ? c1 : DI[1];
  assign c3 = S[2] ? c2 : DI[2];
  assign c4 = S[3] ? c3 : DI[3];
  assign O = {S[3] ^ c3, S[2] ^ c2, S[1] ^ c1, S[0] ^ c0};
  assign CO = {c4, c3, c2, c1};

endmodule

module CARRY8 #(
  parameter CARRY_TYPE = "SINGLE_CY8"
) (
  input  logic CI,
  input  logic CI_TOP,
  input  logic [7:0] DI,
  input  logic [7:0] S,
  output logic [7:0] O,
  output logic [7:0] CO
);

  if (CARRY_TYPE != "SINGLE_CY8" && CARRY_TYPE != "DUAL_CY4") begin : gen_bad_type
    $error("CARRY8: CARRY_TYPE must be SINGLE_CY8 or DUAL_CY4");
  end

  logic upper;

  CARRY4 u_low (
    .CI(CI),
    .CYINIT(1'b0),
    .DI(DI[3:0]),
    .S(S[3:0]),
    .O(O[3:0]),
    .CO(CO[3:0])
  );

  if (CARRY_TYPE == "DUAL_CY4") begin : gen_two
    assign upper = CI_TOP;
  end else begin : gen_one
    logic unused_top;
    assign unused_top = CI_TOP;
    assign upper = CO[3];
  end

  CARRY4 u_high (
    .CI(upper),
    .CYINIT(1'b0),
    .DI(DI[7:4]),
    .S(S[7:4]),
    .O(O[7:4]),
    .CO(CO[7:4])
  );

endmodule

`default_nettype wire
