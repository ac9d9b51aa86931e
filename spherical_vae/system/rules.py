"""Rules for single values of a configuration."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

# Training is in float32, where a larger number is infinite.
_LARGEST_FLOAT32 = 3.4e38


class Rule(Protocol):
    """A condition on a single value."""

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` that names `key` unless `value` is allowed."""
        ...


@dataclass(frozen=True)
class OneOf:
    """One of several names; a mapping allows its keys at the time of the check."""

    names: Iterable[str]

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` for any other name."""
        require_name(key, value, self.names)


@dataclass(frozen=True)
class Number:
    """A finite number between two bounds; an open bound is not allowed itself."""

    low: float | int | None = None
    high: float | int | None = None
    low_open: bool = False
    high_open: bool = False

    def check(self, key: str, value: Any) -> None:
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


@dataclass(frozen=True)
class Text:
    """A string that is not empty."""

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` for an empty string or one of white space."""
        if not value.strip():
            raise UserError(f"{key}: {value!r} given, allowed: a text that is not empty")


@dataclass(frozen=True)
class Anything:
    """Any value of the right type."""

    def check(self, key: str, value: Any) -> None:
        """Does nothing."""


# Integers reach the compiled step as int32.
SIZE = Number(low=1, high=2**31 - 1)
COUNT = Number(low=0, high=2**31 - 1)
FRACTION = Number(low=0, high=1, low_open=True, high_open=True)
# JAX keys take a 32-bit seed without x64, and NumPy's generators raise for negative seeds.
SEED = Number(low=0, high=2**32 - 1)
ANY = Anything()
