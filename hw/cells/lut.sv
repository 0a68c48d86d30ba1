// SPDX-License-Identifier: Apache-2.0
/// Look-up tables, inverter, constants: O = INIT[inputs], I0 in the low bit of the index.
///
/// LUT6_2 has two outputs: O6 reads the whole table, O5 its lower half with I0..I4 alone.
/// Source: UG974 (UltraScale libraries guide), design elements LUT1..LUT6, LUT6_2, INV, GND, VCC.
`default_nettype none

module GND (
  output logic G
);
  assign G = 1'b0;
endmodule

module VCC (
  output logic P
);
  assign P = 1'b1;
endmodule

module INV (
  input  logic I,
  output logic O
);
  assign O = ~I;
endmodule

module LUT1 #(
  parameter [1:0] INIT = 2'h0
) (
  input  logic I0,
  output logic O
);
  assign O = INIT[I0];
endmodule

module LUT2 #(
  parameter [3:0] INIT = 4'h0
) (
  input  logic I0,
  input  logic I1,
  output logic O
);
  assign O = INIT[{I1, I0}];
endmodule

module LUT3 #(
  parameter [7:0] INIT = 8'h0
) (
  input  logic I0,
  input  logic I1,
  input  logic I2,
  output logic O
);
  assign O = INIT[{I2, I1, I0}];
endmodule

module LUT4 #(
  parameter [15:0] INIT = 16'h0
) (
  input  logic I0,
  input  logic I1,
  input  logic I2,
  input  logic I3,
  output logic O
);
  assign O = INIT[{I3, I2, I1, I0}];
endmodule

module LUT5 #(
  parameter [31:0] INIT = 32'h0
) (
  input  logic I0,
  input  logic I1,
  input  logic I2,
  input  logic I3,
  input  logic I4,
  output logic O
);
  assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule

module LUT6 #(
  parameter [63:0] INIT = 64'h0
) (
  input  logic I0,
  input  logic I1,
  input  logic I2,
  input  logic I3,
  input  logic I4,
  input  logic I5,
  output logic O
);
  assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule

module LUT6_2 #(
  parameter [63:0] INIT = 64'h0
) (
  input  logic I0,
  input  logic I1,
  input  logic I2,
  input  logic I3,
  input  logic I4,
  input  logic I5,
  output logic O5,
  output logic O6
);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule

`default_nettype wire
