# SPDX-License-Identifier: Apache-2.0
"""What a step is, and how its name becomes code.  No torch here.

A step is one module of `hwquant.ptq.steps` whose name is the step's name.  It holds a frozen
dataclass called ``Step``: the fields are the options, ``apply(job)`` does the work.  Adding that
file is all it takes to add a method.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from hwquant.errors import SpecError

__all__ = ["PACKAGE", "StepSpec", "step_names"]

PACKAGE: Final = "hwquant.ptq.steps"


def step_names() -> tuple[str, ...]:
    """Return the names of all steps, without importing them."""
    package = import_module(PACKAGE)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__)))


@dataclass(frozen=True)
class StepSpec:
    """A step's name and options, written ``calibrate:rule=mse,percentile=99.9``.

    >>> StepSpec.parse("calibrate:rule=mse,percentile=99.9")
    StepSpec(name='calibrate', options=(('percentile', '99.9'), ('rule', 'mse')))

    Raises `SpecError` for an unknown name or an option without a value.
    """

    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in step_names():
            raise SpecError(f"step {self.name!r} is unknown, allowed: {', '.join(step_names())}")
        object.__setattr__(self, "options", tuple(sorted(self.options)))

    @classmethod
    def parse(cls, text: object) -> StepSpec:
        """Read the text form."""
        if not isinstance(text, str):
            raise SpecError(f"step {text!r}, allowed text such as 'calibrate:rule=mse'")
        name, _, rest = text.partition(":")
        options = []
        for item in filter(None, rest.split(",")):
            key, equals, setting = item.partition("=")
            if not equals or not key or not setting:
                raise SpecError(f"step {text!r}: option {item!r}, allowed the form name=value")
            options.append((key.strip(), setting.strip()))
        return cls(name.strip(), tuple(options))

    def __str__(self) -> str:
        if not self.options:
            return self.name
        return f"{self.name}:{','.join(f'{key}={item}' for key, item in self.options)}"
