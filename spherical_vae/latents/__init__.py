"""Latent heads map a hidden vector to a `Posterior`: `(hidden [B, H], concentration) -> Posterior`.

A new kind of latent is a new file, a line in `build_latent`, and its name in `config_rules.py`.
"""

import math

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Key
from ml_collections import ConfigDict

from spherical_vae.latents.gaussian import GaussianHead
from spherical_vae.latents.learned_vmf import LearnedVonMisesFisherHead
from spherical_vae.latents.none import NoLatent
from spherical_vae.latents.posterior import Posterior
from spherical_vae.latents.vmf import VonMisesFisherHead, mean_direction

__all__ = [
    "Posterior",
    "build_latent",
    "decoder_scale",
    "is_spherical",
    "latent_dimension",
    "sample_prior",
]


def latent_dimension(settings: ConfigDict) -> int:
    """Returns D, the number of coordinates of z; 0 where there is no latent."""
    return 0 if settings.kind == "none" else settings.dimension


def is_spherical(settings: ConfigDict) -> bool:
    """Returns whether z lies on the unit sphere."""
    return settings.kind in ("vmf", "learned_vmf")


def decoder_scale(settings: ConfigDict) -> float:
    """Returns the factor on z at the decoder: sqrt(d) on the sphere if `unit_variance`, else 1."""
    scaled = is_spherical(settings) and settings.unit_variance
    return math.sqrt(settings.dimension) if scaled else 1.0


def sample_prior(settings: ConfigDict, key: Key[Array, ""], samples: int) -> Float[Array, "S D"]:
    """Draws z from p(z): uniform on the sphere, standard normal, or without coordinates."""
    z = jax.random.normal(key, (samples, latent_dimension(settings)))
    return mean_direction(z) if is_spherical(settings) else z


def build_latent(settings: ConfigDict) -> nn.Module:
    """Returns the latent head that `config.latent` describes (already validated)."""
    match settings.kind:
        case "none":
            return NoLatent()
        case "gaussian":
            return GaussianHead(settings.dimension)
        case "vmf":
            return VonMisesFisherHead(settings.dimension, settings.sampler)
        case "learned_vmf":
            return LearnedVonMisesFisherHead(
                settings.dimension,
                settings.sampler,
                settings.min_concentration,
                settings.max_concentration,
                settings.range,
                settings.concentration_gradient,
            )
    raise ValueError(f"no latent of kind {settings.kind!r}")
