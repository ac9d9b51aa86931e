"""How HMC, NUTS and autoguides can have a direction among their unknowns.

There is no bijection from R^n to the sphere; a normal vector divided by its norm does instead.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Distribution, Normal, constraints
from numpyro.infer.reparam import Reparam

from spherical_vae.special import log_sphere_area

# Of log |x|: small against 1, and not so small that the shell is harder to follow than the sphere.
_LENGTH_SPREAD = 0.1


class SphereReparam(Reparam):
    """Samples a site on the sphere as x / |x|, x a normal vector named `NAME_normal`.

    x / |x| is uniform; the density of the site relative to the uniform one enters as a factor, so
    the posterior is exact for any distribution whose support is the sphere. A second factor, of the
    length alone, makes log |x| normal with mean 0 and standard deviation 0.1: the direction keeps
    its law, and its scale in x, which is |x| times an angle, hardly varies. With the length of a
    normal vector a posterior that is narrow in angle would be a funnel, and chains diverge in it.

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
        square = (normal**2).sum(-1)
        value = normal / jnp.sqrt(square)[..., None]
        density = fn.log_prob(value) + log_sphere_area(shape[-1])
        numpyro.factor(f"{name}_density", density)
        # From the normal density of x to that of a log-normal length, up to a constant.
        log_length = 0.5 * jnp.log(square)
        shell = 0.5 * square - shape[-1] * log_length - 0.5 * (log_length / _LENGTH_SPREAD) ** 2
        numpyro.factor(f"{name}_length", shell)
        return None, value
