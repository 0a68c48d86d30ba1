# SPDX-License-Identifier: Apache-2.0
"""qonnx's own inference cost of an exported file, with the right widths for minifloats."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.util.inference_cost import inference_cost

from hwquant.graph import load

__all__ = ["qonnx_cost", "unit_view"]


def unit_view(path: str | Path) -> ModelWrapper:
    """Return the graph with every minifloat scale taken out, for analyses that look at types only.

    qonnx has no type for a scaled minifloat: behind the ``Mul`` by the scale everything counts as
    32 bits.  The view connects consumers to the unit-scale ``FloatQuant`` directly.
    """
    load(path)  # a damaged or float file gives one clear error
    model = ModelWrapper(str(path))
    for quantizer in model.get_nodes_by_op_type("FloatQuant"):
        for node in list(model.find_consumers(quantizer.output[0]) or []):
            if node.op_type != "Mul" or model.get_initializer(node.input[1]) is None:
                continue
            for user in list(model.find_consumers(node.output[0]) or []):
                names = [quantizer.output[0] if n == node.output[0] else n for n in user.input]
                user.input[:] = names
            if node.output[0] not in [output.name for output in model.graph.output]:
                model.graph.node.remove(node)
    return model


def qonnx_cost(path: str | Path) -> dict[str, Any]:
    """Return qonnx's inference cost (multiplications, bit operations, weight and output bits).

    Raises `ExportError` for a file that cannot be read or is not quantized.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cost: dict[str, Any] = inference_cost(unit_view(path), discount_sparsity=False)
    return cost
