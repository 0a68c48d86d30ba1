# SPDX-License-Identifier: Apache-2.0
"""Errors a user can act on: each message says what was given, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CacheError",
    "ExportError",
    "FormatError",
    "HwquantError",
    "InputError",
    "SpecError",
    "ToolError",
    "UnsupportedError",
    "one_of",
]


class HwquantError(Exception):
    """Base of every error hwquant raises on purpose; the command line exits with 2."""


class FormatError(HwquantError):
    """A format name or a format's parameters are not legal."""


class SpecError(HwquantError):
    """A kernel or recipe specification contradicts itself."""


class InputError(HwquantError):
    """Data, a file or a model given by the user cannot be used."""


class UnsupportedError(InputError):
    """A model holds a layer or an operator that hwquant does not quantize or export."""


class ExportError(HwquantError):
    """A quantized model cannot be written as QONNX, or a QONNX file cannot be read."""


class ToolError(HwquantError):
    """An external tool (simulator, synthesizer, compiler) is missing or failed."""


class CacheError(HwquantError):
    """A cache entry is damaged, or the cache folder cannot be written."""


def one_of(name: str, names: Iterable[str]) -> str:
    """Return the end of a message that refuses ``name``: what is allowed, and what was meant.

    >>> one_of("wieght", ["weight", "act"])
    'allowed: weight, act; did you mean weight?'
    """
    known = list(names)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]}?" if near else ""
    return f"allowed: {', '.join(known) or 'none'}{guess}"
