"""KL of the mean of several vMF samples, from which the authors' code decodes."""

from jaxtyping import Array, Float

from spherical_vae import special


def averaged_kl_nats(
    samples: Float[Array, "S B D"], concentration: Float[Array, " B"]
) -> Float[Array, " B"]:
    """Estimates KL(q(zbar|x) || p(zbar)) of the mean zbar of n samples, without bias.

    Let z_1 .. z_n be samples of vMF(mu, kappa), s = z_1 + .. + z_n and zbar = s / n. With respect
    to the uniform distribution of all n, their density is (C_d(kappa) area)^n exp(kappa mu.s), a
    function of s. Uniform samples give s a law nu that no rotation changes, so with s = r u,
    |u| = 1, the direction u is uniform under nu for every radius r, and

        q(s|mu) = (C_d(kappa) area)^n exp(kappa r mu.u) nu(s).

    Take as the prior of zbar the law of a mean of samples around a random direction,
    p(s) = E_mu q(s|mu) with mu uniform: E_mu exp(kappa r mu.u) = 1 / (C_d(kappa r) area). The
    unknown nu and the constants cancel:

        q(s|mu) / p(s) = C_d(kappa r) exp(kappa r mu.u) area,

    the density of vMF(mu, kappa r) at u over that of the uniform distribution. Under q, given r,
    u is just so distributed. Hence

        KL(q(zbar|x) || p(zbar)) = E_q KL(vMF(mu, kappa |s|) || uniform),

    and -log p(x|zbar) with this KL is in expectation a bound on -log p(x) under the prior p(zbar).
    For n = 1 it is the KL of one sample. The prior must not depend on x, so kappa has to be the
    same for all examples.

    Args:
      samples: z_1 .. z_n, unit vectors; S = n.
      concentration: kappa, equal in all rows.

    Returns:
      Nats: the KL at the radius of these samples, whose expectation is the one above.
    """
    total = samples.sum(axis=0)
    radius = (total**2).sum(axis=-1) ** 0.5
    return special.kl_to_uniform(samples.shape[-1], concentration * radius)
