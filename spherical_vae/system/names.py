"""Checks that a name is one of the allowed names, and suggests the nearest one if it is not."""

import difflib
from collections.abc import Iterable

from spherical_vae.system.errors import UserError


def nearest_name_hint(name: object, allowed: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the most similar allowed name, or an empty string."""
    # The difference between upper and lower case does not count.
    spellings = {candidate.lower(): candidate for candidate in allowed}
    matches = difflib.get_close_matches(str(name).lower(), list(spellings), n=1, cutoff=0.5)
    return f"; did you mean {spellings[matches[0]]!r}?" if matches else ""


def require_name(what: str, given: object, allowed: Iterable[str]) -> None:
    """Raises a `UserError` unless `given` is one of the allowed names.

    Args:
      what: what the name is for, as the message says it: a dotted key, "variant of x.py".
      given: the name.
      allowed: the allowed names, in the order of the message.
    """
    names = tuple(allowed)
    if given not in names:
        hint = nearest_name_hint(given, names)
        raise UserError(f"{what}: {given!r} given, allowed: {', '.join(names)}{hint}")
