# SPDX-License-Identifier: Apache-2.0
"""What the regressors see of a kernel.

======================  ======================================================================
feature                 meaning
======================  ======================================================================
``w_bits`` ``a_bits``   storage width of the operand
``w_exp`` ``a_exp``     exponent bits (0: integer or codebook)
``w_sig`` ``a_sig``     width of the significand in the RTL, hidden bit included
``w_signed`` ...        1 for an operand with a sign
``w_book`` ``a_book``   1 for a codebook
``log_lanes``           log2 of the lanes
``log_length``          log2 of the length
``acc_bits``            width of the accumulator
``saturate``            1 for a saturating accumulator
``log_estimate``        log of (estimate of the formula + 1)
``family_NAME``         1 for the style family (`FAMILIES`)
======================  ======================================================================

The target is ``log((count + 1) / (estimate + 1))``: 0 where the formula is right, and defined for
kernels without a LUT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from costmodel.primitives.specs import CODEBOOK, SpecArrays

__all__ = ["FAMILIES", "FEATURES", "family", "from_target", "matrix", "one_lut", "to_target"]

FAMILIES: Final = ("plain", "portable", "row", "tree", "bucket", "codebook", "dsp")
"""Styles with an error in common: the tool maps ``plain`` and all portable twins as it likes, while
the others are built of cells; ``row`` is table, Booth and shift kernels of one lane."""

_FAMILY: Final = {
    "plain": "plain",
    "table": "row",
    "booth": "row",
    "shift": "row",
    "tree": "tree",
    "bucket": "bucket",
    "bucket_fast": "bucket",
    "digit": "codebook",
    "decode": "codebook",
    "rom": "codebook",
    "dsp": "dsp",
    "dsp_acc": "dsp",
}

FEATURES: Final = (
    *(f"{side}_{name}" for side in "wa" for name in ("bits", "exp", "sig", "signed", "book")),
    "log_lanes", "log_length", "acc_bits", "saturate", "log_estimate",
    *(f"family_{name}" for name in FAMILIES),
)  # fmt: skip

Array = NDArray[np.float64]


def family(style: str) -> str:
    """Return the family of a style; "" for an unknown one.

    A ``plain`` kernel with a codebook is other hardware, and counts with the codebook styles
    (`matrix`).
    """
    return "portable" if style.endswith("_portable") else _FAMILY.get(style, "")


def matrix(kernels: SpecArrays, styles: Sequence[str], estimates: Array) -> Array:
    """Return the features of each kernel, shape (kernels, len(FEATURES)); estimates in LUTs."""
    operands = [
        column
        for side in (kernels.weight, kernels.act)
        for column in (
            side.bits,
            side.exp_bits,
            side.sig_bits,
            side.signed,
            side.kind == CODEBOOK,
        )
    ]
    of = np.array([family(style) for style in styles], "U9")
    books = (kernels.weight.kind == CODEBOOK) | (kernels.act.kind == CODEBOOK)
    of[books & (of == "plain")] = "codebook"
    columns = (
        *operands,
        np.log2(kernels.lanes),
        np.log2(kernels.length),
        kernels.acc,
        kernels.saturate,
        np.log1p(estimates),
        *(of == name for name in FAMILIES),
    )
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def to_target(counts: Array, estimates: Array) -> Array:
    """Return ``log((count + 1) / (estimate + 1))``."""
    return np.log1p(counts) - np.log1p(estimates)


def from_target(targets: Array, estimates: Array) -> Array:
    """Return the counts of ``targets``, the inverse of `to_target`; shapes broadcast."""
    return np.expm1(targets + np.log1p(estimates))


def one_lut(x: Array) -> Array:
    """Return how much one LUT is in units of the target, for rows of `matrix`."""
    return np.asarray(np.exp(-x[:, FEATURES.index("log_estimate")]))
