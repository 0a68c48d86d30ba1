// SPDX-License-Identifier: Apache-2.0
/// Flip-flops with clock enable: FDRE and FDSE with synchronous reset and set, FDCE and FDPE with
/// asynchronous clear and preset.  Reset, set, clear and preset win over CE.
///
/// INIT is the value after configuration.  Synthesis writes INIT = 1'bx where the design does not
/// say; such a flip-flop starts at random here, so that what leans on it shows.
/// Source: UG974, design elements FDRE, FDSE, FDCE, FDPE.
`default_nettype none

module FDRE #(
  parameter [0:0] INIT = 1'b0,
  parameter [0:0] IS_C_INVERTED = 1'b0,
  parameter [0:0] IS_D_INVERTED = 1'b0,
  parameter [0:0] IS_R_INVERTED = 1'b0
) (
  input  logic C,
  input  logic CE,
  input  logic D,
  input  logic R,
  output logic Q
);
  if (INIT === 1'b0 || INIT === 1'b1) begin : gen_init
    initial Q = INIT;
  end
  if (IS_C_INVERTED) begin : gen_fall
    always_ff @(negedge C) begin
      if (R ^ IS_R_INVERTED) Q <= 1'b0;
      else if (CE) Q <= D ^ IS_D_INVERTED;
    end
  end else begin : gen_rise
    always_ff @(posedge C) begin
      if (R ^ IS_R_INVERTED) Q <= 1'b0;
      else if (CE) Q <= D ^ IS_D_INVERTED;
    end
  end
endmodule

module FDSE #(
  parameter [0:0] INIT = 1'b1,
  parameter [0:0] IS_C_INVERTED = 1'b0,
  parameter [0:0] IS_D_INVERTED = 1'b0,
  parameter [0:0] IS_S_INVERTED = 1'b0
) (
  input  logic C,
  input  logic CE,
  input  logic D,
  input  logic S,
  output logic Q
);
  if (INIT === 1'b0 || INIT === 1'b1) begin : gen_init
    initial Q = INIT;
  end
  if (IS_C_INVERTED) begin : gen_fall
    always_ff @(negedge C) begin
      if (S ^ IS_S_INVERTED) Q <= 1'b1;
      else if (CE) Q <= D ^ IS_D_INVERTED;
    end
  end else begin : gen_rise
    always_ff @(posedge C) begin
      if (S ^ IS_S_INVERTED) Q <= 1'b1;
      else if (CE) Q <= D ^ IS_D_INVERTED;
    end
  end
endmodule

module FDCE #(
  parameter [0:0] INIT = 1'b0,
  parameter [0:0] IS_C_INVERTED = 1'b0,
  parameter [0:0] IS_D_INVERTED = 1'b0,
  parameter [0:0] IS_CLR_INVERTED = 1'b0
) (
  input  logic C,
  input  logic CE,
  input  logic CLR,
  input  logic D,
  output logic Q
);
  logic clock;
  logic clear;

  assign clock = C ^ IS_C_INVERTED;
  assign clear = CLR ^ IS_CLR_INVERTED;

  if (INIT === 1'b0 || INIT === 1'b1) begin : gen_init
    initial Q = INIT;
  end
  always_ff @(posedge clock or posedge clear) begin
    if (clear) Q <= 1'b0;
    else if (CE) Q <= D ^ IS_D_INVERTED;
  end
endmodule

module FDPE #(
  parameter [0:0] INIT = 1'b1,
  parameter [0:0] IS_C_INVERTED = 1'b0,
  parameter [0:0] IS_D_INVERTED = 1'b0,
  parameter [0:0] IS_PRE_INVERTED = 1'b0
) (
  input  logic C,
  input  logic CE,
  input  logic D,
  input  logic PRE,
  output logic Q
);
  logic clock;
  logic preset;

  assign clock = C ^ IS_C_INVERTED;
  assign preset = PRE ^ IS_PRE_INVERTED;

  if (INIT === 1'b0 || INIT === 1'b1) begin : gen_init
    initial Q = INIT;
  end
  always_ff @(posedge clock or posedge preset) begin
    if (preset) Q <= 1'b1;
    else if (CE) Q <= D ^ IS_D_INVERTED;
  end
endmodule

`default_nettype wire
