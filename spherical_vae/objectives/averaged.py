"""What it costs to decode from the mean of several draws of a vMF, as the authors' code does."""

from jaxtyping import Array, Float

from spherical_vae import special


def averaged_kl_nats(
    draws: Float[Array, "S B D"], concentration: Float[Array, " B"]
) -> Float[Array, " B"]:
    """Estimates KL(q(zbar|x) || p(zbar)) of the mean zbar of n draws, without bias.

    Let z_1 .. z_n be draws of vMF(mu, kappa), s = z_1 + .. + z_n and zbar = s / n. With respect to
    the uniform distribution of all n, their density is (C_d(kappa) area)^n exp(kappa mu.s): it
    depends on them through s alone. Uniform draws give s a law nu that no rotation changes, so with
    s = r u, |u| = 1, the direction u is uniform under nu whatever the radius r, and

        q(s|mu) = (C_d(kappa) area)^n exp(kappa r mu.u) nu(s).

    Take as the prior of zbar what a mean of draws around a random direction gives,
    p(s) = E_mu q(s|mu) with mu uniform: E_mu exp(kappa r mu.u) = 1 / (C_d(kappa r) area). The
    unknown nu and the constants cancel:

        q(s|mu) / p(s) = C_d(kappa r) exp(kappa r mu.u) area,

    the density of vMF(mu, kappa r) at u over that of the uniform distribution. Under q, given r,
    u is just so distributed. Hence

        KL(q(zbar|x) || p(zbar)) = E_q KL(vMF(mu, kappa |s|) || uniform),

    and -log p(x|zbar) with this KL is in expectation a bound on -log p(x) under the prior p(zbar).
    For n = 1 it is the KL of one draw. The prior must not depend on x, so kappa has to be the same
    for all examples.

    Args:
      draws: z_1 .. z_n, unit vectors; S = n.
      concentration: kappa, equal in all rows.

    Returns:
      Nats: the KL at the radius of these draws, whose expectation is the one above. 37.7 on average
      for n = 3, d = 50, kappa = 80, where one draw costs 19.5.
    """
    total = draws.sum(axis=0)
    radius = (total**2).sum(axis=-1) ** 0.5
    return special.kl_to_uniform(draws.shape[-1], concentration * radius)
