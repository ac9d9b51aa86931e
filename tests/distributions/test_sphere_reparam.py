"""A site written as x / |x| keeps its law: prior draws, and a density that integrates to one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.handlers import reparam, seed, trace
from numpyro.infer import MCMC, NUTS, Predictive, init_to_feasible, init_to_uniform
from numpyro.infer.util import log_density
from small_run import ROOT

from spherical_vae import special
from spherical_vae.distributions import PowerSpherical, SphereReparam, VonMisesFisher

pytestmark = pytest.mark.optimized

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


SITES = {
    "independent": lambda: VonMisesFisher(np.eye(3, dtype=np.float32), 5.0).to_event(1),
    "expanded": lambda: VonMisesFisher(DIRECTION, 5.0).expand((4,)),
    "both": lambda: PowerSpherical(DIRECTION, 5.0).expand((4, 2)).to_event(2),
}


@pytest.mark.thorough
@pytest.mark.parametrize("site", SITES)
def test_independent_and_expanded_sites(site):
    law = SITES[site]()

    @reparam(config={"direction": SphereReparam()})
    def one():
        numpyro.sample("direction", law)

    sites = trace(seed(one, 0)).get_trace()
    vector = sites["direction_vector"]
    assert sites["direction"]["value"].shape == law.shape()
    assert (vector["fn"].batch_shape, vector["fn"].event_shape) == (
        law.batch_shape,
        law.event_shape,
    )
    # The density of the vector is that of its direction, and what depends on the length alone.
    rescaled = vector["value"] / jnp.linalg.norm(vector["value"], axis=-1, keepdims=True)
    turned = jnp.roll(rescaled, 1, axis=-1)
    found = vector["fn"].log_prob(rescaled) - vector["fn"].log_prob(turned)
    np.testing.assert_allclose(found, law.log_prob(rescaled) - law.log_prob(turned), rtol=1e-4)


@pytest.mark.parametrize(
    "start", [init_to_feasible, pytest.param(init_to_uniform, marks=pytest.mark.slow)]
)
def test_inference_starts_where_there_is_a_direction(start):
    kernel = NUTS(model, init_strategy=start)
    mcmc = MCMC(kernel, num_warmup=3, num_samples=3, progress_bar=False)
    mcmc.run(jax.random.key(0))
    directions = mcmc.get_samples()["direction"]
    np.testing.assert_allclose(jnp.linalg.norm(directions, axis=-1), 1.0, atol=1e-5)


@pytest.mark.thorough
def test_the_block_of_the_page_finds_the_posterior():
    """A vMF in the direction of the sum of the data, with 10 times its length."""
    page = (ROOT / "docs" / "vmf.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Using a direction in NUTS")
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    found: dict = {}
    exec(code[1], found)
    total = found["data"].sum(axis=0)
    length = jnp.linalg.norm(total)
    fitted, free = found["fitted"].params, found["fitted"].params["free"]
    assert total / length @ free / jnp.linalg.norm(free) > 0.999
    assert fitted["concentration"] == pytest.approx(10 * float(length), rel=0.1)
    # Autocorrelated draws: the mean has a few times the error of independent ones.
    cosines = found["directions"] @ (total / length)
    assert float(cosines.mean()) == pytest.approx(
        float(special.bessel_ratio(5, 10 * length)), abs=1e-3
    )
