# SPDX-License-Identifier: Apache-2.0
"""Post-training quantization: recipes, steps, and the functions that apply them.

`Recipe` is light; `hwquant.ptq.quantize.quantize` imports torch and Brevitas.
"""

from hwquant.ptq.recipe import Recipe, StepSpec

__all__ = ["Recipe", "StepSpec"]
