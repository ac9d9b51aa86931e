"""A mixture of two vMF clusters recovered by variational inference and by NUTS."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.handlers import reparam
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoNormal

from spherical_vae.distributions import (
    HypersphericalUniform,
    SphereReparam,
    VonMisesFisher,
    von_mises_fisher,
)


@pytest.fixture(autouse=True)
def _numpyro_promotes_ranks():
    with jax.numpy_rank_promotion("allow"):
        yield


DIMENSION = 4
SHARE = 0.3
CONCENTRATIONS = (12.0, 30.0)


def clusters(count: int = 300) -> tuple[jax.Array, jax.Array]:
    directions = jnp.stack([jnp.eye(DIMENSION)[0], -jnp.eye(DIMENSION)[2]])
    first = int(SHARE * count)
    keys = jax.random.split(jax.random.key(0))
    draws = [
        von_mises_fisher.sample(key, direction, kappa, (n,))
        for key, direction, kappa, n in zip(
            keys, directions, CONCENTRATIONS, (first, count - first), strict=True
        )
    ]
    return directions, jnp.concatenate(draws)


@reparam(config={"direction": SphereReparam()})
def mixture(data: jax.Array) -> None:
    share = numpyro.sample("share", dist.Beta(1.0, 1.0))
    with numpyro.plate("clusters", 2):
        direction = numpyro.sample("direction", HypersphericalUniform(DIMENSION))
        kappa = numpyro.sample("kappa", dist.LogNormal(2.0, 1.5))
    choice = dist.Categorical(probs=jnp.stack([share, 1.0 - share]))
    with numpyro.plate("data", len(data)):
        law = dist.MixtureSameFamily(choice, VonMisesFisher(direction, kappa))
        numpyro.sample("z", law, obs=data)


# Near one point of each cluster, so that the labels do not switch.
def start(data: jax.Array) -> object:
    return init_to_value(values={"direction_vector": data[jnp.array([0, -1])]})


def check(share: float, normals: np.ndarray, kappa: np.ndarray, directions: jax.Array) -> None:
    # About 5 standard errors of the estimates from 300 points.
    assert abs(share - SHARE) < 0.14
    unit = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    assert ((unit * np.asarray(directions)).sum(-1) > 0.98).all()
    np.testing.assert_allclose(np.log(kappa), np.log(CONCENTRATIONS), atol=0.45)


@pytest.mark.slow
def test_variational_inference_recovers_the_mixture():
    directions, data = clusters()
    guide = AutoNormal(mixture, init_loc_fn=start(data))
    svi = SVI(mixture, guide, numpyro.optim.Adam(0.03), Trace_ELBO())
    result = svi.run(jax.random.key(1), 600, data, progress_bar=False)
    median = guide.median(result.params)
    check(
        float(median["share"]),
        np.asarray(median["direction_vector"]),
        np.asarray(median["kappa"]),
        directions,
    )


@pytest.mark.slow
def test_nuts_recovers_the_mixture():
    directions, data = clusters()
    kernel = NUTS(mixture, init_strategy=start(data))
    mcmc = MCMC(kernel, num_warmup=200, num_samples=300, progress_bar=False)
    mcmc.run(jax.random.key(2), data)
    draws = {name: np.asarray(values) for name, values in mcmc.get_samples().items()}
    normal = draws["direction_vector"]
    unit = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    check(float(draws["share"].mean()), unit.mean(0), np.median(draws["kappa"], 0), directions)
    # A funnel would diverge in some of the 300 draws (8, with the length of a normal vector).
    assert int(mcmc.get_extra_fields()["diverging"].sum()) <= 1
    log_length = np.log(np.linalg.norm(normal, axis=-1))
    np.testing.assert_allclose(log_length.std(0), 0.1, rtol=0.25)


def test_reparam_refuses_other_supports():
    @reparam(config={"x": SphereReparam()})
    def model():
        numpyro.sample("x", dist.Normal(jnp.zeros(3)).to_event(1))

    with pytest.raises(ValueError, match="'x' is not"), numpyro.handlers.seed(rng_seed=0):
        model()
