"""Keys that act only with some values of another key."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spherical_vae.models.latents import LATENTS


class _Other(NamedTuple):
    """The other key, the values with which a key acts, and if these are not all known the others.

    A module of the user's may read any key of its part.
    """

    key: str
    acts: tuple[str, ...] = ()
    inert: tuple[str | float, ...] = ()


_BAG = ("bag_of_words",)
_OTHERS = {
    "encoder.pooling": _Other("encoder.kind", inert=_BAG),
    "decoder.inputless": _Other("decoder.kind", inert=_BAG),
    "decoder.hidden_size": _Other("decoder.layers", inert=(0,)),
    "latent.sampler": _Other("latent.kind", inert=("none", "gaussian", "power_spherical")),
    "prior.kind": _Other("latent.kind", inert=("none",)),
    "prior.components": _Other("prior.kind", inert=("standard",)),
    "kl_weight.linear_epochs": _Other("kl_weight.schedule", ("linear",)),
    "kl_weight.sigmoid_slope": _Other("kl_weight.schedule", ("sigmoid",)),
    "kl_weight.sigmoid_shift": _Other("kl_weight.schedule", ("sigmoid",)),
    "kl_weight.cycles": _Other("kl_weight.schedule", ("cyclical",)),
    "kl_weight.rising_fraction": _Other("kl_weight.schedule", ("cyclical",)),
    "rate.free_nats": _Other("latent.kind", inert=("none",)),
    "rate.free_nats_per": _Other("rate.free_nats", inert=(0.0,)),
    "rate.target_step": _Other("rate.target_nats", inert=(0.0,)),
    "optimizer.final_fraction": _Other("optimizer.schedule", ("cosine",)),
    "optimizer.plateau_divisor": _Other("optimizer.schedule", ("plateau",)),
}


def without_effect(key: str, configs: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns why a key has no effect in any of these configurations; None if it has in one.

    Args:
      key: a dotted key.
      configs: flat, values by dotted key.
    """
    others = _OTHERS
    if key == "latent.concentration":  # A latent says whether it reads it, the user's too.
        kinds = dict.fromkeys((*LATENTS, *(one["latent.kind"] for one in configs)))
        acts = tuple(kind for kind in kinds if LATENTS[kind].concentration)
        others = {key: _Other("latent.kind", acts)}
    if key not in others:
        return None
    other, acts, inert = others[key]
    given = {one[other] for one in configs}
    if given.intersection(acts) if acts else given.difference(inert):
        return None
    values = ", ".join(map(str, sorted(given)))
    allowed = " or ".join(acts) if acts else f"not {' or '.join(map(str, inert))}"
    return f"{key} has no effect with {other}={values}, allowed: {other} {allowed}"
