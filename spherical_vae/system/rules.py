"""Rules for single values of a configuration."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

# Called with a key and its value; raises a `UserError` that names the key unless the value is
# allowed.
Rule = Callable[[str, Any], None]

# Training is in float32, where a larger number is infinite.
_LARGEST_FLOAT32 = 3.4e38


def one_of(names: Iterable[str]) -> Rule:
    """One of several names; a mapping allows its keys at the time of the check."""
    return partial(require_name, allowed=names)


@dataclass(frozen=True)
class Number:
    """A finite number between two bounds; an open bound is not allowed itself."""

    low: float | int | None = None
    high: float | int | None = None
    low_open: bool = False
    high_open: bool = False

    def __call__(self, key: str, value: Any) -> None:
        """Raises a `UserError` for a number outside of the bounds or not finite."""
        # Comparisons with NaN are false, so that each one states what is allowed.
        inside, bounds = abs(value) <= _LARGEST_FLOAT32, []
        if self.low is not None:
            inside = inside and (value > self.low if self.low_open else value >= self.low)
            bounds.append(f" {'>' if self.low_open else '>='} {self.low}")
        if self.high is not None:
            inside = inside and (value < self.high if self.high_open else value <= self.high)
            bounds.append(f" {'<' if self.high_open else '<='} {self.high}")
        if not inside:
            allowed = f"a finite number{' and'.join(bounds)}"
            raise UserError(f"{key}: {value!r} given, allowed: {allowed}")


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
