# SPDX-License-Identifier: Apache-2.0
"""The accumulator adviser: certificates, what images needed, and the risk of narrower widths."""

from __future__ import annotations

from .advice import Advice, advise
from .certificate import channel_bits
from .model import Ordinal, Sample, fit
from .needs import Needs, bits_needed, measure

__all__ = ["Advice", "Needs", "Ordinal", "Sample", "advise", "bits_needed", "channel_bits"]
__all__ += ["fit", "measure"]
