# SPDX-License-Identifier: Apache-2.0
"""Constant-weight matrix-vector kernels: the weights are in the wiring."""

from __future__ import annotations

from .design import Design, build
from .kernel import ConstantBundle, constant_name, constant_text, generate_constant
from .spec import MatVecSpec

__all__ = [
    "ConstantBundle",
    "Design",
    "MatVecSpec",
    "build",
    "constant_name",
    "constant_text",
    "generate_constant",
]
