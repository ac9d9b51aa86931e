"""How HMC, NUTS and autoguides can have a direction among their unknowns.

There is no bijection from R^n to the sphere; a normal vector divided by its norm does instead.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Distribution, Normal, constraints
from numpyro.infer.reparam import Reparam

from spherical_vae.special import log_sphere_area


class SphereReparam(Reparam):
    """Samples a site on the sphere as x / |x|, x a standard normal vector named `NAME_normal`.

    x / |x| is uniform; the density of the site relative to the uniform one enters as a factor, so
    the posterior is exact for any distribution whose support is the sphere. The length of x stays
    standard, so the posterior of x is proper and the geometry has no hole that a chain could meet.

    Example:
        >>> import jax.numpy as jnp, numpyro
        >>> from numpyro.handlers import reparam
        >>> @reparam(config={"direction": SphereReparam()})
        ... def model(data):
        ...     direction = numpyro.sample("direction", HypersphericalUniform(3))
        ...     with numpyro.plate("data", len(data)):
        ...         numpyro.sample("z", VonMisesFisher(direction, 10.0), obs=data)
    """

    def __call__(
        self, name: str, fn: Distribution, obs: object
    ) -> tuple[Distribution | None, object]:
        """Replaces the site; called by NumPyro's `reparam` handler."""
        assert obs is None, "SphereReparam does not support observe statements"
        if fn.support is not constraints.sphere or fn.event_dim != 1:
            raise ValueError(f"SphereReparam needs a site on the sphere, {name!r} is not")
        shape = fn.shape()
        normal = numpyro.sample(
            f"{name}_normal", Normal(jnp.zeros(shape), jnp.ones(shape)).to_event(1)
        )
        value = normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)
        density = fn.log_prob(value) + log_sphere_area(shape[-1])
        numpyro.factor(f"{name}_density", density)
        return None, value
