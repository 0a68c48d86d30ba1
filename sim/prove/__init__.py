# SPDX-License-Identifier: Apache-2.0
"""Proof of kernels for all states and inputs, by induction against a golden model."""

from __future__ import annotations

from .engine import STYLES, Proof, ProofReport, prove, prove_designs

__all__ = ["STYLES", "Proof", "ProofReport", "prove", "prove_designs"]
