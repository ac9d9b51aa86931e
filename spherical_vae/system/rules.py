"""Rules for single values of a configuration."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

# Called with a key and its value; raises a `UserError` that names the key unless the value is
# allowed.
Rule = Callable[[str, Any], None]

# Training is in float32, where larger numbers are infinite and smaller ones may be 0.
_LARGEST_FLOAT32 = 3.4e38
_SMALLEST_FLOAT32 = 1.2e-38


def in_float32(value: float | int) -> float:
    """Returns the number that training has in place of a finite one."""
    return 0.0 if abs(value) < _SMALLEST_FLOAT32 else float(np.float32(value))


def one_of(names: Iterable[str]) -> Rule:
    """One of several names; a mapping allows its keys at the time of the check."""
    return partial(require_name, allowed=names)


@dataclass(frozen=True)
class Number:
    """A finite number between two bounds, in float32 too; an open bound is not allowed itself."""

    low: float | int | None = None
    high: float | int | None = None
    low_open: bool = False
    high_open: bool = False

    def __call__(self, key: str, value: Any) -> None:
        """Raises a `UserError` for a number outside of the bounds or not finite."""
        # Comparisons with NaN are false, so that each one states what is allowed.
        finite, bounds = abs(value) <= _LARGEST_FLOAT32, []
        if self.low is not None:
            bounds.append(f" {'>' if self.low_open else '>='} {self.low}")
        if self.high is not None:
            bounds.append(f" {'<' if self.high_open else '<='} {self.high}")
        allowed = f"a finite number{' and'.join(bounds)}"
        if not (finite and self._inside(value)):
            raise UserError(f"{key}: {value!r} given, allowed: {allowed}")
        if isinstance(value, float) and not self._inside(in_float32(value)):
            raise UserError(
                f"{key}: {value!r} given, allowed: {allowed}, also when rounded to float32"
            )

    def _inside(self, value: float | int) -> bool:
        above = self.low is None or (value > self.low if self.low_open else value >= self.low)
        below = self.high is None or (value < self.high if self.high_open else value <= self.high)
        return above and below


def not_empty(key: str, value: str) -> None:
    """A text that is not empty or white space."""
    if not value.strip():
        raise UserError(f"{key}: {value!r} given, allowed: a text that is not empty")


def no_rule(key: str, value: Any) -> None:
    """Any value of the right type."""


# Integers reach the compiled step as int32.
SIZE = Number(low=1, high=2**31 - 1)
COUNT = Number(low=0, high=2**31 - 1)
FRACTION = Number(low=0, high=1, low_open=True, high_open=True)
# JAX keys take a 32-bit seed without x64, and NumPy's generators raise for negative seeds.
SEED = Number(low=0, high=2**32 - 1)
