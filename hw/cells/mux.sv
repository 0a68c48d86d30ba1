// SPDX-License-Identifier: Apache-2.0
/// Slice multiplexers, O = S ? I1 : I0, and buffers, O = I.
///
/// Source: UG974, design elements MUXF7, MUXF8, MUXF9, BUFG, IBUF, OBUF.
`default_nettype none

module MUXF7 (
  input  logic I0,
  input  logic I1,
  input  logic S,
  output logic O
);
  assign O = S ? I1 : I0;
endmodule

module MUXF8 (
  input  logic I0,
  input  logic I1,
  input  logic S,
  output logic O
);
  assign O = S ? I1 : I0;
endmodule

module MUXF9 (
  input  logic I0,
  input  logic I1,
  input  logic S,
  output logic O
);
  assign O = S ? I1 : I0;
endmodule

module BUFG (
  input  logic I,
  output logic O
);
  assign O = I;
endmodule

module IBUF (
  input  logic I,
  output logic O
);
  assign O = I;
endmodule

module OBUF (
  input  logic I,
  output logic O
);
  assign O = I;
endmodule

`default_nettype wire
