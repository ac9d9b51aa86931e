"""A site written as x / |x| keeps its law: prior draws, and a density that integrates to one."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.handlers import reparam, seed, trace
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

from spherical_vae import special
from spherical_vae.distributions import SphereReparam, VonMisesFisher

DIRECTION, CONCENTRATION, DRAWS = np.eye(3, dtype=np.float32)[0], 20.0, 20_000


@pytest.fixture(autouse=True)
def _numpyro_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


@reparam(config={"direction": SphereReparam()})
def model():
    numpyro.sample("direction", VonMisesFisher(DIRECTION, CONCENTRATION))


def test_prior_draws_have_the_law_of_the_site():
    draws = Predictive(model, num_samples=2000)(jax.random.key(0))["direction"]
    cosine = draws @ DIRECTION
    wanted = special.bessel_ratio(3, CONCENTRATION)
    # Five errors: once in two million seeds.
    assert abs(float(cosine.mean() - wanted)) <= 5 * float(cosine.std()) / 2000**0.5
    np.testing.assert_allclose(jnp.linalg.norm(draws, axis=-1), 1.0, atol=1e-5)


def test_the_joint_density_integrates_to_one():
    """By importance sampling from a normal law around the mean direction."""
    spread = 0.4
    x = DIRECTION + spread * jax.random.normal(jax.random.key(1), (DRAWS, 3))
    proposal = -0.5 * ((x - DIRECTION) ** 2).sum(-1) / spread**2 - 3 * np.log(
        spread * np.sqrt(2 * np.pi)
    )
    joint = jax.vmap(lambda value: log_density(model, (), {}, {"direction_vector": value})[0])(x)
    weights = jnp.exp(joint - proposal)
    error = float(weights.std()) / DRAWS**0.5
    assert error < 0.03
    assert abs(float(weights.mean()) - 1.0) <= 5 * error


def test_sites_in_plates_keep_their_shapes():
    @reparam(config={"direction": SphereReparam()})
    def many():
        with numpyro.plate("rows", 4):
            numpyro.sample("direction", VonMisesFisher(DIRECTION, CONCENTRATION))

    sites = trace(seed(many, 0)).get_trace()
    assert sites["direction_vector"]["value"].shape == (4, 3)
    direction = sites["direction"]["value"]
    assert direction.shape == (4, 3)
    np.testing.assert_allclose(jnp.linalg.norm(direction, axis=-1), 1.0, atol=1e-5)
