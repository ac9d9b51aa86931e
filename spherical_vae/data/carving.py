"""Held-out splits taken from train by a seed."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from spherical_vae.data.shuffling import CARVING, shuffled
from spherical_vae.system.errors import UserError


def carve(
    examples: int, fractions: Mapping[str, float], seed: int
) -> dict[str, Int[np.ndarray, " positions"]]:
    """Divides examples into held-out splits and the rest.

    Splits are taken one after the other from one shuffled order, so a split does not change when
    the fraction of a later one does. Each gets its rounded share, and one example at least.

    Args:
      examples: how many there are.
      fractions: of `examples`, in (0, 1), by the name of the split.
      seed: non-negative.

    Returns:
      Sorted positions by name, `train` being what is left.

    Raises:
      UserError: a fraction out of range, or no example left for train.
    """
    order = shuffled(examples, seed, CARVING)
    parts, taken = {}, 0
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise UserError(f"config.data.{name}_fraction is {fraction}: it must be in (0, 1)")
        size = max(1, round(examples * fraction))
        parts[name] = np.sort(order[taken : taken + size])
        taken += size
    if taken >= examples:
        wanted = " and ".join(fractions)
        raise UserError(f"train has {examples} examples, too few to carve {wanted} from it")
    parts["train"] = np.sort(order[taken:])
    return parts
