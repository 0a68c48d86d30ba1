# SPDX-License-Identifier: Apache-2.0
"""The integer graph of a quantized network: read from QONNX, executed exactly, certified.

numpy only; onnx is imported when a file is read.
"""

from __future__ import annotations

from hwquant.graph.exact import Exact, Real
from hwquant.graph.layer import MacLayer
from hwquant.graph.network import Graph, Island, load
from hwquant.graph.quantizer import Quantizer
from hwquant.graph.run import Visitor

__all__ = ["Exact", "Graph", "Island", "MacLayer", "Quantizer", "Real", "Visitor", "load"]
