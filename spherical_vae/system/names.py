"""Refusing a name that is not one of the valid ones, and saying which one may have been meant."""

import difflib
from collections.abc import Iterable

from spherical_vae.system.errors import UserError


def nearest_name_hint(name: object, allowed: Iterable[str]) -> str:
    """Returns `"; did you mean 'x'?"` for the most similar allowed name, or nothing."""
    # Upper and lower case apart, a name is spelled right.
    spellings = {candidate.lower(): candidate for candidate in allowed}
    matches = difflib.get_close_matches(str(name).lower(), list(spellings), n=1, cutoff=0.5)
    return f"; did you mean {spellings[matches[0]]!r}?" if matches else ""


def require_name(what: str, given: object, allowed: Iterable[str]) -> None:
    """Raises a `UserError` unless `given` is one of `allowed`.

    Args:
      what: what is being named, as the message shall call it: a dotted key, "variant of x.py".
      given: the name that was given.
      allowed: the valid names, in the order in which they shall be listed.
    """
    names = tuple(allowed)
    if given not in names:
        listing = ", ".join(names)
        raise UserError(
            f"{what}: {given!r} given, allowed: {listing}{nearest_name_hint(given, names)}"
        )
