"""Keys that act only with some values of another key."""

from collections.abc import Mapping, Sequence
from typing import Any

from spherical_vae.config.defaults import base_config
from spherical_vae.config.validation import flatten
from spherical_vae.models.latents import LATENTS

# The other key, and the values with which it acts; without any: every value but the default.
_ACTS_WITH: dict[str, tuple[str, ...]] = {
    "prior.components": ("prior.kind",),
    "kl_weight.linear_epochs": ("kl_weight.schedule", "linear"),
    "kl_weight.sigmoid_slope": ("kl_weight.schedule", "sigmoid"),
    "kl_weight.sigmoid_shift": ("kl_weight.schedule", "sigmoid"),
    "kl_weight.cycles": ("kl_weight.schedule", "cyclical"),
    "kl_weight.rising_fraction": ("kl_weight.schedule", "cyclical"),
    "rate.free_nats_per": ("rate.free_nats",),
    "rate.target_step": ("rate.target_nats",),
    "optimizer.final_fraction": ("optimizer.schedule", "cosine"),
    "optimizer.plateau_divisor": ("optimizer.schedule", "plateau"),
}


def without_effect(key: str, configs: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns why a key has no effect in any of these configurations; None if it has in one.

    Args:
      key: a dotted key.
      configs: flat, as of `flatten`.
    """
    if key == "latent.concentration":
        kinds = dict.fromkeys((*LATENTS, *(one["latent.kind"] for one in configs)))
        other, *allowed = "latent.kind", *(kind for kind in kinds if LATENTS[kind].concentration)
    else:
        other, *allowed = _ACTS_WITH.get(key, ("",))
    if not other:
        return None
    given = {one[other] for one in configs}
    default = flatten(base_config())[other]
    acts = not given.isdisjoint(allowed) if allowed else given != {default}
    if acts:
        return None
    wanted = f"{other} {' or '.join(allowed)}" if allowed else f"{other} not {default}"
    values = ", ".join(map(str, sorted(given)))
    return f"{key} has no effect with {other}={values}, allowed: {wanted}"
