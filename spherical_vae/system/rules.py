"""Rules for single values of a configuration, and for combinations of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from ml_collections import ConfigDict

from spherical_vae.system.errors import UserError
from spherical_vae.system.names import require_name

# Training is in float32: a larger number is an infinity there.
_LARGEST_FLOAT32 = 3.4e38


class Rule(Protocol):
    """A condition on a single value."""

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` that names `key` unless `value` is allowed."""
        ...


@dataclass(frozen=True)
class OneOf:
    """A name from a list, or from the keys of a dictionary as they are when a value is checked."""

    names: Iterable[str]

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` for any other name."""
        require_name(key, value, self.names)


@dataclass(frozen=True)
class Number:
    """A finite number between bounds, each of them included unless it is said to be open."""

    low: float | int | None = None
    high: float | int | None = None
    low_open: bool = False
    high_open: bool = False

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` for a number outside, and for one that is not finite."""
        # Comparisons with NaN are false, so the test is for being inside, never for being outside.
        inside = abs(value) <= _LARGEST_FLOAT32
        if self.low is not None:
            inside = inside and (value > self.low if self.low_open else value >= self.low)
        if self.high is not None:
            inside = inside and (value < self.high if self.high_open else value <= self.high)
        if not inside:
            raise UserError(f"{key}: {value!r} given, allowed: {self._description()}")

    def _description(self) -> str:
        bounds = []
        if self.low is not None:
            bounds.append(f"{'>' if self.low_open else '>='} {self.low}")
        if self.high is not None:
            bounds.append(f"{'<' if self.high_open else '<='} {self.high}")
        return f"a finite number {' and '.join(bounds)}".rstrip()


@dataclass(frozen=True)
class Text:
    """A string that may not be empty."""

    def check(self, key: str, value: Any) -> None:
        """Raises a `UserError` for a string of white space."""
        if not value.strip():
            raise UserError(f"{key}: {value!r} given, allowed: a text that is not empty")


@dataclass(frozen=True)
class Anything:
    """Any value of the right type."""

    def check(self, key: str, value: Any) -> None:
        """Does nothing."""


# Whole numbers reach the compiled step as int32.
SIZE = Number(low=1, high=2**31 - 1)
COUNT = Number(low=0, high=2**31 - 1)
FRACTION = Number(low=0, high=1, low_open=True, high_open=True)
# JAX keys take a 32-bit seed without x64, and NumPy's generators raise for negative ones.
SEED = Number(low=0, high=2**32 - 1)
ANY = Anything()


@dataclass(frozen=True)
class Conflict:
    """A combination of keys that makes no sense: the key to change, when, and what it may be.

    `allowed` is a format string in which `c` is the configuration, and `decoder` the kind of its
    decoder.
    """

    key: str
    when: Callable[[ConfigDict], bool]
    allowed: str
